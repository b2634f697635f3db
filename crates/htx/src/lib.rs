//! L2: one session between two nodes, from the ticket to the last CLOSE, as a value without IO.
//!
//! **Promises.** The inner handshake authenticates both ends and binds the outer channel, the versions and the features into
//! the keys. Streams are ordered, flow-controlled and typed. A peer's fault ends the session with an event and a code, never
//! with a panic. Memory is bounded whatever the peer sends.
//!
//! **Below:** a carrier that moves ordered bytes both ways and can export keying material (`carrier`, or the
//! simulator's). **Above:** the layers that open typed streams (`bar`, `mesh`, `mix`).
//! **Source:** profile chapters 2 and 4 (`spec-vectors/PROFILE.md`), Noise revision 34, FIPS 203.
//!
//! A [`Session`] keeps the contract of [`betanet_machine::Machine`]: feed it [`Input`]s and [`Command`]s, hand its
//! [`Transmit`]s to the carrier, act on its [`Event`]s, and call `handle_timeout` when `poll_timeout` says.
#![no_std]

extern crate alloc;

mod assembler;
pub mod cipher;
mod config;
mod error;
pub mod frame;
pub mod handshake;
pub mod pace;
mod resolver;
mod seal;
mod session;
mod stream;
mod streams;
pub mod ticket;

pub use config::{Aes, Config, Extra, L2, Outer, Pq, offered_caps, offered_caps_with};
pub use error::Error;
pub use handshake::{HandshakeError, Secrets};
pub use seal::{Cipher, OpenError, Opener, Sealer};
pub use session::{By, Command, Event, Input, Session, Stats, Transmit};

/// ID of a stream within its session: odd from the client, even from the server.
pub type StreamId = u32;

/// The stream types of profile chapter 4.
pub mod kind {
    /// Heads and records of the ledger of names.
    pub const ALIAS_GOSSIP: u8 = 0x00;
    /// A BAR exchange.
    pub const BAR: u8 = 0x01;
    /// Sphinx packets, back to back, from the opener only.
    pub const MIX: u8 = 0x02;
    /// Bytes bound to a path, which a hop forwards.
    pub const FORWARD: u8 = 0x03;
    /// A list of peer records from a seed.
    pub const DISCOVER: u8 = 0x10;
    /// Peer records between two nodes.
    pub const GOSSIP: u8 = 0x11;
    /// A libp2p substream: multistream-select and what follows.
    pub const LIBP2P: u8 = 0x20;
}
