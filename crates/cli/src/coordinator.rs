//! `coordinator`, and `betanet coordinator`, which is the same.

mod economy;
mod journal;
pub(crate) mod panel;
mod settings;
mod snapshot;

use std::path::Path;
use std::sync::Arc;

use betanet_economy_service::EconomyService;
use betanet_escrow_service::{Cosigning, Paying, Rates, rate};
use betanet_fog_service::{Coordinator, Escrow, Handle, MixWays, PREFIX, Role, Running, Stores};
use betanet_keys::Name;
use betanet_runtime::{
    Error, Gateway, GatewayConfig, Given, Network, Problem, SharedFolder, init_logs,
    load_or_new_identity, serve_admin,
};
use betanet_store::{State, Storage};
use serde_json::json;

use crate::args::{CoordinatorArgs, CoordinatorCommand, CoordinatorSettings, FLAGS};
use crate::fail::chain;
use crate::listen::{announce, check, checked, places, problems, service, unusable};
use crate::stop::Stops;
use crate::{Fail, seeds};
use betanet_panel::Panel;
use panel::PanelSettings;
use settings::{Fog, TABLE};

/// Sessions from one address, if no setting says otherwise: a rack of nodes may have one.
const SESSIONS_AN_ADDRESS: usize = 256;

/// Folder in the state for the guard of the coordinator's questions over the mix.
const LEVELS: &str = "levels";

/// Requests that one peer may send in a burst, and further ones a second, if no setting says otherwise: many tasks are small.
const OPENS: u32 = 4_096;
const OPENS_A_SECOND: u32 = 1_024;

pub(crate) async fn coordinator(args: CoordinatorArgs) -> Result<(), Fail> {
    match args.command {
        None => run(&args.settings, args.json).await,
        Some(CoordinatorCommand::Check(settings)) => check_only(&settings, args.json),
        Some(CoordinatorCommand::Snapshot(args)) => snapshot::run(args.command).await,
    }
}

/// Reads the settings of the node: those of the file, and the flags over them.
fn given(settings: &CoordinatorSettings) -> Result<Given, Fail> {
    let mut given = match &settings.config {
        Some(path) => Given::from_file_beside(path, &[TABLE, economy::TABLE]).map_err(unusable)?,
        None => Given::new(FLAGS),
    };
    settings.node.over(&mut given);
    Ok(given)
}

/// Reads all settings, and reports all faults at once.
async fn settings(settings: &CoordinatorSettings) -> Result<(GatewayConfig, Fog), Fail> {
    let mut given = given(settings)?;
    places::put(&mut given).await?;
    let read = given.read();
    let fog = settings::read(settings.config.as_deref(), &settings.fog);
    let faults: &[Problem] = fog.as_ref().err().map_or(&[], Vec::as_slice);
    let mut config = checked(read, |_| faults.to_vec())?;
    if fog.as_ref().is_ok_and(|f| f.settings.operators.is_empty()) {
        note!(
            "warning: no operator is named: only the admin address and the panel can order tokens and manage nodes (--operator KEYHEX)"
        );
    }
    let limits = &mut config.limits;
    limits.per_address = limits.per_address.or(Some(SESSIONS_AN_ADDRESS));
    if limits.opens.is_none() && limits.opens_per_second.is_none() {
        (limits.opens, limits.opens_per_second) = (Some(OPENS), Some(OPENS_A_SECOND));
    }
    let fog = fog.map_err(|faults| problems(&faults))?;
    Ok((config, fog))
}

fn check_only(args: &CoordinatorSettings, as_json: bool) -> Result<(), Fail> {
    let mut given = given(args)?;
    places::stand_in(&mut given);
    let read = given.read();
    let fog = settings::read(args.config.as_deref(), &args.fog);
    let mut faults = fog.err().unwrap_or_default();
    let economy = economy::read(args.config.as_deref(), &args.economy);
    for (part, fault) in [
        (economy::TABLE, economy.err()),
        ("panel", panel::read(&args.panel).err()),
    ] {
        faults.extend(fault.map(|fault| Problem {
            origin: String::new(),
            key: part.into(),
            value: String::new(),
            allowed: fault.why().to_owned(),
        }));
    }
    check::check(read, args.config.as_deref(), as_json, |_| faults.clone())
}

async fn run(args: &CoordinatorSettings, as_json: bool) -> Result<(), Fail> {
    let (mut config, fog) = settings(args).await?;
    let operator = &config.operator;
    init_logs(operator.log_format, &operator.log)
        .map_err(|e| Fail::Usage(format!("log = {:?}: {e}", operator.log)))?;
    let admin = match operator.admin {
        Some(address) if !address.ip().is_loopback() => {
            let why = "the admin address of a coordinator lets everybody manage the fog: use 127.0.0.1 or [::1]";
            return Err(Fail::Usage(format!("admin {address}: {why}")));
        }
        Some(address) => Some(std::net::TcpListener::bind(address).map_err(|e| {
            let hint = crate::hint::listen(&address.to_string(), &e);
            Fail::Local(format!("admin {address}: {e}{hint}"))
        })?),
        None => None,
    };
    let economy = economy::read(args.config.as_deref(), &args.economy)?;
    let panel = panel::settings(&args.panel)?;
    let mut stops = Stops::listen();
    let Started {
        gateway,
        running,
        paying,
        rates,
        cosigning,
        ledger,
        panel,
    } = tokio::select! {
        started = start(&mut config, fog, economy, panel) => started?,
        _ = stops.told() => return Ok(()),
    };
    let at = admin.as_ref().and_then(|l| l.local_addr().ok());
    let admin = admin.map(|l| serve_admin(l, Arc::clone(&gateway)));
    let admin = admin.transpose();
    let _admin = admin.map_err(|e| Fail::Local(format!("the admin address is not served: {e}")))?;
    let more = panel.as_ref().map_or_else(Vec::new, panel::facts);
    announce::announce_with(gateway.listening(), &config, at, &more, as_json);
    if !as_json {
        told(running.handle());
    }
    let alive = service::ready(&gateway);
    let _ = stops.told().await;
    service::stopping();
    if !as_json {
        note!("stopping: {} sessions", gateway.sessions());
    }
    if let Some(panel) = panel {
        panel.stop().await;
    }
    drop((paying, rates));
    if let Some(cosigning) = cosigning {
        cosigning.stop().await;
    }
    running.stop().await;
    if let Some(ledger) = ledger {
        ledger.stop().await;
    }
    gateway.shutdown().await;
    if let Some(alive) = alive {
        alive.abort();
    }
    Ok(())
}

/// Prints what it does, and then each change.
fn told(handle: &Handle) {
    let word = |role: &Role| match role {
        Role::Leads(epoch) => format!("leads in epoch {epoch}"),
        Role::Follows(leader) => format!("follows {leader}"),
        Role::Failed(why) => format!("does not work: {why}"),
        Role::Full(why) => format!("refuses new work: {why}"),
        Role::Starting => "reads its journal".to_owned(),
        Role::Stopped => "has stopped".to_owned(),
    };
    let handle = handle.clone();
    tokio::spawn(async move {
        let mut last = handle.role();
        if last != Role::Starting {
            say!("coordinator {}", word(&last));
        }
        loop {
            handle.wait_for(|role| *role != last).await;
            last = handle.role();
            if last == Role::Stopped {
                return;
            }
            say!("coordinator {}", word(&last));
        }
    });
}

/// What runs: the node, the fog, and the economy's ledger and the panel if there are such.
struct Started {
    gateway: Arc<Gateway>,
    running: Running,
    paying: Option<Paying>,
    rates: Option<Rates>,
    cosigning: Option<Cosigning>,
    ledger: Option<betanet_economy_service::Running>,
    panel: Option<Panel>,
}

async fn start(
    config: &mut GatewayConfig,
    fog: Fog,
    economy: Option<economy::Wanted>,
    panel: Option<PanelSettings>,
) -> Result<Started, Fail> {
    config.keeps_secrets()?;
    // Hold the state first: of two processes that start with one key, only one may create it.
    let state = config
        .hold_state(true)?
        .ok_or_else(|| Fail::Usage("a coordinator keeps state: --state DIR".to_owned()))?;
    let identity = load_or_new_identity(&config.node.key)?;
    if let Some(file) = &config.mesh.network {
        let network = Network::read(file).map_err(Error::from)?;
        config.mesh.more_seeds =
            seeds::of(&network, Some(identity.public()), config.node.dial_from);
    }
    let stores = Stores::open_at(&state, &fog.blobs, fog.blob_quota).await;
    let stores = stores.map_err(|e| Fail::Local(chain(&e)))?;
    let name = Name::from(identity.public().node_id());
    let signer = identity.clone();
    let coordinator = Coordinator::new(identity.clone(), fog.settings.clone(), stores);
    let ledger = match economy {
        Some(wanted) => {
            let made = wanted.service(&identity, fog.store.is_some(), config);
            Some(made.await?)
        }
        None => None,
    };
    let mut builder = Gateway::builder(identity, config)
        .with_storage(Arc::clone(&state) as Arc<dyn Storage>)
        .service(PREFIX, coordinator.service())
        .extension(coordinator.extension());
    if let Some(ledger) = &ledger {
        builder = builder
            .service(betanet_economy_service::PREFIX, ledger.service.service())
            .extension(ledger.service.extension());
        if let Some(escrow) = &ledger.escrow {
            builder = builder
                .service(betanet_escrow_service::PREFIX, escrow.service())
                .extension(escrow.extension());
            coordinator.pay_from(Arc::clone(escrow) as Arc<dyn Escrow>);
        }
    }
    let gateway = Arc::new(builder.start().await?);
    let journal = journal::open(&fog, &state, &name.to_string()).await?;
    let (books, escrow) = match ledger {
        Some(made) => (Some(made.service), made.escrow),
        None => (None, None),
    };
    let of_panel = books.as_ref().map(EconomyService::ledger);
    let ledger = match books {
        Some(ledger) => {
            let books = journal::economy(&fog, &config.state(), &name.to_string()).await?;
            let running = ledger.start(books).await;
            Some(running.map_err(|e| Fail::Local(chain(&e)))?)
        }
        None => None,
    };
    let cosigning = match &escrow {
        Some(escrow) => {
            let kept = journal::signed(&config.state(), &name.to_string())?;
            let signs = escrow.cosign(kept).await;
            Some(signs.map_err(|e| Fail::Local(chain(&e)))?)
        }
        None => None,
    };
    let peer = gateway.listening().peer();
    prove_levels(config, &coordinator)?;
    let running = coordinator.start(&peer, Arc::clone(&journal)).await;
    let running = running.map_err(|e| Fail::Local(chain(&e)))?;
    let paying = escrow.map(|escrow| escrow.start(coordinator.handle(), journal));
    let rates = of_panel.clone();
    let rates = rates.map(|ledger| rate(ledger, coordinator.local()));
    let panel = match panel {
        Some(settings) => {
            let (of, fog) = (config.state(), fog.floor);
            let parts = (&coordinator, &gateway, of_panel);
            Some(panel::start(settings, parts, (of, fog, signer)).await?)
        }
        None => None,
    };
    Ok(Started {
        gateway,
        running,
        paying,
        rates,
        cosigning,
        ledger,
        panel,
    })
}

/// Asks nodes for their levels over the mix of the network that the coordinator is part of.
fn prove_levels(config: &GatewayConfig, coordinator: &Coordinator) -> Result<(), Fail> {
    let Some(file) = &config.mesh.network else {
        return Ok(());
    };
    let network = seeds::read(file).map_err(Error::from)?;
    if network.mix.is_none() {
        return Ok(());
    }
    let ways = MixWays {
        network,
        state: Some(SharedFolder::new(config.state().join(LEVELS))),
        dial_from: config.node.dial_from,
    };
    let proving = coordinator.prove_levels(ways);
    proving.map_err(|e| Fail::Local(chain(&e)))
}

/// The facts of a snapshot, for scripts.
fn facts(snapshot: &betanet_journal::Snapshot) -> serde_json::Value {
    json!({
        "index": snapshot.at.index,
        "epoch": snapshot.epoch,
        "parts": snapshot.parts,
        "bytes": snapshot.bytes,
    })
}

/// Opens the state folder of a coordinator that does not run.
fn hold(folder: &Path) -> Result<Arc<State>, Fail> {
    let state = State::open(folder).map_err(|e| Fail::Local(chain(&e)))?;
    Ok(Arc::new(state))
}
