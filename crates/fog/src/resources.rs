use crate::Reason;

/// Thousandths of one GPU device: gpu amounts are whole devices, or a share of one.
pub const DEVICE: u64 = 1_000;

/// A kind of resource, in the order of the placement tests.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Resource {
    /// Millicores.
    Cpu,
    /// Bytes.
    Memory,
    /// Bytes.
    Storage,
    /// Thousandths of a device.
    Gpu,
    /// Bit/s.
    Bandwidth,
    /// Bit/s of mix traffic that the node forwards.
    Relay,
}

impl Resource {
    /// All kinds, in the order of the placement tests.
    pub const ALL: [Self; 6] = [
        Self::Cpu,
        Self::Memory,
        Self::Storage,
        Self::Gpu,
        Self::Bandwidth,
        Self::Relay,
    ];

    /// The key of the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Storage => "storage",
            Self::Gpu => "gpu",
            Self::Bandwidth => "bandwidth",
            Self::Relay => "relay",
        }
    }

    /// The largest amount that a record may name.
    #[must_use]
    pub const fn most(self) -> u64 {
        match self {
            Self::Cpu => 1 << 22,
            Self::Memory | Self::Storage => 1 << 50,
            Self::Gpu => 64_000,
            Self::Bandwidth | Self::Relay => 1 << 40,
        }
    }

    /// The reason of a node that never has enough of it.
    #[must_use]
    pub const fn total(self) -> Reason {
        match self {
            Self::Cpu => Reason::CpuTotal,
            Self::Memory => Reason::MemoryTotal,
            Self::Storage => Reason::StorageTotal,
            Self::Gpu => Reason::GpuTotal,
            Self::Bandwidth => Reason::BandwidthTotal,
            Self::Relay => Reason::RelayTotal,
        }
    }

    /// The reason of a node that has too little of it free.
    #[must_use]
    pub const fn free(self) -> Reason {
        match self {
            Self::Cpu => Reason::CpuFree,
            Self::Memory => Reason::MemoryFree,
            Self::Storage => Reason::StorageFree,
            Self::Gpu => Reason::GpuFree,
            Self::Bandwidth => Reason::BandwidthFree,
            Self::Relay => Reason::RelayFree,
        }
    }
}

/// An amount of each resource, each at most [`Resource::most`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Resources([u64; 6]);

/// An amount is above its bound, or a gpu amount is neither whole devices nor a share of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{} is out of bounds", .0.as_str())]
pub struct OutOfBounds(pub Resource);

impl Resources {
    /// No resources.
    pub const NONE: Self = Self([0; 6]);

    /// The named amounts; others are zero.
    ///
    /// # Errors
    ///
    /// The first resource whose amount is out of bounds.
    pub fn new(amounts: impl IntoIterator<Item = (Resource, u64)>) -> Result<Self, OutOfBounds> {
        let mut all = [0; 6];
        for (resource, amount) in amounts {
            if amount > resource.most() {
                return Err(OutOfBounds(resource));
            }
            all[resource as usize] = amount;
        }
        let gpu = all[Resource::Gpu as usize];
        if gpu > DEVICE && !gpu.is_multiple_of(DEVICE) {
            return Err(OutOfBounds(Resource::Gpu));
        }
        Ok(Self(all))
    }

    /// The amount of one resource.
    #[inline]
    #[must_use]
    pub const fn get(&self, resource: Resource) -> u64 {
        self.0[resource as usize]
    }

    /// Whole devices, and the share of one more: `(3, 0)`, `(0, 250)`.
    #[inline]
    #[must_use]
    pub const fn devices(&self) -> (u64, u64) {
        let gpu = self.get(Resource::Gpu);
        (gpu / DEVICE, gpu % DEVICE)
    }

    /// Whether each amount is at most that of `other`.
    #[inline]
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a <= b)
    }

    /// What is left, or `None` if some amount is too small.
    #[must_use]
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        let mut out = *self;
        for (a, b) in out.0.iter_mut().zip(&other.0) {
            *a = a.checked_sub(*b)?;
        }
        Some(out)
    }

    /// What is left, no amount below zero.
    #[must_use]
    pub fn saturating_sub(&self, other: &Self) -> Self {
        let mut out = *self;
        for (a, b) in out.0.iter_mut().zip(&other.0) {
            *a = a.saturating_sub(*b);
        }
        out
    }

    /// The sum, or `None` if some amount would exceed its bound.
    #[must_use]
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        let mut out = *self;
        for (r, (a, b)) in Resource::ALL.iter().zip(out.0.iter_mut().zip(&other.0)) {
            *a = a.checked_add(*b).filter(|sum| *sum <= r.most())?;
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_and_sums_are_checked() {
        for r in Resource::ALL {
            assert!(Resources::new([(r, r.most())]).is_ok());
            assert_eq!(Resources::new([(r, r.most() + 1)]), Err(OutOfBounds(r)));
        }
        let gpu = |n| Resources::new([(Resource::Gpu, n)]);
        assert_eq!(gpu(1_500), Err(OutOfBounds(Resource::Gpu)));
        assert_eq!(gpu(3_000).map(|r| r.devices()), Ok((3, 0)));
        assert_eq!(gpu(250).map(|r| r.devices()), Ok((0, 250)));
        let cpu = |n| Resources::new([(Resource::Cpu, n)]).unwrap();
        assert_eq!(cpu(4).checked_sub(&cpu(5)), None);
        assert_eq!(cpu(4).saturating_sub(&cpu(5)), Resources::NONE);
        assert_eq!(cpu(1 << 22).checked_add(&cpu(1)), None);
        assert!(cpu(4).within(&cpu(4)) && !cpu(5).within(&cpu(4)));
    }
}
