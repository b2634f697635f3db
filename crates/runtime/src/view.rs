//! What a node knows of its network, to be shown.

use std::net::IpAddr;
use std::time::Duration;

use betanet_keys::Name;
use betanet_mesh::{Role, Stats};
use betanet_stack::Node as Control;
use betanet_wire::{NodeId, text};

/// A peer, as a node knows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its name.
    pub name: Name,
    /// Its key.
    pub key: [u8; 32],
    /// Its multiaddrs.
    pub addrs: Vec<String>,
    /// Its role names.
    pub roles: Vec<&'static str>,
    /// Who says to run it.
    pub org: String,
    /// Its record's `seq`.
    pub seq: u64,
    /// When its record ends, UNIX milliseconds.
    pub expires: u64,
    /// Where this node reached it, if it did.
    pub reached: Option<IpAddr>,
    /// Whether gossip runs with it.
    pub linked: bool,
    /// The smoothed round-trip time, where it was measured.
    pub rtt: Option<Duration>,
}

/// What a node knows of its network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct View {
    /// All known peers, by NodeID.
    pub peers: Vec<PeerInfo>,
    /// Who contradicted itself.
    pub excluded: Vec<Name>,
    /// The ban list.
    pub banned: Vec<Name>,
    /// What was counted.
    pub stats: Stats,
}

impl View {
    /// What a node's control plane knows now.
    pub(crate) fn of(control: &Control) -> Self {
        let mesh = control.mesh();
        let linked: Vec<NodeId> = mesh.links().collect();
        let peers = control.peers();
        let info = |e: &betanet_mesh::Entry| {
            let record = e.record();
            PeerInfo {
                name: record.node().into(),
                key: record.key(),
                addrs: record.addrs().iter().map(ToString::to_string).collect(),
                roles: record.roles().iter().map(Role::name).collect(),
                org: record.org(),
                seq: record.seq(),
                expires: record.exp(),
                reached: e.tested().map(|t| t.ip),
                linked: linked.contains(&record.node()),
                rtt: peers
                    .rtt(record.node())
                    .filter(betanet_path::Rtt::is_measured)
                    .map(|r| r.smoothed()),
            }
        };
        Self {
            peers: mesh.table().iter().map(info).collect(),
            excluded: mesh.table().excluded().map(Name::from).collect(),
            banned: mesh.table().banned().map(Name::from).collect(),
            stats: *mesh.stats(),
        }
    }

    /// A line of JSON for scripts.
    #[must_use]
    pub fn to_json(&self) -> String {
        let names = |list: &[Name]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let peer = |p: &PeerInfo| {
            serde_json::json!({
                "name": p.name.to_string(),
                "public_key": text::hex(&p.key),
                "addrs": p.addrs,
                "roles": p.roles,
                "org": p.org,
                "seq": p.seq,
                "expires_ms": p.expires,
                "reached": p.reached.map(|ip| ip.to_string()),
                "linked": p.linked,
                "rtt_ms": p.rtt.map(|r| r.as_secs_f64() * 1000.0),
            })
        };
        serde_json::json!({
            "peers": self.peers.iter().map(peer).collect::<Vec<_>>(),
            "excluded": names(&self.excluded),
            "banned": names(&self.banned),
            "control_bytes": { "sent": self.stats.bytes_out, "received": self.stats.bytes_in },
            "dials": self.stats.dials,
            "reached": self.stats.reached,
        })
        .to_string()
    }
}
