//! The leg that a translating node has to a peer of version 1.1, as values without IO.
//!
//! **Promises.** A [`TicketKey`] tells who may have a leg, in time that does not depend on the ticket; a [`Leg`] speaks 1.1's frames
//! with 1.1's keys and flow control, either side, tells over which nodes a client wants to go on, and bounds what a peer can make
//! it hold; [`Choices`] remembers who has spoken 1.2, and refuses to speak 1.1 with them, so that blocking 1.2 brings nobody the weaker
//! one.
//!
//! A leg of 1.1 has no inner handshake: its keys come from the outer TLS alone, and whoever ends that reads it. What joins a leg with
//! a session of 1.2 holds the plaintext of both, and is to be trusted by both.
//!
//! **Below:** a carrier that moves ordered bytes both ways and exports keying material. **Above:** `runtime`, which joins a leg's
//! streams with those of a session. **Source:** profile chapter 9 (`spec-vectors/PROFILE.md`). Where 1.1's own text leaves something
//! open, [`Reading`] says how it is read.
#![no_std]

extern crate alloc;

mod choices;
pub mod frame;
mod leg;
pub mod path;
mod reading;
mod replay;
mod seal;
mod streams;
mod ticket;

pub use choices::{Choices, Chosen, Minor, Refusal};
pub use leg::{By, Command, Error, Event, Input, Leg, Transmit};
pub use reading::Reading;
pub use replay::Replay;
pub use seal::{Opener, Sealer};
pub use ticket::{Admission, TicketError, TicketKey, carried, make_ticket};
