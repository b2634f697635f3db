//! `gateway`, and `betanet serve`, which is the same with less to say.

use std::path::Path;
use std::sync::Arc;

use betanet_runtime::{
    Error, Gateway, GatewayConfig, Identity, Network, Origin, Settings, init_logs, load_identity,
    new_identity, serve_admin,
};
use betanet_wire::text::hex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::Fail;
use crate::args::{Gateway as GatewayArgs, Mixnode, ServeArgs};
use crate::id::default_key;

/// Where settings come from that no file gives.
const FLAGS: &str = "command line";

fn problems(list: &[betanet_runtime::Problem]) -> Fail {
    let lines: Vec<String> = list.iter().map(ToString::to_string).collect();
    Fail::Usage(lines.join("\n       "))
}

pub(crate) async fn gateway(args: GatewayArgs) -> Result<(), Fail> {
    let flags = Settings {
        log_format: args.log_format.clone(),
        log: args.log.clone(),
        ..args.node.settings(args.serve.clone())
    };
    let (settings, origin) = merged(flags, args.config.as_deref())?;
    let config = settings.check(&origin).map_err(|p| problems(&p))?;
    run(&config, args.node.listen.json).await
}

pub(crate) async fn mixnode(args: Mixnode) -> Result<(), Fail> {
    let mut flags = Settings {
        log_format: args.log_format.clone(),
        log: args.log.clone(),
        ..args.listen.settings(&args.carry)
    };
    if args.config.is_none() {
        flags.roles = Some(with_mix(flags.roles.take()));
    }
    let (settings, origin) = merged(flags, args.config.as_deref())?;
    let roles = settings.roles.clone().unwrap_or_default();
    let has = |role: &str| roles.iter().any(|r| r == role);
    if !has("mix") || has("gateway") {
        return Err(Fail::Usage(
            "roles: a mixnode has mix, and not gateway, which is another binary's".into(),
        ));
    }
    let mut config = settings.check(&origin).map_err(|p| problems(&p))?;
    config.serve = None;
    let Some(network) = &config.network else {
        return Err(Fail::Usage(
            "network: a mixnode is part of a network: --network FILE".into(),
        ));
    };
    let network = Network::read(network).map_err(Error::from)?;
    if network.mix.is_none() {
        return Err(Error::NoMix(network.name).into());
    }
    run(&config, args.listen.json).await
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
fn merged(flags: Settings, file: Option<&Path>) -> Result<(Settings, Origin), Fail> {
    Ok(match file {
        Some(path) => flags.over(Settings::from_file(path).map_err(Fail::Usage)?, path),
        None => (flags, Origin::One(FLAGS.into())),
    })
}

pub(crate) async fn serve(args: ServeArgs) -> Result<(), Fail> {
    let mut settings = args.node.settings(Some(args.dir.clone()));
    if settings.key.is_none() {
        settings.key = Some(default_key());
    }
    settings.log = Some("warn".into());
    let config = settings
        .check(&Origin::One(FLAGS.into()))
        .map_err(|p| problems(&p))?;
    run(&config, args.node.listen.json).await
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

async fn run(config: &GatewayConfig, as_json: bool) -> Result<(), Fail> {
    init_logs(config.log_format, &config.log)
        .map_err(|e| Fail::Usage(format!("log = {:?}: {e}", config.log)))?;
    let listener = |address: std::net::SocketAddr| async move {
        TcpListener::bind(address).await.map_err(|e| {
            let hint = crate::hint::listen(&address.to_string(), &e);
            Fail::Local(format!("admin {address}: {e}{hint}"))
        })
    };
    let admin = match config.admin {
        Some(address) => Some(listener(address).await?),
        None => None,
    };
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|e| Fail::Local(format!("SIGTERM cannot be waited for: {e}")))?;
    let gateway = Arc::new(Gateway::start(identity(&config.key)?, config).await?);
    announce(&gateway, as_json);
    let admin = admin.map(|l| tokio::spawn(serve_admin(l, Arc::clone(&gateway))));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    if !as_json {
        note!("stopping: {} sessions", gateway.sessions());
    }
    // That peers do not answer is not this node's failure: what was cut is in the log.
    gateway.shutdown().await;
    if let Some(admin) = admin {
        admin.abort();
    }
    Ok(())
}

fn announce(gateway: &Gateway, as_json: bool) {
    let l = gateway.listening();
    let pin = hex(&l.pin);
    if as_json {
        let mut facts = json!({
            "name": l.name.to_string(),
            "peer_id": l.key.peer_id().to_string(),
            "public_key": l.key.to_string(),
            "addresses": l.addresses,
            "pin": pin,
            "peer": l.peer().to_string(),
        });
        if let Some((key, id)) = &l.tickets11 {
            facts["tickets11"] = json!({"key": hex(key), "id": hex(id)});
        }
        say!("{facts}");
    } else {
        say!("name        {}", l.name);
        say!("PeerID      {}", l.key.peer_id());
        say!("public key  {}", l.key);
        say!("addresses   {}", l.addresses.join(" "));
        say!("pin         {pin}");
        say!("peer        {}", l.peer());
        if let Some((key, id)) = &l.tickets11 {
            say!("1.1 tickets key={},id={}", hex(key), hex(id));
        }
    }
}
