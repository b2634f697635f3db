//! What this coordinator has signed for others, so that it signs no second settlement of anything. It stands in a journal before the
//! signature leaves.

use std::collections::BTreeMap;
use std::ops::Bound;

use betanet_durable::{Now, State, Unreadable};
use betanet_journal::{Kind, Record};
use betanet_tokenomics::{Hash, Id};
use betanet_wire::cbor::{self, Decode, Encode, Error, Reader, Writer};
use betanet_wire::{NodeId, message};

const SIGNED: &str = "cos.signed";
const FORGOT: &str = "cos.forgot";
/// Most parts of one settlement: the lots of a bid are paid 15 at a time.
pub(crate) const PARTS_MAX: usize = 512;
/// Bytes of a snapshot's part.
const PART: usize = 1 << 19;

message! {
    /// A settlement, or a part of one, that was signed.
    pub(crate) struct Part {
        /// Its reservation.
        req "id" res: Id,
        /// Whether it ends the reservation.
        req "end" end: bool,
        /// Last moment at which the ledger takes it, in UNIX ms.
        req "exp" exp: u64,
        /// Hash of all of it but nonces and times.
        req "hash" digest: Hash,
        /// Who is paid.
        req "paid" payees: Payees,
    }
}

/// Accounts of one request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Payees(pub(crate) Vec<NodeId>);

impl Encode for Payees {
    fn encode(&self, w: &mut Writer) {
        w.array(self.0.len());
        for id in &self.0 {
            id.encode(w);
        }
    }
}

impl<'a> Decode<'a> for Payees {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let all: Result<Vec<NodeId>, Error> = (0..r.array()?).map(|_| NodeId::decode(r)).collect();
        r.leave();
        Ok(Self(all?))
    }
}

/// A request to what was signed.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Whether this may be signed; if so it is kept. The time is that of the final head: what the ledger took no later is under it.
    Sign(Part, u64),
    /// Reservations after this one.
    List(Option<Id>, usize),
    Forget(Vec<Id>),
}

#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Said {
    Sign,
    /// Another settlement was signed.
    Other,
    Full,
    List(Vec<Id>),
    Done,
}

pub(crate) struct Kept {
    of: BTreeMap<Id, Vec<Part>>,
    most: usize,
}

fn record(kind: &str, body: Vec<u8>) -> Option<Record> {
    Kind::new(kind).map(|kind| Record::new(kind, body))
}

impl Kept {
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            of: BTreeMap::new(),
            most,
        }
    }

    /// Keeps a part in place of the same one with another time.
    fn keep(&mut self, part: Part) {
        let parts = self.of.entry(part.res).or_default();
        match parts.iter_mut().find(|p| p.digest == part.digest) {
            Some(same) => same.exp = same.exp.max(part.exp),
            None => parts.push(part),
        }
    }

    fn sign(&mut self, part: Part, final_ms: u64, records: &mut Vec<Record>) -> Said {
        let known = self.of.get(&part.res);
        if known.is_none() && self.of.len() >= self.most {
            return Said::Full;
        }
        let parts = known.map_or(&[][..], Vec::as_slice);
        let same = parts.iter().find(|p| p.digest == part.digest);
        if same.is_some_and(|same| same.exp >= part.exp) {
            return Said::Sign;
        }
        // One that the ledger takes no more, and had not taken by its final head, is as if it were not signed.
        let open = |p: &&Part| p.exp > final_ms && p.digest != part.digest;
        let pays_too = |p: &Part| p.payees.0.iter().any(|id| part.payees.0.contains(id));
        if parts.iter().filter(open).any(|p| p.end || pays_too(p)) {
            return Said::Other;
        }
        if same.is_none() && parts.len() >= PARTS_MAX {
            return Said::Full;
        }
        records.extend(record(SIGNED, cbor::to_vec(&part)));
        self.keep(part);
        Said::Sign
    }
}

impl State for Kept {
    type Request = Ask;
    type Answer = Said;

    fn apply(&mut self, record: &Record) -> Result<(), Unreadable> {
        match record.kind.as_str() {
            SIGNED => {
                let part = cbor::from_slice(&record.body).map_err(|_| Unreadable)?;
                self.keep(part);
            }
            FORGOT => {
                let id: Id = record.body[..].try_into().map_err(|_| Unreadable)?;
                self.of.remove(&id);
            }
            _ => return Err(Unreadable),
        }
        Ok(())
    }

    fn decide(&mut self, _: Now, request: Ask, records: &mut Vec<Record>) -> Said {
        match request {
            Ask::Sign(part, final_ms) => self.sign(part, final_ms, records),
            Ask::List(after, n) => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let ids = self.of.range((from, Bound::Unbounded)).take(n);
                Said::List(ids.map(|(id, _)| *id).collect())
            }
            Ask::Forget(ids) => {
                for id in ids {
                    if self.of.remove(&id).is_some() {
                        records.extend(record(FORGOT, id.to_vec()));
                    }
                }
                Said::Done
            }
        }
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        for part in self.of.values().flatten() {
            let bytes = cbor::to_vec(part);
            match all.last_mut() {
                Some(last) if last.len() + bytes.len() <= PART => last.extend(bytes),
                _ => all.push(bytes),
            }
        }
        all
    }

    fn restore(&mut self, parts: Vec<Vec<u8>>) -> Result<(), Unreadable> {
        let mut kept = Self::new(self.most);
        for bytes in parts {
            let mut r = Reader::new(&bytes);
            while r.position() < bytes.len() {
                kept.keep(Part::decode(&mut r).map_err(|_| Unreadable)?);
            }
        }
        *self = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use betanet_machine::Time;

    use super::*;

    fn part(res: u8, digest: u8, payees: &[u8]) -> Part {
        Part {
            res: [res; 16],
            end: false,
            exp: 1_000,
            digest: [digest; 32],
            payees: Payees(payees.iter().map(|n| NodeId([*n; 20])).collect()),
        }
    }

    fn ask(kept: &mut Kept, part: Part, final_ms: u64) -> (Said, Vec<Record>) {
        let mut records = Vec::new();
        let now = Now::new(Time::ZERO, 0);
        let said = kept.decide(now, Ask::Sign(part, final_ms), &mut records);
        (said, records)
    }

    #[test]
    fn a_second_settlement_is_signed_only_once_the_first_can_never_count() {
        let mut kept = Kept::new(10);
        let end = |digest| Part {
            end: true,
            ..part(1, digest, &[1])
        };
        let (said, first) = ask(&mut kept, end(1), 0);
        assert_eq!((said, first.len()), (Said::Sign, 1));
        // The same again needs no record, until it is to be valid for longer.
        assert_eq!(ask(&mut kept, end(1), 0), (Said::Sign, vec![]));
        let later = Part {
            exp: 2_000,
            ..end(1)
        };
        assert_eq!(ask(&mut kept, later, 0).1.len(), 1);
        // Another one, whoever it pays, and after a restart too.
        let mut again = Kept::new(10);
        again.restore(kept.snapshot()).unwrap();
        let mut replayed = Kept::new(10);
        replayed.apply(&first[0]).unwrap();
        for kept in [&mut kept, &mut again, &mut replayed] {
            assert_eq!(ask(kept, end(2), 999).0, Said::Other);
            assert_eq!(ask(kept, part(1, 3, &[9]), 999).0, Said::Other);
        }
        assert_eq!(ask(&mut kept, end(2), 1_999).0, Said::Other);
        // The ledger's final time is past the first one's end, and what it pays for is still held.
        assert_eq!(ask(&mut kept, end(2), 2_000).0, Said::Sign);
    }

    #[test]
    fn parts_pay_each_once_and_are_bounded() {
        let mut kept = Kept::new(2);
        assert_eq!(ask(&mut kept, part(1, 1, &[1, 2]), 0).0, Said::Sign);
        assert_eq!(ask(&mut kept, part(1, 2, &[2, 3]), 0).0, Said::Other);
        assert_eq!(ask(&mut kept, part(1, 3, &[3]), 0).0, Said::Sign);
        assert_eq!(ask(&mut kept, part(2, 1, &[1]), 0).0, Said::Sign);
        assert_eq!(ask(&mut kept, part(3, 1, &[1]), 0).0, Said::Full);
        let mut records = Vec::new();
        let now = Now::new(Time::ZERO, 0);
        let list = kept.decide(now, Ask::List(None, 1), &mut records);
        assert_eq!(list, Said::List(vec![[1; 16]]));
        let list = kept.decide(now, Ask::List(Some([1; 16]), 9), &mut records);
        assert_eq!(list, Said::List(vec![[2; 16]]));
        kept.decide(now, Ask::Forget(vec![[2; 16], [7; 16]]), &mut records);
        assert_eq!(records.len(), 1);
        assert_eq!(ask(&mut kept, part(3, 1, &[1]), 0).0, Said::Sign);

        let mut kept = Kept::new(1);
        for n in 0..PARTS_MAX {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            let part = Part {
                digest,
                ..part(1, 0, &[])
            };
            assert_eq!(ask(&mut kept, part, 0).0, Said::Sign);
        }
        assert_eq!(ask(&mut kept, part(1, 0xff, &[]), 0).0, Said::Full);
    }
}
