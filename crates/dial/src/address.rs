//! Addresses to dial.

/// Prefix of an address that is dialled over QUIC: `quic:HOST:PORT`.
pub const QUIC: &str = "quic:";
