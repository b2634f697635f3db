//! Who may do what: operators, namespaces with their users and quotas, and the coordinators of the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use betanet_coordinator::{Caller, Quota, Setup};
use betanet_fog::{List, Text, Word};
use betanet_keys::PublicKey;
use betanet_wire::NodeId;

/// Interval at which blobs that no task names are let go.
pub(crate) const SWEEP: Duration = Duration::from_secs(600);

/// A namespace.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Keys of its users.
    pub users: Vec<PublicKey>,
    /// Its limits.
    pub quota: Quota,
}

/// Settings of a coordinator's service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Keys of operators.
    pub operators: Vec<PublicKey>,
    /// Namespaces. A task names one, and its owner's key must be listed for it.
    pub namespaces: BTreeMap<Word, Namespace>,
    /// Keys of the cluster's other coordinators.
    pub coordinators: Vec<PublicKey>,
    /// Records after which a snapshot is saved.
    pub snapshot_every: u64,
    /// Snapshots that are kept, at least one.
    pub snapshots: usize,
    /// Most known tasks, ended ones included.
    pub tasks_max: usize,
    /// Most known nodes.
    pub nodes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            operators: Vec::new(),
            namespaces: BTreeMap::new(),
            coordinators: Vec::new(),
            snapshot_every: 500_000,
            snapshots: 2,
            tasks_max: 1 << 20,
            nodes_max: 1 << 17,
        }
    }
}

impl Settings {
    /// The machine's configuration. `addrs` and `pin` go into join tokens.
    pub(crate) fn setup(&self, own: &PublicKey, addrs: List<Text>, pin: Option<[u8; 32]>) -> Setup {
        let mut setup = Setup::new(*own);
        setup.coordinators.extend(self.coordinators.iter().copied());
        setup.addrs = addrs;
        setup.pin = pin;
        let quotas = self.namespaces.iter();
        setup.quotas = quotas.map(|(ns, n)| (ns.clone(), n.quota)).collect();
        setup.tasks_max = self.tasks_max;
        setup.nodes_max = self.nodes_max;
        setup
    }

    pub(crate) fn roles(&self) -> Roles {
        let mut roles = Roles {
            callers: BTreeMap::new(),
        };
        for key in &self.operators {
            roles.entry(key).operator = true;
        }
        for (ns, of) in &self.namespaces {
            for key in &of.users {
                roles.entry(key).namespaces.push(ns.clone());
            }
        }
        roles
    }
}

/// The listed keys and what they may do.
#[derive(Debug)]
pub(crate) struct Roles {
    callers: BTreeMap<NodeId, Caller>,
}

impl Roles {
    fn entry(&mut self, key: &PublicKey) -> &mut Caller {
        self.callers
            .entry(key.node_id())
            .or_insert_with(|| stranger(key))
    }

    /// The caller with this NodeID. The key of one that is not listed is not known.
    pub(crate) fn of_node(&self, node: NodeId) -> Caller {
        let listed = self.callers.get(&node).cloned();
        listed.unwrap_or(Caller {
            key: [0; 32],
            node,
            operator: false,
            namespaces: Vec::new(),
        })
    }

    /// The caller with this key.
    pub(crate) fn of_key(&self, key: &PublicKey) -> Caller {
        let listed = self.callers.get(&key.node_id()).cloned();
        listed.unwrap_or_else(|| stranger(key))
    }

    /// All namespaces that a key is listed for.
    pub(crate) fn namespaces(&self) -> Vec<Word> {
        let all = self.callers.values().flat_map(|c| c.namespaces.clone());
        let mut all: Vec<Word> = all.collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// A caller whose key is not listed.
pub(crate) fn stranger(key: &PublicKey) -> Caller {
    Caller {
        key: *key.as_bytes(),
        node: key.node_id(),
        operator: false,
        namespaces: Vec::new(),
    }
}

/// The coordinator as a caller of its own.
pub(crate) fn itself(key: &PublicKey) -> Caller {
    Caller {
        operator: true,
        ..stranger(key)
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;

    use super::*;

    #[test]
    fn a_key_has_each_role_that_it_is_listed_for() {
        let [a, b, c] = [1, 2, 3].map(|n| *Identity::from_seed(&[n; 32]).public());
        let ns = |users: Vec<PublicKey>| Namespace {
            users,
            ..Namespace::default()
        };
        let settings = Settings {
            operators: vec![a],
            namespaces: [
                ("lab".parse().unwrap(), ns(vec![a, b])),
                ("web".parse().unwrap(), ns(vec![b])),
            ]
            .into(),
            ..Settings::default()
        };
        let roles = settings.roles();
        let words = |c: &Caller| {
            c.namespaces
                .iter()
                .map(|w| w.to_string())
                .collect::<Vec<_>>()
        };
        let first = roles.of_key(&a);
        assert!(first.operator);
        assert_eq!(words(&first), ["lab"]);
        let second = roles.of_node(b.node_id());
        assert!(!second.operator);
        assert_eq!(second.key, *b.as_bytes());
        assert_eq!(words(&second), ["lab", "web"]);
        let third = roles.of_node(c.node_id());
        assert!(!third.operator && third.namespaces.is_empty());
        assert_eq!(third.key, [0; 32]);
        assert_eq!(roles.namespaces().len(), 2);
    }
}
