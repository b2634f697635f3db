//! Who was refused, and by which limit.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;

/// Why somebody was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// An address had as many connections as it may have at once.
    AddressConnections,
    /// An address connected more often than it may.
    AddressPace,
    /// All addresses together had as many connections as the node takes.
    Connections,
    /// An address had as many sessions as it may have.
    AddressSessions,
    /// All addresses together had as many sessions as the node takes.
    Sessions,
    /// An address had brought as many sessions over relays as it may.
    Forwarded,
    /// As many handshakes were under way as may be.
    HalfOpen,
    /// A peer opened streams faster than it may.
    Opens,
    /// A ticket was not right.
    Ticket,
    /// The ticket was right, and message 1 did not open.
    Handshake,
    /// The path header was not taken on.
    Path,
}

/// The labels of a refusal.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub(crate) struct ByRefusal {
    reason: &'static str,
    limit: &'static str,
}

impl Refusal {
    /// All there are.
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

    /// What was refused.
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

    /// The setting whose value was reached; empty where none sets it.
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

/// How often each happened.
#[derive(Debug, Default)]
pub(crate) struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Refusals {
    /// Once more.
    pub(crate) fn count(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often so far.
    pub(crate) fn of(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize].load(Ordering::Relaxed)
    }

    /// As often as something else has counted.
    pub(crate) fn at_least(&self, refusal: Refusal, n: u64) {
        self.0[refusal as usize].fetch_max(n, Ordering::Relaxed);
    }
}
