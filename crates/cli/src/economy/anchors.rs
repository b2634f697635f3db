//! Heads of the economy's ledger in the network's ledger of names.

use betanet_economy_service::anchor::{Anchored, ECONOMY_HEAD, anchored};
use betanet_naming_service::client::{self, Trust};
use betanet_runtime::{Error, Network};
use betanet_tokenomics::Hash;
use betanet_wire::text::hex;

use crate::Fail;
use crate::args::DialArgs;
use crate::name::{Ledgers, genesis_of, nodes};

/// The heads that these nodes of the ledger of names show, with the nodes. Each is proven by the keys of the network file.
pub(super) async fn shown(
    names: &[String],
    genesis: &Hash,
    dial: &DialArgs,
) -> Result<Vec<(String, Anchored)>, Fail> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let Some(file) = &dial.network else {
        let why = "--names needs the keys of the network: --network NETWORK.toml";
        return Err(Fail::Usage(why.to_owned()));
    };
    let network = Network::read(file).map_err(Error::from)?;
    let trust = Trust::new(&genesis_of(&network, file)?);
    let nodes = nodes(names, "--names", dial).await?;
    let mut ledgers = Ledgers::new(nodes.clone(), trust, dial, "--names")?;
    let mut all = Vec::new();
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
                all.push((node.0.to_string(), read));
            }
            Err(fail) => {
                note!("note: {}", fail.why());
                failed = Some(fail);
            }
        }
    }
    ledgers.close().await;
    match (all.is_empty(), failed) {
        (false, _) => Ok(all),
        (true, Some(fail)) => Err(fail),
        (true, None) => {
            let why = "the ledger of names has no head of this ledger: its leader posts one each epoch, if it was told to";
            Err(Fail::Peer(why.to_owned()))
        }
    }
}

/// The heads that nodes show, oldest first, each once, unless two contradict each other: whoever signed both shows a ledger to some that
/// others do not see.
pub(super) fn agreed(mut all: Vec<(String, Anchored)>) -> Result<Vec<Anchored>, String> {
    all.sort_by_key(|(_, of)| (of.epoch, of.head.head().size));
    for pair in all.windows(2) {
        let [(left, earlier), (right, later)] = pair else {
            continue;
        };
        let (a, b) = (earlier.head.head(), later.head.head());
        let same = a == b;
        // A later epoch's head covers what that of an earlier one covers.
        let grows = earlier.epoch < later.epoch && a.size < b.size && a.ts <= b.ts;
        if !same && !grows {
            return Err(format!(
                "{left} and {right} show heads that contradict each other: of {} records in epoch {} with the root {}, and of {} in epoch {} with the root {}",
                a.size,
                earlier.epoch,
                hex(&a.root),
                b.size,
                later.epoch,
                hex(&b.root),
            ));
        }
    }
    let mut all: Vec<Anchored> = all.into_iter().map(|(_, of)| of).collect();
    all.dedup_by(|later, earlier| later.head.head() == earlier.head.head());
    Ok(all)
}

#[cfg(test)]
mod tests {
    use betanet_log::{Head, SignedHead};

    use super::*;

    fn shows(node: &str, epoch: u64, size: u64, root: u8) -> (String, Anchored) {
        let head = SignedHead::new(Head {
            ts: size,
            set: [1; 32],
            root: [root; 32],
            size,
            state: Some([root; 32]),
        });
        let anchored = Anchored {
            genesis: vec![4; 32],
            epoch,
            head,
        };
        (node.to_owned(), anchored)
    }

    #[test]
    fn heads_of_nodes_that_contradict_each_other_are_told() {
        let told = |all: &[(String, Anchored)]| {
            let heads = agreed(all.to_vec())?;
            Ok::<_, String>(
                heads
                    .iter()
                    .map(|h| (h.epoch, h.head.head().size))
                    .collect::<Vec<_>>(),
            )
        };
        // One node is behind.
        let all = [
            shows("a", 3, 30, 3),
            shows("b", 2, 20, 2),
            shows("c", 3, 30, 3),
        ];
        assert_eq!(told(&all), Ok(vec![(2, 20), (3, 30)]));
        assert_eq!(told(&all[..1]), Ok(vec![(3, 30)]));
        for other in [
            // Another head of an epoch, of as many records or of more.
            shows("d", 3, 30, 9),
            shows("d", 3, 31, 9),
            shows("d", 2, 21, 9),
            // Fewer records in a later epoch, or as many with another root.
            shows("d", 4, 29, 9),
            shows("d", 4, 30, 9),
        ] {
            let why = told(&[&all[..], &[other]].concat()).unwrap_err();
            assert!(why.contains("d") && why.contains("contradict"), "{why}");
        }
    }
}
