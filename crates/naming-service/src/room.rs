//! Bounds of requests about names until they are answered.

use betanet_session::{Room, Share};

/// Most bytes of all bodies.
const BODIES: usize = 32 << 20;
/// Most bytes of the bodies from one address.
const BODIES_AN_ADDRESS: usize = BODIES / 8;
/// Most bytes of all bodies over the mix, whose callers have no address.
const BODIES_OVER_MIX: usize = BODIES / 2;
/// Most requests under way.
const REQUESTS: usize = 512;
/// Most requests under way from one address.
const REQUESTS_AN_ADDRESS: usize = 64;
/// Most requests under way over the mix.
const REQUESTS_OVER_MIX: usize = REQUESTS / 2;

pub(crate) fn room() -> Room {
    let requests = Share {
        all: REQUESTS,
        address: REQUESTS_AN_ADDRESS,
        mix: REQUESTS_OVER_MIX,
    };
    let bytes = Share {
        all: BODIES,
        address: BODIES_AN_ADDRESS,
        mix: BODIES_OVER_MIX,
    };
    Room::new(requests, bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use betanet_session::Part;
    use betanet_wire::ChargeTo;

    use super::*;

    fn address(n: u32) -> Option<ChargeTo> {
        Some(ChargeTo::address(IpAddr::V4(Ipv4Addr::from(n))))
    }

    #[test]
    fn bodies_take_32_mib_and_an_eighth_of_it_an_address() {
        let room = room();
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
        let room = &room();
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
