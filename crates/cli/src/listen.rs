//! `gateway`, and `betanet serve`, which is the same with less to say.

mod announce;
mod check;
mod port;
mod service;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use betanet_runtime::{
    Error, Gateway, GatewayConfig, Identity, Network, Problem, SettingSource, Settings, init_logs,
    load_identity, new_identity, serve_admin,
};
use betanet_store::{Error as StateError, State, Storage};

use crate::Fail;
use crate::args::{Gateway as GatewayArgs, GatewayCommand, Mixnode, MixnodeCommand, ServeArgs};
use crate::id::default_key;
use crate::stop::Stops;
use port::KeptPort;

/// Where settings come from that no file gives.
const FLAGS: &str = "command line";

fn problems(list: &[Problem]) -> Fail {
    let lines: Vec<String> = list.iter().map(ToString::to_string).collect();
    Fail::Usage(lines.join("\n       "))
}

pub(crate) async fn gateway(args: GatewayArgs) -> Result<(), Fail> {
    if let Some(GatewayCommand::Check(args)) = args.command {
        let flags = Settings {
            log: args.log.clone(),
            ..args.node.settings(args.serve.clone())
        };
        let file = args.file.or(args.config);
        return check::check(flags, file.as_deref(), args.node.listen.json, |_| {
            Vec::new()
        });
    }
    let flags = Settings {
        log_format: args.log_format.clone(),
        log: args.log.clone(),
        ..args.node.settings(args.serve.clone())
    };
    let (settings, origin) = merged(flags, args.config.as_deref())?;
    let config = settings.check(&origin).map_err(|p| problems(&p))?;
    run(config, args.node.listen.json, false, false).await
}

pub(crate) async fn mixnode(args: Mixnode) -> Result<(), Fail> {
    if let Some(MixnodeCommand::Check(args)) = args.command {
        let flags = Settings {
            log: args.log.clone(),
            ..args.listen.settings(&args.carry)
        };
        let file = args.file.or(args.config);
        let flags = mixing(flags, file.is_none());
        return check::check(flags, file.as_deref(), args.listen.json, no_mixnode);
    }
    let flags = Settings {
        log_format: args.log_format.clone(),
        log: args.log.clone(),
        ..args.listen.settings(&args.carry)
    };
    let flags = mixing(flags, args.config.is_none());
    let (settings, origin) = merged(flags, args.config.as_deref())?;
    start_mixnode(settings, &origin, args.listen.json, false).await
}

/// What keeps settings from being a mixnode's.
fn no_mixnode(settings: &Settings) -> Vec<Problem> {
    let problem = |key: &'static str, value: String, why: &str| Problem {
        origin: "mixnode".into(),
        key: key.into(),
        value,
        allowed: why.into(),
    };
    let mut found = Vec::new();
    let roles = settings.roles.clone().unwrap_or_default();
    let has = |role: &str| roles.iter().any(|r| r == role);
    if !has("mix") || has("gateway") {
        let why = "a mixnode has mix, and not gateway, which is another binary's";
        found.push(problem("roles", roles.join(", "), why));
    }
    if settings.network.is_none() {
        let why = "a mixnode is part of a network: --network FILE";
        found.push(problem("network", String::new(), why));
    }
    found
}

async fn start_mixnode(
    settings: Settings,
    origin: &SettingSource,
    as_json: bool,
    leashed: bool,
) -> Result<(), Fail> {
    let found = no_mixnode(&settings);
    if !found.is_empty() {
        return Err(problems(&found));
    }
    let mut config = settings.check(origin).map_err(|p| problems(&p))?;
    config.serve = None;
    if let Some(file) = &config.network {
        let network = Network::read(file).map_err(Error::from)?;
        if network.mix.is_none() {
            return Err(Error::NoMix(network.name).into());
        }
    }
    run(config, as_json, false, leashed).await
}

/// Runs the node of a settings file, a mixnode where that is its role, for as long as standard input is open.
pub(crate) async fn leashed(file: &Path) -> Result<(), Fail> {
    let (settings, origin) = merged(Settings::default(), Some(file))?;
    let roles = settings.roles.as_deref().unwrap_or_default();
    if roles.iter().any(|r| r == "mix") && !roles.iter().any(|r| r == "gateway") {
        return start_mixnode(settings, &origin, true, true).await;
    }
    let config = settings.check(&origin).map_err(|p| problems(&p))?;
    run(config, true, false, true).await
}

/// A mixnode's role needs no word where no file says another.
fn mixing(mut flags: Settings, alone: bool) -> Settings {
    if alone {
        flags.roles = Some(with_mix(flags.roles.take()));
    }
    flags
}

/// A mixnode's role needs no word.
fn with_mix(roles: Option<Vec<String>>) -> Vec<String> {
    let mut roles = roles.unwrap_or_default();
    if !roles.iter().any(|r| r == "mix") {
        roles.push("mix".into());
    }
    roles
}

/// The command line's settings over those of a file.
fn merged(flags: Settings, file: Option<&Path>) -> Result<(Settings, SettingSource), Fail> {
    Ok(match file {
        Some(path) => flags.over(Settings::from_file(path).map_err(Fail::Usage)?, path),
        None => (flags, SettingSource::One(FLAGS.into())),
    })
}

pub(crate) async fn serve(args: ServeArgs) -> Result<(), Fail> {
    let mut settings = args.node.settings(Some(args.dir.clone()));
    if settings.key.is_none() && settings.state.is_none() {
        settings.key = Some(default_key());
    }
    settings.log = Some("warn".into());
    let keeps_port = settings.listen.is_none();
    let config = settings
        .check(&SettingSource::One(FLAGS.into()))
        .map_err(|p| problems(&p))?;
    run(config, args.node.listen.json, keeps_port, false).await
}

/// The identity in the key file, which is made when it is not there.
fn identity(path: &Path) -> Result<Identity, Fail> {
    if path.exists() {
        return Ok(load_identity(path)?);
    }
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Fail::file(folder))?;
    }
    Ok(new_identity(path)?)
}

/// Who started this process is gone, or wants it to end: standard input is at its end.
async fn let_go() {
    let (gone, over) = tokio::sync::oneshot::channel();
    // A thread of its own: the executor's would be waited for at the end, though nothing is ever written there.
    let reading = std::thread::Builder::new().spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = gone.send(());
    });
    if reading.is_ok() {
        let _ = over.await;
    }
}

/// The state folder, where it is needed before the node begins: it holds the port, or the key.
fn held(config: &GatewayConfig, keeps_port: bool) -> Result<Option<Arc<State>>, Fail> {
    let holds_key = config.key.parent() == Some(&config.state);
    if !keeps_port && !holds_key {
        return Ok(None);
    }
    match State::open(&config.state) {
        Ok(state) => Ok(Some(Arc::new(state))),
        Err(e @ StateError::File { .. }) if !holds_key => {
            note!("note: {e}: the next start takes another port");
            Ok(None)
        }
        Err(e) => Err(Error::from(e).into()),
    }
}

/// Starts the node: at the port that it keeps, or at another where that one is taken.
async fn start(config: &mut GatewayConfig, keeps_port: bool) -> Result<Gateway, Fail> {
    // Before a key is made where it would be served.
    config.keeps_secrets()?;
    let state = held(config, keeps_port)?;
    let identity = identity(&config.key)?;
    let builder = |config: &GatewayConfig| {
        let builder = Gateway::builder(identity.clone(), config);
        match &state {
            Some(state) => builder.with_storage(Arc::clone(state) as Arc<dyn Storage>),
            None => builder,
        }
    };
    let Some(state) = state.as_ref().filter(|_| keeps_port) else {
        return Ok(builder(config).start().await?);
    };
    let mut kept = KeptPort::of(Arc::clone(state), &config.key);
    config.listen = vec![kept.listen()];
    let gateway = match builder(config).start().await {
        Err(Error::Listen { source, .. }) if source.kind() == ErrorKind::AddrInUse => {
            config.listen = vec![kept.taken()];
            builder(config).start().await?
        }
        started => started?,
    };
    kept.keep(gateway.listening());
    Ok(gateway)
}

async fn run(
    mut config: GatewayConfig,
    as_json: bool,
    keeps_port: bool,
    leashed: bool,
) -> Result<(), Fail> {
    init_logs(config.log_format, &config.log)
        .map_err(|e| Fail::Usage(format!("log = {:?}: {e}", config.log)))?;
    let admin = match config.admin {
        Some(address) => Some(std::net::TcpListener::bind(address).map_err(|e| {
            let hint = crate::hint::listen(&address.to_string(), &e);
            Fail::Local(format!("admin {address}: {e}{hint}"))
        })?),
        None => None,
    };
    let mut stops = Stops::listen();
    let gateway = tokio::select! {
        started = start(&mut config, keeps_port) => Arc::new(started?),
        // Nobody knows of it yet.
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
    // That peers do not answer is not this node's failure: what was cut is in the log.
    gateway.shutdown().await;
    if let Some(alive) = alive {
        alive.abort();
    }
    Ok(())
}
