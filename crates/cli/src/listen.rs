//! `gateway`, and `betanet serve`, which is the same with fewer options.

mod accounts;
pub(crate) mod announce;
pub(crate) mod check;
mod mint;
mod names;
pub(crate) mod places;
mod port;
pub(crate) mod service;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use betanet_runtime::{
    Error, Gateway, GatewayBuilder, GatewayConfig, Given, MixnetError, NativeCiphers, Network,
    Problem, ReadSettings, Role, SettingsError, init_logs, load_or_new_identity, serve_admin,
};
use betanet_store::Storage;

use crate::args::{
    AccountFlags, FLAGS, Gateway as GatewayArgs, GatewayCommand, MintFlags, Mixnode,
    MixnodeCommand, NamesFlags, ServeArgs, SettingArgs,
};
use crate::id::default_key;
use crate::stop::Stops;
use crate::{Fail, seeds};
use accounts::Accounts;
use betanet_voucher_service::accounts::{AccountSettings, AccountsRunning};
use mint::{Mint, MintSettings};
use names::{Names, NamesSettings};
use port::KeptPort;

/// Tables of a gateway's file that are no settings of its node.
pub(crate) const TABLES: &[&str] = &[mint::TABLE, names::TABLE, accounts::TABLE];

/// Services of a gateway beside its folder.
#[derive(Default)]
struct Extras {
    mint: Option<MintSettings>,
    names: Option<NamesSettings>,
    accounts: Option<AccountSettings>,
}

impl Extras {
    /// Reads the tables of a file, and lays the flags over them. Returns all faults.
    fn read(
        file: Option<&Path>,
        mint: &MintFlags,
        names: &NamesFlags,
        accounts: &AccountFlags,
    ) -> Result<Self, Vec<Problem>> {
        let (mint, names) = (mint::read(file, mint), names::read(file, names));
        match (mint, names, accounts::read(file, accounts)) {
            (Ok(mint), Ok(names), Ok(accounts)) => Ok(Self {
                mint,
                names,
                accounts,
            }),
            (mint, names, accounts) => {
                let mut all = mint.err().unwrap_or_default();
                all.extend(names.err().unwrap_or_default());
                all.extend(accounts.err().unwrap_or_default());
                Err(all)
            }
        }
    }

    /// The services of a mixnode: its accounts alone.
    fn of_mixnode(file: Option<&Path>, flags: &AccountFlags) -> Result<Self, Vec<Problem>> {
        accounts::read(file, flags).map(|accounts| Self {
            accounts,
            ..Self::default()
        })
    }

    /// The settings of the node that these services need and that are missing.
    fn needs(&self, read: &ReadSettings) -> Vec<Problem> {
        let mut all = names::needs(self.names.as_ref(), read);
        all.extend(accounts::needs(self.accounts.as_ref(), read));
        all
    }
}

/// A gateway's services that run beside its folder.
struct Running {
    mint: Option<betanet_voucher_service::Running>,
    names: Option<betanet_naming_service::Running>,
    accounts: Option<AccountsRunning>,
}

impl Running {
    async fn stop(self) {
        if let Some(mint) = self.mint {
            mint.stop().await;
        }
        if let Some(names) = self.names {
            names.stop().await;
        }
        if let Some(accounts) = self.accounts {
            accounts.stop().await;
        }
    }
}

pub(crate) fn problems(list: &[Problem]) -> Fail {
    let lines: Vec<String> = list.iter().map(ToString::to_string).collect();
    Fail::Usage(lines.join("\n       "))
}

/// Reads the settings of a file, if there is one, and then those of the command line, which take precedence.
fn given<C>(args: &SettingArgs<C>, file: Option<&Path>) -> Result<Given, Fail> {
    let mut given = match file {
        Some(path) => Given::from_file_beside(path, TABLES).map_err(unusable)?,
        None => Given::new(FLAGS),
    };
    args.over(&mut given);
    Ok(given)
}

/// Converts the error of a settings file.
#[allow(clippy::needless_pass_by_value, reason = "it is what map_err passes")]
pub(crate) fn unusable(error: SettingsError) -> Fail {
    Fail::Usage(error.to_string())
}

/// Returns the configuration if it is valid. `more` returns the additional faults for a kind of node.
pub(crate) fn checked(
    read: ReadSettings,
    more: impl Fn(&ReadSettings) -> Vec<Problem>,
) -> Result<GatewayConfig, Fail> {
    let faults = read.config.faults(&read.origins);
    let mut all = more(&read);
    all.extend(read.problems);
    all.extend(faults.problems);
    if !all.is_empty() {
        return Err(problems(&all));
    }
    for warning in &faults.warnings {
        note!("warning: {warning}");
    }
    if !read.config.node.aes {
        // The program's other nodes dial too, such as that of the ledger of names.
        NativeCiphers::forbid_aes();
    }
    Ok(read.config)
}

pub(crate) async fn gateway(args: GatewayArgs) -> Result<(), Fail> {
    if let Some(GatewayCommand::Check(args)) = args.command {
        let file = args.file.or(args.config);
        let mut given = given(&args.settings, file.as_deref())?;
        places::stand_in(&mut given);
        let read = given.read();
        let extras = Extras::read(file.as_deref(), &args.mint, &args.names, &args.accounts);
        let faults = |read: &ReadSettings| lacking(read, &extras);
        return check::check(read, file.as_deref(), args.json, faults);
    }
    let file = args.config.as_deref();
    let mut given = given(&args.settings, file)?;
    places::put(&mut given).await?;
    let read = given.read();
    let extras = Extras::read(file, &args.mint, &args.names, &args.accounts);
    let config = checked(read, |read| lacking(read, &extras))?;
    let extras = extras.map_err(|faults| problems(&faults))?;
    run(config, extras, args.json, (false, false)).await
}

/// Returns the faults of a gateway with these services.
fn lacking(read: &ReadSettings, extras: &Result<Extras, Vec<Problem>>) -> Vec<Problem> {
    match extras {
        // A ledger of names is a service by itself.
        Ok(extras) if extras.names.is_some() => extras.needs(read),
        Ok(extras) => {
            let mut all = no_gateway(read);
            all.extend(extras.needs(read));
            all
        }
        Err(faults) => {
            let mut all = no_gateway(read);
            all.extend_from_slice(faults);
            all
        }
    }
}

pub(crate) async fn mixnode(args: Mixnode) -> Result<(), Fail> {
    if let Some(MixnodeCommand::Check(args)) = args.command {
        let file = args.file.or(args.config);
        let mut given = given(&args.settings, file.as_deref())?;
        places::stand_in(&mut given);
        let read = mixing(given, file.as_deref());
        let extras = Extras::of_mixnode(file.as_deref(), &args.accounts);
        let faults = |read: &ReadSettings| not_mixing(read, &extras);
        return check::check(read, file.as_deref(), args.json, faults);
    }
    let mut given = given(&args.settings, args.config.as_deref())?;
    places::put(&mut given).await?;
    let read = mixing(given, args.config.as_deref());
    let extras = Extras::of_mixnode(args.config.as_deref(), &args.accounts);
    start_mixnode(read, extras, args.json, false).await
}

/// Returns the faults of a mixnode with these services.
fn not_mixing(read: &ReadSettings, extras: &Result<Extras, Vec<Problem>>) -> Vec<Problem> {
    let mut all = no_mixnode(read);
    match extras {
        Ok(extras) => all.extend(extras.needs(read)),
        Err(faults) => all.extend_from_slice(faults),
    }
    all
}

/// Returns the settings that a gateway of this program lacks: it registers no services.
fn no_gateway(read: &ReadSettings) -> Vec<Problem> {
    let serves = read.config.folder.serve.is_some() || read.origins.is_unread("serve");
    if serves || !read.config.mesh.roles.has(Role::Gateway) {
        return Vec::new();
    }
    let why = "a folder is needed".into();
    vec![read.origins.problem("serve", "", why)]
}

/// Returns the settings that a mixnode cannot have.
fn no_mixnode(read: &ReadSettings) -> Vec<Problem> {
    let problem = |key: &'static str, value: String, why: &str| Problem {
        origin: "mixnode".into(),
        key: key.into(),
        value,
        allowed: why.into(),
    };
    let mesh = &read.config.mesh;
    let mut found = Vec::new();
    let unread = |key: &str| read.origins.is_unread(key);
    if !unread("roles") && (!mesh.roles.has(Role::Mix) || mesh.roles.has(Role::Gateway)) {
        let roles: Vec<&str> = mesh.roles.iter().map(Role::name).collect();
        let why = "a mixnode has mix, and not gateway, which is another binary's";
        found.push(problem("roles", roles.join(", "), why));
    }
    if !unread("network") && mesh.network.is_none() {
        let why = "a mixnode is part of a network: --network FILE";
        found.push(problem("network", String::new(), why));
    }
    found
}

async fn start_mixnode(
    read: ReadSettings,
    extras: Result<Extras, Vec<Problem>>,
    as_json: bool,
    leashed: bool,
) -> Result<(), Fail> {
    let mut config = checked(read, |read| not_mixing(read, &extras))?;
    let extras = extras.map_err(|faults| problems(&faults))?;
    config.folder.serve = None;
    if let Some(file) = &config.mesh.network {
        let network = Network::read(file).map_err(Error::from)?;
        if network.mix.is_none() {
            return Err(MixnetError::NoMix {
                network: network.name,
            }
            .into());
        }
    }
    run(config, extras, as_json, (false, leashed)).await
}

/// Runs the node of a settings file until standard input is closed. It is a mixnode if that is its role.
pub(crate) async fn leashed(file: &Path) -> Result<(), Fail> {
    let mut given = Given::from_file_beside(file, TABLES).map_err(unusable)?;
    places::put(&mut given).await?;
    let read = given.read();
    let roles = read.config.mesh.roles;
    if roles.has(Role::Mix) && !roles.has(Role::Gateway) {
        let extras = Extras::of_mixnode(Some(file), &AccountFlags::default());
        return start_mixnode(read, extras, true, true).await;
    }
    let extras = Extras::read(
        Some(file),
        &MintFlags::default(),
        &NamesFlags::default(),
        &AccountFlags::default(),
    );
    let config = checked(read, |read| lacking(read, &extras))?;
    let extras = extras.map_err(|faults| problems(&faults))?;
    run(config, extras, true, (false, true)).await
}

/// Reads the settings of a mixnode. Its role is the default if no file sets another.
fn mixing(given: Given, file: Option<&Path>) -> ReadSettings {
    let named = given.has("roles");
    let mut read = given.read();
    if file.is_none() {
        let roles = &mut read.config.mesh.roles;
        let said = roles.iter().filter(|_| named);
        *roles = said.chain([Role::Mix]).collect();
    }
    read
}

pub(crate) async fn serve(args: ServeArgs) -> Result<(), Fail> {
    let mut given = given(&args.settings, None)?;
    given.put("serve", FLAGS, [args.dir.clone().into_os_string()]);
    if !given.has("key") && !given.has("state") {
        given.put("key", FLAGS, [default_key().into_os_string()]);
    }
    let keeps_port = !given.has("listen");
    places::put(&mut given).await?;
    let mut read = given.read();
    read.config.operator.log = "warn".into();
    let accounts = AccountFlags::default();
    let extras = Extras::read(None, &args.mint, &args.names, &accounts);
    let config = checked(read, |read| lacking(read, &extras))?;
    let extras = extras.map_err(|faults| problems(&faults))?;
    run(config, extras, args.json, (keeps_port, false)).await
}

/// Waits for the end of standard input: the parent process is gone, or wants this one to end.
async fn let_go() {
    let (gone, over) = tokio::sync::oneshot::channel();
    // This needs a separate thread. The executor would wait for its own at the end, though no input may ever come.
    let reading = std::thread::Builder::new().spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = gone.send(());
    });
    if reading.is_ok() {
        let _ = over.await;
    }
}

/// Starts the node at its stored port, or at another one if that is taken.
async fn start(
    config: &mut GatewayConfig,
    extras: &Extras,
    keeps_port: bool,
) -> Result<(Arc<Gateway>, Running), Fail> {
    // Check this before a key is created in a place where it would be served.
    config.keeps_secrets()?;
    // Hold the state first: of two processes that start with one key, only one may create it.
    let services = extras.mint.is_some() || extras.names.is_some() || extras.accounts.is_some();
    let state = config.hold_state(keeps_port || services)?;
    let identity = load_or_new_identity(&config.node.key)?;
    if let Some(file) = &config.mesh.network {
        let network = Network::read(file).map_err(Error::from)?;
        config.mesh.more_seeds =
            seeds::of(&network, Some(identity.public()), config.node.dial_from);
    }
    let mint = match &extras.mint {
        Some(settings) => Some(Mint::open(settings, &identity, config).await?),
        None => None,
    };
    let names = match &extras.names {
        Some(settings) => Some(Names::open(settings, &identity, config).await?),
        None => None,
    };
    let accounts = match &extras.accounts {
        Some(settings) => Some(Accounts::open(settings, &identity, config)?),
        None => None,
    };
    let running = async || -> Result<Running, Fail> {
        let mint = match &mint {
            Some(mint) => Some(mint.start().await?),
            None => None,
        };
        let names = match &names {
            Some(names) => Some(names.start().await?),
            None => None,
        };
        Ok(Running {
            mint,
            names,
            accounts: None,
        })
    };
    let builder = |config: &GatewayConfig| -> Result<GatewayBuilder, Fail> {
        let mut builder = Gateway::builder(identity.clone(), config);
        if let Some(state) = &state {
            builder = builder.with_storage(Arc::clone(state) as Arc<dyn Storage>);
        }
        if let Some(names) = &names {
            builder = names.on(builder);
        }
        if let Some(accounts) = &accounts {
            builder = accounts.on(builder);
        }
        match &mint {
            Some(mint) => mint.on(builder, config),
            None => Ok(builder),
        }
    };
    // Accounts are settled by the node's own sessions.
    let settling = async |gateway: Gateway, mut running: Running| -> Result<_, Fail> {
        let gateway = Arc::new(gateway);
        if let Some(accounts) = &accounts {
            running.accounts = Some(accounts.start(Arc::clone(&gateway)).await?);
        }
        Ok((gateway, running))
    };
    let Some(state) = state.as_ref().filter(|_| keeps_port) else {
        // Its state is read first, so that nobody is refused who comes early.
        let running = running().await?;
        return settling(builder(config)?.start().await?, running).await;
    };
    let mut kept = KeptPort::of(Arc::clone(state), &config.node.key);
    config.listener.listen = vec![kept.listen()];
    let gateway = match builder(config)?.start().await {
        Err(Error::Listen { source, .. }) if source.kind() == ErrorKind::AddrInUse => {
            config.listener.listen = vec![kept.taken()];
            builder(config)?.start().await?
        }
        started => started?,
    };
    kept.keep(gateway.listening());
    let running = running().await?;
    settling(gateway, running).await
}

async fn run(
    mut config: GatewayConfig,
    extras: Extras,
    as_json: bool,
    (keeps_port, leashed): (bool, bool),
) -> Result<(), Fail> {
    let operator = &config.operator;
    init_logs(operator.log_format, &operator.log)
        .map_err(|e| Fail::Usage(format!("log = {:?}: {e}", operator.log)))?;
    let admin = match operator.admin {
        Some(address) => Some(std::net::TcpListener::bind(address).map_err(|e| {
            let hint = crate::hint::listen(&address.to_string(), &e);
            Fail::Local(format!("admin {address}: {e}{hint}"))
        })?),
        None => None,
    };
    let mut stops = Stops::listen();
    let (gateway, running) = tokio::select! {
        started = start(&mut config, &extras, keeps_port) => started?,
        // Nobody knows of the node yet.
        _ = stops.told() => return Ok(()),
    };
    let at = admin.as_ref().and_then(|l| l.local_addr().ok());
    let admin = admin.map(|l| serve_admin(l, Arc::clone(&gateway)));
    let admin = admin.transpose();
    let _admin = admin.map_err(|e| Fail::Local(format!("the admin address is not served: {e}")))?;
    announce::announce(gateway.listening(), &config, at, as_json);
    if crate::output::is_closed() {
        note!("standard output took nothing: the peer string has reached nobody");
    }
    let alive = service::ready(&gateway);
    tokio::select! {
        _ = stops.told() => {}
        () = let_go(), if leashed => {}
    }
    service::stopping();
    if !as_json {
        note!("stopping: {} sessions", gateway.sessions());
    }
    // Peers that do not answer are not this node's failure. The log has the sessions that were cut.
    gateway.shutdown().await;
    running.stop().await;
    if let Some(alive) = alive {
        alive.abort();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_shows_keys_that_there_are() {
        let home = tempfile::tempdir().unwrap();
        let (gateway, mixnode) = (
            include_str!("../../../dist/gateway.toml"),
            include_str!("../../../dist/mixnode.toml"),
        );
        for (text, first, next) in [
            (gateway, "[mint]", "[legacy]"),
            (mixnode, "[accounts]", "[legacy]"),
        ] {
            let (_, tables) = text.split_once(first).unwrap();
            let tables = tables.split_once(next).map_or(tables, |(own, _)| own);
            let plain: Vec<&str> = tables
                .lines()
                .map(|line| line.strip_prefix("# ").unwrap_or(line))
                .collect();
            let path = home.path().join("sample.toml");
            std::fs::write(&path, format!("{first}{}", plain.join("\n"))).unwrap();
            let mut faults = Vec::new();
            faults.extend(mint::read(Some(&path), &Default::default()).err());
            faults.extend(names::read(Some(&path), &Default::default()).err());
            faults.extend(accounts::read(Some(&path), &Default::default()).err());
            // Peers are samples.
            for fault in faults.concat() {
                assert!(
                    ["peers", "ledger", "names_peer"].contains(&&*fault.key),
                    "{fault}"
                );
            }
        }
    }
}
