//! The records of the journal: every change of durable state is one.

use alloc::boxed::Box;
use alloc::vec::Vec;

use betanet_fog::{Digest, NodeState, Reason, TaskId, TaskState, Tier, Word};
use betanet_wire::NodeId;
use betanet_wire::cbor::Writer;

use crate::codec::{Damaged, Row, enter};
use crate::rating::Rating;

/// A record as the journal keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The record's kind.
    pub kind: &'static str,
    /// Its content, in DET-CBOR.
    pub body: Vec<u8>,
}

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident = $word:literal { $($(#[$fdoc:meta])* $field:ident : $ty:ty,)* },)*) => {
        /// A change of durable state.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum Change {
            $($(#[$doc])* $name { $($(#[$fdoc])* $field: $ty,)* },)*
        }

        impl Change {
            /// All kinds, in the order of the variants.
            pub const KINDS: &'static [&'static str] = &[$($word,)*];

            /// The record's kind.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $word,)*
                }
            }
        }

        impl Record {
            /// The record as the journal keeps it.
            #[must_use]
            pub fn to_entry(&self) -> Entry {
                let mut w = Writer::with_capacity(192);
                match &self.change {
                    $(Change::$name { $($field,)* } => {
                        w.array(1 $(+ { let _ = stringify!($field); 1 })*);
                        self.ts.put(&mut w);
                        $($field.put(&mut w);)*
                    })*
                }
                Entry { kind: self.change.kind(), body: w.into_vec() }
            }

            /// Reads a record of the journal.
            ///
            /// # Errors
            ///
            /// The kind is not known, or the body is none of its.
            pub fn read(kind: &str, body: &[u8]) -> Result<Self, Damaged> {
                let mut r = betanet_wire::cbor::Reader::new(body);
                let r = &mut r;
                let record = match kind {
                    $($word => {
                        enter(r, 1 $(+ { let _ = stringify!($field); 1 })*)?;
                        let ts = Row::get(r)?;
                        $(let $field = Row::get(r)?;)*
                        Self { ts, change: Change::$name { $($field),* } }
                    })*
                    _ => return Err(Damaged("kind of record")),
                };
                r.leave();
                r.end().map_err(|_| Damaged("record"))?;
                Ok(record)
            }
        }
    };
}

records! {
    /// A leader began its epoch.
    Leads = "leads" {
        /// The epoch.
        epoch: u64,
    },
    /// A task was accepted.
    Accepted = "accepted" {
        /// The signed task.
        task: Box<[u8]>,
        /// Its cost at most, in µ.
        cost: u64,
    },
    /// All tasks before it have succeeded, and its start is reached.
    Ready = "ready" {
        /// The task.
        task: TaskId,
        /// Its inputs with files of outputs resolved, encoded; empty where it names none.
        inputs: Box<[u8]>,
    },
    /// A copy got a node. The record's index is its fence.
    Assigned = "assigned" {
        /// The task.
        task: TaskId,
        /// Number of the copy.
        no: u32,
        /// The node.
        node: NodeId,
        /// Its devices, one bit each.
        devices: u64,
        /// End of the assignment, in UNIX ms.
        end: u64,
        /// The demand factor that was fixed, in ppm.
        factor: u64,
        /// The task's cost at most, in µ.
        cost: u64,
        /// Whether the task waited for something that is no fault of the cluster's.
        elsewhere: bool,
    },
    /// A copy runs.
    Started = "started" {
        /// The task.
        task: TaskId,
        /// The copy's fence.
        fence: u64,
    },
    /// A copy ended with a receipt.
    Returned = "returned" {
        /// The task.
        task: TaskId,
        /// The copy's fence.
        fence: u64,
        /// The signed receipt.
        receipt: Box<[u8]>,
        /// Whether the result may decide alone under spot.
        alone: bool,
    },
    /// A copy ended without a receipt.
    Lost = "lost" {
        /// The task.
        task: TaskId,
        /// The copy's fence.
        fence: u64,
        /// Why.
        why: Reason,
    },
    /// A receipt came under a dead fence.
    Evidence = "evidence" {
        /// The task.
        task: TaskId,
        /// The fence.
        fence: u64,
        /// The signed receipt.
        receipt: Box<[u8]>,
    },
    /// A task ended.
    Ended = "ended" {
        /// The task.
        task: TaskId,
        /// Its state.
        state: TaskState,
        /// Why.
        reason: Reason,
        /// Fences of the copies whose result it is; they share the cost.
        deciding: Vec<u64>,
        /// What it costs, in µ.
        cost: u64,
        /// Whether the task waited for something that is no fault of the cluster's.
        elsewhere: bool,
    },
    /// Ended tasks were forgotten.
    Forgotten = "forgotten" {
        /// The tasks.
        tasks: Vec<TaskId>,
    },
    /// A join token was issued.
    Issued = "issued" {
        /// Its ID.
        id: [u8; 16],
        /// Moment from which it is no longer valid, in UNIX ms.
        exp: u64,
        /// Hash of what was asked for.
        hash: Digest,
    },
    /// A join token was revoked.
    Revoked = "revoked" {
        /// Its ID.
        id: [u8; 16],
    },
    /// A node joined.
    Joined = "joined" {
        /// Its signed description.
        node: Box<[u8]>,
        /// ID of its token.
        token: [u8; 16],
        /// Moment at which the token expires, in UNIX ms.
        exp: u64,
        /// Whether the token names its organisation.
        vouched: bool,
    },
    /// A node described itself anew.
    Described = "described" {
        /// Its signed description.
        node: Box<[u8]>,
    },
    /// A node beat for the first time, or again after it was offline.
    Online = "online" {
        /// The node.
        node: NodeId,
    },
    /// A node was silent for too long.
    Offline = "offline" {
        /// The node.
        node: NodeId,
        /// Moment of its last beat, in UNIX ms.
        since: u64,
    },
    /// A node was put into another state.
    State = "state" {
        /// The node.
        node: NodeId,
        /// The state.
        to: NodeState,
        /// Moment at which a draining node's copies yield, in UNIX ms; 0 otherwise.
        until: u64,
    },
    /// A node left.
    Left = "left" {
        /// The node.
        node: NodeId,
    },
    /// A job got a new version.
    Job = "job" {
        /// The signed job.
        job: Box<[u8]>,
    },
    /// A job was deleted.
    Undone = "undone" {
        /// Its namespace.
        ns: Word,
        /// Its name.
        name: Word,
    },
    /// The secret of a day's draws.
    Seed = "seed" {
        /// The day, counted from 1970 in UTC.
        day: u64,
        /// S.
        secret: [u8; 32],
    },
    /// A snapshot of the cluster for its history.
    Topology = "topology" {},
    /// An order was committed to. The lots of an ask are set aside.
    Sealed = "sealed" {
        /// The signed commitment.
        commitment: Box<[u8]>,
    },
    /// An order was revealed.
    Revealed = "revealed" {
        /// The order.
        order: Box<[u8]>,
    },
    /// A round of the auction was cleared. Trades and reservations follow from its orders.
    Cleared = "cleared" {
        /// Number of the round.
        round: u64,
        /// Tier of the lots.
        tier: Tier,
        /// Whether bids that were not revealed lose nothing, because the leader changed meanwhile.
        spared: bool,
    },
    /// A reservation was paid back.
    Voided = "voided" {
        /// Its ID.
        id: [u8; 16],
    },
    /// The hour of a reservation is over.
    Over = "over" {
        /// Its ID.
        id: [u8; 16],
    },
    /// A ledger of tokens rates nodes otherwise than before.
    Rated = "rated" {
        /// The nodes; `None` for those that it does not rate any more.
        nodes: Vec<(NodeId, Option<Rating>)>,
    },
}

/// A change and its time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// UNIX ms, by the leader's clock. It never falls from one record to the next.
    pub ts: u64,
    /// The change.
    pub change: Change,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_others_are_refused() {
        let record = Record {
            ts: 7,
            change: Change::Ended {
                task: TaskId([3; 32]),
                state: TaskState::Failed,
                reason: Reason::NoQuorum,
                deciding: [9, 1 << 62].into(),
                cost: u64::MAX >> 1,
                elsewhere: false,
            },
        };
        let Entry { kind, body } = record.to_entry();
        assert_eq!(Record::read(kind, &body), Ok(record));
        assert!(Record::read("started", &body).is_err());
        assert!(Record::read("other", &body).is_err());
        for n in 0..body.len() {
            assert!(Record::read(kind, &body[..n]).is_err(), "{n}");
        }
        let longer = [&body[..], &[0]].concat();
        assert!(Record::read(kind, &longer).is_err());
    }

    #[test]
    fn kinds_are_words_of_the_journal_and_differ() {
        let mut kinds = Change::KINDS.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), Change::KINDS.len());
        assert!(
            kinds
                .iter()
                .all(|k| k.bytes().all(|b| b.is_ascii_lowercase()))
        );
    }
}
