//! The economy of a coordinator: its flags, and its ledger as a service of the node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_economy_service::{EconomyService, Settings};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Error, load_identity};
use betanet_store::disk;
use betanet_tokenomics::{GENESIS_MAX, Genesis};
use serde::Deserialize;

use crate::Fail;
use crate::args::EconomyFlags;
use crate::fail::chain;
use crate::faults::read_toml;

/// An economy that the flags ask for.
pub(super) struct Wanted(Settings);

/// The name of the table.
pub(super) const TABLE: &str = "economy";
/// Longest time between two heads, in seconds.
const HEAD_MAX: u64 = 60;

/// A leader, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl OneOrMore {
    fn list(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(all) => all,
        }
    }
}

/// The table as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    genesis: Option<PathBuf>,
    leader: OneOrMore,
    signers: Vec<PathBuf>,
    head_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    economy: Table,
}

/// Reads the table of a file with the flags over it, and the files that they name.
pub(super) fn read(config: Option<&Path>, flags: &EconomyFlags) -> Result<Option<Wanted>, Fail> {
    let File { economy: table } = match config {
        Some(path) => read_toml::<File>(path, TABLE).map_err(|e| Fail::Usage(e.to_string()))?,
        None => File::default(),
    };
    let Some(file) = flags.economy.as_ref().or(table.genesis.as_ref()) else {
        let others = [flags.economy_leader.len(), table.leader.list().len()];
        let others = others.iter().sum::<usize>() + flags.economy_signer.len();
        let heads = flags.economy_head.or(table.head_seconds).is_some();
        if others + table.signers.len() > 0 || heads {
            let why =
                "a leader, signers or times of heads need the ledger's genesis: --economy GENESIS";
            return Err(Fail::Usage(format!("economy: {why}")));
        }
        return Ok(None);
    };
    let genesis = disk::read_bounded(file, GENESIS_MAX as u64).map_err(Fail::file(file))?;
    // Told before anything is opened.
    let read = Genesis::from_bytes(&genesis);
    read.map_err(|e| Fail::Usage(format!("economy {}: {e}", file.display())))?;
    let mut settings = Settings::new(genesis);
    let leaders = match &flags.economy_leader[..] {
        [] => table.leader.list(),
        flags => flags,
    };
    for leader in leaders {
        let peer = leader.parse::<Peer>();
        let peer = peer.map_err(|e| Fail::Usage(format!("economy leader {leader}: {e}")))?;
        settings.leaders.push(peer);
    }
    for file in flags.economy_signer.iter().chain(&table.signers) {
        settings
            .signers
            .push(load_identity(file).map_err(Error::from)?);
    }
    if let Some(seconds) = flags.economy_head.or(table.head_seconds) {
        if !(1..=HEAD_MAX).contains(&seconds) {
            return Err(Fail::Usage(format!(
                "economy head_seconds = {seconds}: 1 to {HEAD_MAX}"
            )));
        }
        settings.head_every = Duration::from_secs(seconds);
    }
    Ok(Some(Wanted(settings)))
}

impl Wanted {
    /// The ledger's service on the node of this identity, which signs too if the ledger lists it.
    pub(super) fn service(mut self, identity: &Identity) -> Result<EconomyService, Fail> {
        self.0.signers.push(identity.clone());
        let service = EconomyService::new(identity.clone(), self.0);
        service.map_err(|e| Fail::Usage(format!("economy: {}", chain(&e))))
    }
}
