//! Heads of the economy's ledger in the network's ledger of names.

use betanet_economy_service::anchor::{Anchored, ECONOMY_HEAD, anchored};
use betanet_naming_service::client::{self, Trust};
use betanet_runtime::{Error, Network};
use betanet_tokenomics::Hash;

use crate::Fail;
use crate::args::DialArgs;
use crate::name::{Ledgers, genesis_of, nodes};

/// The newest head that these nodes of the ledger of names show. Each is proven by the keys of the network file.
pub(super) async fn newest(
    names: &[String],
    genesis: &Hash,
    dial: &DialArgs,
) -> Result<Option<Anchored>, Fail> {
    if names.is_empty() {
        return Ok(None);
    }
    let Some(file) = &dial.network else {
        let why = "--names needs the keys of the network: --network NETWORK.toml";
        return Err(Fail::Usage(why.to_owned()));
    };
    let network = Network::read(file).map_err(Error::from)?;
    let trust = Trust::new(&genesis_of(&network, file)?);
    let nodes = nodes(names, "--names", dial)?;
    let mut ledgers = Ledgers::new(nodes.clone(), trust, dial, "--names")?;
    let mut best: Option<Anchored> = None;
    let mut failed = None;
    for node in &nodes {
        let request = client::registry_request(ECONOMY_HEAD, genesis);
        let found = match ledgers.get(node, request).await {
            Ok(bytes) => {
                let subject = (ECONOMY_HEAD, &genesis[..]);
                client::registered(&bytes, subject, &mut ledgers.trust)
                    .map_err(|e| Fail::Peer(format!("{}: {e}", node.0)))
            }
            Err(fail) => Err(fail),
        };
        match found {
            Ok(None) => {}
            Ok(Some(envelope)) => {
                let read = anchored(envelope.record());
                let why = "its record of the ledger's head does not read";
                let read = read.ok_or_else(|| Fail::Peer(format!("{}: {why}", node.0)))?;
                if best.as_ref().is_none_or(|b| b.epoch < read.epoch) {
                    best = Some(read);
                }
            }
            Err(fail) => {
                note!("note: {}", fail.why());
                failed = Some(fail);
            }
        }
    }
    ledgers.close().await;
    match (best, failed) {
        (Some(best), _) => Ok(Some(best)),
        (None, Some(fail)) => Err(fail),
        (None, None) => {
            let why = "the ledger of names has no head of this ledger: its leader posts one each epoch, if it was told to";
            Err(Fail::Peer(why.to_owned()))
        }
    }
}
