//! What a node can take, in a form of which the best of many nodes is one value.

use betanet_fog::{Resource, Resources};

/// Free resources, price, reputation and preemptible copies of a node; or the best of each among several nodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fit {
    pub(crate) memory: u64,
    pub(crate) storage: u64,
    pub(crate) bandwidth: u64,
    pub(crate) relay: u64,
    pub(crate) cpu: u32,
    pub(crate) price: u32,
    pub(crate) rep: u32,
    /// Largest free share of one device.
    pub(crate) share: u16,
    /// Number of free devices.
    pub(crate) whole: u8,
    /// Bit 0: has bronze copies. Bit 1: has silver copies that may be preempted.
    pub(crate) take: u8,
}

impl Fit {
    /// No node at all: it admits nothing.
    pub(crate) const NONE: Self = Self {
        memory: 0,
        storage: 0,
        bandwidth: 0,
        relay: 0,
        cpu: 0,
        price: u32::MAX,
        rep: 0,
        share: 0,
        whole: 0,
        take: 0,
    };

    /// The best of both, field by field.
    #[inline]
    pub(crate) fn join(&mut self, other: &Self) {
        self.memory = self.memory.max(other.memory);
        self.storage = self.storage.max(other.storage);
        self.bandwidth = self.bandwidth.max(other.bandwidth);
        self.relay = self.relay.max(other.relay);
        self.cpu = self.cpu.max(other.cpu);
        self.price = self.price.min(other.price);
        self.rep = self.rep.max(other.rep);
        self.share = self.share.max(other.share);
        self.whole = self.whole.max(other.whole);
        self.take |= other.take;
    }
}

/// Lower bounds of what a copy asks: it goes to no node whose [`Fit`] does not admit it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    need: Fit,
}

impl Want {
    /// A demand at the price factor `f`, with a bound on reputation.
    pub(crate) fn new(demand: &Resources, f: u64, rep: u64) -> Self {
        let (whole, share) = crate::account::devices(demand);
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            need: Fit {
                memory: demand.get(Resource::Memory),
                storage: demand.get(Resource::Storage),
                bandwidth: demand.get(Resource::Bandwidth),
                relay: demand.get(Resource::Relay),
                cpu: small(demand.get(Resource::Cpu)),
                price: small(f),
                rep: small(rep),
                share: u16::try_from(share).unwrap_or(u16::MAX),
                whole: u8::try_from(whole).unwrap_or(u8::MAX),
                take: 0,
            },
        }
    }

    /// The same, but resources are taken from copies of the tiers in `mask`.
    pub(crate) fn taking(mut self, mask: u8) -> Self {
        self.need = Fit {
            price: self.need.price,
            rep: self.need.rep,
            take: mask,
            ..Fit::NONE
        };
        self
    }

    /// Whether a node, or one of several, may take it.
    #[inline]
    pub(crate) fn admits(&self, fit: &Fit) -> bool {
        let n = &self.need;
        n.cpu <= fit.cpu
            && n.memory <= fit.memory
            && n.share <= fit.share
            && n.whole <= fit.whole
            && n.storage <= fit.storage
            && n.bandwidth <= fit.bandwidth
            && n.relay <= fit.relay
            && n.price >= fit.price
            && n.rep <= fit.rep
            && (n.take == 0 || n.take & fit.take != 0)
    }
}
