use core::time::Duration;

/// Limits and intervals of a node. The defaults are the profile's; a network file may change them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Links for gossip.
    pub links: usize,
    /// Shortest and longest interval between two exchanges on a link.
    pub gossip_every: (Duration, Duration),
    /// Age at which a link is replaced.
    pub link_life: Duration,
    /// Seeds asked at once.
    pub seeds_at_once: usize,
    /// First and longest wait after a seed failed; it doubles.
    pub seed_backoff: (Duration, Duration),
    /// Untested records in all.
    pub untested_max: usize,
    /// Untested records from one reporting peer.
    pub untested_per_teller: usize,
    /// Interval between two dials to untested addresses.
    pub dial_every: Duration,
    /// Interval between two dials to one /24.
    pub dial_prefix_every: Duration,
    /// Tested records in one /24 (IPv6: /40).
    pub per_prefix: usize,
    /// Time for which a test is valid.
    pub tested_for: Duration,
    /// Anchors: links that are dialled first after a restart.
    pub anchors: usize,
    /// Number of records above which a node keeps only those near its own NodeID.
    pub view_max: usize,
    /// Records of relays kept outside that range.
    pub relays_max: usize,
    /// Connections from one address (IPv6: /56).
    pub per_address: usize,
    /// Streams that one peer may open at once, and additional ones per second.
    pub opens: (u32, u32),
    /// Whether addresses of private networks and of this host are accepted, for networks outside the Internet.
    pub private: bool,
}

impl Default for Policy {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            links: 32,
            gossip_every: (s(60), s(120)),
            link_life: s(3600),
            seeds_at_once: 3,
            seed_backoff: (s(10), s(600)),
            untested_max: 1024,
            untested_per_teller: 64,
            dial_every: s(1),
            dial_prefix_every: s(60),
            per_prefix: 2,
            tested_for: s(24 * 3600),
            anchors: 8,
            view_max: 1200,
            relays_max: 256,
            per_address: 8,
            opens: (100, 20),
            private: false,
        }
    }
}
