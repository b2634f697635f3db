//! A worker's part in a network: its listener, and its way over the mix.

use std::path::Path;
use std::sync::Arc;

use betanet_fog::Level;
use betanet_fog_client::node::{COVER, MixWay};
use betanet_fog_worker::Service;
use betanet_keys::Identity;
use betanet_runtime::{
    Error, Gateway, GatewayConfig, Given, MixnetError, Network, Problem, ReadSettings, Role,
    SharedFolder,
};
use betanet_store::{State, Storage};

use super::settings::Node;
use crate::Fail;
use crate::args::{Choice as _, FLAGS, WorkerSettings, Working};
use crate::listen::{checked, problems, unusable};

/// Tables of the file that are not the listener's.
const TABLES: [&str; 2] = ["worker", "harvest"];

/// Folder in the state for the guard of the way over the mix.
const LEVELS: &str = "levels";

/// The files of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    pub(super) home: &'a Path,
    pub(super) key: &'a Path,
}

impl Places<'_> {
    /// Folder of the state.
    pub(super) fn state(&self) -> std::path::PathBuf {
        self.home.join("node")
    }
}

/// A part in a network that can begin.
#[derive(Debug)]
pub(super) struct Part {
    config: GatewayConfig,
    network: Network,
    guard: SharedFolder,
}

/// Settings as they were given, and the faults that the worker finds in them.
struct Read {
    settings: ReadSettings,
    faults: Vec<Problem>,
    listens: bool,
}

/// The listener's settings: those of the file, and the flags over them.
fn given(args: &WorkerSettings) -> Result<Given, Fail> {
    let mut given = match &args.config {
        Some(path) => Given::from_file_beside(path, &TABLES).map_err(unusable)?,
        None => Given::new(FLAGS),
    };
    args.listener.over(&mut given);
    if let Some(file) = &args.dial.network {
        given.put("network", FLAGS, [file.clone().into_os_string()]);
    }
    Ok(given)
}

/// Reads settings. No problem shows what may be a token.
fn open(given: Given) -> ReadSettings {
    let mut settings = given.read();
    let knobs = GatewayConfig::knobs();
    for problem in &mut settings.problems {
        // In a table or at a key with a wrong name, there may be one.
        let key = problem.key.rsplit('.').next().unwrap_or_default();
        if !knobs.iter().any(|k| k.field == key || k.name == key) {
            problem.value.clear();
        }
    }
    settings
}

fn read(args: &WorkerSettings, node: &Node, places: Places<'_>) -> Result<Read, Fail> {
    let given = given(args)?;
    let listens = given.has("listen");
    let knobs = GatewayConfig::knobs();
    let here = knobs.iter().map(|knob| knob.name);
    let here: Vec<&str> = here.filter(|name| given.has(name)).collect();
    let has_network = given.has("network");
    let mut settings = open(given);
    let mut faults = Vec::new();
    for name in here {
        let why = match name {
            "network" | "listen" => continue,
            _ if Working::WITHOUT.contains(&name) => {
                "a worker has no such setting here; those of its own are in the table [worker]"
            }
            _ if !listens => "only with --listen ADDR: without it, a worker listens nowhere",
            _ => continue,
        };
        faults.push(settings.origins.problem(name, "", why.to_owned()));
    }
    let level = node.described.level;
    if level > Level::Public && !(listens && has_network) {
        let why = "a worker proves a level above public over the mix: it needs --network NETWORK.toml and --listen ADDR";
        faults.push(Problem {
            origin: match &args.config {
                Some(path) => path.display().to_string(),
                None => FLAGS.to_owned(),
            },
            key: "level".into(),
            value: level.as_str().to_owned(),
            allowed: why.to_owned(),
        });
    } else if listens && !has_network {
        let why = "a worker listens as a part of a network: --network NETWORK.toml";
        faults.push(settings.origins.problem("network", "", why.to_owned()));
    }
    let config = &mut settings.config;
    config.node.key = places.key.to_owned();
    config.node.state = Some(places.state());
    config.mesh.roles = [Role::Gateway].into_iter().collect();
    config.mesh.org = node.described.org.to_string();
    Ok(Read {
        settings,
        faults,
        listens,
    })
}

/// The network of a file, which has a mix if the level needs one.
fn network(file: &Path, level: Level) -> Result<Network, Fail> {
    let network = crate::seeds::read(file).map_err(Error::from)?;
    if level > Level::Public && network.mix.is_none() {
        return Err(MixnetError::NoMix {
            network: network.name,
        }
        .into());
    }
    Ok(network)
}

/// The faults of the listener's settings alone.
pub(super) fn faults(args: &WorkerSettings) -> Vec<Problem> {
    given(args).map_or_else(|_| Vec::new(), |given| open(given).problems)
}

/// Reports all faults that keep a worker from being part of its network. Starts nothing.
pub(super) fn check(args: &WorkerSettings, node: &Node, places: Places<'_>) -> Result<(), Fail> {
    let Read {
        settings,
        mut faults,
        listens,
    } = read(args, node, places)?;
    faults.extend(settings.problems);
    if listens {
        let looked = settings.config.look(&settings.origins);
        faults.extend(looked.problems);
        for warning in &looked.warnings {
            note!("warning: {warning}");
        }
    }
    if !faults.is_empty() {
        return Err(problems(&faults));
    }
    match settings.config.mesh.network.filter(|_| listens) {
        Some(file) => network(&file, node.described.level).map(drop),
        None => Ok(()),
    }
}

/// The part of a worker that listens; `None` for another one.
pub(super) fn of(
    args: &WorkerSettings,
    node: &Node,
    places: Places<'_>,
) -> Result<Option<Part>, Fail> {
    let Read {
        settings,
        mut faults,
        listens,
    } = read(args, node, places)?;
    if !listens {
        faults.extend(settings.problems);
        return if faults.is_empty() {
            Ok(None)
        } else {
            Err(problems(&faults))
        };
    }
    let mut config = checked(settings, |_| faults.clone())?;
    let Some(file) = &config.mesh.network else {
        return Ok(None);
    };
    let network = network(file, node.described.level)?;
    config.mesh.more_seeds.clone_from(&network.more_seeds);
    Ok(Some(Part {
        guard: SharedFolder::new(places.home.join(LEVELS)),
        config,
        network,
    }))
}

impl Part {
    /// The way over the mix, if the network has one.
    pub(super) fn mix(&self) -> Option<MixWay> {
        self.network.mix.as_ref()?;
        Some(MixWay {
            network: self.network.clone(),
            state: Some(self.guard.clone()),
            cover: COVER,
            dial_from: self.config.node.dial_from,
        })
    }

    /// Listens, and answers for the worker.
    pub(super) async fn start(
        &self,
        me: Identity,
        state: &Arc<State>,
        worker: &Service,
    ) -> Result<Arc<Gateway>, Fail> {
        self.config.keeps_secrets()?;
        let gateway =
            Gateway::builder(me, &self.config).with_storage(Arc::clone(state) as Arc<dyn Storage>);
        let gateway = worker.serve(gateway).start().await?;
        Ok(Arc::new(gateway))
    }
}
