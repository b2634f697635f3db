//! The interface between a session's task and the users of paths: relays, and nodes that built paths.

use std::net::IpAddr;
use std::sync::Arc;

use betanet_keys::PublicKey;
use betanet_path::Control;
use betanet_wire::{ChargeTo, Code};
use tokio::sync::mpsc;

use crate::ops::{Op, RawStream};

/// The session on which a message or stream arrived.
#[derive(Clone, Copy, Debug)]
pub struct CameFrom {
    /// The peer's key.
    pub key: PublicKey,
    /// The peer's IP address. `None` if it does not come directly.
    pub ip: Option<IpAddr>,
    /// The party charged for it.
    pub charge: ChargeTo,
}

/// Handles path messages, and streams of other types than BAR.
pub trait Paths: Send + Sync {
    /// Handles a path message and returns the immediate answer. `ops` is the queue of the session on which the message arrived.
    ///
    /// # Errors
    ///
    /// The reason of the refusal. A few refusals may be honest mistakes, for example because of a wrong clock.
    fn control(
        self: Arc<Self>,
        from: &CameFrom,
        payload: &[u8],
        ops: Option<mpsc::Sender<Op>>,
    ) -> Result<Option<Control>, Code>;

    /// Handles a stream of type `kind` that the peer opened.
    fn opened(self: Arc<Self>, from: &CameFrom, kind: u8, stream: RawStream);
}
