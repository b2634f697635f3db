//! Heads of the ledger: the purpose of their signatures, and the reasons why they are refused.

use betanet_log::{Domain, Error as LogError};
use betanet_wire::Code;

/// Purpose of the signatures of the ledger's heads.
pub const DOMAIN: Domain<'static> = Domain::new("BN-L5-HEAD");

/// Reason why a head is not accepted. The ledger is unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadFault {
    /// Records are needed, from this index on.
    #[error("the records from index {from} are missing")]
    Missing {
        /// Index of the first missing record.
        from: u64,
    },
    /// The head's signatures do not count.
    #[error("the head: {0}")]
    Signatures(#[from] LogError),
    /// The set that the head names is not known yet.
    #[error("the head is signed by a set that is not known yet")]
    UnknownSet,
    /// The head is signed by another set than the one that its records put in force.
    #[error("the head is not signed by the set that its records put in force")]
    WrongSet,
    /// The records or the proof do not belong to the head.
    #[error("the records or the proof do not belong to the head")]
    Proof,
    /// The head's set is not known, and more than 4 096 records lead to it.
    #[error("more than 4 096 records to a head of signers that are not known yet")]
    TooFar,
    /// Two views were found: nothing is accepted any more.
    #[error("the ledger is split: nothing is accepted any more")]
    Split,
}

impl HeadFault {
    /// The wire code.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Signatures(error) => error.code(),
            Self::WrongSet => Code::ALIAS_SIG_INVALID,
            Self::Missing { .. } | Self::UnknownSet | Self::Proof | Self::TooFar | Self::Split => {
                Code::POLICY_REJECTED
            }
        }
    }
}
