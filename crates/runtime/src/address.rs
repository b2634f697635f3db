//! Addresses as they are dialled.

/// What an address begins with that is dialled over QUIC: `quic:HOST:PORT`.
pub(crate) const QUIC: &str = "quic:";
