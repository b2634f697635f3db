//! Places and memory of requests until they are answered: bounded in all, and for each address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_wire::ChargeTo;

/// Most bytes of all bodies.
pub(crate) const BODIES: usize = 32 << 20;
/// Most bytes of the bodies from one address.
pub(crate) const BODIES_AN_ADDRESS: usize = BODIES / 8;
/// Most bytes of all bodies over the mix, whose callers have no address.
pub(crate) const BODIES_OVER_MIX: usize = BODIES / 2;
/// Most requests under way.
pub(crate) const REQUESTS: usize = 512;
/// Most requests under way from one address.
pub(crate) const REQUESTS_AN_ADDRESS: usize = 64;
/// Most requests under way over the mix.
pub(crate) const REQUESTS_OVER_MIX: usize = REQUESTS / 2;

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

/// The places and the memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<Mutex<All>>);

/// The place of one request with the memory of its body. Both are free again once this is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    of: Room,
    charge: Option<ChargeTo>,
    bytes: usize,
}

impl Room {
    fn locked(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place without bytes, if there is one. A caller over the mix has no charge.
    pub(crate) fn part(&self, charge: Option<ChargeTo>) -> Option<Part> {
        let mut taken = self.locked();
        let most = match charge {
            Some(_) => REQUESTS_AN_ADDRESS,
            None => REQUESTS_OVER_MIX,
        };
        let of_charge = taken.by.get(&charge).map_or(0, |t| t.requests);
        if taken.all.requests >= REQUESTS || of_charge >= most {
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
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let mut taken = self.of.locked();
        let most = match self.charge {
            Some(_) => BODIES_AN_ADDRESS,
            None => BODIES_OVER_MIX,
        };
        let of_charge = taken.by.get(&self.charge).map_or(0, |t| t.bytes);
        if taken.all.bytes + bytes > BODIES || of_charge + bytes > most {
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

    fn address(n: u32) -> Option<ChargeTo> {
        Some(ChargeTo::address(IpAddr::V4(Ipv4Addr::from(n))))
    }

    #[test]
    fn bodies_take_32_mib_and_an_eighth_of_it_an_address() {
        let room = Room::default();
        let mut held = Vec::new();
        for n in 0..9 {
            let mut part = room.part(address(n)).unwrap();
            assert!(!part.grow(BODIES_AN_ADDRESS + 1));
            assert_eq!(part.grow(BODIES_AN_ADDRESS), n < 8);
            held.push(part);
        }
        drop(held);
        let mut mixed = room.part(None).unwrap();
        assert!(mixed.grow(BODIES_OVER_MIX) && !room.part(None).unwrap().grow(1));
        drop(mixed);
        assert_eq!(room.locked().all.bytes, 0);
    }

    #[test]
    fn requests_under_way_are_512_and_64_an_address_and_256_over_the_mix() {
        let room = &Room::default();
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
