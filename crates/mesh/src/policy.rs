use core::time::Duration;

/// What a node allows and how often it acts. The defaults are the profile's; a network file may say otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Standing links that gossip runs over.
    pub links: usize,
    /// The shortest and the longest time between two exchanges on a link.
    pub gossip_every: (Duration, Duration),
    /// How long a link stands before another takes its place.
    pub link_life: Duration,
    /// Seeds that are spoken to at once.
    pub seeds_at_once: usize,
    /// First wait after a seed failed, doubled up to the second.
    pub seed_backoff: (Duration, Duration),
    /// Untested records, in all.
    pub untested_max: usize,
    /// Untested records that one peer may tell of.
    pub untested_per_teller: usize,
    /// Between two dials to untested addresses.
    pub dial_every: Duration,
    /// Between two dials to one /24.
    pub dial_prefix_every: Duration,
    /// Tested records in one /24 (IPv6: /40).
    pub per_prefix: usize,
    /// How long a handshake tests a record.
    pub tested_for: Duration,
    /// Links that are dialled first after a restart.
    pub anchors: usize,
    /// Records above which a node keeps those near its own NodeID only.
    pub view_max: usize,
    /// Records of relays that are kept from afar.
    pub relays_max: usize,
    /// Connections from one address (IPv6: /56).
    pub per_address: usize,
    /// Streams that one peer may open at once, and how many more each second.
    pub opens: (u32, u32),
    /// Take addresses of private networks and of this host: for networks that are not the Internet.
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
