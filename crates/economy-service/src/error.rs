use betanet_tokenomics::Error as MachineError;

/// The reason why a ledger is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The genesis is none.
    #[error(transparent)]
    Genesis(#[from] MachineError),
    /// The genesis names fewer than two signers, so that no head could ever be final.
    #[error("the genesis names {0} signers; 2 are the fewest by which a head can be final")]
    Signers(usize),
    /// A signer's key is not one.
    #[error("the genesis names a signer whose key is none")]
    SignerKey,
    /// The journal cannot be used.
    #[error(transparent)]
    Durable(#[from] betanet_durable::Error),
    /// The node that dials the leader cannot be made.
    #[error(transparent)]
    Dial(#[from] betanet_runtime::DialError),
    /// The network lists too few maintainers for a registry record.
    #[error(
        "a head in the ledger of names needs the signatures of {needed} maintainers; the network lists {listed}"
    )]
    Maintainers {
        /// Maintainers of the network.
        listed: usize,
        /// Signatures of maintainers that a record needs.
        needed: usize,
    },
    /// A key is none of the network's maintainers.
    #[error("{0} is none of the network's maintainers")]
    Maintainer(Box<betanet_keys::PublicKey>),
    /// A saved ledger begins with another genesis.
    #[error("the saved ledger has another genesis")]
    Another,
    /// The journal that is to be filled has records.
    #[error("the journal has {0} records already")]
    NotEmpty(u64),
    /// A record or the head of a saved ledger does not count.
    #[error("the saved ledger does not count: {0}")]
    Restored(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The journal is led elsewhere, or failed.
    #[error(transparent)]
    Unavailable(#[from] betanet_durable::Unavailable),
    /// It was started already.
    #[error("the ledger was started already")]
    Started,
}
