//! Configuration of a coordinator.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::{List, Text, Word};
use betanet_keys::PublicKey;

/// Limits of a namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    /// Processor of live copies, in thousandths of a core. Beyond, tasks wait.
    pub cpu: u64,
    /// Memory of live copies, in bytes. Beyond, tasks wait.
    pub memory: u64,
    /// Devices of live copies, in thousandths. Beyond, tasks wait.
    pub gpu: u64,
    /// Live copies. Beyond, tasks wait.
    pub copies: u64,
    /// Tasks that wait. Beyond, tasks are refused.
    pub waiting: u64,
    /// Cost of the tasks accepted in a UTC day, in µ. Beyond, tasks are refused.
    pub spend: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            cpu: 1 << 32,
            memory: 1 << 60,
            gpu: 1 << 32,
            copies: 100_000,
            waiting: 100_000,
            spend: u64::MAX >> 1,
        }
    }
}

/// What a coordinator is configured with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its own key.
    pub key: PublicKey,
    /// Keys of all coordinators of the cluster.
    pub coordinators: Vec<PublicKey>,
    /// Addresses for join tokens.
    pub addrs: List<Text>,
    /// SHA-256 of the SPKI of its TLS certificate, for join tokens; `None` means web PKI.
    pub pin: Option<[u8; 32]>,
    /// Limits of namespaces.
    pub quotas: BTreeMap<Word, Quota>,
    /// Limits of the others.
    pub quota: Quota,
    /// Most tasks that are known, ended ones included.
    pub tasks_max: usize,
    /// Most nodes that are known.
    pub nodes_max: usize,
}

impl Setup {
    /// A coordinator that is alone in its cluster, with the default limits.
    #[must_use]
    pub fn new(key: PublicKey) -> Self {
        Self {
            key,
            coordinators: [key].into(),
            addrs: List::new(),
            pin: None,
            quotas: BTreeMap::new(),
            quota: Quota::default(),
            tasks_max: 1 << 22,
            nodes_max: 1 << 20,
        }
    }
}
