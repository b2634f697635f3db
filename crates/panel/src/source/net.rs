//! Peers and metrics of a node, as it tells at the admin address.

use serde::Deserialize;

use super::Source;
use super::http::{Broken, get, json};

/// A peer, as a node knows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) org: String,
    pub(crate) roles: Vec<String>,
    pub(crate) addrs: Vec<String>,
    /// Address at which the node reached it.
    pub(crate) reached: Option<String>,
    pub(crate) linked: bool,
    /// Smoothed round trip, in ms.
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) expires_ms: u64,
}

/// A view of a network.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct View {
    pub(crate) peers: Vec<Peer>,
    pub(crate) excluded: Vec<String>,
    pub(crate) banned: Vec<String>,
}

impl View {
    /// Reads it as nodes tell it.
    pub(crate) fn of_json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

/// What a node tells of its network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    /// `None` for a node that is part of no network.
    pub(crate) view: Option<View>,
    /// Metrics, as Prometheus reads them.
    pub(crate) metrics: String,
}

/// Reads a node's metrics, and its peers if it is part of a network.
pub(super) async fn read(source: &Source) -> Result<Net, Broken> {
    let metrics = metrics(source).await?;
    let view = match json(source, "/peers").await {
        Ok(view) => Some(view),
        Err(Broken::Status(404)) => None,
        Err(fault) => return Err(fault),
    };
    Ok(Net { view, metrics })
}

/// Reads a node's metrics.
pub(super) async fn metrics(source: &Source) -> Result<String, Broken> {
    let bytes = get(source, "/metrics").await?;
    String::from_utf8(bytes.into()).map_err(|_| Broken::Form)
}

/// Name with labels, and value, of each metric that begins with one of these names.
pub(crate) fn lines<'a>(
    metrics: &'a str,
    of: &'a [&'a str],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let all = metrics.lines().filter(|l| !l.starts_with('#'));
    let all = all.filter_map(|l| l.rsplit_once(' '));
    all.filter(move |(name, _)| of.iter().any(|of| name.starts_with(of)))
}
