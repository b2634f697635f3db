//! Why something is not signed or does not start.

use betanet_bar::status;

/// The reason why a part of an escrow does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal of signed settlements cannot be used.
    #[error(transparent)]
    Durable(#[from] betanet_durable::Error),
    /// It was started already.
    #[error("settlements are signed for others already")]
    Started,
}

/// Why a settlement of another coordinator is not signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("only coordinators that the ledger lists ask here, each by a session of its own key")]
    Stranger,
    #[error("too many settlements are asked for at once")]
    Crowded,
    #[error("the body is longer than 256 KiB, or did not come within 10 s")]
    Body,
    #[error("the proposal does not read")]
    Form,
    #[error("the request is no settlement, or is valid for over an hour")]
    Request,
    #[error(
        "the request's signers are not coordinators of the ledger, or this node is not among them"
    )]
    Signers,
    #[error("the part does not have the nonce that this node uses next")]
    Nonce,
    #[error("the task is not signed by its owner, or runs in lots that are paid for")]
    Task,
    #[error("no reservation of this task or bid is under the final head here")]
    Reservation,
    #[error("a receipt is not signed by its node, or is none of this task")]
    Receipt,
    #[error("the receipts do not decide the task by its own rule")]
    Verdict,
    #[error("the day in UTC in which it ended is not over")]
    Early,
    #[error("the task would cost more than its budget at this price factor")]
    Factor,
    #[error("no missed service level gives back this part of the pay")]
    Credit,
    #[error("payees and amounts are not those that follow from the receipts")]
    Pay,
    #[error("without the fog's own journal, no lots are settled here")]
    Lots,
    #[error("without the fog's own journal, no evidence is signed here")]
    Assignments,
    #[error("the journal here does not give this evidence")]
    Evidence,
    #[error("the journal here does not have the end of this task or bid")]
    Unknown,
    #[error("the journal here has another end of this task or bid")]
    Journal,
    #[error("another settlement of this reservation was signed here")]
    Other,
    #[error("too many settlements that were signed here wait for a final head")]
    Full,
    #[error("the ledger or a journal does not answer here now")]
    Unavailable,
}

impl Reason {
    /// Status of the answer.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Stranger => status::FORBIDDEN,
            Self::Crowded => status::TOO_MANY,
            Self::Body | Self::Form => status::BAD_REQUEST,
            // These pass.
            Self::Early
            | Self::Unknown
            | Self::Full
            | Self::Nonce
            | Self::Reservation
            | Self::Unavailable => status::UNAVAILABLE,
            _ => status::CONFLICT,
        }
    }
}
