use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use betanet_log::{Proof, SignedHead};
use betanet_machine::Time;
use betanet_wire::{ChargeTo, Code, NodeId, msg};
use bytes::Bytes;

use super::{LONGEST, STALL};
use crate::Verified;
use crate::message::{ANSWER_MAX, ASK_MAX, Ask, HELLO_MAX};

/// The expected next step of an exchange.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Stage {
    /// The answerer's head.
    Hello,
    /// A proof that this head extends the newest one.
    Link(SignedHead),
    /// Records on the way to this head.
    Records(SignedHead),
    /// Nothing, until records are verified.
    Checking(SignedHead),
    /// A peer's head.
    ServeHello,
    /// A peer's requests for records of this head; `None` where this node has no head.
    Serve(Option<SignedHead>),
    /// A request is answered later: its peer has asked for much.
    Paced {
        /// The served head.
        head: SignedHead,
        /// The request.
        ask: Ask,
        /// Time of the answer.
        at: Time,
    },
    /// Records are being read.
    Loading {
        /// The served head.
        head: SignedHead,
        /// Index of the first record.
        from: u64,
    },
}

impl Stage {
    /// Longest message at this stage.
    const fn longest(&self) -> usize {
        match self {
            Self::Hello | Self::ServeHello => HELLO_MAX,
            // No records come with it.
            Self::Link(_) => HELLO_MAX,
            Self::Records(_) => ANSWER_MAX,
            Self::Serve(_) => ASK_MAX,
            Self::Checking(_) | Self::Paced { .. } | Self::Loading { .. } => 0,
        }
    }
}

/// Records of one answer, which are being verified or wait for those before them.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// Index of the first.
    pub(super) from: u64,
    /// Proof of the answer.
    pub(super) proof: Proof,
    /// The records, once they are verified.
    pub(super) done: Option<Vec<Verified>>,
}

impl Hash for Check {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.from.hash(state);
        self.proof.hash(state);
        self.done.is_some().hash(state);
        for verified in self.done.iter().flatten() {
            verified.bytes().hash(state);
        }
    }
}

/// Order of exchanges that want to bring records.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Rank {
    /// Whether enough signers that are known signed the peer's head.
    pub(super) signed: bool,
    /// Whether the operator named the peer.
    pub(super) named: bool,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Exchange {
    pub(super) peer: NodeId,
    /// The party charged for the peer's requests.
    pub(super) payer: ChargeTo,
    /// Right to the one place of exchanges that bring records.
    pub(super) rank: Rank,
    pub(super) stage: Stage,
    /// Time by which the next message is due.
    pub(super) until: Time,
    /// Time by which the exchange is over.
    pub(super) longest: Time,
    /// Requests that were made or answered.
    pub(super) batches: u32,
    /// Whether the peer sends nothing more.
    pub(super) last: bool,
    /// Index of the next records to ask for.
    pub(super) next: u64,
    /// Records that are being verified, in order.
    pub(super) checks: VecDeque<Check>,
    buffer: Vec<u8>,
}

impl Exchange {
    pub(super) fn new(peer: NodeId, payer: ChargeTo, stage: Stage, now: Time) -> Self {
        Self {
            peer,
            payer,
            rank: Rank::default(),
            stage,
            until: now + STALL,
            longest: now + LONGEST,
            batches: 0,
            last: false,
            next: 0,
            checks: VecDeque::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) const fn is_between_messages(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes bytes, and gives a message once it is whole. There is one message a stage, so nothing may follow it.
    pub(super) fn take(&mut self, data: &Bytes) -> Result<Option<Vec<u8>>, Code> {
        if data.is_empty() {
            return Ok(None);
        }
        let most = self.stage.longest();
        if self.buffer.len() + data.len() > most + 4 {
            return Err(Code::MALFORMED_FRAME);
        }
        self.buffer.extend_from_slice(data);
        match msg::split(&self.buffer, most) {
            Ok(None) => Ok(None),
            Ok(Some((_, []))) => {
                let mut message = core::mem::take(&mut self.buffer);
                message.drain(..4);
                Ok(Some(message))
            }
            Ok(Some(_)) | Err(_) => Err(Code::MALFORMED_FRAME),
        }
    }
}
