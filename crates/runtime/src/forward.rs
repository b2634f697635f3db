//! The relay's side of streams through other nodes.

mod load;
mod relay;

use betanet_session::ops::RawStream;
use betanet_session::{CameFrom, ForwardCarrier, Paths};

use crate::own_paths::read;

pub(crate) use relay::{Exits, Relay};
