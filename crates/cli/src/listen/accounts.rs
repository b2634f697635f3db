//! The accounts of a node with its peers: the table `accounts` of its settings, and flags over it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_journal::Journal;
use betanet_keys::{Identity, Name};
use betanet_runtime::{Gateway, GatewayBuilder, GatewayConfig, Problem, ReadSettings, StreamType};
use betanet_voucher_service::accounts::{AccountService, AccountSettings, AccountsRunning};
use betanet_vouchers::meter::Tariff;
use serde::Deserialize;

use crate::Fail;
use crate::args::{AccountFlags, FLAGS};
use crate::faults::Faults;

/// The name of the table.
pub(crate) const TABLE: &str = "accounts";

/// Folder of the accounts' journal in the state.
const STATE: &str = "accounts";

/// Name of the price in the node's record.
const PRICE: &str = "forward";

/// Longest interval between two requests to countersign, in seconds: a day.
const EVERY_MAX: u64 = 86_400;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    keep: bool,
    every: Option<u64>,
    price: Option<u64>,
    allowance: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    accounts: Table,
}

/// Reads the table of a file, and lays the flags over it. `None` without accounts.
pub(crate) fn read(
    file: Option<&Path>,
    flags: &AccountFlags,
) -> Result<Option<AccountSettings>, Vec<Problem>> {
    let origin = file.map_or_else(|| FLAGS.to_owned(), |f| f.display().to_string());
    let mut faults = Faults::of(&origin);
    let File { accounts: table } = faults.table(file, TABLE);
    let keep = table.keep || flags.accounts;
    let every = flags.accounts_every.or(table.every);
    let price = flags.account_price.or(table.price);
    let allowance = flags.account_allowance.or(table.allowance);
    if !keep && (every.is_some() || price.is_some() || allowance.is_some()) {
        faults.say(
            "accounts",
            "false",
            "these settings belong to accounts: accounts.keep = true (--accounts)",
        );
    }
    if let Some(seconds) = every.filter(|s| !(1..=EVERY_MAX).contains(s)) {
        faults.say("every", &seconds.to_string(), "1 to 86400 seconds");
    }
    match (price, allowance) {
        (Some(0), _) => faults.say("price", "0", "1 or more units; without it, nobody pays"),
        (Some(_), None) => faults.say("allowance", "", "a price needs an allowance in bytes"),
        (None, Some(bytes)) => {
            faults.say(
                "allowance",
                &bytes.to_string(),
                "needs a price: account_price",
            );
        }
        _ => {}
    }
    if !faults.found.is_empty() {
        return Err(faults.found);
    }
    let standard = AccountSettings::default();
    Ok(keep.then(|| AccountSettings {
        tariff: Tariff {
            price: price.unwrap_or_default(),
            allowance: allowance.unwrap_or_default(),
        },
        every: every.map_or(standard.every, Duration::from_secs),
        ..standard
    }))
}

/// The settings of the node that accounts need and that are missing.
pub(crate) fn needs(settings: Option<&AccountSettings>, read: &ReadSettings) -> Vec<Problem> {
    let mut found = Vec::new();
    if settings.is_none() {
        return found;
    }
    let problem = |key: &'static str, why: &str| read.origins.problem(key, "", why.into());
    if read.config.state().as_os_str().is_empty() && !read.origins.is_unread("state") {
        found.push(problem("state", "accounts keep a journal: --state DIR"));
    }
    if read.config.mesh.network.is_none() && !read.origins.is_unread("network") {
        found.push(problem(
            "network",
            "accounts are kept with the nodes of a network: --network FILE",
        ));
    }
    found
}

/// Accounts that are ready to be kept.
pub(crate) struct Accounts {
    service: AccountService,
    journal: Arc<dyn Journal>,
    price: u64,
}

impl Accounts {
    /// Opens the journal.
    pub(crate) fn open(
        settings: &AccountSettings,
        me: &Identity,
        config: &GatewayConfig,
    ) -> Result<Self, Fail> {
        let name = Name::from(me.public().node_id()).to_string();
        Ok(Self {
            service: AccountService::new(me.clone(), *settings),
            journal: crate::journal::open(&config.state().join(STATE), &name)?,
            price: settings.tariff.price,
        })
    }

    /// Has the node count, and answer its peers.
    pub(crate) fn on(&self, builder: GatewayBuilder) -> GatewayBuilder {
        let builder = builder
            .count_peers(self.service.meter())
            .stream_type(StreamType::ACCOUNT, self.service.streams())
            .extension(self.service.extension());
        match self.price {
            0 => builder,
            price => builder.price(PRICE, price),
        }
    }

    /// Reads the journal, and begins to settle.
    pub(crate) async fn start(&self, gateway: Arc<Gateway>) -> Result<AccountsRunning, Fail> {
        let journal = Arc::clone(&self.journal);
        let running = self.service.start(journal, gateway).await?;
        running.leads().await;
        Ok(running)
    }
}
