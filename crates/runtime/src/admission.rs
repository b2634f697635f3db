//! How many sessions one address may have, and how fast one peer may open streams.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use betanet_bar::{Client, Handler, ReadFailed, Request, Response};
use betanet_machine::Time;
use betanet_mesh::{Admission, Policy};
use betanet_wire::{ChargeTo, NodeId};
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

/// One session's place, given back when the session ends. Clones are the same place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entrance(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    keeper: Option<Doorkeeper>,
    ip: Option<IpAddr>,
    charge: Option<ChargeTo>,
    entered: OnceLock<bool>,
}

impl Entrance {
    /// For a session from `ip`, where it came directly, which is counted once its handshake is finished. What it makes this node
    /// hold is charged to `charge`.
    pub(crate) fn new(keeper: Doorkeeper, ip: Option<IpAddr>, charge: ChargeTo) -> Self {
        Self(Arc::new(Place {
            keeper: Some(keeper),
            ip,
            charge: Some(charge),
            entered: OnceLock::new(),
        }))
    }

    /// Where the session comes from, if not over relays.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.0.ip
    }

    /// Who pays for what the session makes this node hold: whom this node dialled pays as that node.
    pub(crate) fn charge(&self, peer: NodeId) -> ChargeTo {
        self.0.charge.unwrap_or(ChargeTo::Node(peer))
    }

    /// The handshake is finished: whether the session may stay. Asked again, the answer is the same.
    pub(crate) fn enter(&self) -> bool {
        let (Some(keeper), Some(ip)) = (&self.0.keeper, self.0.ip) else {
            return true;
        };
        *self.0.entered.get_or_init(|| keeper.with(|a| a.enter(ip)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (Some(true), Some(keeper), Some(ip)) = (self.entered.get(), &self.keeper, self.ip) {
            keeper.with(|a| a.leave(ip));
        }
    }
}

/// A handler behind the doorkeeper.
#[derive(Clone, Debug)]
pub(crate) struct Admitted<H> {
    pub(crate) keeper: Doorkeeper,
    pub(crate) entrance: Entrance,
    pub(crate) inner: H,
}

impl<H: Handler> Handler for Admitted<H> {
    type Exchange = H::Exchange;

    fn may_open(&mut self, now: Time, client: Client) -> bool {
        // What came with the handshake's end is not answered before the session may stay.
        let counted = match client {
            Client::Direct(node) => {
                let charge = self.entrance.charge(node);
                self.keeper.with(|a| a.open(now, node, charge))
            }
            Client::Anonymous => true,
        };
        self.entrance.enter() && counted && self.inner.may_open(now, client)
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

    fn poll_end(&mut self, exchange: &mut H::Exchange) -> Option<Response> {
        self.inner.poll_end(exchange)
    }

    fn read(&mut self, exchange: &mut H::Exchange, max: usize) -> Result<Bytes, ReadFailed> {
        self.inner.read(exchange, max)
    }
}
