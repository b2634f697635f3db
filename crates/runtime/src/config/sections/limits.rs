//! The bounds of what others can make the node hold.

use std::ffi::OsString;

use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig};

/// Bounds of the numbers.
const NUMBERS: std::ops::RangeInclusive<usize> = 1..=1_000_000;

section! {
    /// Limits on the resources that others can occupy.
    LimitSettings "limits" "Limits" {
        /// Maximum number of sessions per address (IPv6: per /56); by default 8, or the network's value.
        per_address "per_address" "N": Option<usize> = None;
        /// Number of streams that a peer may open in a burst; by default 100, or the network's value.
        opens "opens" "N": Option<u32> = None;
        /// Number of further streams that a peer may open each second; by default 20, or the network's value.
        opens_per_second "opens_per_second" "N": Option<u32> = None;
        /// Maximum number of sessions.
        max_sessions "max_sessions" "N": usize = 16_384;
        /// Maximum number of TCP connections; by default as many as the limit of open files allows, up to 20000.
        max_connections "max_connections" "N": Option<usize> = None;
        /// Maximum number of TCP connections per address (IPv6: per /56), before any handshake.
        connections_per_address "connections_per_address" "N": usize = 256;
        /// Maximum number of new TCP connections per address and second.
        connects_per_second "connects_per_second" "N": usize = 100;
    }
}

impl LimitSettings {
    /// Streams that one peer may open at once, and how many more each second, where either is given.
    #[must_use]
    pub fn streams(&self) -> Option<(u32, u32)> {
        match (self.opens, self.opens_per_second) {
            (None, None) => None,
            (burst, refill) => Some((burst.unwrap_or(100), refill.unwrap_or(20))),
        }
    }
}

impl Section for LimitSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        for (name, value) in [
            ("opens", self.opens),
            ("opens_per_second", self.opens_per_second),
        ] {
            if value == Some(0) {
                found.problem(name, "0", "at least 1");
            }
        }
        if self.per_address == Some(0) {
            found.problem("per_address", "0", "at least 1");
        }
        found.within("max_sessions", self.max_sessions, NUMBERS);
        found.within(
            "max_connections",
            self.max_connections.unwrap_or(1),
            NUMBERS,
        );
        let connections = self.connections_per_address;
        found.within("connections_per_address", connections, NUMBERS);
        found.within("connects_per_second", self.connects_per_second, NUMBERS);
    }

    fn look(&self, all: &GatewayConfig, found: &mut Found<'_>) {
        // The process that is started may have another limit than this one.
        let connections = self.max_connections;
        if let Err(e) = crate::descriptors::connections(connections, all.traffic.jitter.is_some()) {
            let value = connections.map_or_else(String::new, |n| n.to_string());
            found.warning("max_connections", &value, e.to_string());
        }
    }
}
