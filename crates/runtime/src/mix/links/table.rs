//! The links that stand, who pays for each, and who has how many packets waiting for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use betanet_machine::Time;
use betanet_mix::{Shares, Spent, Via};
use betanet_wire::{ChargeTo, NodeId};
use tokio::sync::mpsc;

use super::super::plane::{Inner, lock};
use super::{DEAD, Fails, Outgoing};

/// Packets that wait for one next node.
const QUEUE: usize = 2048;
/// Next nodes at once.
const LINKS_MAX: usize = 4096;
/// Links that one payer may have had made, of those that stand: a sixteenth.
const LINKS_SHARE: usize = LINKS_MAX / 16;
/// One session's part of the packets that wait for links: one in so many. A payer has two.
const SESSION_ONE_IN: usize = 16;
/// Next nodes whose last failure is remembered.
const FAILED_MAX: usize = 4096;
/// How long a name that nobody has is not looked for again.
const UNKNOWN: Duration = Duration::from_secs(1);

/// A packet's place among those that wait for links.
pub(super) struct Place {
    inner: Weak<Inner>,
    via: Via,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            let mut table = lock(&inner.links.0);
            table.shares.remove(self.via);
            table.waiting -= 1;
        }
    }
}

struct Entry {
    queue: mpsc::Sender<Outgoing>,
    id: u64,
    /// Who pays for it.
    payer: ChargeTo,
    used: Time,
}

/// When a next node failed last.
struct Failed {
    until: Time,
    cause: &'static str,
    rest: Option<Duration>,
}

#[derive(Default)]
struct Table {
    links: BTreeMap<NodeId, Entry>,
    made: BTreeMap<ChargeTo, usize>,
    shares: Shares,
    waiting: usize,
    failed: BTreeMap<NodeId, Failed>,
    next_id: u64,
}

/// The links that stand.
#[derive(Default)]
pub(in super::super) struct Links(Mutex<Table>);

/// A link that was made, and wants its task.
pub(super) struct Made {
    pub(super) id: u64,
    pub(super) queue: mpsc::Receiver<Outgoing>,
    /// How long it rests after its first failure, where it has failed before.
    pub(super) rest: Option<Duration>,
}

type Refused = (&'static str, Outgoing);

impl Table {
    fn remove(&mut self, next: NodeId) {
        if let Some(entry) = self.links.remove(&next)
            && let Some(n) = self.made.get_mut(&entry.payer)
        {
            *n -= 1;
            if *n == 0 {
                self.made.remove(&entry.payer);
            }
        }
    }

    /// Ends the link that was used longest ago, of all or of one payer's, if it can have no packets any more.
    fn evict(&mut self, now: Time, of: Option<ChargeTo>) -> bool {
        let own = self.links.iter();
        let own = own.filter(|(_, e)| of.is_none_or(|payer| e.payer == payer));
        let idlest = own.min_by_key(|(_, e)| e.used);
        let idlest = idlest.filter(|(_, e)| e.used + DEAD + DEAD <= now || e.queue.is_closed());
        let Some(next) = idlest.map(|(n, _)| *n) else {
            return false;
        };
        self.remove(next);
        true
    }

    /// Makes room for one more link, where there may be one.
    fn may_make(&mut self, now: Time, payer: ChargeTo) -> Result<(), &'static str> {
        let made = self.made.get(&payer).copied().unwrap_or(0);
        if made >= LINKS_SHARE && !self.evict(now, Some(payer)) {
            return Err("link_share");
        }
        if self.links.len() >= LINKS_MAX && !self.evict(now, None) {
            return Err("link_full");
        }
        Ok(())
    }

    /// Why nothing is sent to a node now, and how long it is to rest if it fails again.
    fn failed(&mut self, now: Time, next: NodeId) -> Result<Option<Duration>, &'static str> {
        match self.failed.get(&next) {
            Some(failed) if failed.until > now => Err(failed.cause),
            Some(failed) => Ok(failed.rest),
            None => Ok(None),
        }
    }
}

impl Links {
    /// Gives a packet to the link with a node, or makes that link; else says why it is not taken.
    pub(super) fn send(
        &self,
        inner: &Arc<Inner>,
        next: NodeId,
        mut outgoing: Outgoing,
    ) -> Result<Option<Made>, Refused> {
        use mpsc::error::TrySendError::{Closed, Full};
        let now = inner.clock.now().mono;
        let via = outgoing.via;
        let most = inner.waiting_max().max(QUEUE * SESSION_ONE_IN);
        let mut table = lock(&self.0);
        if table.waiting >= most {
            return Err(("link_full", outgoing));
        }
        if let Err(spent) = table.shares.check(via, most / SESSION_ONE_IN) {
            let cause = match spent {
                Spent::Session => "session_share",
                Spent::Charge => "address_share",
            };
            return Err((cause, outgoing));
        }
        table.shares.add(via);
        table.waiting += 1;
        outgoing.place = Some(Place {
            inner: Arc::downgrade(inner),
            via,
        });
        // From here on a packet that is given back gives its place back, which takes the lock: never under it.
        let outgoing = match table.links.get_mut(&next) {
            Some(link) => match link.queue.try_send(outgoing) {
                Ok(()) => {
                    link.used = now;
                    return Ok(None);
                }
                Err(Full(outgoing)) => {
                    drop(table);
                    return Err(("link_full", outgoing));
                }
                Err(Closed(outgoing)) => outgoing,
            },
            None => outgoing,
        };
        table.remove(next);
        let payer = inner.payer_of_link(next, via.charge);
        let may = table.failed(now, next);
        let may = may.and_then(|rest| table.may_make(now, payer).map(|()| rest));
        let rest = match may {
            Ok(rest) => rest,
            Err(cause) => {
                drop(table);
                return Err((cause, outgoing));
            }
        };
        let (link, queue) = mpsc::channel(QUEUE);
        let sent = link.try_send(outgoing);
        table.next_id += 1;
        let id = table.next_id;
        let entry = Entry {
            queue: link,
            id,
            payer,
            used: now,
        };
        table.links.insert(next, entry);
        *table.made.entry(payer).or_default() += 1;
        drop(table);
        // The queue is new.
        sent.map_err(|e| ("link_full", e.into_inner()))?;
        Ok(Some(Made { id, queue, rest }))
    }

    /// A link is over: its slot is free, and what it failed by is remembered for a while.
    pub(super) fn ended(
        &self,
        inner: &Inner,
        (next, id): (NodeId, u64),
        fails: Option<Fails>,
        down: Option<Duration>,
    ) {
        let now = inner.clock.now().mono;
        let mut table = lock(&self.0);
        if table.links.get(&next).is_some_and(|e| e.id == id) {
            table.remove(next);
        }
        let failed = match (fails, down) {
            (None | Some(Fails::Busy), _) => {
                table.failed.remove(&next);
                return;
            }
            (Some(Fails::Unknown), _) => Failed {
                until: now + UNKNOWN,
                cause: "unknown_next",
                rest: None,
            },
            (Some(Fails::Down), rest) => Failed {
                until: now + rest.unwrap_or_default(),
                cause: "dead_hop",
                rest,
            },
        };
        if table.failed.len() >= FAILED_MAX {
            table.failed.retain(|_, f| f.until > now);
        }
        if table.failed.len() < FAILED_MAX {
            table.failed.insert(next, failed);
        }
    }

    /// Links that stand.
    pub(in super::super) fn len(&self) -> usize {
        lock(&self.0).links.len()
    }
}
