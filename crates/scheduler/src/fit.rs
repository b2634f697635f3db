//! What a node can take, in a form of which the best of many nodes is one value.

use betanet_fog::{Level, Resource, Resources, Tier};

/// Number of a class.
pub(crate) type ClassId = u16;

const MEMORY: usize = 0;
const STORAGE: usize = 1;
const BANDWIDTH: usize = 2;
const RELAY: usize = 3;
const CPU: usize = 4;
const PRICE: usize = 5;
const REP: usize = 6;
const SHARE: usize = 7;
const WHOLE: usize = 8;
const YIELD: usize = 9;
const LEVEL: usize = 10;
const CLASS: usize = 11;
const LANES: usize = 12;

/// Bit of [`Fit::facts`] that every node has.
pub(crate) const ANY: u64 = 1 << 63;

/// A monotone image in 16 bits: exact below 1 024, within a thousandth above. More free in truth is never less here, so a
/// comparison of images rejects no node that fits.
fn image(n: u64) -> i16 {
    let code = match n.checked_ilog2() {
        Some(bits) if bits >= 10 => u64::from(bits - 9) << 10 | (n >> (bits - 10) & 1_023),
        _ => n,
    };
    // At most 55 · 1 024.
    i16::try_from(i64::try_from(code).unwrap_or(0) - 32_768).unwrap_or(i16::MAX)
}

/// The same for amounts of which less is better.
fn falling(n: u64) -> i16 {
    -1 - image(n)
}

/// What a node has free and offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) free: Resources,
    /// Largest free share of one device, and the number of free devices.
    pub(crate) devices: (u64, u64),
    pub(crate) price: u32,
    pub(crate) rep: u32,
    pub(crate) level: Level,
    /// Whether it has bronze copies, and silver ones that may be preempted.
    pub(crate) yielding: (bool, bool),
}

/// An offer, or the best of each part among several, each part as its image. Two fit into one line of a processor's cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fit {
    /// One lane for each part; more is better. The last lane is the number of the class, for a single node.
    lanes: [i16; LANES],
    /// Bits of the facts about the node's class.
    facts: u64,
}

impl Fit {
    /// No node at all: it admits nothing.
    pub(crate) const NONE: Self = Self {
        lanes: [i16::MIN; LANES],
        facts: 0,
    };

    pub(crate) fn new(offer: &Offer, class: ClassId, facts: u64) -> Self {
        let mut lanes = [i16::MIN; LANES];
        let free = |r| image(offer.free.get(r));
        lanes[MEMORY] = free(Resource::Memory);
        lanes[STORAGE] = free(Resource::Storage);
        lanes[BANDWIDTH] = free(Resource::Bandwidth);
        lanes[RELAY] = free(Resource::Relay);
        lanes[CPU] = free(Resource::Cpu);
        lanes[PRICE] = falling(offer.price.into());
        lanes[REP] = image(offer.rep.into());
        lanes[SHARE] = image(offer.devices.0);
        lanes[WHOLE] = image(offer.devices.1);
        lanes[YIELD] = match offer.yielding {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        lanes[LEVEL] = image(offer.level as u64);
        lanes[CLASS] = i16::from_be_bytes(class.to_be_bytes());
        Self {
            lanes,
            facts: facts | ANY,
        }
    }

    /// The best of both, part by part.
    #[inline]
    pub(crate) fn join(&mut self, other: &Self) {
        for (a, b) in self.lanes.iter_mut().zip(&other.lanes) {
            *a = (*a).max(*b);
        }
        self.facts |= other.facts;
    }

    /// Class of a single node.
    #[inline]
    pub(crate) fn class(&self) -> ClassId {
        ClassId::from_be_bytes(self.lanes[CLASS].to_be_bytes())
    }
}

/// Most conditions on values that a [`Want`] holds. Those beyond are tested one node at a time.
const TERMS: usize = 4;

/// Lower bounds of what a copy asks: it goes to no node whose [`Fit`] does not admit it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    need: [i16; LANES],
    /// Each has a bit in common with the facts of every node that may pass.
    terms: [u64; TERMS],
    used: usize,
}

impl Want {
    /// A demand at the price factor `f`, with bounds on reputation and level.
    pub(crate) fn new(demand: &Resources, f: u64, rep: u64, level: Level) -> Self {
        let (whole, share) = crate::account::devices(demand);
        let mut need = [i16::MIN; LANES];
        let asked = |r| image(demand.get(r));
        need[MEMORY] = asked(Resource::Memory);
        need[STORAGE] = asked(Resource::Storage);
        need[BANDWIDTH] = asked(Resource::Bandwidth);
        need[RELAY] = asked(Resource::Relay);
        need[CPU] = asked(Resource::Cpu);
        need[PRICE] = falling(f);
        need[REP] = image(rep);
        need[SHARE] = image(share);
        need[WHOLE] = image(whole);
        need[LEVEL] = image(level as u64);
        Self {
            need,
            terms: [ANY; TERMS],
            used: 0,
        }
    }

    /// The same, with a condition on facts besides.
    pub(crate) fn and(mut self, facts: u64) -> Self {
        if let Some(term) = self.terms.get_mut(self.used) {
            *term = facts;
            self.used += 1;
        }
        self
    }

    /// The same, but resources are taken from copies that yield to `tier`.
    pub(crate) fn taking(mut self, tier: Tier) -> Self {
        for lane in [MEMORY, STORAGE, BANDWIDTH, RELAY, CPU, SHARE, WHOLE] {
            self.need[lane] = i16::MIN;
        }
        self.need[YIELD] = if tier > Tier::Silver { 1 } else { 2 };
        self
    }

    /// Whether a node, or one of several, may take it.
    #[inline]
    pub(crate) fn admits(&self, fit: &Fit) -> bool {
        let mut all = true;
        for (n, f) in self.need.iter().zip(&fit.lanes) {
            all &= n <= f;
        }
        for term in &self.terms {
            all &= term & fit.facts != 0;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn images_keep_the_order(a in any::<u64>(), bits in 0..64u32, step in any::<u64>()) {
            let a = a >> bits;
            let b = a.saturating_add(step >> bits);
            prop_assert!(image(a) <= image(b));
            prop_assert!(falling(a) >= falling(b));
            // Within a thousandth: an image tells a node from one with twice as much.
            if a > 0 {
                prop_assert!(image(a) < image(a.saturating_mul(2)) || a > u64::MAX / 2);
            }
        }
    }
}
