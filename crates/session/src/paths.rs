//! The seam between a session's task and whoever takes paths: relays, and nodes that built some.

use std::net::IpAddr;
use std::sync::Arc;

use betanet_keys::PublicKey;
use betanet_path::Control;
use betanet_wire::{ChargeTo, Code};
use tokio::sync::mpsc;

use crate::ops::{Op, RawStream};

/// Whose session something came on.
#[derive(Clone, Copy, Debug)]
pub struct CameFrom {
    /// The peer's key.
    pub key: PublicKey,
    /// Its address, where it came directly.
    pub ip: Option<IpAddr>,
    /// Who pays for it.
    pub charge: ChargeTo,
}

/// Who takes path messages, and streams of other types than BAR.
pub trait Paths: Send + Sync {
    /// A path message; what it is answered at once. `ops` reaches the session that it came on.
    ///
    /// # Errors
    ///
    /// Why it is refused. A few may be honest mistakes, as by a clock that is wrong.
    fn control(
        self: Arc<Self>,
        from: &CameFrom,
        payload: &[u8],
        ops: Option<mpsc::Sender<Op>>,
    ) -> Result<Option<Control>, Code>;

    /// A stream of this type that the peer opened.
    fn opened(self: Arc<Self>, from: &CameFrom, kind: u8, stream: RawStream);
}
