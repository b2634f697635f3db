use std::path::PathBuf;

use betanet_keys::{KeyError, NameError, PeerError};
use betanet_mesh::AddrError;
use betanet_mix::LAYERS_MAX;

use crate::TomlError;

/// A fault of a network file, with its line.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {why}", path.display(), At(*line))]
pub struct NetworkError {
    /// The file.
    pub path: PathBuf,
    /// Line number from 1; 0 for the file as a whole.
    pub line: usize,
    /// The fault.
    pub why: NetworkProblem,
}

/// A line number; displayed as nothing for the file as a whole.
struct At(usize);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            line => write!(f, ":{line}"),
        }
    }
}

/// The reason why a network file is invalid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkProblem {
    /// The file cannot be read.
    #[error(transparent)]
    Read(std::io::Error),
    /// The file is not valid TOML, or has an unknown key or a value of another type.
    #[error(transparent)]
    Toml(TomlError),
    /// The network's name has forbidden characters or a wrong length.
    #[error("name = {0:?}: 1 to 32 of a-z, 0-9 and -")]
    Name(String),
    /// The text of a public key is not 64 hex digits.
    #[error("{0:?}: a key is 64 hex digits")]
    KeyDigits(String),
    /// The text does not encode a public key.
    #[error("{text:?}: {source}")]
    Key {
        /// The text.
        text: String,
        /// The fault of the key.
        source: KeyError,
    },
    /// A public key occurs twice.
    #[error("the key {key} stands in line {first} already; each key has one task")]
    KeyRepeated {
        /// The key, in hex.
        key: String,
        /// Line of its first occurrence, from 1.
        first: usize,
    },
    /// A list is too short.
    #[error("{found} {list}, where at least {least} are needed")]
    TooFew {
        /// The list: `seeds`, `signers` or `maintainers`.
        list: &'static str,
        /// Its length.
        found: usize,
        /// Minimum length.
        least: usize,
    },
    /// The text is not an address.
    #[error("{text:?}: {source}")]
    Address {
        /// The text.
        text: String,
        /// The fault of the address.
        source: AddrError,
    },
    /// The text is not the peer string of a node.
    #[error("{text:?}: {source}")]
    Peer {
        /// The text.
        text: String,
        /// The fault of the peer string.
        source: PeerError,
    },
    /// A seed has no address.
    #[error("a seed without an address")]
    NoAddress,
    /// The text of a pin is not 64 hex digits.
    #[error("{0:?}: a pin is 64 hex digits")]
    Pin(String),
    /// The text does not encode the mix's beacon key.
    #[error("beacon_key: a BLS12-381 key is a point of G2, 192 hex digits")]
    BeaconKey,
    /// The number of layers is out of range.
    #[error("layers = {0}: 1 to {LAYERS_MAX}")]
    Layers(u8),
    /// A limit of the policy is out of range.
    #[error("{key} = {value}: {least} to {most}")]
    Range {
        /// Key of the limit.
        key: &'static str,
        /// The value.
        value: u64,
        /// Minimum.
        least: u64,
        /// Maximum.
        most: u64,
    },
    /// The range of gossip intervals is invalid.
    #[error("gossip_every_s = [{0}, {1}]: the shortest and the longest wait, 1 to 86400")]
    GossipInterval(u64, u64),
    /// A limit on opened streams is zero.
    #[error("opens = [{0}, {1}]: streams at once and each second, at least 1")]
    Opens(u32, u32),
    /// The text of a banned node is not a name.
    #[error("{text:?}: {source}")]
    Banned {
        /// The text.
        text: String,
        /// The fault of the name.
        source: NameError,
    },
}
