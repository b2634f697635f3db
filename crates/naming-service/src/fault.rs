//! Reasons why a ledger node's answer does not count.

use betanet_naming::ProofError;
use betanet_wire::{Code, cbor};
use bytes::Bytes;

/// A refusal of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Status of the answer.
    pub status: u16,
    /// The wire code.
    pub code: Code,
    /// The reason, for people. Control characters are removed.
    pub why: String,
    /// Records that a signer holds to.
    pub held: Vec<Bytes>,
}

/// Reason why there is no answer that counts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The node refused.
    #[error("the node answered {} {}: {}", .0.status, .0.code, .0.why)]
    Refused(Box<Refusal>),
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Exchange(#[source] betanet_session::ExchangeError),
    /// A longer answer than there may be.
    #[error("the node's answer is too long")]
    TooLong,
    /// The answer does not decode.
    #[error("the node's answer does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// A proof shows nothing.
    #[error("the node's proof shows nothing: {0}")]
    Proof(#[from] ProofError),
    /// A head that enough signers did not sign.
    #[error("the node's head does not count: {0}")]
    Head(#[from] betanet_log::Error),
    /// Records of other signers that do not follow from the network's first.
    #[error("the node's signers do not follow from those of the network file")]
    Signers,
    /// A proof of another alias.
    #[error("the node's proof is of another alias")]
    OtherAlias,
    /// A proof of another record, or of one that too few maintainers signed.
    #[error("the node's proof is of another record, or of one that too few maintainers signed")]
    OtherRecord,
    /// The proof contradicts the condition that the node tells.
    #[error("the node says {said}, and its proof shows {shown}")]
    Contradiction {
        /// The node's word.
        said: String,
        /// The condition that the proof shows.
        shown: &'static str,
    },
}
