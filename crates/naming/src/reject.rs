use betanet_keys::RegistryError;
use betanet_wire::{Code, cbor};

use crate::LabelError;

/// Reason why a record does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The record does not decode.
    #[error("the record does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// A record of more than 1 000 000 bytes.
    #[error("a record of {0} bytes, where 1 000 000 are allowed")]
    TooLong(usize),
    /// An alias record or a rotation of more than 16 384 bytes. No valid one is as long without keys or signatures that mean nothing.
    #[error("an alias record or rotation of {0} bytes, where 16 384 are allowed")]
    Padded(usize),
    /// The alias is none, or one that signers refuse.
    #[error("the alias: {0}")]
    Label(#[from] LabelError),
    /// More keys or signatures than the profile allows.
    #[error("{0} entries, where {1} are allowed")]
    TooMany(usize, usize),
    /// A signature does not verify, is missing, or the key is not the node's.
    #[error("a signature does not verify, or is missing")]
    Signature,
    /// Fewer signers than finality asks for.
    #[error("signed by {signed} of the signers, where {needed} are needed")]
    NotFinal {
        /// Signers with a valid signature that counts.
        signed: usize,
        /// Number of required signatures.
        needed: usize,
    },
    /// The alias is bound to another node, whose signature is missing.
    #[error("the alias is bound to another node, which did not sign")]
    Bound,
    /// A record that retires an alias that is not bound.
    #[error("the alias is not bound")]
    NotBound,
    /// `seq` is not above the alias's last.
    #[error("seq {seq}, where the alias has {last}")]
    SeqReplay {
        /// `seq` of the record.
        seq: u64,
        /// Last `seq` of the alias.
        last: u64,
    },
    /// `ts` is more than 10 minutes from the clock.
    #[error("the record's time is more than 10 minutes from the clock")]
    Clock,
    /// Another valid rotation has the same `seq`.
    #[error("two rotations of the signers have one seq")]
    RotationConflict,
    /// The rotation is not from the current signers, or its `seq` is not the next.
    #[error("the rotation does not follow the current signers")]
    RotationOrder,
    /// The new signers are fewer than three, or not distinct valid keys.
    #[error("not three or more distinct signers")]
    Signers,
    /// A registry record that its maintainers did not sign as they must.
    #[error("the registry record: {0}")]
    Registry(#[from] RegistryError),
    /// A registry record with a lower `seq` than the one that stands.
    #[error("a registry record with a lower seq than the one that stands")]
    RegistrySeq,
    /// A network without maintainers has no registries.
    #[error("the network has no maintainers")]
    NoMaintainers,
    /// An emergency advance that does not name the last final head, or names one that is not 14 days old.
    #[error("the advance does not follow a final head of 14 days ago")]
    Advance,
    /// 4 096 records, or 12 MiB of them, wait for a head already.
    #[error("too many records wait for a head")]
    Full,
    /// Two views of the ledger were found: no record is accepted any more.
    #[error("the ledger is split: nothing is accepted any more")]
    Split,
}

impl Reject {
    /// The wire code.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Form(_) | Self::TooMany(..) => Code::MALFORMED_FRAME,
            Self::Signature | Self::NotFinal { .. } | Self::Bound => Code::ALIAS_SIG_INVALID,
            Self::SeqReplay { .. } => Code::ALIAS_SEQ_REPLAY,
            Self::RotationConflict => Code::ALIAS_ROTATION_CONFLICT,
            Self::RegistrySeq => Code::REPLAY,
            Self::Registry(RegistryError::TooFew { .. }) => Code::AUTH_FAILED,
            Self::TooLong(_)
            | Self::Padded(_)
            | Self::Label(_)
            | Self::NotBound
            | Self::Clock
            | Self::RotationOrder
            | Self::Signers
            | Self::Registry(_)
            | Self::NoMaintainers
            | Self::Advance
            | Self::Full
            | Self::Split => Code::POLICY_REJECTED,
        }
    }
}
