//! Places for open streams. Whoever is listed, or is a node of the cluster, has all of them; strangers have a quarter together, and
//! few an address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_wire::ChargeTo;

/// Most open streams: nodes' work, events, states and logs of tasks.
pub(crate) const STREAMS_MAX: usize = 16_384;

/// Most of strangers.
pub(crate) const STRANGERS_MAX: usize = STREAMS_MAX / 4;

/// Most of strangers from one address.
pub(crate) const STRANGERS_AN_ADDRESS: usize = 64;

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    strangers: usize,
    by: BTreeMap<Option<ChargeTo>, usize>,
}

/// The places. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

/// A place of an open stream, free again once this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Places,
    stranger: Option<Option<ChargeTo>>,
}

impl Places {
    fn locked(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for somebody who is known.
    pub(crate) fn known(&self) -> Option<Place> {
        let mut taken = self.locked();
        if taken.all >= STREAMS_MAX {
            return None;
        }
        taken.all += 1;
        Some(Place {
            of: self.clone(),
            stranger: None,
        })
    }

    /// Takes a place for a stranger. Those over the mix have no address, and are charged together.
    pub(crate) fn stranger(&self, charge: Option<ChargeTo>) -> Option<Place> {
        let mut taken = self.locked();
        let full = taken.all >= STREAMS_MAX || taken.strangers >= STRANGERS_MAX;
        let most = match charge {
            Some(_) => STRANGERS_AN_ADDRESS,
            None => STRANGERS_MAX / 2,
        };
        if full || taken.by.get(&charge).is_some_and(|n| *n >= most) {
            return None;
        }
        taken.all += 1;
        taken.strangers += 1;
        *taken.by.entry(charge).or_default() += 1;
        Some(Place {
            of: self.clone(),
            stranger: Some(charge),
        })
    }

    /// Open streams.
    pub(crate) fn taken(&self) -> usize {
        self.locked().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.locked();
        taken.all -= 1;
        let Some(charge) = self.stranger else {
            return;
        };
        taken.strangers -= 1;
        if let Some(n) = taken.by.get_mut(&charge) {
            *n -= 1;
            if *n == 0 {
                taken.by.remove(&charge);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn address(n: u32) -> Option<ChargeTo> {
        Some(ChargeTo::address(IpAddr::V4(Ipv4Addr::from(n))))
    }

    #[test]
    fn strangers_have_a_quarter_and_64_an_address() {
        let places = Places::default();
        let mut held = Vec::new();
        while let Some(place) = places.stranger(address(1)) {
            held.push(place);
        }
        assert_eq!(held.len(), STRANGERS_AN_ADDRESS);
        for n in 2.. {
            match places.stranger(address(n)) {
                Some(place) => held.push(place),
                None => break,
            }
        }
        assert_eq!(held.len(), STRANGERS_MAX);
        let known: Vec<Place> = std::iter::from_fn(|| places.known()).collect();
        assert_eq!(known.len(), STREAMS_MAX - STRANGERS_MAX);
        drop(held);
        drop(known);
        assert_eq!(places.taken(), 0);
        assert!(places.locked().by.is_empty());
        assert!(places.stranger(None).is_some());
    }
}
