use alloc::vec::Vec;

use betanet_log::{Proof, SignedHead};
use betanet_machine::Time;
use betanet_wire::{ChargeTo, Code, NodeId, msg};
use bytes::Bytes;

use super::{LONGEST, STALL};
use crate::message::{ANSWER_MAX, ASK_MAX, HELLO_MAX};

/// The expected next step of an exchange.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Stage {
    /// The answerer's head.
    Hello,
    /// A proof that this head extends the newest one.
    Link(SignedHead),
    /// Records on the way to this head.
    Records(SignedHead),
    /// Records are being verified.
    Checking(SignedHead),
    /// A peer's head.
    ServeHello,
    /// A peer's requests for records of this head; `None` where this node has no head.
    Serve(Option<SignedHead>),
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
            Self::Checking(_) | Self::Loading { .. } => 0,
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
    /// Proof of the records that are being verified.
    pub(super) proof: Proof,
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
            proof: Proof::default(),
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
