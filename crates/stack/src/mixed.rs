//! `bar` exchanges over the mix: asked by a client, answered by a gateway that does not know who asks.

mod asking;
mod serving;

pub use asking::{MixAsker, MixCommand, MixError, MixEvent};
pub use serving::{MixServer, Served};
