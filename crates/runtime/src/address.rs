//! Addresses to dial.

/// Prefix of an address that is dialled over QUIC: `quic:HOST:PORT`.
pub(crate) const QUIC: &str = "quic:";
