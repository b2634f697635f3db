//! Who sits on whom: the layers composed, still without IO.
//!
//! **Promises.** Each call makes one rise (events up) and one fall (transmits down) and returns. No protocol logic
//! stands here: [`Connection`] puts `bar` on `htx`, [`MixRequester`] puts it on `mix`, [`Node`] puts `path`'s choice on `mesh`, [`Dialer`] says when a peer is
//! dialled again. A peer's request arrives as an event and is answered by commands, so a service may take minutes.
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
