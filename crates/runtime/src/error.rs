mod causes;
mod kind;

use std::path::PathBuf;

use betanet_htx::By;
use betanet_wire::Code;

pub use causes::{FrontProblem, SeedFailure};
pub use kind::ErrorKind;

/// Error of an operation of a node. [`Error::kind`] tells who can resolve it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The outer connection failed at the last address that was tried.
    #[error("{address}: {source}")]
    Outer {
        /// The address.
        address: String,
        /// The carrier's error.
        source: betanet_carrier::Error,
    },
    /// The session ended before it was open, or before the answer was complete.
    #[error("the session ended: {code} ({reason})")]
    Session {
        /// Code of the CLOSE.
        code: Code,
        /// Reason text of the CLOSE.
        reason: String,
        /// The side that ended the session.
        by: By,
    },
    /// A secret is in a folder that is served to others.
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
    /// The peer has no address that can be dialled.
    #[error("the peer has no address")]
    NoAddress,
    /// Only QUIC may be dialled, and the peer has no QUIC address.
    #[error("the peer has no QUIC address: none of its addresses begins with quic:")]
    NoQuic,
    /// A front origin's record is invalid.
    #[error("{}:{line}: {why}", path.display())]
    Front {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The reason.
        why: FrontProblem,
    },
    /// The profile EXTENDED does not allow this template.
    #[error("L2_ORIGIN_MISMATCH: the template {template} {why}, and the profile is EXTENDED")]
    OriginMismatch {
        /// TemplateID in hex; zeros for none.
        template: String,
        /// Status of the template.
        why: &'static str,
    },
    /// The nodes do not form a valid path.
    #[error("no path can be built: {0}")]
    Path(#[from] betanet_path::BuildError),
    /// A client of 1.1 asked for a path that is refused.
    #[error("a client of 1.1 asks for a path that is not taken: {node} {why}")]
    Path11 {
        /// The node that causes the refusal.
        node: betanet_keys::Name,
        /// The reason.
        why: &'static str,
    },
    /// A hop of the path ended it, with a signed error.
    #[error("{by} says that the path ended: {why}")]
    PathEnded {
        /// The hop.
        by: betanet_keys::Name,
        /// The reason that the hop gave.
        why: betanet_path::Failure,
    },
    /// The peer is not dialled yet, after repeated failures.
    #[error("the peer failed repeatedly and is not dialled again for {0} s")]
    Resting(u64),
    /// The request is invalid and cannot be sent.
    #[error("the request cannot be sent")]
    Request(#[from] betanet_stack::Error),
    /// The request cannot be sent through the mix.
    #[error("the request cannot be sent: {0}")]
    Asked(betanet_stack::MixError),
    /// The peer answered before the request's body was completely sent.
    #[error("the peer answered before the body's end")]
    Answered,
    /// An exchange ended before its answer was complete.
    #[error(transparent)]
    Exchange(#[from] crate::ExchangeError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A key file holds no key, or other users may read it.
    #[error("{}: {why}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: &'static str,
    },
    /// The node's state cannot be read or written.
    #[error(transparent)]
    State(#[from] betanet_store::Error),
    /// A listener cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// More connections are configured than the limit of open files allows.
    #[error(
        "max_connections = {wanted} is more than the limit of {limit} open files allows: set it to at most {fits}, or raise the limit (LimitNOFILE=, ulimit -n)"
    )]
    Descriptors {
        /// Configured number of connections.
        wanted: usize,
        /// Maximum number of open files of the process.
        limit: usize,
        /// Number of connections that the limit allows.
        fits: usize,
    },
    /// The certificate cannot be used.
    #[error("the certificate: {0}")]
    Certificate(#[source] betanet_carrier::Error),
    /// The system has no randomness.
    #[error("the system gives no randomness")]
    Entropy,
    /// The fingerprint for dialling cannot be set up.
    #[error("TLS with a browser's shape cannot be set up")]
    Fingerprint(#[source] betanet_carrier::Error),
    /// The network's file is invalid.
    #[error(transparent)]
    Network(#[from] crate::NetworkError),
    /// The network offers no path: too few relays are known and reached.
    #[error(
        "no path to {to} over {relays} relays: only {known} relays are known and reached so far"
    )]
    NoRelays {
        /// Destination of the path.
        to: betanet_keys::Name,
        /// Number of requested relays.
        relays: usize,
        /// Number of relays that are known and reached.
        known: usize,
    },
    /// No reachable node of the network knows the peer.
    #[error("{0} is not known in the network, or not reached")]
    Unknown(betanet_keys::Name),
    /// The network has no mix.
    #[error("the network {network} has no mix: its file has no [mix] part")]
    NoMix {
        /// Name of the network.
        network: String,
    },
    /// No directory of relays is available.
    #[error("no seed that was reached has a directory of relays for epoch {epoch}: {why}")]
    NoDirectory {
        /// Epoch of the directory.
        epoch: u32,
        /// The failure of the last seed that was asked.
        why: SeedFailure,
    },
    /// The directory is not used.
    #[error("the directory of relays is not used: {0}")]
    Directory(#[from] crate::DirectoryProblem),
    /// The relays are not sufficient.
    #[error("no path through the mix: {0}")]
    Mix(#[from] betanet_mix::ClientError),
    /// No relay of the epoch's directory can be used.
    #[error(
        "the mix of {network} has no relay that can be used in epoch {epoch}: its directory lists {listed}, which have drawn new keys \
         since or are not reached; the next epoch begins in {minutes} min"
    )]
    MixRests {
        /// Name of the network.
        network: String,
        /// The current epoch.
        epoch: u32,
        /// Number of relays in its directory.
        listed: usize,
        /// Minutes until the next epoch.
        minutes: u64,
    },
    /// The guard cannot be reached. No other guard is drawn for that reason: an attacker who blocks guards could otherwise choose
    /// one.
    #[error("the guard {guard} is not reached: {why}")]
    Guard {
        /// The guard relay.
        guard: betanet_keys::Name,
        /// The error of connecting to it.
        why: Box<Error>,
    },
    /// The node takes no requests over the mix in this epoch.
    #[error("{0} takes no requests over the mix: its record has no Sphinx key for this epoch")]
    NotMixing(betanet_keys::Name),
    /// The mix's replay memory would exceed its limit.
    #[error(
        "{rate} packets a second need {needed} MiB of replay memory, where {allowed} are allowed"
    )]
    ReplayMemory {
        /// Packets per second.
        rate: u32,
        /// Required memory in mebibytes.
        needed: usize,
        /// Allowed memory in mebibytes.
        allowed: usize,
    },
    /// The address book is invalid.
    #[error("{}: line does not read: {why}", path.display())]
    Book {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
}

impl Error {
    /// Returns whether the carrier failed, so that another carrier may succeed.
    pub(crate) const fn is_of_the_way(&self) -> bool {
        use betanet_carrier::Error as E;
        matches!(self, Self::Outer { source, .. }
            if !matches!(source, E::NotATunnel { .. } | E::Pin | E::Certificate(_)))
    }
}
