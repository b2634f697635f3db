//! The relays of the current directory, from the view of a relay: nodes to which packets are sent, and relays that maintainers
//! vouch for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use betanet_keys::Peer;
use betanet_mesh::{Record, Role};
use betanet_mix::MixKeys;
use betanet_relay::peer_of;
use betanet_wire::{ChargeTo, NodeId};

use super::client::find::Finder;
use super::plane::lock;

/// Interval between two checks of the epoch, and the maximum wait after a directory was not found.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(80));
/// Maximum number of concurrent lookups of unknown next nodes. Each party charged has at most one.
const LOOKUPS: usize = 4;

/// The nodes of a directory, with its epoch.
#[derive(Default)]
pub(super) struct Listed(Mutex<Option<(u32, BTreeSet<NodeId>)>>);

impl Listed {
    /// Returns whether the last found directory lists a node. `None` if there is no directory yet.
    fn lists(&self, node: NodeId) -> Option<bool> {
        lock(&self.0).as_ref().map(|(_, all)| all.contains(&node))
    }

    /// Returns the party charged for a session. A relay of the directory is charged as itself, since the maintainers vouch for
    /// it. Others are charged as `charge`.
    pub(super) fn payer(&self, node: NodeId, charge: ChargeTo) -> ChargeTo {
        match self.lists(node) {
            Some(true) => ChargeTo::Node(node),
            _ => charge,
        }
    }

    /// Returns the peer of a record if packets of this epoch may be sent to it: a relay of the directory, or a gateway, where
    /// paths end.
    pub(super) fn takes_packets(&self, record: &Record, epoch: u32) -> Option<Peer> {
        let keys = MixKeys::from_bytes(record.claims().ok()?.mix).ok()?;
        // Until there is a directory, trust each node's claim to be a relay.
        let listed = self.lists(record.node());
        let may = listed.unwrap_or(record.roles().has(Role::Mix));
        let takes = may || record.roles().has(Role::Gateway);
        let has_key = [epoch.saturating_sub(1), epoch, epoch.saturating_add(1)];
        let has_key = has_key.into_iter().any(|e| keys.of(e).is_some());
        (takes && has_key).then(|| peer_of(record)).flatten()
    }

    /// Finds each epoch's directory, for as long as the node runs.
    pub(super) async fn follow(this: Weak<Self>, finder: Finder) {
        let mut wait = LOOK.0;
        loop {
            let epoch = finder.epoch();
            let Some(listed) = this.upgrade() else { return };
            let has = lock(&listed.0).as_ref().is_some_and(|(e, _)| *e == epoch);
            if !has {
                match finder.directory(epoch).await {
                    Ok(directory) => {
                        let nodes = directory.relays.iter().map(|r| r.node).collect();
                        *lock(&listed.0) = Some((epoch, nodes));
                        wait = LOOK.0;
                    }
                    Err(error) => {
                        tracing::debug!(%error, epoch, "the directory of relays is not found");
                        wait = (wait * 2).min(LOOK.1);
                    }
                }
            }
            drop(listed);
            tokio::time::sleep(wait).await;
        }
    }

    #[cfg(test)]
    pub(super) fn of(nodes: &[NodeId]) -> Self {
        Self(Mutex::new(Some((0, nodes.iter().copied().collect()))))
    }
}

/// Lookups of unknown next nodes.
#[derive(Clone, Default)]
pub(super) struct Lookups(Arc<Mutex<BTreeMap<ChargeTo, ()>>>);

/// A lookup in progress, until it is dropped.
pub(super) struct Lookup(Lookups, ChargeTo);

impl Lookups {
    /// Begins a lookup for `charge`, unless it has one in progress or the limit is reached.
    pub(super) fn begin(&self, charge: ChargeTo) -> Option<Lookup> {
        let mut running = lock(&self.0);
        if running.len() >= LOOKUPS || running.contains_key(&charge) {
            return None;
        }
        running.insert(charge, ());
        Some(Lookup(self.clone(), charge))
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        lock(&self.0.0).remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_payer_has_one_lookup_and_four_have_all() {
        let lookups = Lookups::default();
        let of = |n| ChargeTo::V4([192, 0, 2, n]);
        let first = lookups.begin(of(1));
        assert!(first.is_some() && lookups.begin(of(1)).is_none());
        let others: Vec<_> = (2..5).map(|n| lookups.begin(of(n)).unwrap()).collect();
        assert!(lookups.begin(of(9)).is_none());
        drop(first);
        assert!(lookups.begin(of(9)).is_some());
        drop(others);
    }

    #[test]
    fn only_a_relay_of_the_directory_pays_as_itself() {
        let (relay, stranger) = (NodeId([1; 20]), NodeId([2; 20]));
        let charge = ChargeTo::V4([192, 0, 2, 1]);
        assert_eq!(Listed::default().payer(relay, charge), charge);
        let listed = Listed::of(&[relay]);
        assert_eq!(listed.payer(relay, charge), ChargeTo::Node(relay));
        assert_eq!(listed.payer(stranger, charge), charge);
    }
}
