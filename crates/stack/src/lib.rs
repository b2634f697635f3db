//! Composes the layers of a node, still without IO.
//!
//! **Promises.** Each call passes events up once and transmits down once, then returns. This crate holds no protocol logic:
//! [`Connection`] puts `bar` on `htx`, [`MixRequester`] puts `bar` on `mix`, [`Node`] joins `mesh` with `path`'s choice of
//! paths, and [`Dialer`] schedules redials. A peer's request arrives as an event and is answered by commands, so a service may
//! take minutes.
//!
//! **Below:** `htx`, `bar`, `mesh`, `mix`, `path`. **Above:** `runtime` over sockets, `sim` in its world.
//! **Source:** profile chapters 2 ("Reconnect", "Renewal"), 3, 4, 5 and 8 (`spec-vectors/PROFILE.md`).
#![no_std]

extern crate alloc;

mod connection;
mod dialer;
mod error;
mod mixed;
mod node;

pub use betanet_htx::{Input, Transmit};
pub use connection::{Command, Connection, Event};
pub use dialer::{Dial, Dialer, RENEW_AFTER};
pub use error::{Error, Kind};
pub use mixed::{MixCommand, MixError, MixEvent, MixRequester};
pub use node::{Node, NodeCommand, NodeEvent, NodeInput};
