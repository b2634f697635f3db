//! Limits concurrent requests to an origin: each has a connection to it and read-ahead of its answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_wire::ChargeTo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of concurrent requests of all visitors.
pub(super) const AT_ONCE: usize = 512;
/// Maximum number of one address: as many as one connection over HTTP/2 may have.
pub(super) const AT_ONCE_AN_ADDRESS: usize = 128;

/// Permits of an address, and the number of requests that hold or await one.
type Own = (Arc<Semaphore>, usize);

/// Places for requests. A request without one waits.
pub(super) struct Places {
    all: Arc<Semaphore>,
    own: Mutex<BTreeMap<ChargeTo, Own>>,
}

/// A request that holds or awaits a place.
struct Guest {
    places: Arc<Places>,
    charge: ChargeTo,
}

/// One place, freed on drop.
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _guest: Guest,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(AT_ONCE)),
            own: Mutex::default(),
        })
    }

    /// Waits for a place for a request of this visitor; `None` only if a semaphore were closed.
    pub(super) async fn enter(self: &Arc<Self>, visitor: Option<SocketAddr>) -> Option<Place> {
        let charge = visitor.map_or(ChargeTo::Unknown, |v| ChargeTo::address(v.ip()));
        let (guest, own) = self.guest(charge);
        let own = own.acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place {
            _all: all,
            _own: own,
            _guest: guest,
        })
    }

    fn guest(self: &Arc<Self>, charge: ChargeTo) -> (Guest, Arc<Semaphore>) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let (semaphore, guests) = own
            .entry(charge)
            .or_insert_with(|| (Arc::new(Semaphore::new(AT_ONCE_AN_ADDRESS)), 0));
        *guests += 1;
        let guest = Guest {
            places: Arc::clone(self),
            charge,
        };
        (guest, Arc::clone(semaphore))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let own = &self.places.own;
        let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, guests)) = own.get_mut(&self.charge) {
            *guests -= 1;
            if *guests == 0 {
                own.remove(&self.charge);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn an_address_has_its_part_and_all_have_no_more_than_there_is() {
        let places = Places::new();
        let of = |n: u16| {
            let [a, b] = n.to_be_bytes();
            Some(SocketAddr::from(([192, 0, a, b], 1)))
        };
        let enter = |n| places.enter(of(n)).now_or_never().flatten();
        let mut held: Vec<_> = (0..200).filter_map(|_| enter(1)).collect();
        assert_eq!(held.len(), AT_ONCE_AN_ADDRESS);
        held.extend((2..1000).filter_map(enter));
        assert_eq!(held.len(), AT_ONCE);
        // A waiting request gets the place of a finished one.
        let mut waits = std::pin::pin!(places.enter(of(1)));
        assert!(waits.as_mut().now_or_never().is_none());
        held.remove(0);
        assert!(waits.now_or_never().flatten().is_some());
        drop(held);
        assert!(places.own.lock().unwrap().is_empty());
    }
}
