//! The mint of a gateway: the table `mint` of its settings, and flags over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use betanet_carrier::client::Trust;
use betanet_economy_service::{ClientError, Remote};
use betanet_journal::Journal;
use betanet_keys::{Identity, Name};
use betanet_machine::Rng;
use betanet_runtime::{
    Clock, Error, GatewayBuilder, GatewayConfig, Node, Problem, StreamType, seed,
};
use betanet_voucher_service::client::{Direct, Patience, VoucherClient};
use betanet_voucher_service::{
    LEDGER_UNIT, MintFolder, PREFIX, Paid, Price, Running, Settings as ServiceSettings,
    VoucherService,
};
use betanet_vouchers::{Keyset, Phase};
use serde::Deserialize;

use crate::Fail;
use crate::args::{FLAGS, MintFlags};
use crate::economy::seen::Seen;
use crate::fail::chain;
use crate::faults::Faults;
use crate::name::is_place;

use super::places::located;

/// The name of the table.
pub(crate) const TABLE: &str = "mint";

/// Folder of the mint's journal in the state.
const STATE: &str = "mint";

/// Patience with mints that are asked for their counts: a silent one is asked again a minute later.
const PATIENCE: Patience = Patience {
    repeat: Duration::from_secs(10),
    tries: 2,
    answer: Duration::from_secs(10),
};

/// Settings of a gateway's mint.
#[derive(Clone, Debug)]
pub(crate) struct MintSettings {
    folders: Vec<PathBuf>,
    price: Option<u64>,
    /// Peer strings, names or aliases, like those of the ledger.
    peers: Vec<String>,
    swaps: Option<u32>,
    ledger: Option<LedgerSettings>,
}

/// The ledger that a mint sells for.
#[derive(Clone, Debug)]
struct LedgerSettings {
    peers: Vec<String>,
    genesis: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    folders: Vec<PathBuf>,
    price: Option<u64>,
    peers: Vec<String>,
    swaps: Option<u32>,
    ledger: Vec<String>,
    genesis: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    mint: Table,
}

/// Reads the table of a file, and lays the flags over it. `None` without a mint.
pub(crate) fn read(
    file: Option<&Path>,
    flags: &MintFlags,
) -> Result<Option<MintSettings>, Vec<Problem>> {
    let origin = file.map_or_else(|| FLAGS.to_owned(), |f| f.display().to_string());
    let mut faults = Faults::of(&origin);
    let File { mint: mut table } = faults.table(file, TABLE);
    if !flags.mint.is_empty() {
        table.folders.clone_from(&flags.mint);
    }
    table.price = flags.price.or(table.price);
    if table.price == Some(0) {
        faults.say(
            "price",
            "0",
            "1 or more units; without the key, requests cost nothing",
        );
    }
    if table.price.is_some() && table.folders.is_empty() {
        faults.say("price", "", "needs a keyset: name the mint's folder too");
    }
    table.swaps = flags.mint_swaps.or(table.swaps);
    if table.swaps == Some(0) {
        faults.say("swaps", "0", "1 or more swaps of an address in a day");
    }
    if table.swaps.is_some() && table.folders.is_empty() {
        faults.say("swaps", "", "need a keyset: name the mint's folder too");
    }
    let peers = named(
        &flags.mint_peer,
        (
            "peers",
            &table.peers,
            "a PEER of a mint, bnp1…, or its name or alias",
        ),
        &mut faults,
    );
    let nodes = named(
        &flags.mint_ledger,
        (
            "ledger",
            &table.ledger,
            "a PEER of a ledger's node, bnp1…, or its name or alias",
        ),
        &mut faults,
    );
    let genesis = flags.mint_genesis.clone().or(table.genesis.take());
    let ledger = match (nodes.is_empty(), genesis) {
        (false, Some(genesis)) => Some(LedgerSettings {
            peers: nodes,
            genesis,
        }),
        (true, None) => None,
        (false, None) => {
            faults.say(
                "genesis",
                "",
                "is needed beside ledger: the ledger's genesis",
            );
            None
        }
        // A PEER that does not read was told already.
        (true, Some(_)) if !table.ledger.is_empty() => None,
        (true, Some(file)) => {
            let file = file.display().to_string();
            faults.say(
                "ledger",
                "",
                &format!("is needed beside genesis = {file}: a PEER of the ledger"),
            );
            None
        }
    };
    if ledger.is_some() && table.folders.is_empty() {
        faults.say("ledger", "", "needs a keyset: name the mint's folder too");
    }
    if !peers.is_empty() && table.folders.is_empty() {
        faults.say("peers", "", "need a keyset: name the mint's folder too");
    }
    if !faults.found.is_empty() {
        return Err(faults.found);
    }
    let Table {
        folders,
        price,
        swaps,
        ..
    } = table;
    Ok((!folders.is_empty()).then_some(MintSettings {
        folders,
        price,
        peers,
        swaps,
        ledger,
    }))
}

/// The peers of flags, or those that the table names.
fn named(
    flags: &[String],
    (key, texts, what): (&'static str, &[String], &'static str),
    faults: &mut Faults<'_>,
) -> Vec<String> {
    let texts = if flags.is_empty() { texts } else { flags };
    let (good, bad): (Vec<&String>, Vec<&String>) = texts.iter().partition(|t| is_place(t));
    for text in bad {
        faults.say(key, text, what);
    }
    good.into_iter().cloned().collect()
}

/// A mint that is ready to be served.
pub(crate) struct Mint {
    service: VoucherService,
    journal: Arc<dyn Journal>,
    price: Option<Price>,
}

impl Mint {
    /// Opens the folders and the journal.
    pub(crate) async fn open(
        settings: &MintSettings,
        me: &Identity,
        config: &GatewayConfig,
    ) -> Result<Self, Fail> {
        let seed = seed().map_err(|e| Fail::Local(chain(&e)))?;
        let mut rng = Rng::new(&seed);
        let mut folders = Vec::new();
        for folder in &settings.folders {
            unserved(folder, config)?;
            folders.push(MintFolder::open(folder, &mut rng)?);
        }
        let price = settings
            .price
            .map(|units| priced(units, &folders, me))
            .transpose()?;
        let service = ServiceSettings::default();
        let service = settings
            .swaps
            .map_or(service, |swaps| service.with_swaps_a_day(swaps));
        let service = VoucherService::new(me.clone(), folders, service)?;
        if !settings.peers.is_empty() {
            // They tell their counts to the spender alone, so it dials as itself.
            let node = Arc::new(dialling(me, config)?);
            let client = VoucherClient::with_patience(Direct::new(node), PATIENCE);
            let peers = located("mint_peer", &settings.peers, config).await?;
            service.watch(client, peers)?;
        }
        let is_sold = |k: &&Keyset| k.unit() == LEDGER_UNIT;
        let sold = service.keysets().iter().find(is_sold).map(Keyset::id);
        // Coupons would issue what nobody paid the ledger for, and balances here would stand beside those of the ledger.
        if let (Some(id), None) = (sold, &settings.ledger) {
            return Err(Fail::Usage(format!(
                "keyset {id}: its unit is {LEDGER_UNIT}, so it belongs to a ledger: name that with --mint-ledger and --mint-genesis"
            )));
        }
        if let Some(ledger) = &settings.ledger {
            if sold.is_none() {
                return Err(Fail::Usage(format!(
                    "ledger: no keyset of the mint has the unit {LEDGER_UNIT}: betanet pay mint-init --unit {LEDGER_UNIT} makes one"
                )));
            }
            let node = Arc::new(dialling(me, config)?);
            let trust = trusted(ledger, config)?;
            let peers = located("mint_ledger", &ledger.peers, config).await?;
            let remote = Remote::new(node, peers, trust);
            service.connect_ledger(remote)?;
        }
        let name = Name::from(me.public().node_id()).to_string();
        let journal = crate::journal::open(&config.state().join(STATE), &name)?;
        Ok(Self {
            service,
            journal,
            price,
        })
    }

    /// Adds the mint to a gateway, and asks the price for requests of its folder.
    pub(crate) fn on(
        &self,
        builder: GatewayBuilder,
        config: &GatewayConfig,
    ) -> Result<GatewayBuilder, Fail> {
        let builder = builder
            .service(PREFIX, self.service.service())
            .stream_type(StreamType::REDEEM, self.service.streams())
            .extension(self.service.extension());
        let Some(price) = &self.price else {
            return Ok(builder);
        };
        let folder = config.folder_service()?;
        let paid = Paid::new(
            folder,
            self.service.redeemer(),
            price.clone(),
            ["/".to_owned()],
        );
        Ok(builder.service("/", paid))
    }

    /// Reads the journal, and begins to answer.
    pub(crate) async fn start(&self) -> Result<Running, Fail> {
        let running = self.service.start(Arc::clone(&self.journal)).await?;
        running.leads().await;
        Ok(running)
    }
}

/// Dials other nodes as this one.
fn dialling(me: &Identity, config: &GatewayConfig) -> Result<Node, Fail> {
    let node = Node::new(Some(me.clone()), Default::default()).map_err(Error::from)?;
    let node = node.with_source_address(config.node.dial_from);
    match &config.tls.ca {
        Some(ca) => {
            let trust = Trust::roots_of(ca).map_err(Error::Certificate)?;
            Ok(node.with_trust(trust))
        }
        None => Ok(node),
    }
}

/// The signers of a ledger: those that `ledger verify --state` with this gateway's state learnt, at first those of the genesis.
fn trusted(
    ledger: &LedgerSettings,
    config: &GatewayConfig,
) -> Result<betanet_economy_service::client::Trust, Fail> {
    let file = &ledger.genesis;
    let bytes = crate::economy::net::genesis(file)?;
    let wrong =
        |e: ClientError| Fail::Usage(format!("genesis = {}: {}", file.display(), chain(&e)));
    let trust = betanet_economy_service::client::Trust::new(&bytes).map_err(wrong)?;
    let seen = Seen::of(Some(&config.state()), trust.genesis().id());
    match seen.signers() {
        Some(keys) => trust.with_signers(&keys).map_err(wrong),
        None => Ok(trust),
    }
}

/// Refuses a mint's folder that the gateway would serve: whoever read its shares could make money.
fn unserved(folder: &Path, config: &GatewayConfig) -> Result<(), Fail> {
    let Some(served) = &config.folder.serve else {
        return Ok(());
    };
    let place = |path: &Path| std::fs::canonicalize(path).map_err(Fail::file(path));
    let (inner, outer) = (place(folder)?, place(served)?);
    if inner.starts_with(&outer) {
        let (inner, outer) = (folder.display(), served.display());
        let why = "the mint's secret shares would be served; move its folder elsewhere";
        return Err(Fail::Usage(format!("mint {inner} lies in {outer}: {why}")));
    }
    Ok(())
}

/// The price of a request, under the keyset that this gateway redeems and that lasts longest.
fn priced(units: u64, folders: &[MintFolder], me: &Identity) -> Result<Price, Fail> {
    let now = Clock::start().now().unix_ms;
    let own = folders
        .iter()
        .map(|f| &f.keyset)
        .filter(|k| k.spender() == me.public());
    let live = own.filter(|k| k.phase(now) == Phase::Active);
    let keyset = live.max_by_key(|k| k.exp()).ok_or_else(|| {
        let why = "this gateway redeems under no active keyset: make one with betanet pay mint-init --spender and this gateway's key";
        Fail::Usage(format!("price = {units}: {why}"))
    })?;
    Ok(Price {
        units,
        unit: keyset.unit().to_owned(),
        keyset: keyset.id(),
    })
}
