//! The relay's side of streams through other nodes.

mod load;
mod relay;

use betanet_session::ops::RawStream;
use betanet_session::{CameFrom, ForwardCarrier, Paths};

use betanet_dial::read_control as read;

pub use relay::{Exits, Relay};
