//! The ledger of names of a gateway: the table `names` of its settings, and flags over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use betanet_carrier::client::Trust;
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_keys::{Identity, Name, Peer};
use betanet_naming_service::{NameService, PREFIX, Running, Settings};
use betanet_runtime::{
    Error, GatewayBuilder, GatewayConfig, Network, Problem, ReadSettings, load_identity,
};
use betanet_store::State;
use serde::Deserialize;

use crate::Fail;
use crate::args::{FLAGS, NamesFlags};
use crate::fail::chain;
use crate::faults::Faults;
use crate::name::{genesis_of, is_place};

use super::places::located;

/// The name of the table.
pub(crate) const TABLE: &str = "names";

/// Folder of the ledger's journal in the state.
const STATE: &str = "names";

/// Settings of a gateway's ledger.
#[derive(Clone, Debug)]
pub(crate) struct NamesSettings {
    signer: Option<PathBuf>,
    /// Peer strings, names or aliases.
    peers: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    serve: bool,
    signer: Option<PathBuf>,
    peers: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    names: Table,
}

/// Reads the table of a file, and lays the flags over it. `None` without a ledger.
pub(crate) fn read(
    file: Option<&Path>,
    flags: &NamesFlags,
) -> Result<Option<NamesSettings>, Vec<Problem>> {
    let origin = file.map_or_else(|| FLAGS.to_owned(), |f| f.display().to_string());
    let mut faults = Faults::of(&origin);
    let File { names: mut table } = faults.table(file, TABLE);
    table.serve |= flags.names;
    if flags.signer.is_some() {
        table.signer.clone_from(&flags.signer);
    }
    if !flags.names_peer.is_empty() {
        table.peers.clone_from(&flags.names_peer);
    }
    let peers = table.peers.clone();
    for text in peers.iter().filter(|text| !is_place(text)) {
        let why = text.parse::<Peer>().err().map(|why| why.to_string());
        faults.say("names_peer", text, &why.unwrap_or_default());
    }
    if !table.serve && (table.signer.is_some() || !table.peers.is_empty()) {
        faults.say(
            "names",
            "false",
            "a signer and peers belong to a ledger: names.serve = true (--names)",
        );
    }
    if !faults.found.is_empty() {
        return Err(faults.found);
    }
    let signer = table.signer;
    Ok(table.serve.then_some(NamesSettings { signer, peers }))
}

/// The settings of the node that a ledger needs and that are missing.
pub(crate) fn needs(settings: Option<&NamesSettings>, read: &ReadSettings) -> Vec<Problem> {
    let mut found = Vec::new();
    let Some(settings) = settings else {
        return found;
    };
    let mesh = &read.config.mesh;
    let problem = |key: &'static str, why: &str| read.origins.problem(key, "", why.into());
    if mesh.network.is_none() && !read.origins.is_unread("network") {
        found.push(problem(
            "network",
            "a ledger of names is that of a network: --network FILE",
        ));
    }
    if read.config.state().as_os_str().is_empty() && !read.origins.is_unread("state") {
        found.push(problem(
            "state",
            "a ledger of names keeps state: --state DIR",
        ));
    }
    if let Some(Ok(network)) = mesh.network.as_deref().map(Network::read)
        && network.signers.is_empty()
    {
        found.push(problem(
            "network",
            "the file names no signers: a ledger needs at least three [[signer]]",
        ));
    }
    if let Some(file) = &settings.signer
        && let Err(error) = load_identity(file)
    {
        found.push(Problem {
            origin: FLAGS.to_owned(),
            key: "signer".into(),
            value: file.display().to_string(),
            allowed: chain(&Error::from(error)),
        });
    }
    found
}

/// A ledger that is ready to be served.
pub(crate) struct Names {
    service: NameService,
    journal: Arc<SqliteJournal>,
    identity: Identity,
    dial_from: Option<std::net::IpAddr>,
    trust: Option<Trust>,
}

impl Names {
    /// Opens the journal, and reads the network and the signer's key.
    pub(crate) async fn open(
        settings: &NamesSettings,
        me: &Identity,
        config: &GatewayConfig,
    ) -> Result<Self, Fail> {
        let file = config.mesh.network.as_ref();
        let file = file.ok_or_else(|| Fail::Usage("--names needs --network FILE".into()))?;
        let network = Network::read(file).map_err(Error::from)?;
        let mut of = Settings::new(genesis_of(&network, file)?);
        of.signer = match &settings.signer {
            Some(path) => Some(load_identity(path)?),
            None => None,
        };
        of.peers = located("names_peer", &settings.peers, config).await?;
        let ledgers = network.ledgers.into_iter();
        of.signers = ledgers.map(|l| (l.signer, l.peer)).collect();
        let service = NameService::new(of).map_err(|e| Fail::Local(chain(&e)))?;
        let state = State::open(&config.state().join(STATE)).map_err(|e| Fail::Local(chain(&e)))?;
        let name = Name::from(me.public().node_id()).to_string();
        let sqlite = SqliteSettings {
            leader: name.into(),
            ..SqliteSettings::default()
        };
        let journal = SqliteJournal::open(&Arc::new(state), sqlite);
        let journal =
            journal.map_err(|e| Fail::Local(format!("the ledger's journal: {}", chain(&e))))?;
        let trust = config
            .tls
            .ca
            .as_ref()
            .map(|ca| Trust::roots_of(ca))
            .transpose();
        Ok(Self {
            service,
            journal: Arc::new(journal),
            identity: me.clone(),
            dial_from: config.node.dial_from,
            trust: trust.map_err(Error::Certificate)?,
        })
    }

    /// Adds the ledger to a gateway.
    pub(crate) fn on(&self, builder: GatewayBuilder) -> GatewayBuilder {
        builder
            .service(PREFIX, self.service.service())
            .stream_type(NameService::STREAMS, self.service.streams())
            .extension(self.service.extension())
    }

    /// Reads the journal, and begins to answer.
    pub(crate) async fn start(&self) -> Result<Running, Fail> {
        let (from, trust) = (self.dial_from, self.trust.clone());
        let dialling = |node: betanet_runtime::Node| {
            let node = node.with_source_address(from);
            match trust {
                Some(trust) => node.with_trust(trust),
                None => node,
            }
        };
        let journal = Arc::clone(&self.journal) as _;
        let running = self.service.start(&self.identity, journal, dialling).await;
        let running = running.map_err(|e| Fail::Local(chain(&e)))?;
        running.leads().await;
        Ok(running)
    }
}
