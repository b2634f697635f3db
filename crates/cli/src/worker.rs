//! `worker`, and `betanet worker`, which is the same.

mod admin;
mod machine;
mod part;
mod settings;
mod shown;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use betanet_fog_worker::{Error as WorkerError, Peers, Service, Settings};
use betanet_keys::{Identity, Name};
use betanet_runtime::{LogFormat, init_logs, load_or_new_identity, write_private};
use betanet_sandbox::ChildProgram;
use betanet_store::State;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::Fail;
use crate::args::{FogArgs, WorkerArgs, WorkerCommand, WorkerSettings};
use crate::fail::chain;
use crate::fog::{Others, Session};
use crate::listen::{problems, service};
use crate::stop::Stops;
use admin::View;
use part::Places;
use settings::Node;
pub(crate) use settings::peer_of;

/// Seconds for which a request is repeated while no coordinator leads.
const PATIENCE: u64 = 30;

/// Filter of the log, if no setting gives another.
const LOG: &str = "warn,betanet_fog_worker=info";

impl From<WorkerError> for Fail {
    fn from(error: WorkerError) -> Self {
        let text = chain(&error);
        match error {
            WorkerError::Join(why) => why_not_joined(*why),
            WorkerError::NoToken => Self::Usage(format!(
                "{text}: --token TOKEN, which betanet node token prints"
            )),
            WorkerError::Device(_) => Self::Usage(format!("worker.devices: {text}")),
            WorkerError::Described(_) | WorkerError::Token(_) => Self::Usage(text),
            _ => Self::Local(text),
        }
    }
}

fn why_not_joined(error: betanet_fog_client::Error) -> Fail {
    match Fail::from(error) {
        Fail::Peer(text) => Fail::Peer(format!("the coordinator does not take this node: {text}")),
        other => other,
    }
}

pub(crate) async fn worker(args: WorkerArgs) -> Result<(), Fail> {
    match args.command {
        None => run(&args.settings, args.json).await,
        Some(WorkerCommand::Check(settings)) => check(&settings),
        Some(WorkerCommand::Status(args)) => shown::status(&args).await,
    }
}

fn check(args: &WorkerSettings) -> Result<(), Fail> {
    let node = settings::read(args.config.as_deref(), &args.node).map_err(|mut faults| {
        faults.extend(part::faults(args));
        problems(&faults)
    })?;
    if let Some(admin) = node.admin {
        loopback(admin)?;
    }
    let home = place(args, &node)?;
    let key = key(args, &node, home);
    part::check(args, &node, Places { home, key: &key })?;
    peers(args, &node)?;
    // A key is made with the state, which a check does not make.
    let anyone = Identity::from_seed(&[0; 32]);
    let described = &node.described;
    let measured = machine::measured(home);
    let checked = described.check_devices(&measured);
    checked.map_err(WorkerError::Device)?;
    let signed = described.sign(&anyone, &measured, "", 0);
    signed.map_err(WorkerError::Described)?;
    match &args.config {
        Some(path) => say!("{}: a worker can start with it", path.display()),
        None => say!("a worker can start with these settings"),
    }
    Ok(())
}

/// Checks the peers of the settings.
fn peers(args: &WorkerSettings, node: &Node) -> Result<(), Fail> {
    if args.dial.mix.is_some() && !node.peers.is_empty() {
        let why = "worker.peers: over the mix (--mix), blobs come from the coordinators alone";
        return Err(Fail::Usage(why.to_owned()));
    }
    Ok(())
}

/// The state folder.
fn place<'a>(args: &'a WorkerSettings, node: &'a Node) -> Result<&'a Path, Fail> {
    let named = args.dial.state.as_deref().or(node.state.as_deref());
    named.ok_or_else(|| Fail::Usage("a worker keeps state: --state DIR".to_owned()))
}

/// The file of the node's key.
fn key(args: &WorkerSettings, node: &Node, home: &Path) -> PathBuf {
    let key = args.dial.key.clone().or_else(|| node.key.clone());
    key.unwrap_or_else(|| home.join("key.pem"))
}

fn loopback(admin: std::net::SocketAddr) -> Result<(), Fail> {
    if admin.ip().is_loopback() {
        return Ok(());
    }
    let why = "the admin address tells what this machine does: use 127.0.0.1 or [::1]";
    Err(Fail::Usage(format!("admin {admin}: {why}")))
}

async fn run(args: &WorkerSettings, as_json: bool) -> Result<(), Fail> {
    let node = settings::read(args.config.as_deref(), &args.node).map_err(|f| problems(&f))?;
    let log = node.log.as_deref().unwrap_or(LOG);
    // `betanet worker` has its own --log, and has begun to log.
    if init_logs(LogFormat::Text, log).is_err() && node.log.is_some() {
        note!("note: log = {log:?} is not used");
    }
    let listener = match node.admin {
        Some(address) => {
            loopback(address)?;
            Some(std::net::TcpListener::bind(address).map_err(|e| {
                let hint = crate::hint::listen(&address.to_string(), &e);
                Fail::Local(format!("admin {address}: {e}{hint}"))
            })?)
        }
        None => None,
    };
    let home = place(args, &node)?;
    let key = key(args, &node, home);
    let places = Places { home, key: &key };
    let part = part::of(args, &node, places)?;
    peers(args, &node)?;
    let state = State::open(&places.state()).map_err(|e| Fail::Local(chain(&e)))?;
    let state = Arc::new(state);
    let me = load_or_new_identity(&key)?;
    let name = Name::from(me.public().node_id());
    let session = session(args, &node, home, &key).await?;
    let others = others(args, &node, home, &key).await?;
    let peers = others.as_ref().map(|o| Peers::new(o.connect()));
    let mut stops = Stops::listen();
    let settings = Settings {
        measured: machine::measured(home),
        described: node.described.clone(),
        child: ChildProgram::this().map_err(|e| Fail::Local(format!("this program: {e}")))?,
        spare: node.spare,
        compiled_max: node.compiled_max,
        blobs: node.blobs,
        peers: peers.unwrap_or_default(),
        network: node.network,
        network_private: node.network_private.clone(),
        harvest: node.harvest.clone(),
        drain: node.drain,
        mix: part.as_ref().and_then(part::Part::mix),
    };
    let opening = Service::open(&state, session.client().clone(), settings);
    let service = tokio::select! {
        opened = opening => opened?,
        _ = stops.told() => return Ok(()),
    };
    // It listens before it joins: the coordinator asks for its level soon afterwards.
    let gateway = match &part {
        Some(part) => {
            let starting = part.start(me, &state, &service);
            tokio::select! {
                started = starting => Some(started?),
                _ = stops.told() => return Ok(()),
            }
        }
        None => None,
    };
    let view = View {
        handle: service.handle(),
        gateway: gateway.clone(),
    };
    let _admin = match listener {
        Some(listener) => {
            let served = admin::serve(listener, view.clone());
            Some(served.map_err(|e| Fail::Local(format!("the admin address is not served: {e}")))?)
        }
        None => None,
    };
    let stop = CancellationToken::new();
    let sensors = machine::sensors();
    let working = service.run(node.token.clone().map(Into::into), sensors, stop.clone());
    let told = announce(view, name, as_json);
    let done = drive(working, told, &mut stops, &stop).await;
    session.close().await;
    if let Some(others) = others {
        others.close().await;
    }
    if let Some(gateway) = gateway {
        gateway.shutdown().await;
    }
    done
}

/// Works until the node stops, or a signal stops it at once.
async fn drive(
    working: impl Future<Output = Result<(), WorkerError>>,
    announcing: impl Future<Output = ()>,
    stops: &mut Stops,
    stop: &CancellationToken,
) -> Result<(), Fail> {
    tokio::pin!(working, announcing);
    let mut announced = false;
    loop {
        tokio::select! {
            done = &mut working => {
                return match done {
                    Err(WorkerError::Stopped) => Ok(()),
                    done => Ok(done?),
                };
            }
            () = &mut announcing, if !announced => announced = true,
            told = stops.told() => {
                if stop.is_cancelled() {
                    return Err(Fail::Stopped(told));
                }
                service::stopping();
                note!("stopping: copies may end, and the others are given back");
                stop.cancel();
            }
        }
    }
}

/// Tells who the node is, once it has joined.
async fn announce(view: View, name: Name, as_json: bool) {
    view.handle.joined().await;
    let status = view.status().await;
    if as_json {
        let mut facts = json!({
            "name": name.to_string(),
            "engine": status["engine"],
            "org": status["org"],
            "level": status["level"],
            "announced": status["announced"],
            "devices": status["devices"],
        });
        if view.gateway.is_some() {
            facts["listening"] = status["listening"].clone();
        }
        say!("{facts}");
    } else {
        say!("name        {name}");
        for line in shown::announced(&status) {
            say!("{line}");
        }
        say!("the node has joined, and takes tasks");
    }
    let _alive = match &view.gateway {
        Some(gateway) => service::ready(gateway),
        None => service::ready_as(&format!("working as {name}")),
    };
    std::future::pending::<()>().await;
}

/// The client, over the way of the command line, to the coordinators of the settings or of the token.
async fn session(
    args: &WorkerSettings,
    node: &Node,
    home: &Path,
    key: &Path,
) -> Result<Session, Fail> {
    let mut coordinators = node.coordinators.clone();
    if coordinators.is_empty() {
        let token = node.token.as_deref().and_then(peer_of);
        coordinators = match token {
            Some(peer) => vec![peer.packed()],
            None => kept(home),
        };
    }
    if coordinators.is_empty() {
        let why = "no coordinator is known: --token TOKEN, which names one, or --coordinator PEER";
        return Err(Fail::Usage(why.to_owned()));
    }
    // The next start needs no token.
    let file = home.join(COORDINATORS);
    if let Err(error) = write_private(&file, coordinators.join("\n").as_bytes()) {
        note!(
            "note: {}: {error}: the next start must name coordinators",
            file.display()
        );
    }
    let mut dial = args.dial.clone();
    dial.key = Some(key.to_owned());
    dial.state = Some(home.to_owned());
    crate::name::named(&mut coordinators, &dial).await?;
    Session::open(&FogArgs {
        coordinator: coordinators,
        patience: PATIENCE,
        json: false,
        dial,
    })
}

/// What dials the peers of the settings.
async fn others(
    args: &WorkerSettings,
    node: &Node,
    home: &Path,
    key: &Path,
) -> Result<Option<Others>, Fail> {
    if node.peers.is_empty() {
        return Ok(None);
    }
    let mut dial = args.dial.clone();
    dial.state = Some(home.to_owned());
    let mut peers = node.peers.clone();
    crate::name::named(&mut peers, &dial).await?;
    Others::open("worker.peers", &peers, &dial, key).map(Some)
}

/// File with the coordinators of the last start.
const COORDINATORS: &str = "coordinators";

fn kept(home: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(home.join(COORDINATORS)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
