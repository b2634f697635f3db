//! How many sessions one address may have, and how fast one peer may open streams.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_bar::{Client, Handler, ReadFailed, Request, Response};
use betanet_machine::Time;
use betanet_mesh::{Admission, Policy};
use bytes::Bytes;

/// What a gateway counts of those who come to it.
#[derive(Clone, Debug)]
pub(crate) struct Doorkeeper(Arc<Mutex<Admission>>);

impl Doorkeeper {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self(Arc::new(Mutex::new(Admission::new(policy))))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Admission) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One session's place, given back when the session ends.
#[derive(Debug, Default)]
pub(crate) struct Entrance {
    keeper: Option<Doorkeeper>,
    ip: Option<IpAddr>,
    entered: bool,
}

impl Entrance {
    /// For a session from `ip`, which is counted once its handshake is finished.
    pub(crate) const fn new(keeper: Doorkeeper, ip: Option<IpAddr>) -> Self {
        Self {
            keeper: Some(keeper),
            ip,
            entered: false,
        }
    }

    /// Where the session comes from, if not over relays.
    pub(crate) const fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The handshake is finished: whether the session may stay.
    pub(crate) fn enter(&mut self) -> bool {
        let (Some(keeper), Some(ip)) = (&self.keeper, self.ip) else {
            return true;
        };
        self.entered = keeper.with(|a| a.enter(ip));
        self.entered
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        if let (true, Some(keeper), Some(ip)) = (self.entered, &self.keeper, self.ip) {
            keeper.with(|a| a.leave(ip));
        }
    }
}

/// A handler behind the doorkeeper.
#[derive(Clone, Debug)]
pub(crate) struct Admitted<H> {
    pub(crate) keeper: Doorkeeper,
    pub(crate) inner: H,
}

impl<H: Handler> Handler for Admitted<H> {
    type Exchange = H::Exchange;

    fn may_open(&mut self, now: Time, client: Client) -> bool {
        let counted = match client {
            Client::Direct(node) => self.keeper.with(|a| a.open(now, node)),
            Client::Anonymous => true,
        };
        counted && self.inner.may_open(now, client)
    }

    fn begin(&mut self, client: Client, request: Request) -> Result<H::Exchange, Response> {
        self.inner.begin(client, request)
    }

    fn body(&mut self, exchange: &mut H::Exchange, bytes: &[u8]) -> Result<(), Response> {
        self.inner.body(exchange, bytes)
    }

    fn end(&mut self, exchange: &mut H::Exchange) -> Response {
        self.inner.end(exchange)
    }

    fn read(&mut self, exchange: &mut H::Exchange, max: usize) -> Result<Bytes, ReadFailed> {
        self.inner.read(exchange, max)
    }
}
