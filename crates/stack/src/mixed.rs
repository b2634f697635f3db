//! `bar` exchanges over the mix, as a client asks for them. Who answers drives `mix`'s recipient itself.

mod asking;

pub use asking::{MixCommand, MixError, MixEvent, MixRequester};
