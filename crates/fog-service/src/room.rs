//! Bounds of the bodies of requests, until they are answered.

use betanet_session::{Room, Share};

/// Most bytes of all bodies.
const BODIES: usize = 64 << 20;

/// Most bytes of the bodies from one address.
const BODIES_AN_ADDRESS: usize = BODIES / 8;

/// Most bytes of all bodies over the mix, whose callers have no address. They leave as much to those who come directly.
pub(crate) const BODIES_OVER_MIX: usize = BODIES / 2;

/// Room for bodies. Requests are bounded by the streams of sessions.
pub(crate) fn room() -> Room {
    let bytes = Share {
        all: BODIES,
        address: BODIES_AN_ADDRESS,
        mix: BODIES_OVER_MIX,
    };
    Room::new(Share::UNBOUNDED, bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use betanet_session::Part;
    use betanet_wire::ChargeTo;

    use super::*;

    const MIB: usize = 1 << 20;

    fn address(n: u32) -> Option<ChargeTo> {
        Some(ChargeTo::address(IpAddr::V4(Ipv4Addr::from(n))))
    }

    /// Takes 1 MiB after another, until there is no room.
    fn fill(room: &Room, charge: Option<ChargeTo>) -> Vec<Part> {
        let one = || {
            let mut part = room.part(charge)?;
            part.grow(MIB).then_some(part)
        };
        std::iter::from_fn(one).take(1000).collect()
    }

    #[test]
    fn callers_over_the_mix_together_have_half_and_leave_the_other() {
        let room = room();
        let mixed = fill(&room, None);
        assert_eq!(mixed.len(), 32);
        for n in 0..4 {
            assert!(room.part(address(n)).unwrap().grow(BODIES_AN_ADDRESS));
        }
    }

    #[test]
    fn bodies_take_64_mib_and_an_eighth_of_it_an_address() {
        let room = room();
        let all: Vec<Vec<Part>> = (0..9).map(|n| fill(&room, address(n))).collect();
        let lens: Vec<usize> = all.iter().map(Vec::len).collect();
        assert_eq!(lens, [8, 8, 8, 8, 8, 8, 8, 8, 0]);
        drop(all);
        assert_eq!(fill(&room, address(20)).len(), 8);
    }
}
