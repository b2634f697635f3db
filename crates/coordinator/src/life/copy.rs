//! One copy of a task, and its receipt.

use alloc::boxed::Box;

use betanet_fog::{Digest, Outcome, Reason};
use betanet_wire::NodeId;

use crate::codec::{Damaged, Row, enter, row};

/// What became of a copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CopyState {
    /// It has a node.
    Assigned,
    /// It runs.
    Running,
    /// The program ended.
    Result(Outcome),
    /// Something else ended it: another node may fare better.
    Fault(Outcome),
    /// It ended without a receipt.
    Lost(Reason),
}

impl CopyState {
    /// The word of a Status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::Result(outcome) | Self::Fault(outcome) => outcome.as_str(),
            Self::Lost(reason) => reason.as_str(),
        }
    }

    /// Whether its fence lives.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Assigned | Self::Running)
    }
}

impl Row for CopyState {
    fn put(&self, w: &mut betanet_wire::cbor::Writer) {
        let kind: u8 = match self {
            Self::Assigned => 0,
            Self::Running => 1,
            Self::Result(_) => 2,
            Self::Fault(_) => 3,
            Self::Lost(_) => 4,
        };
        w.array(2);
        kind.put(w);
        w.text(self.as_str());
    }

    fn get(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, Damaged> {
        enter(r, 2)?;
        let state = match u8::get(r)? {
            kind @ (0 | 1) => {
                r.skip().map_err(|_| Damaged("copy"))?;
                if kind == 0 {
                    Self::Assigned
                } else {
                    Self::Running
                }
            }
            2 => Self::Result(Row::get(r)?),
            3 => Self::Fault(Row::get(r)?),
            4 => Self::Lost(Row::get(r)?),
            _ => return Err(Damaged("copy")),
        };
        r.leave();
        Ok(state)
    }
}

/// A receipt, as the coordinator remembers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Returned {
    /// Hash of the signed receipt.
    pub hash: Digest,
    /// Digest of the output, after ok and exit.
    pub out: Option<Digest>,
    /// Fuel that the program burned.
    pub fuel: u64,
    /// Whether the result may decide alone under spot: its node was trusted, and it was not drawn.
    pub alone: bool,
}
row!(Returned {
    hash,
    out,
    fuel,
    alone
});

/// One copy of a task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Copy {
    /// Journal index of its assignment.
    pub fence: u64,
    /// Its number among the task's copies, from 0.
    pub no: u32,
    /// Its node.
    pub node: NodeId,
    /// Moment of the assignment, in UNIX ms.
    pub placed: u64,
    /// End of the assignment, in UNIX ms.
    pub end: u64,
    /// Devices that it has, one bit each.
    pub devices: u64,
    /// What became of it.
    pub state: CopyState,
    /// Its receipt, of which dead copies keep the hash as evidence.
    pub returned: Option<Box<Returned>>,
}

impl Row for Box<Returned> {
    fn put(&self, w: &mut betanet_wire::cbor::Writer) {
        (**self).put(w);
    }
    fn get(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, Damaged> {
        Row::get(r).map(Self::new)
    }
}

row!(Copy {
    fence,
    no,
    node,
    placed,
    end,
    devices,
    state,
    returned
});

impl Copy {
    /// Status and output of a copy with a result.
    pub(super) fn result(&self) -> Option<(Outcome, Option<Digest>)> {
        match self.state {
            CopyState::Result(outcome) => {
                Some((outcome, self.returned.as_ref().and_then(|r| r.out)))
            }
            _ => None,
        }
    }
}
