/// The reason why a ledger node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal cannot be used.
    #[error(transparent)]
    Durable(#[from] betanet_durable::Error),
    /// The network's signers are fewer than three.
    #[error("the network's signers: {0}")]
    Signers(#[from] betanet_naming::Reject),
    /// The node that dials others cannot be made.
    #[error(transparent)]
    Dial(#[from] betanet_runtime::DialError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
    /// It was started already.
    #[error("the ledger was started already")]
    Started,
}
