//! `NETWORK.toml`: the parameters shared by the nodes of a network.

mod file;
mod problem;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use betanet_carrier::disk;
use betanet_keys::{Peer, PublicKey};
use betanet_mesh::{Policy, SeedPeer};
use betanet_mix::BeaconKey;
use betanet_wire::NodeId;

use crate::TomlError;
use file::File;
pub use problem::{NetworkError, NetworkProblem};
use reader::Reader;

/// Minimum number of seeds and of maintainers of a network.
pub const LEAST: (usize, usize) = (5, 5);
/// Minimum number of signers, if a network names any.
const SIGNERS_LEAST: usize = 3;

/// A network, as described by its file.
#[derive(Clone, Debug)]
pub struct Network {
    /// Name of the network.
    pub name: String,
    /// Nodes that new nodes ask first.
    pub seeds: Vec<SeedPeer>,
    /// First signers of its ledger of names; empty if it has none.
    pub signers: Vec<PublicKey>,
    /// Nodes that serve the ledger, of those signers that name one.
    pub ledgers: Vec<LedgerNode>,
    /// Maintainers of its registries.
    pub maintainers: Vec<PublicKey>,
    /// Nodes with which no other node may communicate.
    pub banned: Vec<NodeId>,
    /// Limits that its nodes enforce.
    pub policy: Policy,
    /// Parameters of its mix; `None` without a mix.
    pub mix: Option<MixNetwork>,
    /// Where further seeds are found, beside those of the file: such as in a registry of the ledger of names.
    pub more_seeds: Option<Arc<dyn SeedSource>>,
}

/// The seeds that a [`SeedSource`] finds.
pub type SeedsFuture<'a> = Pin<Box<dyn Future<Output = Option<Vec<SeedPeer>>> + Send + 'a>>;

/// Finds seeds of a network beside those of its file.
pub trait SeedSource: std::fmt::Debug + Send + Sync {
    /// All seeds that it knows now; `None` if it cannot be asked.
    fn seeds(&self) -> SeedsFuture<'_>;
}

/// A node that serves the ledger of names, and the signer whose it is.
#[derive(Clone, Debug)]
pub struct LedgerNode {
    /// Key of the signer. Its node has another one.
    pub signer: PublicKey,
    /// The node.
    pub peer: Peer,
}

/// The mix parameters of a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MixNetwork {
    /// Key that verifies its beacons.
    pub beacon_key: BeaconKey,
    /// Number of layers of its directories.
    pub layers: u8,
    /// Whether clients draw the delays.
    pub poisson: bool,
    /// The first epoch with a directory. Relays of that directory count at once.
    pub first_epoch: u32,
}

impl Network {
    /// Reads and checks a network's file.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is invalid; the error names the line.
    pub fn read(path: &Path) -> Result<Self, NetworkError> {
        let text = disk::read_text(path, disk::TEXT_MAX).map_err(|e| NetworkError {
            path: path.to_owned(),
            line: 0,
            why: NetworkProblem::Read(e),
        })?;
        Self::parse(path, &text)
    }

    /// Parses and checks a network's text. `path` is its file, for errors.
    ///
    /// # Errors
    ///
    /// See [`Network::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, NetworkError> {
        let mut reader = Reader {
            path,
            text,
            keys: BTreeMap::new(),
        };
        let file: File = toml::from_str(text).map_err(|e| {
            let why = TomlError::from(e);
            reader.wrong(why.offset(), NetworkProblem::Toml(why))
        })?;
        let (seeds, maintainers) = LEAST;
        let (name, seeds) = (reader.name(&file.name)?, reader.seeds(&file.seeds, seeds)?);
        let signers = reader.signers(file.signers.as_ref(), &file.signer, SIGNERS_LEAST);
        let (signers, ledgers) = signers?;
        Ok(Self {
            name,
            seeds,
            signers,
            ledgers,
            maintainers: reader.keys("maintainers", &file.maintainers, maintainers)?,
            banned: reader.banned(&file.banned)?,
            policy: reader.policy(&file.policy)?,
            mix: file.mix.as_ref().map(|m| reader.mix(m)).transpose()?,
            more_seeds: None,
        })
    }
}
