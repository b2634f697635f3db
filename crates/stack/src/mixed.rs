//! `bar` exchanges over the mix, client side. The answering side drives `mix`'s recipient itself.

mod asking;

pub use asking::{MixCommand, MixError, MixEvent, MixRequester};
