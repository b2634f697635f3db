//! Checks of the nine services, and the overview. Those that ask something say so; others read what this process knows.

use std::sync::Arc;
use std::time::Duration;

use betanet_coordinator::Request;
use betanet_economy_service::Ledger;
use betanet_fog::{Kind, NodeState, RefusalCode};
use betanet_fog_service::{Local, Role};
use betanet_runtime::Gateway;
use tokio::sync::Mutex;

use crate::view::Snapshot;

/// Longest that a check takes.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time for which the result of the checks is shown again, in ms.
const FRESH: u64 = 1000;

/// Health of a service.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Health {
    Healthy,
    Degraded,
    Down,
    /// This process does not run it.
    Absent,
}

impl Health {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Absent => "not-installed",
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) category: &'static str,
    pub(crate) health: Health,
    /// A sentence without its full stop.
    pub(crate) text: String,
    /// When it was looked at, in UNIX ms.
    pub(crate) at: u64,
    /// Page with more about it.
    pub(crate) page: Option<&'static str>,
}

/// The results of all checks.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// Time and index of the journal of what this process knows. Services that are asked have a time of their own.
    pub(crate) at: u64,
    pub(crate) position: u64,
    pub(crate) services: Vec<Service>,
    pub(crate) sessions: usize,
    pub(crate) role: &'static str,
}

impl Checked {
    /// The worst health of what is installed.
    pub(crate) fn health(&self) -> Health {
        let installed = self.services.iter().map(|s| s.health);
        let installed = installed.filter(|h| *h != Health::Absent);
        installed.max().unwrap_or(Health::Absent)
    }
}

/// The four categories, in their order.
pub(crate) const CATEGORIES: [(&str, &str); 4] = [
    ("compute", "Compute"),
    ("privacy", "Privacy"),
    ("network", "Network"),
    ("governance", "Governance"),
];

/// What those said that have to be asked, and when.
struct Asked {
    at: u64,
    scheduler: Result3,
    betanet: Result3,
    p2p: Result3,
    votes: Result3,
}

/// The last results.
pub(crate) struct Checks {
    local: Local,
    gateway: Arc<Gateway>,
    ledger: Option<Ledger>,
    last: Mutex<Option<Arc<Asked>>>,
}

type Result3 = (Health, String, Option<&'static str>);

/// The page of peers.
const NETWORK: Option<&str> = Some("/network");

fn absent(why: &str) -> Result3 {
    (Health::Absent, why.to_owned(), None)
}

impl Checks {
    pub(crate) fn new(local: Local, gateway: Arc<Gateway>, ledger: Option<Ledger>) -> Self {
        let last = Mutex::default();
        Self {
            local,
            gateway,
            ledger,
            last,
        }
    }

    /// Asks those that have to be asked, or returns what they said in the last second.
    async fn asked(&self, now_ms: u64) -> Arc<Asked> {
        let mut last = self.last.lock().await;
        if let Some(asked) = &*last
            && now_ms.saturating_sub(asked.at) < FRESH
        {
            return Arc::clone(asked);
        }
        let (scheduler, betanet, p2p, votes) =
            tokio::join!(self.scheduler(), self.node(), self.network(), self.votes());
        let asked = Arc::new(Asked {
            at: now_ms,
            scheduler,
            betanet,
            p2p,
            votes,
        });
        *last = Some(Arc::clone(&asked));
        asked
    }

    /// Checks all services. `nodes` are those of the cluster, if it answers: what follows from them is of their position of the journal.
    pub(crate) async fn all(&self, now_ms: u64, nodes: Option<&Snapshot>) -> Checked {
        let asked = self.asked(now_ms).await;
        let (position, at) = match nodes {
            Some(nodes) => (nodes.position, nodes.at),
            None => (self.local.position(), now_ms),
        };
        let ask = |result: &Result3| (asked.at, result.clone());
        let all = [
            ("scheduler", "Scheduler", "compute", ask(&asked.scheduler)),
            ("edge", "Edge devices", "compute", (at, edge(nodes))),
            ("harvest", "Idle computing", "compute", (at, harvest())),
            (
                "onion",
                "Circuits",
                "privacy",
                (at, absent("circuits over onion routes are not built")),
            ),
            (
                "vpn_coordinator",
                "VPN coordinator",
                "privacy",
                (at, absent("tunnels are not built")),
            ),
            ("betanet", "Betanet node", "privacy", ask(&asked.betanet)),
            (
                "fog_coordinator",
                "Fog coordinator",
                "network",
                (at, self.coordinator(position)),
            ),
            ("p2p", "Peers", "network", ask(&asked.p2p)),
            ("dao", "Stake and votes", "governance", ask(&asked.votes)),
        ];
        let services = all.map(|(id, name, category, (at, (health, text, page)))| Service {
            id,
            name,
            category,
            health,
            text,
            at,
            page,
        });
        Checked {
            at,
            position,
            services: services.into(),
            sessions: self.gateway.sessions(),
            role: match self.local.handle().role() {
                Role::Starting => "starting",
                Role::Leads(_) => "leads",
                Role::Follows(_) => "follows",
                Role::Failed(_) => "failed",
                Role::Full(_) => "full",
                Role::Stopped => "stopped",
            },
        }
    }

    /// Asks the machine for something that it computes.
    async fn scheduler(&self) -> Result3 {
        let began = tokio::time::Instant::now();
        let asked = tokio::time::timeout(PATIENCE, self.local.ask(Request::Price)).await;
        let took = began.elapsed().as_micros();
        let page = Some("/tasks");
        match asked {
            Ok(Ok(_)) => (Health::Healthy, format!("answered in {took} µs"), page),
            Ok(Err(r)) if r.code == RefusalCode::NotLeader => {
                let text = "another coordinator leads, and places tasks";
                (Health::Degraded, text.to_owned(), page)
            }
            Ok(Err(refusal)) => (Health::Down, format!("refused: {refusal}"), page),
            Err(_) => (Health::Down, "no answer within 2 s".to_owned(), page),
        }
    }

    /// Asks the ledger for its records.
    async fn votes(&self) -> Result3 {
        let Some(ledger) = &self.ledger else {
            return absent("this coordinator has no ledger of tokens");
        };
        let read = ledger.look(|view| {
            let size = view.head.map_or(0, |h| h.head().size);
            (view.latest.records(), size)
        });
        let page = Some("/governance");
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok((_, 0))) => (Health::Degraded, "no final head yet".to_owned(), page),
            Ok(Ok((records, size))) => {
                let text = format!("{records} records, {size} under the final head");
                (Health::Healthy, text, page)
            }
            Ok(Err(error)) => (Health::Down, error.to_string(), page),
            Err(_) => (Health::Down, "no answer within 2 s".to_owned(), page),
        }
    }

    async fn node(&self) -> Result3 {
        let faults = tokio::time::timeout(PATIENCE, self.gateway.faults()).await;
        let Ok(faults) = faults else {
            return (Health::Down, "no answer within 2 s".to_owned(), None);
        };
        match &faults[..] {
            [] => {
                let n = self.gateway.sessions();
                (Health::Healthy, format!("no faults; {n} sessions"), None)
            }
            [first, more @ ..] => {
                let more = match more.len() {
                    0 => String::new(),
                    n => format!("; and {n} more"),
                };
                (Health::Degraded, format!("{first}{more}"), None)
            }
        }
    }

    async fn network(&self) -> Result3 {
        let view = tokio::time::timeout(PATIENCE, self.gateway.view()).await;
        match view {
            Ok(None) => absent("this node is part of no network (coordinator --network FILE)"),
            Ok(Some(view)) if view.peers.is_empty() => {
                (Health::Degraded, "no peer is known".to_owned(), NETWORK)
            }
            Ok(Some(view)) => {
                let n = view.peers.len();
                (
                    Health::Healthy,
                    format!("{n} peers known, none asked now"),
                    NETWORK,
                )
            }
            Err(_) => (Health::Down, "no answer within 2 s".to_owned(), None),
        }
    }

    fn coordinator(&self, at: u64) -> Result3 {
        let page = Some("/nodes");
        match self.local.handle().role() {
            Role::Leads(epoch) => {
                let text = format!("leads in epoch {epoch}, journal at {at}");
                (Health::Healthy, text, page)
            }
            Role::Follows(name) => {
                let text = format!("follows {name}, journal at {at}");
                (Health::Healthy, text, page)
            }
            Role::Starting => (Health::Degraded, "reads its journal".to_owned(), page),
            Role::Failed(why) => (Health::Down, format!("does not work: {why}"), page),
            Role::Full(why) => (Health::Down, format!("refuses new work: {why}"), page),
            Role::Stopped => (Health::Down, "has stopped".to_owned(), page),
        }
    }
}

/// The edge devices that joined.
fn edge(nodes: Option<&Snapshot>) -> Result3 {
    let Some(nodes) = nodes else {
        return (
            Health::Down,
            "the list of nodes cannot be read".to_owned(),
            None,
        );
    };
    let edge = nodes.nodes.iter().filter(|n| n.kind == Kind::EdgeDevice);
    let (mut all, mut active) = (0_u64, 0_u64);
    for node in edge {
        all += 1;
        active += u64::from(node.state == NodeState::Active);
    }
    let page = Some("/nodes?kind=edge_device");
    let text = format!("{active} of {all} active");
    match (all, active) {
        (0, _) => absent("no edge device has joined"),
        (_, 0) => (Health::Down, text, page),
        _ if active < all => (Health::Degraded, text, page),
        _ => (Health::Healthy, text, page),
    }
}

fn harvest() -> Result3 {
    absent("workers decide on idle time themselves: ask one with worker status")
}
