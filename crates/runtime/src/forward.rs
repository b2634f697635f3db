//! Streams through other nodes: what a relay does for them.

mod load;
mod relay;

use crate::own_paths::read;
use crate::paths::{CameFrom, Paths};
use crate::stream_carrier::ForwardCarrier;

use crate::ops::RawStream;
pub(crate) use relay::{Exits, Relay};
