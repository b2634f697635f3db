//! The control plane of one node: the peers that it knows (`mesh`) and the choice of paths (`path`).

use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Machine, Now, Queue, Rng, Seed, Wake, fingerprint};
use betanet_mesh::{self as mesh, Mesh, Role, Roles};
use betanet_path::{self as path, Cf, Peers};
use betanet_wire::NodeId;

/// Maximum number of queued events.
const EVENTS_MAX: usize = 4096;

/// Inputs from the layers below.
#[derive(Clone, Debug)]
pub enum NodeInput {
    /// Input for the mesh.
    Mesh(mesh::Input),
    /// A peer answered a probe.
    Answered {
        /// The peer.
        node: NodeId,
        /// The round-trip time.
        rtt: Duration,
    },
    /// A peer did not answer.
    TimedOut(NodeId),
    /// A peer is down.
    Down(NodeId),
    /// A peer's congestion report.
    Congestion(NodeId, Cf),
}

/// Commands from the layer above.
#[derive(Clone, Debug)]
pub enum NodeCommand {
    /// Command for the mesh.
    Mesh(mesh::Command),
    /// Choose disjoint paths; [`NodeEvent::Ways`] answers.
    Ways {
        /// The last node of each path.
        exit: NodeId,
        /// Number of nodes of each path, including the exit: 1 to 8.
        nodes: usize,
        /// Nodes that the paths must avoid.
        not: Vec<NodeId>,
    },
}

/// Events for the layer above.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum NodeEvent {
    /// Event of the mesh.
    Mesh(mesh::Event),
    /// The nodes of up to three paths that share no relay.
    Ways {
        /// The last node of each path.
        exit: NodeId,
        /// Nodes of each path, first to last; empty where too few peers are healthy.
        ways: Vec<Vec<NodeId>>,
    },
}

/// One node's control plane.
pub struct Node {
    own: NodeId,
    mesh: Mesh,
    peers: Peers,
    rng: Rng,
    events: Queue<NodeEvent>,
}

const fn roles_of(roles: Roles) -> path::Roles {
    path::Roles {
        entry: roles.has(Role::Entry),
        core: roles.has(Role::Core),
        exit: roles.has(Role::Exit),
    }
}

impl Node {
    /// A node that begins at `now`.
    #[must_use]
    pub fn new(now: Now, setup: mesh::Setup, seed: &Seed) -> Self {
        Self {
            own: setup.identity.public().node_id(),
            mesh: Mesh::new(now, setup, seed),
            peers: Peers::new(),
            rng: Rng::new(&seed.split("paths")),
            events: Queue::new(EVENTS_MAX),
        }
    }

    /// The mesh, for inspection.
    #[must_use]
    pub const fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The peers that paths may use, for inspection.
    #[must_use]
    pub const fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Passes events up once.
    fn rise(&mut self, now: Now) {
        while self.events.room() > 1 {
            let Some(event) = self.mesh.poll_event() else {
                return;
            };
            match &event {
                mesh::Event::Tested { record, .. } | mesh::Event::Changed(record) => {
                    self.peers.set(record.node(), roles_of(record.roles()));
                }
                mesh::Event::Gone(node) => self.peers.remove(*node),
                _ => {}
            }
            self.events.push_reserved(now.mono, NodeEvent::Mesh(event));
        }
    }
}

impl Machine for Node {
    type Input = NodeInput;
    type Command = NodeCommand;
    type Answer = ();
    type Transmit = mesh::Transmit;
    type Event = NodeEvent;
    type Error = mesh::Error;

    fn handle_input(&mut self, now: Now, input: NodeInput) -> Result<(), mesh::Error> {
        match input {
            NodeInput::Mesh(input) => self.mesh.handle_input(now, input)?,
            NodeInput::Answered { node, rtt } => self.peers.answered(now.mono, node, rtt),
            NodeInput::TimedOut(node) => self.peers.timed_out(now.mono, node, &mut self.rng),
            NodeInput::Down(node) => self.peers.down(now.mono, node, &mut self.rng),
            NodeInput::Congestion(node, cf) => self.peers.congestion(now.mono, node, cf),
        }
        self.rise(now);
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: NodeCommand) -> Result<(), mesh::Error> {
        match command {
            NodeCommand::Mesh(command) => self.mesh.handle_command(now, command)?,
            NodeCommand::Ways { exit, nodes, not } => {
                if self.events.room() <= 1 {
                    return Err(mesh::Error::Full);
                }
                let own = self.own;
                let not: Vec<NodeId> = not.into_iter().chain([own]).collect();
                let ways = self.peers.ways(now.mono, exit, nodes, &not, &mut self.rng);
                self.events
                    .push_reserved(now.mono, NodeEvent::Ways { exit, ways });
            }
        }
        self.rise(now);
        Ok(())
    }

    fn handle_timeout(&mut self, now: Now) {
        self.mesh.handle_timeout(now);
        self.rise(now);
    }

    fn poll_transmit(&mut self) -> Option<mesh::Transmit> {
        self.mesh.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<NodeEvent> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        Wake::earliest([
            self.mesh.poll_timeout(),
            self.events.wake("node: events wait"),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, Node { own, peers, rng, events } machines { mesh })
    }
}
