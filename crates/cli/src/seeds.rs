//! Seeds of a network beside those of its file: the bootstrap peers of its ledger of names.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use betanet_keys::{Peer, PublicKey};
use betanet_naming::Genesis;
use betanet_naming_service::RegistrySeeds;
use betanet_runtime::{Network, NetworkError, Node, SeedSource};

/// What finds the bootstrap peers of a network, if it has a ledger. `own` is not asked, and `from` is where it dials from.
pub(crate) fn of(
    network: &Network,
    own: Option<&PublicKey>,
    from: Option<IpAddr>,
) -> Option<Arc<dyn SeedSource>> {
    let genesis = Genesis {
        signers: betanet_log::Signers::new(&network.signers).ok()?,
        maintainers: network.maintainers.clone(),
    };
    let ledgers = network.ledgers.iter().map(|ledger| &ledger.peer);
    let nodes: Vec<Peer> = ledgers.filter(|p| own != Some(&p.key)).cloned().collect();
    if nodes.is_empty() {
        return None;
    }
    let node = Node::client().ok()?.with_source_address(from);
    Some(Arc::new(RegistrySeeds::new(node, nodes, &genesis)))
}

/// Reads a network's file, for a client that joins it.
pub(crate) fn read(file: &Path) -> Result<Network, NetworkError> {
    let mut network = Network::read(file)?;
    network.more_seeds = of(&network, None, None);
    Ok(network)
}
