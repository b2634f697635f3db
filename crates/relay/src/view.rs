//! A node's view of its network, for display.

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
    /// Name of the operator, as the peer states it.
    pub org: String,
    /// `seq` of its record.
    pub seq: u64,
    /// Expiry of its record, in UNIX milliseconds.
    pub expires: u64,
    /// Address at which this node reached it, if it did.
    pub reached: Option<IpAddr>,
    /// Whether this node has a gossip link with it.
    pub linked: bool,
    /// Smoothed round-trip time, if measured.
    pub rtt: Option<Duration>,
}

/// A node's view of its network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct View {
    /// All known peers, by NodeID.
    pub peers: Vec<PeerInfo>,
    /// Nodes excluded because they contradicted themselves.
    pub excluded: Vec<Name>,
    /// The ban list.
    pub banned: Vec<Name>,
    /// Counters of the mesh.
    pub stats: Stats,
}

impl View {
    /// Returns the current view of a node's control plane.
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

    /// Formats the view as a line of JSON for scripts.
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
