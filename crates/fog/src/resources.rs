use betanet_wire::cbor::{Reader, Writer};

use crate::item::item;
use crate::word::words;
use crate::{Item, Refusal, RefusalCode, Shape};

words! {
    /// One of the six resources, in the order of the placement tests.
    pub enum Resource {
        /// Processor, in thousandths of a core.
        Cpu = "cpu",
        /// Memory, in bytes.
        Memory = "memory",
        /// Storage, in bytes.
        Storage = "storage",
        /// Accelerators, in thousandths of a device.
        Gpu = "gpu",
        /// Network, in bit/s.
        Bandwidth = "bandwidth",
        /// Forwarded mix traffic, in bit/s.
        Relay = "relay",
    }
}

impl Resource {
    /// Most that a node has of it, and most that a task asks for.
    #[must_use]
    pub const fn most(self) -> u64 {
        match self {
            Self::Cpu => 1 << 22,
            Self::Memory | Self::Storage => 1 << 50,
            Self::Gpu => 64_000,
            Self::Bandwidth | Self::Relay => 1 << 40,
        }
    }
}

/// One device, in thousandths.
pub(crate) const DEVICE: u64 = 1000;

/// Amounts of the six resources, without bounds: sums over many nodes, quotas, and input that is yet to be checked.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Amounts {
    /// Processor, in thousandths of a core.
    pub cpu: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// Storage, in bytes.
    pub storage: u64,
    /// Accelerators, in thousandths of a device.
    pub gpu: u64,
    /// Network, in bit/s.
    pub bandwidth: u64,
    /// Forwarded mix traffic, in bit/s.
    pub relay: u64,
}

impl Amounts {
    /// The amount of one resource.
    #[must_use]
    pub const fn get(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
            Resource::Storage => self.storage,
            Resource::Gpu => self.gpu,
            Resource::Bandwidth => self.bandwidth,
            Resource::Relay => self.relay,
        }
    }

    /// Adds each resource; an amount stays below 2^63, so that it can be sent.
    pub fn add(&mut self, other: &Self) {
        const MOST: u64 = u64::MAX >> 1;
        let sum = |a: u64, b: u64| a.saturating_add(b).min(MOST);
        *self = Self {
            cpu: sum(self.cpu, other.cpu),
            memory: sum(self.memory, other.memory),
            storage: sum(self.storage, other.storage),
            gpu: sum(self.gpu, other.gpu),
            bandwidth: sum(self.bandwidth, other.bandwidth),
            relay: sum(self.relay, other.relay),
        };
    }
}

/// R in the chapter: what a node has, what is reserved or free on it, or what a task asks for.
///
/// Every amount is within [`Resource::most`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Resources {
    cpu: u32,
    gpu: u32,
    memory: u64,
    storage: u64,
    bandwidth: u64,
    relay: u64,
}

impl Resources {
    /// Nothing of each.
    pub const ZERO: Self = Self {
        cpu: 0,
        gpu: 0,
        memory: 0,
        storage: 0,
        bandwidth: 0,
        relay: 0,
    };

    /// Checks the bounds alone.
    ///
    /// # Errors
    ///
    /// `bad_value` with the name of the first resource that is out of bounds.
    pub fn new(amounts: Amounts) -> Result<Self, Refusal> {
        for r in Resource::ALL {
            if amounts.get(*r) > r.most() {
                return Err(RefusalCode::BadValue.of(r.as_str()));
            }
        }
        let small = |n: u64, r: Resource| {
            u32::try_from(n).map_err(|_| RefusalCode::BadValue.of(r.as_str()))
        };
        Ok(Self {
            cpu: small(amounts.cpu, Resource::Cpu)?,
            gpu: small(amounts.gpu, Resource::Gpu)?,
            memory: amounts.memory,
            storage: amounts.storage,
            bandwidth: amounts.bandwidth,
            relay: amounts.relay,
        })
    }

    /// The capacity of a node: its devices are whole.
    ///
    /// # Errors
    ///
    /// `bad_value` with the name of the resource.
    pub fn capacity(amounts: Amounts) -> Result<Self, Refusal> {
        let new = Self::new(amounts)?;
        new.check_capacity().map(|()| new)
    }

    /// The demand of a task: some processor and memory, and either whole devices or a share of one.
    ///
    /// # Errors
    ///
    /// `bad_value` with the name of the resource.
    pub fn demand(amounts: Amounts) -> Result<Self, Refusal> {
        let new = Self::new(amounts)?;
        new.check_demand().map(|()| new)
    }

    pub(crate) fn check_capacity(&self) -> Result<(), Refusal> {
        if self.gpu().is_multiple_of(DEVICE) {
            Ok(())
        } else {
            Err(RefusalCode::BadValue.of("gpu"))
        }
    }

    pub(crate) fn check_demand(&self) -> Result<(), Refusal> {
        let culprit = if self.cpu == 0 {
            "cpu"
        } else if self.memory == 0 {
            "memory"
        } else if self.gpu() > DEVICE && !self.gpu().is_multiple_of(DEVICE) {
            "gpu"
        } else {
            return Ok(());
        };
        Err(RefusalCode::BadValue.of(culprit))
    }

    /// Processor, in thousandths of a core.
    #[must_use]
    pub const fn cpu(&self) -> u64 {
        self.cpu as u64
    }

    /// Memory, in bytes.
    #[must_use]
    pub const fn memory(&self) -> u64 {
        self.memory
    }

    /// Storage, in bytes.
    #[must_use]
    pub const fn storage(&self) -> u64 {
        self.storage
    }

    /// Accelerators, in thousandths of a device.
    #[must_use]
    pub const fn gpu(&self) -> u64 {
        self.gpu as u64
    }

    /// Network, in bit/s.
    #[must_use]
    pub const fn bandwidth(&self) -> u64 {
        self.bandwidth
    }

    /// Forwarded mix traffic, in bit/s.
    #[must_use]
    pub const fn relay(&self) -> u64 {
        self.relay
    }

    /// The amount of one resource.
    #[must_use]
    pub const fn get(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Cpu => self.cpu(),
            Resource::Memory => self.memory,
            Resource::Storage => self.storage,
            Resource::Gpu => self.gpu(),
            Resource::Bandwidth => self.bandwidth,
            Resource::Relay => self.relay,
        }
    }

    /// All six amounts.
    #[must_use]
    pub const fn amounts(&self) -> Amounts {
        Amounts {
            cpu: self.cpu(),
            memory: self.memory,
            storage: self.storage,
            gpu: self.gpu(),
            bandwidth: self.bandwidth,
            relay: self.relay,
        }
    }

    /// The first resource, in the order of the placement tests, of which `room` has less than this asks for.
    #[must_use]
    pub fn first_over(&self, room: &Self) -> Option<Resource> {
        Resource::ALL
            .iter()
            .copied()
            .find(|r| self.get(*r) > room.get(*r))
    }

    /// Whether `room` has enough of each resource.
    #[must_use]
    pub const fn fits(&self, room: &Self) -> bool {
        self.cpu <= room.cpu
            && self.gpu <= room.gpu
            && self.memory <= room.memory
            && self.storage <= room.storage
            && self.bandwidth <= room.bandwidth
            && self.relay <= room.relay
    }

    /// The rest after taking `other`; `None` where one would fall below zero.
    #[must_use]
    pub const fn checked_sub(&self, other: &Self) -> Option<Self> {
        if !other.fits(self) {
            return None;
        }
        Some(Self {
            cpu: self.cpu - other.cpu,
            gpu: self.gpu - other.gpu,
            memory: self.memory - other.memory,
            storage: self.storage - other.storage,
            bandwidth: self.bandwidth - other.bandwidth,
            relay: self.relay - other.relay,
        })
    }

    /// Both together; `None` where one would exceed its bound.
    #[must_use]
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        let mut sum = self.amounts();
        sum.add(&other.amounts());
        Self::new(sum).ok()
    }
}

item!(Amounts {
    "cpu" cpu: u64,
    "gpu" gpu: u64,
    "relay" relay: u64,
    "memory" memory: u64,
    "storage" storage: u64,
    "bandwidth" bandwidth: u64,
});

impl Item for Resources {
    const SHAPE: Shape = Amounts::SHAPE;
    fn encode(&self, w: &mut Writer) {
        self.amounts().encode(w);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        Self::new(Amounts::decode(r)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_resources() -> impl Strategy<Value = Resources> {
        let each = |r: Resource| prop_oneof![Just(0), Just(r.most()), 0..=r.most()];
        (
            each(Resource::Cpu),
            each(Resource::Memory),
            each(Resource::Storage),
            each(Resource::Gpu),
            each(Resource::Bandwidth),
            each(Resource::Relay),
        )
            .prop_map(|(cpu, memory, storage, gpu, bandwidth, relay)| {
                let amounts = Amounts {
                    cpu,
                    memory,
                    storage,
                    gpu,
                    bandwidth,
                    relay,
                };
                Resources::new(amounts).unwrap()
            })
    }

    proptest! {
        #[test]
        fn what_is_taken_can_be_given_back(a in any_resources(), b in any_resources()) {
            prop_assert_eq!(a.fits(&b), a.first_over(&b).is_none());
            prop_assert_eq!(a.fits(&b), b.checked_sub(&a).is_some());
            if let Some(rest) = b.checked_sub(&a) {
                prop_assert_eq!(rest.checked_add(&a), Some(b));
            }
            match a.checked_add(&b) {
                Some(sum) => prop_assert_eq!(sum.checked_sub(&b), Some(a)),
                None => prop_assert!(Resource::ALL.iter().any(|r| a.get(*r) + b.get(*r) > r.most())),
            }
        }
    }

    #[test]
    fn each_resource_has_its_bound_and_is_named() {
        for r in Resource::ALL {
            let over = |n| {
                let mut amounts = Amounts::default();
                match r {
                    Resource::Cpu => amounts.cpu = n,
                    Resource::Memory => amounts.memory = n,
                    Resource::Storage => amounts.storage = n,
                    Resource::Gpu => amounts.gpu = n,
                    Resource::Bandwidth => amounts.bandwidth = n,
                    Resource::Relay => amounts.relay = n,
                }
                Resources::new(amounts).map(|made| made.get(*r))
            };
            assert_eq!(over(r.most()), Ok(r.most()));
            for n in [r.most() + 1, u64::MAX] {
                assert_eq!(over(n), Err(RefusalCode::BadValue.of(r.as_str())));
            }
        }
    }

    #[test]
    fn a_node_has_whole_devices_and_a_task_may_ask_for_a_share_of_one() {
        let with = |gpu| Amounts {
            cpu: 1,
            memory: 1,
            gpu,
            ..Amounts::default()
        };
        let bad = Err(RefusalCode::BadValue.of("gpu"));
        for (gpu, capacity, demand) in [
            (0, true, true),
            (250, false, true),
            (1000, true, true),
            (1250, false, false),
            (64_000, true, true),
        ] {
            let of = |good| if good { Resources::new(with(gpu)) } else { bad };
            assert_eq!(Resources::capacity(with(gpu)), of(capacity), "{gpu}");
            assert_eq!(Resources::demand(with(gpu)), of(demand), "{gpu}");
        }
        let idle = Amounts::default();
        assert_eq!(
            Resources::demand(idle),
            Err(RefusalCode::BadValue.of("cpu"))
        );
        assert_eq!(
            Resources::demand(Amounts { cpu: 1, ..idle }),
            Err(RefusalCode::BadValue.of("memory"))
        );
    }
}
