//! Counts of refusals, by limit.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// An address has reached its limit of concurrent connections.
    AddressConnections,
    /// An address exceeds its rate of new connections.
    AddressPace,
    /// The node has reached its limit of concurrent connections.
    Connections,
    /// An address has reached its limit of sessions.
    AddressSessions,
    /// The node has reached its limit of sessions.
    Sessions,
    /// An address has reached its limit of relayed sessions.
    Forwarded,
    /// A limit of handshakes in progress is reached.
    HalfOpen,
    /// A peer exceeds its rate of new streams.
    Opens,
    /// A ticket is invalid.
    Ticket,
    /// The ticket is valid, and message 1 does not open.
    Handshake,
    /// The path header was refused.
    Path,
}

/// The labels of a refusal.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub(crate) struct ByRefusal {
    reason: &'static str,
    limit: &'static str,
}

impl Refusal {
    /// All reasons.
    pub(crate) const ALL: [Self; 11] = [
        Self::AddressConnections,
        Self::AddressPace,
        Self::Connections,
        Self::AddressSessions,
        Self::Sessions,
        Self::Forwarded,
        Self::HalfOpen,
        Self::Opens,
        Self::Ticket,
        Self::Handshake,
        Self::Path,
    ];

    /// Returns the label of what was refused.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::AddressConnections => "connections of one address",
            Self::AddressPace => "new connections of one address in a second",
            Self::Connections => "connections of all addresses",
            Self::AddressSessions => "sessions of one address",
            Self::Sessions => "sessions of all addresses",
            Self::Forwarded => "sessions over relays of one address",
            Self::HalfOpen => "handshakes under way",
            Self::Opens => "streams of one peer",
            Self::Ticket => "tickets that are not right",
            Self::Handshake => "handshakes that do not open",
            Self::Path => "paths that are not carried on",
        }
    }

    /// Returns the setting whose limit was reached; empty if there is none.
    pub(crate) const fn limit(self) -> &'static str {
        match self {
            Self::AddressConnections => "connections_per_address",
            Self::AddressPace => "connects_per_second",
            Self::Connections => "max_connections",
            Self::AddressSessions => "per_address",
            Self::Sessions => "max_sessions",
            Self::Opens => "opens",
            Self::Path => "onward",
            Self::Ticket | Self::Handshake | Self::Forwarded | Self::HalfOpen => "",
        }
    }

    pub(crate) const fn labels(self) -> ByRefusal {
        ByRefusal {
            reason: self.reason(),
            limit: self.limit(),
        }
    }
}

/// The count of each refusal.
#[derive(Debug, Default)]
pub(crate) struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Refusals {
    /// Counts one refusal.
    pub(crate) fn count(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the count of a refusal.
    pub(crate) fn of(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize].load(Ordering::Relaxed)
    }

    /// Raises a count to the value of another counter.
    pub(crate) fn at_least(&self, refusal: Refusal, n: u64) {
        self.0[refusal as usize].fetch_max(n, Ordering::Relaxed);
    }
}
