//! Memory for the bodies of requests, until these are answered: bounded in all, and for each address.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_wire::ChargeTo;

/// Most bytes of all bodies.
pub(crate) const BODIES: usize = 64 << 20;

/// Most bytes of the bodies from one address.
pub(crate) const BODIES_AN_ADDRESS: usize = BODIES / 8;

/// Most bytes of all bodies over the mix, whose callers have no address. They leave as much to those who come directly.
pub(crate) const BODIES_OVER_MIX: usize = BODIES / 2;

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: BTreeMap<Option<ChargeTo>, usize>,
}

/// The memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<Mutex<Taken>>);

/// The part that one body has taken. It is free again once this is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    of: Room,
    charge: Option<ChargeTo>,
    bytes: usize,
}

impl Room {
    fn locked(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part without bytes. A caller over the mix has no charge.
    pub(crate) fn part(&self, charge: Option<ChargeTo>) -> Part {
        Part {
            of: self.clone(),
            charge,
            bytes: 0,
        }
    }
}

impl Part {
    /// Takes more bytes. Returns whether there is room for them.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let mut taken = self.of.locked();
        let of_charge = taken.by.get(&self.charge).copied().unwrap_or(0);
        let most = match self.charge {
            Some(_) => BODIES_AN_ADDRESS,
            None => BODIES_OVER_MIX,
        };
        if taken.all + bytes > BODIES || of_charge + bytes > most {
            return false;
        }
        taken.all += bytes;
        taken.by.insert(self.charge, of_charge + bytes);
        self.bytes += bytes;
        true
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut taken = self.of.locked();
        taken.all -= self.bytes;
        if let Some(n) = taken.by.get_mut(&self.charge) {
            *n -= self.bytes;
            if *n == 0 {
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
    fn callers_over_the_mix_together_have_half_and_leave_the_other() {
        let room = Room::default();
        let mut mixed = Vec::new();
        for _ in 0..1000 {
            let mut part = room.part(None);
            if !part.grow(1 << 20) {
                break;
            }
            mixed.push(part);
        }
        assert_eq!(mixed.len(), 32);
        for n in 0..4 {
            assert!(room.part(address(n)).grow(BODIES_AN_ADDRESS));
        }
    }

    #[test]
    fn bodies_take_64_mib_and_an_eighth_of_it_an_address() {
        const MIB: usize = 1 << 20;
        let room = Room::default();
        let mut held = Vec::new();
        for n in 0..9 {
            loop {
                let mut part = room.part(address(n));
                if !part.grow(MIB) {
                    break;
                }
                held.push(part);
            }
            let expected = (8 * (n as usize + 1)).min(64);
            assert_eq!(held.len(), expected, "after {} addresses", n + 1);
        }
        // A refused growth takes no room, and a dropped part frees its room.
        held.pop();
        let mut part = room.part(address(20));
        assert!(!part.grow(2 * MIB));
        assert!(part.grow(MIB));
        drop((part, held));
        let taken = room.locked();
        assert_eq!(taken.all, 0);
        assert!(taken.by.is_empty());
    }
}
