//! QUIC: connection configuration of both sides (RFC 9000, profile chapter 2).
//!
//! Datagrams have 1 200 bytes until larger ones were seen to arrive (RFC 8899). A client that changes its address keeps its
//! connection; the server validates the new path before it sends much there. There is no early data.

mod client;
mod server;
mod streams;
mod tunnel;
#[cfg(test)]
pub(crate) use server::tests::wire;

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

pub(crate) use client::handshake;
pub use server::{Greeted, QuicListener, Visitor};

/// Idle timeout; the profile requires 45 s at least.
const IDLE: u32 = 60_000;
/// Interval of a client's PINGs.
const PING: Duration = Duration::from_secs(20);
/// Maximum number of unacknowledged or unsent bytes of one connection.
const SEND_WINDOW: u64 = 4 << 20;
/// Receive window of a connection that carries a tunnel.
const TUNNEL_WINDOW: u32 = 15 << 20;
/// Receive window of a stream: below Chromium's 6 MiB, as the session above bounds the bytes in flight.
const STREAM_WINDOW: u32 = 6 << 20;
/// `H3_NO_ERROR` and `H3_REQUEST_CANCELLED` (RFC 9114 §8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE))))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    config
}

fn client_transport() -> Arc<TransportConfig> {
    let mut config = transport();
    config
        .receive_window(VarInt::from_u32(TUNNEL_WINDOW))
        .keep_alive_interval(Some(PING))
        // A server opens its control stream and QPACK's two, which clients are expected to allow.
        .max_concurrent_bidi_streams(VarInt::from_u32(0));
    Arc::new(config)
}
