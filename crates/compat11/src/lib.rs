//! A leg, the connection between a translating node and a peer of version 1.1, as values without IO.
//!
//! **Promises.** A [`TicketKey`] decides who may open a leg, in time that does not depend on the ticket. A [`Leg`] speaks
//! 1.1's frames with 1.1's keys and flow control, on either side. It reports the path that a client asks for, and bounds the
//! memory that a peer can occupy. [`Choices`] remembers which peers have used 1.2 and refuses them 1.1, so that blocking 1.2
//! downgrades no peer.
//!
//! A leg of 1.1 has no inner handshake: its keys come from the outer TLS alone, and the party that terminates that TLS can read
//! it. A node that joins a leg with a session of 1.2 holds the plaintext of both, and both must trust it.
//!
//! **Below:** a carrier that moves ordered bytes both ways and exports keying material. **Above:** `runtime`, which joins a leg's
//! streams with those of a session. **Source:** profile chapter 9 (`spec-vectors/PROFILE.md`). Where the text of version 1.1 is
//! ambiguous, [`Reading`] records the interpretation.
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
