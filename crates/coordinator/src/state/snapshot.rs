//! Snapshots: the state as rows, in parts that a journal keeps.

use alloc::vec::Vec;

use betanet_fog::{TaskId, TaskState, Tier, Word};
use betanet_scheduler::credit::Day;
use betanet_wire::NodeId;
use betanet_wire::cbor::{Reader, Writer};

use super::history::{Counts, Happened};
use super::market::{BookOf, LotsId, Rent, Sealed, Trade};
use super::namespaces::Namespace;
use super::nodes::{Gone, NodeRow};
use super::tasks::TaskRow;
use super::tokens::{JobRow, TokenRow};
use super::{Damaged, State};
use crate::codec::{Row, enter};
use crate::rating::Rating;

/// Version of the rows.
const VERSION: u64 = 2;

/// Bytes after which a part is closed. A row is shorter than the rest of a mebibyte.
const PART: usize = 512 << 10;

/// Day and tier of a namespace's credits.
type DayOf = (u64, Tier);

/// Kind of a row.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Tag {
    Head,
    Node,
    Gone,
    Namespace,
    Task,
    Token,
    Job,
    Seed,
    Event,
    Counts,
    Standing,
    Sealed,
    Cleared,
    Trade,
    Rent,
    Rating,
}

/// What a placer's choices depend on beside nodes and copies. It follows from the records too, but no row of the state has it.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    pub(crate) counter: u64,
    pub(crate) nodes: Vec<(NodeId, [u64; 3])>,
}

struct Rows<'a> {
    out: &'a mut dyn FnMut(&[u8]),
}

impl Rows<'_> {
    fn row<K: Row, V: Row>(&mut self, tag: Tag, key: &K, value: &V) {
        let mut w = Writer::with_capacity(1024);
        w.array(3);
        (tag as u8).put(&mut w);
        key.put(&mut w);
        value.put(&mut w);
        (self.out)(&w.into_vec());
    }
}

impl State {
    /// Gives all rows to `out`, in an order that depends on the state alone.
    pub(crate) fn rows(&self, out: &mut dyn FnMut(&[u8])) {
        let mut rows = Rows { out };
        rows.row(
            Tag::Head,
            &[VERSION, self.epoch, self.last, self.ts],
            &self.led,
        );
        for (id, node) in self.nodes.iter() {
            rows.row(Tag::Node, id, node);
        }
        for (id, gone) in &self.nodes.gone {
            rows.row(Tag::Gone, id, gone);
        }
        for (name, ns) in &self.namespaces {
            let served: Vec<(DayOf, [u64; 6])> = ns
                .served
                .iter()
                .map(|(k, day)| (*k, day.counts()))
                .collect();
            rows.row(Tag::Namespace, name, &([ns.day, ns.spent], served));
        }
        for (of, book) in &self.market.books {
            if let Some(cleared) = &book.cleared {
                rows.row(Tag::Cleared, of, cleared);
            }
            for (commit, sealed) in &book.sealed {
                rows.row(Tag::Sealed, &(*of, *commit), sealed);
            }
            for (bid, trades) in &book.trades {
                for trade in trades {
                    rows.row(Tag::Trade, &(*of, *bid), trade);
                }
            }
        }
        for (id, rent) in &self.market.rents {
            rows.row(Tag::Rent, id, rent);
        }
        for (id, rating) in self.rated.iter() {
            rows.row(Tag::Rating, id, rating);
        }
        for (id, task) in self.tasks.iter() {
            rows.row(Tag::Task, id, task);
        }
        for (id, token) in &self.tokens {
            rows.row(Tag::Token, id, token);
        }
        for (key, job) in &self.jobs {
            rows.row(Tag::Job, key, job);
        }
        for (day, secret) in &self.seeds {
            rows.row(Tag::Seed, day, secret);
        }
        for event in &self.events {
            rows.row(Tag::Event, &0u8, event);
        }
        for counts in &self.history {
            rows.row(Tag::Counts, &0u8, counts);
        }
    }

    /// The state in parts of at most 1 MiB.
    pub(crate) fn snapshot(&self, standings: &Standings) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        let mut part: Vec<u8> = Vec::new();
        let mut add = |row: &[u8]| {
            if !part.is_empty() && part.len() + row.len() > PART {
                parts.push(core::mem::take(&mut part));
            }
            part.extend_from_slice(row);
        };
        self.rows(&mut add);
        let mut rows = Rows { out: &mut add };
        rows.row(Tag::Standing, &None::<NodeId>, &[standings.counter, 0, 0]);
        for (id, standing) in &standings.nodes {
            rows.row(Tag::Standing, &Some(*id), standing);
        }
        parts.push(part);
        parts
    }

    /// The state of a snapshot.
    pub(crate) fn restore<'a>(
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Self, Standings), Damaged> {
        let mut state = Self::default();
        let mut standings = Standings::default();
        let mut whole = false;
        for part in parts {
            let mut rest = part;
            while !rest.is_empty() {
                let mut r = Reader::new(rest);
                let row = r.skip().map_err(|_| Damaged("snapshot"))?;
                rest = rest.get(row.len()..).unwrap_or_default();
                whole |= state.restore_row(row, &mut standings)?;
            }
        }
        if whole {
            state.restore_lots();
            Ok((state, standings))
        } else {
            Err(Damaged("snapshot"))
        }
    }

    /// Adds a row. Returns whether it was the head.
    fn restore_row(&mut self, row: &[u8], standings: &mut Standings) -> Result<bool, Damaged> {
        let mut reader = Reader::new(row);
        let r = &mut reader;
        enter(r, 3)?;
        let tag = u8::get(r)?;
        if tag == Tag::Head as u8 {
            let [version, epoch, last, ts] = Row::get(r)?;
            if version != VERSION {
                return Err(Damaged("snapshot"));
            }
            (self.epoch, self.last, self.ts) = (epoch, last, ts);
            self.led = Row::get(r)?;
            return Ok(true);
        }
        if tag == Tag::Node as u8 {
            let (id, node): (NodeId, NodeRow) = (Row::get(r)?, Row::get(r)?);
            self.nodes.insert(id, node);
        } else if tag == Tag::Gone as u8 {
            let (id, gone): (NodeId, Gone) = (Row::get(r)?, Row::get(r)?);
            self.nodes.bury(id, gone);
        } else if tag == Tag::Namespace as u8 {
            let name: Word = Row::get(r)?;
            enter(r, 2)?;
            let [day, spent] = Row::get(r)?;
            let served: Vec<(DayOf, [u64; 6])> = Row::get(r)?;
            r.leave();
            let served = served
                .into_iter()
                .map(|((day, tier), counts)| ((day, tier), Day::kept(tier, counts)));
            let ns = Namespace {
                day,
                spent,
                served: served.collect(),
                ..Namespace::default()
            };
            self.namespaces.insert(name, ns);
        } else if tag == Tag::Task as u8 {
            let (id, task): (TaskId, TaskRow) = (Row::get(r)?, Row::get(r)?);
            self.restore_task(id, task)?;
        } else if tag == Tag::Token as u8 {
            let (id, token): ([u8; 16], TokenRow) = (Row::get(r)?, Row::get(r)?);
            self.tokens.insert(id, token);
        } else if tag == Tag::Job as u8 {
            let (key, job): ((Word, Word), JobRow) = (Row::get(r)?, Row::get(r)?);
            self.jobs.insert(key, job);
        } else if tag == Tag::Seed as u8 {
            let (day, secret): (u64, [u8; 32]) = (Row::get(r)?, Row::get(r)?);
            self.seeds.insert(day, secret);
        } else if tag == Tag::Event as u8 {
            let _: u8 = Row::get(r)?;
            self.events.push_back(Happened::get(r)?);
        } else if tag == Tag::Counts as u8 {
            let _: u8 = Row::get(r)?;
            self.history.push_back(Counts::get(r)?);
        } else if tag == Tag::Rating as u8 {
            let (id, rating): (NodeId, Rating) = (Row::get(r)?, Row::get(r)?);
            self.rated.set(id, Some(rating));
        } else if tag == Tag::Standing as u8 {
            let (id, standing): (Option<NodeId>, [u64; 3]) = (Row::get(r)?, Row::get(r)?);
            match id {
                Some(id) => standings.nodes.push((id, standing)),
                None => standings.counter = standing[0],
            }
        } else {
            self.restore_market(tag, r)?;
        }
        Ok(false)
    }

    /// Adds a row of the auction.
    fn restore_market(&mut self, tag: u8, r: &mut Reader<'_>) -> Result<(), Damaged> {
        if tag == Tag::Sealed as u8 {
            let (of, commit): (BookOf, [u8; 32]) = Row::get(r)?;
            self.market.restore_sealed(of, commit, Sealed::get(r)?);
        } else if tag == Tag::Cleared as u8 {
            let of: BookOf = Row::get(r)?;
            self.market.restore_cleared(of, Row::get(r)?);
        } else if tag == Tag::Trade as u8 {
            let (of, bid): (BookOf, [u8; 32]) = Row::get(r)?;
            self.market.restore_trade(of, bid, Trade::get(r)?);
        } else if tag == Tag::Rent as u8 {
            let (id, rent): (LotsId, Rent) = (Row::get(r)?, Row::get(r)?);
            self.market.restore_rent(id, rent);
        } else {
            return Err(Damaged("snapshot"));
        }
        Ok(())
    }

    /// Adds a task, with what follows from it for nodes and its namespace.
    fn restore_task(&mut self, id: TaskId, task: TaskRow) -> Result<(), Damaged> {
        for copy in task.life.live() {
            self.nodes.hold(&copy.node, copy.fence, id, &task.takes());
        }
        for _ in task.life.live() {
            self.rent_copy(task.rsv);
        }
        if !task.life.state.ended() {
            self.rent_task(task.rsv, id, true);
        }
        self.namespaces
            .entry(task.ns.clone())
            .or_default()
            .count(&task);
        let after = match task.life.state {
            TaskState::Accepted => Self::after_of(&*task.task().map_err(|_| Damaged("task"))?),
            _ => Vec::new(),
        };
        self.tasks.insert(id, task, &after);
        Ok(())
    }
}
