//! The economy of a coordinator: its flags, and its ledger as a service of the node.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use betanet_economy_service::{Anchoring, EconomyService, Settings};
use betanet_escrow_service::{Check, LedgerEscrow, Settings as EscrowSettings, When};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Error, GatewayConfig, Network, load_identity};
use betanet_store::disk;
use betanet_tokenomics::{GENESIS_MAX, Genesis, Role};
use serde::Deserialize;

use crate::Fail;
use crate::args::{EconomyFlags, FLAGS};
use crate::fail::chain;
use crate::faults::Faults;
use crate::listen::places::located;
use crate::listen::problems;

/// An economy that the flags ask for.
pub(super) struct Wanted {
    settings: Settings,
    /// Peer strings, names or aliases, like the two below.
    cosigners: Vec<String>,
    /// Nodes of the ledger of names, and keys of maintainers, for heads that are posted there.
    names: Vec<String>,
    leaders: Vec<String>,
    maintainers: Vec<Identity>,
    when: When,
}

/// The name of the table.
pub(super) const TABLE: &str = "economy";
/// Longest time between two heads, in seconds.
const HEAD_MAX: u64 = 60;
/// Most other coordinators that are asked for signatures: a ledger lists no more.
const COSIGNERS_MAX: usize = 15;

/// A leader, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a peer's string (bnp1…), or a list of them")]
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
    cosigners: Vec<String>,
    names: Vec<String>,
    maintainers: Vec<PathBuf>,
    head_seconds: Option<u64>,
    settle: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    economy: Table,
}

/// Reads the table of a file with the flags over it, and the files that they name.
pub(super) fn read(config: Option<&Path>, flags: &EconomyFlags) -> Result<Option<Wanted>, Fail> {
    let mut faults = Faults::of(FLAGS);
    let File { economy: table } = faults.table(config, TABLE);
    if !faults.found.is_empty() {
        return Err(problems(&faults.found));
    }
    let Some(file) = flags.economy.as_ref().or(table.genesis.as_ref()) else {
        let others = [flags.economy_leader.len(), table.leader.list().len()];
        let others = others.iter().sum::<usize>() + flags.economy_signer.len();
        let heads = flags.economy_head.or(table.head_seconds).is_some();
        let heads = heads || flags.economy_settle.is_some() || table.settle.is_some();
        let asked = flags.economy_cosigner.len() + table.cosigners.len();
        let asked = asked + flags.economy_names.len() + table.names.len();
        let asked = asked + flags.economy_maintainer.len() + table.maintainers.len();
        if others + table.signers.len() + asked > 0 || heads {
            let why = "a leader, signers, cosigners, names, maintainers, times of heads and settlements need the ledger's genesis: --economy GENESIS";
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
    let leaders = peers("leader", leaders, &[])?;
    let cosigners = peers("cosigner", &flags.economy_cosigner, &table.cosigners)?;
    let names = peers("names", &flags.economy_names, &table.names)?;
    if cosigners.len() > COSIGNERS_MAX {
        let why = format!("economy cosigners: at most {COSIGNERS_MAX}");
        return Err(Fail::Usage(why));
    }
    let mut maintainers = Vec::new();
    for file in flags.economy_maintainer.iter().chain(&table.maintainers) {
        maintainers.push(load_identity(file).map_err(Error::from)?);
    }
    if leaders.is_empty() && names.is_empty() && !maintainers.is_empty() {
        let why = "the keys of maintainers sign posts to the ledger of names, whose nodes are missing: --economy-names PEER";
        return Err(Fail::Usage(format!("economy: {why}")));
    }
    if !leaders.is_empty() && !names.is_empty() {
        let why = "the leader posts to the ledger of names: leave --economy-names out with --economy-leader";
        return Err(Fail::Usage(format!("economy: {why}")));
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
    let settle = flags.economy_settle.as_ref().or(table.settle.as_ref());
    let when = match settle.map(String::as_str) {
        None | Some("day") => When::DayEnd,
        Some("soon") => When::AtOnce,
        Some(other) => {
            let why = format!("economy settle = {other:?}: day or soon");
            return Err(Fail::Usage(why));
        }
    };
    Ok(Some(Wanted {
        settings,
        cosigners,
        names,
        leaders,
        maintainers,
        when,
    }))
}

/// Peers that flags and the table name.
fn peers(what: &str, flags: &[String], table: &[String]) -> Result<Vec<String>, Fail> {
    let read = |text: &String| match text.parse::<Peer>() {
        Err(why) if !crate::name::is_place(text) => {
            Err(Fail::Usage(format!("economy {what} {text}: {why}")))
        }
        _ => Ok(text.clone()),
    };
    flags.iter().chain(table).map(read).collect()
}

/// A ledger's service, and the escrow of the fog's tasks if the ledger pays them.
pub(super) struct Made {
    pub(super) service: EconomyService,
    pub(super) escrow: Option<Arc<LedgerEscrow>>,
}

impl Wanted {
    /// The ledger's service on the node of this identity, which signs too if the ledger lists it. `shared`: the fog's journal is
    /// that of the coordinators who ask for signatures.
    /// Its network's file names the maintainers, and resolves aliases.
    pub(super) async fn service(
        mut self,
        identity: &Identity,
        shared: bool,
        config: &GatewayConfig,
    ) -> Result<Made, Fail> {
        self.settings.leaders = located("economy leader", &self.leaders, config).await?;
        let cosigners = located("economy cosigner", &self.cosigners, config).await?;
        self.settings.signers.push(identity.clone());
        let keys = self.settings.signers.clone();
        if !self.names.is_empty() || !self.maintainers.is_empty() {
            let Some(file) = &config.mesh.network else {
                let why = "--economy-names and --economy-maintainer need the network's maintainers: --network NETWORK.toml";
                return Err(Fail::Usage(why.to_owned()));
            };
            let read = Network::read(file).map_err(Error::from)?;
            let mut anchoring = Anchoring::new(crate::name::genesis_of(&read, file)?);
            anchoring.nodes = located("economy names", &self.names, config).await?;
            anchoring.maintainers = self.maintainers;
            self.settings.anchoring = Some(anchoring);
        }
        let service = EconomyService::new(identity.clone(), self.settings);
        let service = service.map_err(|e| Fail::Usage(format!("economy: {}", chain(&e))))?;
        // Without coordinators, nobody could ever settle what is held.
        let pays = !service.members(Role::Coordinators).is_empty();
        let escrow = pays.then(|| {
            let mut settings = EscrowSettings::new(identity.clone());
            settings.keys = keys;
            settings.when = self.when;
            settings.cosigners = cosigners;
            settings.check = if shared {
                Check::Journal
            } else {
                Check::Proposal
            };
            LedgerEscrow::new(service.ledger(), settings)
        });
        Ok(Made { service, escrow })
    }
}
