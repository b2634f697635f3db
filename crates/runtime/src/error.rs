mod causes;
mod kind;

use std::path::PathBuf;

use betanet_htx::By;
use betanet_wire::Code;

pub use causes::{FrontProblem, SeedFailure};
pub use kind::ErrorKind;

/// Why something that a node was asked for failed. [`Error::kind`] tells who can do something about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The outer connection failed, at the last address tried.
    #[error("{address}: {source}")]
    Outer {
        /// Where.
        address: String,
        /// Why.
        source: betanet_carrier::Error,
    },
    /// The session ended before it was open, or before the answer.
    #[error("the session ended: {code} ({reason})")]
    Session {
        /// Why.
        code: Code,
        /// In words.
        reason: String,
        /// Who ended it.
        by: By,
    },
    /// A secret lies in a folder whose files are given to others.
    #[error(
        "{key} = {:?} lies in the folder of {by}, {:?}, where others could fetch it: move it, or serve another folder",
        file.display().to_string(),
        folder.display().to_string()
    )]
    Exposed {
        /// The setting that names the secret.
        key: &'static str,
        /// The secret's file.
        file: PathBuf,
        /// The setting that names the folder.
        by: &'static str,
        /// The folder.
        folder: PathBuf,
    },
    /// The peer cannot be dialled with what is known of it.
    #[error("the peer has no address")]
    NoAddress,
    /// Only QUIC is to be dialled, and the peer has no address for it.
    #[error("the peer has no QUIC address: none of its addresses begins with quic:")]
    NoQuic,
    /// A record of a front origin that does not count.
    #[error("{}:{line}: {why}", path.display())]
    Front {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why it does not.
        why: FrontProblem,
    },
    /// The profile EXTENDED does not let this template pass.
    #[error("L2_ORIGIN_MISMATCH: the template {template} {why}, and the profile is EXTENDED")]
    OriginMismatch {
        /// The TemplateID; zeros for none.
        template: String,
        /// What is known of it.
        why: &'static str,
    },
    /// The nodes make no path.
    #[error("no path can be built: {0}")]
    Path(#[from] betanet_path::BuildError),
    /// A client of 1.1 asked for a path that is not taken.
    #[error("a client of 1.1 asks for a path that is not taken: {node} {why}")]
    Path11 {
        /// The node that it fails at.
        node: betanet_keys::Name,
        /// Why.
        why: &'static str,
    },
    /// A hop of the path said, and signed, that it ended.
    #[error("{by} says that the path ended: {why}")]
    PathEnded {
        /// Which hop.
        by: betanet_keys::Name,
        /// Why.
        why: betanet_path::Failure,
    },
    /// The peer is resting after repeated failures.
    #[error("the peer failed repeatedly and is not dialled again for {0} s")]
    Resting(u64),
    /// A request that cannot be sent.
    #[error("the request cannot be sent")]
    Request(#[from] betanet_stack::Error),
    /// A request that cannot be sent through the mix.
    #[error("the request cannot be sent: {0}")]
    Asked(betanet_stack::MixError),
    /// The peer answered before the request's body was sent to its end.
    #[error("the peer answered before the body's end")]
    Answered,
    /// An exchange ended before its answer was complete.
    #[error(transparent)]
    Exchange(#[from] crate::ExchangeError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key file that does not hold a key, or that others may read.
    #[error("{}: {why}", path.display())]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The node's state.
    #[error(transparent)]
    State(#[from] betanet_store::Error),
    /// A listener cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// More connections are configured than the process may have files open.
    #[error(
        "max_connections = {wanted} is more than the limit of {limit} open files allows: set it to at most {fits}, or raise the limit (LimitNOFILE=, ulimit -n)"
    )]
    Descriptors {
        /// What is configured.
        wanted: usize,
        /// Files that the process may have open.
        limit: usize,
        /// Connections that fit.
        fits: usize,
    },
    /// The certificate.
    #[error("the certificate: {0}")]
    Certificate(#[source] betanet_carrier::Error),
    /// The system has no randomness.
    #[error("the system gives no randomness")]
    Entropy,
    /// What dialling is to look like cannot be set up.
    #[error("TLS with a browser's shape cannot be set up")]
    Fingerprint(#[source] betanet_carrier::Error),
    /// The network's file.
    #[error(transparent)]
    Network(#[from] crate::NetworkError),
    /// The network gives no path: too few relays are known and reached.
    #[error(
        "no path to {to} over {relays} relays: only {known} relays are known and reached so far"
    )]
    NoRelays {
        /// Where to.
        to: betanet_keys::Name,
        /// How many relays were wanted.
        relays: usize,
        /// How many there are.
        known: usize,
    },
    /// Nobody in the network knows the peer.
    #[error("{0} is not known in the network, or not reached")]
    Unknown(betanet_keys::Name),
    /// The network has no mix.
    #[error("the network {network} has no mix: its file has no [mix] part")]
    NoMix {
        /// The network.
        network: String,
    },
    /// No directory of relays is there.
    #[error("no seed that was reached has a directory of relays for epoch {epoch}: {why}")]
    NoDirectory {
        /// Of which epoch.
        epoch: u32,
        /// Why the last seed that was asked gave none.
        why: SeedFailure,
    },
    /// A directory is not used.
    #[error("the directory of relays is not used: {0}")]
    Directory(#[from] crate::DirectoryProblem),
    /// The relays do not suffice.
    #[error("no path through the mix: {0}")]
    Mix(#[from] betanet_mix::ClientError),
    /// The guard is not reached. Another one is not drawn for that: who could take guards away would choose them.
    #[error("the guard {guard} is not reached: {why}")]
    Guard {
        /// Which relay.
        guard: betanet_keys::Name,
        /// Why.
        why: Box<Error>,
    },
    /// A node takes no requests over the mix in this epoch.
    #[error("{0} takes no requests over the mix: its record has no Sphinx key for this epoch")]
    NotMixing(betanet_keys::Name),
    /// The mix's replay memory would not fit.
    #[error(
        "{rate} packets a second need {needed} MiB of replay memory, where {allowed} are allowed"
    )]
    ReplayMemory {
        /// Packets a second.
        rate: u32,
        /// Mebibytes that they need.
        needed: usize,
        /// Mebibytes that are allowed.
        allowed: usize,
    },
    /// The address book does not read.
    #[error("{}: line does not read: {why}", path.display())]
    Book {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    /// Whether what carries a session failed, so that another carrier may do better.
    pub(crate) const fn is_of_the_way(&self) -> bool {
        use betanet_carrier::Error as E;
        matches!(self, Self::Outer { source, .. }
            if !matches!(source, E::NotATunnel { .. } | E::Pin | E::Certificate(_)))
    }
}
