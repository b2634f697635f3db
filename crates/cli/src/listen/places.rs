//! Peers of a node's settings by name or alias: their addresses are found once, when the node starts.

use std::ffi::OsString;
use std::path::PathBuf;

use betanet_keys::{Identity, Peer};
use betanet_runtime::{GatewayConfig, Given};

use crate::Fail;
use crate::args::DialArgs;
use crate::name;

/// Settings of a node that name peers, but for those of the tables beside them.
const PEERS: [&str; 2] = ["onward", "compat11_to"];

/// The folder of what a node learns as a client: its own state is locked while it runs.
fn own(state: PathBuf) -> PathBuf {
    state.join("client")
}

/// The peers that texts name.
pub(crate) async fn found(key: &str, texts: &[String], dial: &DialArgs) -> Result<Vec<Peer>, Fail> {
    let mut peers = Vec::with_capacity(texts.len());
    for text in texts {
        peers.push(name::peer(key, text, dial).await?);
    }
    Ok(peers)
}

/// The same, for a node of this configuration: its network resolves them, and its state remembers them.
pub(crate) async fn located(
    key: &str,
    texts: &[String],
    config: &GatewayConfig,
) -> Result<Vec<Peer>, Fail> {
    let state = Some(config.state()).filter(|state| !state.as_os_str().is_empty());
    let mut dial = DialArgs::of_network(config.mesh.network.clone(), state.map(own));
    dial.ca.clone_from(&config.tls.ca);
    found(key, texts, &dial).await
}

/// Puts peer strings in place of the names and aliases of a node's settings.
pub(crate) async fn put(given: &mut Given) -> Result<(), Fail> {
    let path = |name| given.texts(name).pop().map(PathBuf::from);
    let beside = || path("key").map(|key| key.with_extension("state"));
    let state = path("state").or_else(beside);
    let mut dial = DialArgs::of_network(path("network"), state.map(own));
    dial.ca = path("ca");
    for key in PEERS {
        let texts = given.texts(key);
        let is_named = |text: &String| name::is_named(text.trim());
        if texts.iter().any(is_named) {
            let peers = found(key, &texts, &dial).await?;
            given.change(key, peers.iter().map(|peer| peer.packed().into()));
        }
    }
    Ok(())
}

/// Puts a peer that nobody dials in place of names and aliases, for a check that asks nobody. Without a network they stay, and are
/// faults.
pub(crate) fn stand_in(given: &mut Given) {
    if !given.has("network") {
        return;
    }
    let nobody = Peer {
        key: *Identity::from_seed(&[0; 32]).public(),
        addrs: vec!["127.0.0.1:1".to_owned()],
        pin: Some([0; 32]),
    };
    for key in PEERS {
        let texts = given.texts(key);
        if texts.iter().any(|text| name::is_named(text.trim())) {
            let stand_in = |text: &String| match name::is_named(text.trim()) {
                true => nobody.packed().into(),
                false => OsString::from(text),
            };
            given.change(key, texts.iter().map(stand_in));
        }
    }
}
