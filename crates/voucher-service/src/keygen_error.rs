//! Why a run of mints over files does not go on.

use std::path::PathBuf;

use betanet_keys::PublicKey;
use betanet_vouchers::dkg::DkgError;

/// Reason why bytes are not a file of this run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FileFault {
    /// Of another form.
    #[error("not a file of a round")]
    Form,
    /// Of another plan.
    #[error("a file of another plan")]
    Plan,
    /// Its mint did not sign it.
    #[error("the mint that it names did not sign it")]
    Signature,
}

/// Reason why a run over files does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// The bytes are not a plan.
    #[error("not a plan of a keyset")]
    NoPlan,
    /// The plan's numbers are out of range.
    #[error(
        "a plan has n/2 < t <= n <= 255 and exponents up to 40, and a refresh a t of at least 2"
    )]
    Numbers,
    /// A member occurs twice.
    #[error("a member of the plan occurs twice")]
    MemberTwice,
    /// The folder has another plan.
    #[error("{}: another plan is there; use a new folder", .0.display())]
    OtherPlan(PathBuf),
    /// The key is not a member's.
    #[error("{0} is no member of the plan")]
    NoMember(Box<PublicKey>),
    /// A refresh needs the mint's present folder, and a new keyset has none.
    #[error("a refresh needs the folder of the mint, and a new keyset takes none")]
    Old,
    /// The mint's folder is of another keyset, generation, or place in the plan.
    #[error(
        "the mint's folder is not that of this member for the keyset and generation of the plan"
    )]
    OtherMint,
    /// A file is not one of this run.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: FileFault,
    },
    /// A mint signed two different files of one round.
    #[error("mint {from} cheats: it signed two different files of round {round}")]
    Twice {
        /// The mint.
        from: u8,
        /// The round.
        round: u8,
    },
    /// A file of a round that ended without it.
    #[error("mint {from}: round {round} ended without its file")]
    Late {
        /// The mint.
        from: u8,
        /// The round.
        round: u8,
    },
    /// Two mints have different files of a third.
    #[error(
        "before round {round}, mint {by} had another file of mint {about} than this mint, or none: compare them, one of both cheats"
    )]
    Views {
        /// Whose view differs.
        by: u8,
        /// Of whose file.
        about: u8,
        /// The round in which it said so.
        round: u8,
    },
    /// Another mint's result differs.
    #[error("mint {0} has another result: nothing is made")]
    Result(u8),
    /// The run gives no key.
    #[error(transparent)]
    Run(#[from] DkgError),
}
