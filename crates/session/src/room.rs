//! Places and memory of a service's requests until they are answered: bounded in all, and for each address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_wire::ChargeTo;

/// Most bytes of all bodies of a [`Room::standard`].
const BODIES: usize = 32 << 20;
/// Most bytes of the bodies from one address.
const BODIES_AN_ADDRESS: usize = BODIES / 8;
/// Most bytes of all bodies over the mix.
const BODIES_OVER_MIX: usize = BODIES / 2;
/// Most requests under way in a [`Room::standard`].
const UNDER_WAY: usize = 512;
/// Most requests under way from one address.
const UNDER_WAY_AN_ADDRESS: usize = 64;
/// Most requests under way over the mix.
const UNDER_WAY_OVER_MIX: usize = UNDER_WAY / 2;

/// Bounds of one resource of a [`Room`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Share {
    /// Of all callers.
    pub all: usize,
    /// Of one address.
    pub address: usize,
    /// Of all callers over the mix, who have no address. The rest is left to those who come directly.
    pub mix: usize,
}

impl Share {
    /// No bound.
    pub const UNBOUNDED: Self = Self {
        all: usize::MAX,
        address: usize::MAX,
        mix: usize::MAX,
    };

    /// Whether there is room for `more` where `all` and `own` are taken.
    const fn has(&self, charge: Option<ChargeTo>, all: usize, own: usize, more: usize) -> bool {
        let most = match charge {
            Some(_) => self.address,
            None => self.mix,
        };
        all.saturating_add(more) <= self.all && own.saturating_add(more) <= most
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    requests: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct All {
    all: Taken,
    by: BTreeMap<Option<ChargeTo>, Taken>,
}

/// The places and the memory for the requests of a service. Clones share them.
#[derive(Clone, Debug)]
pub struct Room {
    requests: Share,
    bytes: Share,
    taken: Arc<Mutex<All>>,
}

/// The place of one request with the memory of its body. Both are free again once this is dropped.
#[derive(Debug)]
pub struct Part {
    of: Room,
    charge: Option<ChargeTo>,
    bytes: usize,
}

impl Room {
    /// Room for so many requests under way, and so many bytes of their bodies.
    #[must_use]
    pub fn new(requests: Share, bytes: Share) -> Self {
        Self {
            requests,
            bytes,
            taken: Arc::default(),
        }
    }

    /// Room for the requests of a service whose bodies are small: 512 requests and 32 MiB.
    #[must_use]
    pub fn standard() -> Self {
        let requests = Share {
            all: UNDER_WAY,
            address: UNDER_WAY_AN_ADDRESS,
            mix: UNDER_WAY_OVER_MIX,
        };
        let bytes = Share {
            all: BODIES,
            address: BODIES_AN_ADDRESS,
            mix: BODIES_OVER_MIX,
        };
        Self::new(requests, bytes)
    }

    fn locked(&self) -> MutexGuard<'_, All> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place without bytes, if there is one. A caller over the mix has no charge.
    #[must_use]
    pub fn part(&self, charge: Option<ChargeTo>) -> Option<Part> {
        let mut taken = self.locked();
        let own = taken.by.get(&charge).map_or(0, |t| t.requests);
        if !self.requests.has(charge, taken.all.requests, own, 1) {
            return None;
        }
        taken.all.requests += 1;
        taken.by.entry(charge).or_default().requests += 1;
        Some(Part {
            of: self.clone(),
            charge,
            bytes: 0,
        })
    }
}

impl Part {
    /// Takes more bytes. Returns whether there is room for them.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let mut taken = self.of.locked();
        let own = taken.by.get(&self.charge).map_or(0, |t| t.bytes);
        if !self.of.bytes.has(self.charge, taken.all.bytes, own, bytes) {
            return false;
        }
        taken.all.bytes += bytes;
        taken.by.entry(self.charge).or_default().bytes += bytes;
        self.bytes += bytes;
        true
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut taken = self.of.locked();
        taken.all.bytes -= self.bytes;
        taken.all.requests -= 1;
        if let Some(of) = taken.by.get_mut(&self.charge) {
            of.bytes -= self.bytes;
            of.requests -= 1;
            if of.requests == 0 {
                taken.by.remove(&self.charge);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const REQUESTS: Share = Share {
        all: 10,
        address: 3,
        mix: 5,
    };
    const BYTES: Share = Share {
        all: 100,
        address: 20,
        mix: 50,
    };

    fn address(n: u32) -> Option<ChargeTo> {
        Some(ChargeTo::address(IpAddr::V4(Ipv4Addr::from(n))))
    }

    fn take(room: &Room, charge: Option<ChargeTo>) -> Vec<Part> {
        std::iter::from_fn(|| room.part(charge))
            .take(1000)
            .collect()
    }

    #[test]
    fn places_are_few_in_all_and_for_each_address_and_over_the_mix() {
        let room = Room::new(REQUESTS, BYTES);
        let (first, mixed) = (take(&room, address(1)), take(&room, None));
        assert_eq!((first.len(), mixed.len()), (3, 5));
        let rest = (take(&room, address(2)), take(&room, address(3)));
        assert_eq!((rest.0.len(), rest.1.len()), (2, 0));
        drop(first);
        assert_eq!(take(&room, address(3)).len(), 3);
        drop((mixed, rest));
        let taken = room.locked();
        assert_eq!((taken.all.requests, taken.by.len()), (0, 0));
    }

    #[test]
    fn bytes_are_few_in_all_and_for_each_address_and_over_the_mix() {
        let room = Room::new(Share::UNBOUNDED, BYTES);
        let mut held = Vec::new();
        for n in 0..6 {
            let mut part = room.part(address(n)).unwrap();
            // A refused growth takes nothing.
            assert!(!part.grow(21) && !part.grow(usize::MAX));
            assert_eq!(part.grow(20), n < 5);
            assert!(!part.grow(1));
            held.push(part);
        }
        drop(held);
        let mut mixed = room.part(None).unwrap();
        assert!(mixed.grow(30) && !mixed.grow(21));
        let mut other = room.part(None).unwrap();
        assert!(other.grow(20) && !other.grow(1));
        drop((mixed, other));
        let taken = room.locked();
        assert_eq!((taken.all.bytes, taken.by.len()), (0, 0));
    }

    #[test]
    fn bodies_take_32_mib_and_an_eighth_of_it_an_address() {
        let room = Room::standard();
        let mut held = Vec::new();
        for n in 0..9 {
            let mut part = room.part(address(n)).unwrap();
            assert!(!part.grow((4 << 20) + 1));
            assert_eq!(part.grow(4 << 20), n < 8);
            held.push(part);
        }
        drop(held);
        let mut mixed = room.part(None).unwrap();
        assert!(mixed.grow(16 << 20) && !room.part(None).unwrap().grow(1));
        assert!(room.part(address(1)).unwrap().grow(4 << 20));
    }

    #[test]
    fn requests_under_way_are_512_and_64_an_address_and_256_over_the_mix() {
        let room = &Room::standard();
        let take = |charge| std::iter::from_fn(move || room.part(charge)).take(1_000);
        let first: Vec<Part> = take(address(1)).collect();
        let mixed: Vec<Part> = take(None).collect();
        assert_eq!((first.len(), mixed.len()), (64, 256));
        let mut others = Vec::new();
        for n in 2..9 {
            others.extend(take(address(n)));
        }
        assert_eq!(first.len() + mixed.len() + others.len(), 512);
        drop(first);
        assert!(room.part(address(1)).is_some());
    }
}
