//! The mix in a node: the data plane for packets, a gateway's answers to requests over the mix, and the client.

mod arithmetic;
mod build;
mod client;
mod directories;
mod keys;
mod links;
mod listed;
mod memory;
mod plane;
mod service;
mod uploads;
mod wellknown;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use betanet_dial::{FileError, Network, Node};
use betanet_keys::Maintainers;
use betanet_machine::Rng;
use betanet_mesh::{Draft, Role, Roles};
use betanet_relay::{CountPeers, Mesh};
use betanet_session::{Clock, Count, Service, Streams, seed};
use betanet_store::Storage;
use betanet_wire::NodeId;
use tokio::task::AbortHandle;

pub use build::{DirectoryPlan, LeftOut, LotteryWeight, build_directory, publish_directory};
pub use client::{MixClient, MixOptions, MixSession};
pub use directories::Directories;
pub use directories::check as check_directory;
pub use wellknown::PublishedProof;
pub use wellknown::WellKnown;

use crate::{CountMix, Error};
use client::find::Finder;
use keys::KeyRotation;
use listed::Listed;
use memory::Memories;
use plane::{Plane, PlaneOptions, lock};
use wellknown::MixResources;

/// Path prefix of a node's mix resources: `/.bn/mix/<epoch>` and below.
pub const PLACE: &str = "/.bn/mix/";

/// The settings of a node's parts in the mix.
#[derive(Clone, Debug)]
pub struct MixSetup {
    /// The node's roles.
    pub roles: Roles,
    /// Packets per second for which the replay memory is sized.
    pub rate: u32,
    /// Maximum size of the replay memory, in mebibytes.
    pub memory: usize,
    /// Number of threads that unwrap packets.
    pub threads: usize,
    /// Maximum number of delayed packets.
    pub waiting: usize,
    /// Packets per thousand that are dropped for a rehearsal, and the seed of the random choice.
    pub lose: (u16, u64),
    /// File of the node's key. An earlier version kept data of the mix beside it.
    pub key: PathBuf,
    /// The node's state folder.
    pub state: PathBuf,
}

/// The parts that a node has in the mix of its network.
pub struct Mixing {
    resources: Arc<MixResources>,
    plane: Option<Arc<Plane>>,
    memories: Memories,
    rng: Rng,
    clock: Clock,
    metrics: Arc<dyn Count>,
}

impl Mixing {
    /// Prepares the parts for the node's roles: `mix` relays packets, `gateway` answers requests, and `seed` keeps directories.
    ///
    /// Returns `None` in a network without a mix.
    ///
    /// # Errors
    ///
    /// The replay memory exceeds its limit, or a file cannot be used.
    pub fn prepare(
        own: NodeId,
        config: &MixSetup,
        network: &Network,
        state: &dyn Storage,
        (mix_metrics, metrics): (Arc<dyn CountMix>, Arc<dyn Count>),
        clock: Clock,
    ) -> Result<Option<Self>, Error> {
        let Some(mix) = &network.mix else {
            return Ok(None);
        };
        let rate = config.rate;
        let (needed, allowed) = (crate::replay_memory::needed(rate), config.memory);
        if needed > allowed {
            return Err(Error::ReplayMemory {
                rate,
                needed,
                allowed,
            });
        }
        let mut rng = Rng::new(&seed()?);
        let mut ring = keys::ring(state, &config.key.with_extension("vrf"))?;
        ring.turn(clock.now().unix_ms, &mut rng);
        let directories = if config.roles.has(Role::Seed) {
            let folder = directories::adopt(config)?;
            let maintainers = Maintainers::new(&network.maintainers);
            let opened = Directories::open(&folder, maintainers, mix.beacon_key);
            Some(opened.map_err(FileError::io(&folder))?)
        } else {
            None
        };
        let (forwards, ends) = (config.roles.has(Role::Mix), config.roles.has(Role::Gateway));
        let options = PlaneOptions {
            forwards,
            workers: config.threads,
            waiting: config.waiting,
            lose: config.lose,
        };
        let plane = if forwards || ends {
            let threads = std::path::Path::new("mix threads");
            Some(Plane::start(own, options, mix_metrics, clock).map_err(FileError::io(threads))?)
        } else {
            None
        };
        let resources = MixResources::new(own, ring, Some(mix.beacon_key), directories, clock);
        Ok(Some(Self {
            resources: Arc::new(resources),
            plane,
            memories: Memories::new(rate, allowed << 20),
            rng,
            clock,
            metrics,
        }))
    }

    /// Returns the handler of packet streams.
    pub fn taker(&self) -> Option<Arc<dyn Streams>> {
        let plane = self.plane.clone()?;
        Some(plane as Arc<dyn Streams>)
    }

    /// Has the bytes of packets counted by peers.
    pub fn counts_peers(&self, peers: Arc<dyn CountPeers>) {
        if let Some(plane) = &self.plane {
            plane.counts_peers(peers);
        }
    }

    /// Returns the service of the node's mix resources.
    pub fn well_known(&self) -> WellKnown {
        WellKnown::new(Arc::clone(&self.resources))
    }

    /// Returns the key part of the node's record; empty if it accepts no packets.
    pub fn record(&self) -> Vec<u8> {
        match self.plane {
            Some(_) => lock(&self.resources.ring).record().to_bytes(),
            None => Vec::new(),
        }
    }

    /// Starts the tasks, and returns them with their names. With the role `gateway`, `service` answers requests that arrive over
    /// the mix.
    pub fn start(
        self,
        (node, mesh): (Arc<Node>, Mesh),
        draft: Draft,
        service: Arc<dyn Service>,
        network: &Network,
    ) -> (Vec<(&'static str, AbortHandle)>, Option<Arc<Plane>>) {
        let Some(plane) = self.plane else {
            return (Vec::new(), None);
        };
        plane.join(Arc::clone(&node), mesh.clone());
        let mut tasks = Vec::new();
        if draft.roles.has(Role::Mix) {
            let finder = Finder {
                network: network.clone(),
                mesh: mesh.clone(),
                node,
                clock: self.clock,
                patience: Duration::from_secs(20),
            };
            let following = Listed::follow(plane.listed(), finder);
            let task = tokio::spawn(following).abort_handle();
            tasks.push(("the mix's directory", task));
        }
        if draft.roles.has(Role::Gateway) {
            let metrics = Arc::clone(&self.metrics);
            let task = service::serve(&plane, service, self.clock, metrics);
            tasks.push(("the mix's requests", task));
        }
        let keeper = KeyRotation {
            plane: Arc::clone(&plane),
            resources: self.resources,
            mesh,
            draft,
            memories: self.memories,
            rng: self.rng,
        };
        let task = tokio::spawn(keeper.run(self.clock)).abort_handle();
        tasks.push(("the mix's keys", task));
        (tasks, Some(plane))
    }
}

pub use plane::Plane as MixPlane;
