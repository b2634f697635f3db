//! What a node has, and what is reserved of it.

use alloc::vec::Vec;

use betanet_fog::{Amounts, Resource, Resources};

/// One device, in thousandths.
pub(crate) const DEVICE: u64 = 1_000;

/// Most devices of a node.
const DEVICES: usize = 64;

/// Capacity of a node and the part that is reserved.
///
/// A reservation is a [`Grant`], which only [`Self::reserve`] makes and which [`Self::release`] takes back. So no more than
/// the capacity can be promised, unless the capacity itself is lowered afterwards; [`Self::impose`] is for what was promised before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    cap: Resources,
    reserved: Resources,
    /// Used thousandths of each device.
    used: Vec<u16>,
}

/// Resources reserved on a node: the amounts, and one bit for each device.
#[derive(Debug)]
pub(crate) struct Grant {
    amounts: Resources,
    devices: u64,
}

/// A reservation that was taken back.
#[derive(Debug)]
pub(crate) struct Released(Grant);

impl Grant {
    /// Indices of the devices, ascending.
    pub(crate) fn devices(&self) -> Vec<u8> {
        (0..64).filter(|i| self.devices >> i & 1 == 1).collect()
    }
}

impl Account {
    pub(crate) fn new(cap: Resources) -> Self {
        let mut account = Self::default();
        account.resize(cap);
        account
    }

    /// Sets another capacity. What is reserved stays reserved.
    pub(crate) fn resize(&mut self, cap: Resources) {
        self.cap = cap;
        let count = self.count();
        // Devices that are gone keep their count until their copies end.
        if self.used.len() < count {
            self.used.resize(count, 0);
        }
    }

    pub(crate) fn cap(&self) -> &Resources {
        &self.cap
    }

    pub(crate) fn reserved(&self) -> &Resources {
        &self.reserved
    }

    /// What is free of each resource.
    pub(crate) fn rest(&self) -> Resources {
        // Each is at most the capacity, which is within bounds.
        self.cap.checked_sub(&self.reserved).unwrap_or_else(|| {
            let free = |r| self.free(r);
            Resources::new(Amounts {
                cpu: free(Resource::Cpu),
                memory: free(Resource::Memory),
                storage: free(Resource::Storage),
                gpu: free(Resource::Gpu),
                bandwidth: free(Resource::Bandwidth),
                relay: free(Resource::Relay),
            })
            .unwrap_or_default()
        })
    }

    /// Free amount of one resource.
    pub(crate) fn free(&self, r: Resource) -> u64 {
        self.cap.get(r).saturating_sub(self.reserved.get(r))
    }

    fn count(&self) -> usize {
        let (whole, _) = devices(&self.cap);
        usize::try_from(whole).unwrap_or(DEVICES).min(DEVICES)
    }

    /// Free thousandths of each device that the node still has.
    fn devices(&self) -> impl Iterator<Item = u64> {
        self.used
            .iter()
            .take(self.count())
            .map(|used| DEVICE.saturating_sub(u64::from(*used)))
    }

    /// The largest share of one device that is free, and the number of wholly free devices.
    pub(crate) fn widest(&self) -> (u64, u64) {
        let free = self.free(Resource::Gpu);
        let (mut share, mut whole) = (0, 0);
        for d in self.devices() {
            share = share.max(d);
            whole += u64::from(d == DEVICE);
        }
        (share.min(free), whole.min(free / DEVICE))
    }

    /// The devices that a demand would get: the fullest that holds a share, the lowest of the free for whole ones.
    fn pick(&self, want: &Resources) -> Option<u64> {
        let (whole, share) = devices(want);
        let mut mask = 0;
        if share > 0 {
            let fits = self.devices().enumerate().filter(|(_, d)| *d >= share);
            let (at, _) = fits.min_by_key(|(i, d)| (*d, *i))?;
            mask |= 1 << at;
        } else if whole > 0 {
            let mut left = whole;
            for (at, _) in self.devices().enumerate().filter(|(_, d)| *d == DEVICE) {
                mask |= 1 << at;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
            if left > 0 {
                return None;
            }
        }
        Some(mask)
    }

    /// The first resource of which too little is free.
    pub(crate) fn short_of(&self, want: &Resources) -> Option<Resource> {
        Resource::ALL
            .iter()
            .copied()
            .find(|r| self.is_short(want, *r))
    }

    /// Whether too little of `r` is free.
    pub(crate) fn is_short(&self, want: &Resources, r: Resource) -> bool {
        want.get(r) > self.free(r) || (r == Resource::Gpu && self.pick(want).is_none())
    }

    /// Reserves what is wanted, or changes nothing.
    pub(crate) fn reserve(&mut self, want: &Resources) -> Option<Grant> {
        let devices = self.pick(want)?;
        let sum = self.reserved.checked_add(want)?;
        // A resource that is not wanted may be over a capacity that was lowered.
        if Resource::ALL.iter().any(|r| want.get(*r) > self.free(*r)) {
            return None;
        }
        let part = Self::part(want);
        for (_, used) in self.on(devices) {
            *used += part;
        }
        self.reserved = sum;
        Some(Grant {
            amounts: *want,
            devices,
        })
    }

    /// Reserves on these devices what a journal says is reserved, even beyond a capacity that was lowered.
    pub(crate) fn impose(&mut self, want: &Resources, devices: u64) -> Option<Grant> {
        let sum = self.reserved.checked_add(want)?;
        let count = usize::try_from(u64::BITS - devices.leading_zeros()).unwrap_or(DEVICES);
        if self.used.len() < count {
            self.used.resize(count, 0);
        }
        let part = Self::part(want);
        for (_, used) in self.on(devices) {
            *used = used.saturating_add(part);
        }
        self.reserved = sum;
        Some(Grant {
            amounts: *want,
            devices,
        })
    }

    /// Takes a reservation back.
    pub(crate) fn release(&mut self, grant: Grant) -> Released {
        let part = Self::part(&grant.amounts);
        for (_, used) in self.on(grant.devices) {
            *used = used.saturating_sub(part);
        }
        if let Some(rest) = self.reserved.checked_sub(&grant.amounts) {
            self.reserved = rest;
        }
        Released(grant)
    }

    /// Undoes [`Self::release`], with nothing reserved in between.
    pub(crate) fn restore(&mut self, released: Released) -> Grant {
        let grant = released.0;
        let part = Self::part(&grant.amounts);
        for (_, used) in self.on(grant.devices) {
            *used += part;
        }
        if let Some(sum) = self.reserved.checked_add(&grant.amounts) {
            self.reserved = sum;
        }
        grant
    }

    /// Thousandths that a demand takes of each of its devices.
    fn part(want: &Resources) -> u16 {
        let (whole, share) = devices(want);
        let part = if whole > 0 { DEVICE } else { share };
        u16::try_from(part).unwrap_or(u16::MAX)
    }

    fn on(&mut self, mask: u64) -> impl Iterator<Item = (usize, &mut u16)> {
        self.used
            .iter_mut()
            .enumerate()
            .filter(move |(i, _)| mask >> i & 1 == 1)
    }

    /// The fullest resource, in ppm of its capacity. A resource that the node lacks does not count, unless it is reserved.
    pub(crate) fn load(&self) -> u64 {
        let of = |r: Resource| {
            let (used, cap) = (self.reserved.get(r), self.cap.get(r));
            match (used, cap) {
                (0, _) => 0,
                (_, 0) => u64::MAX,
                _ => share(used, cap),
            }
        };
        Resource::ALL.iter().copied().map(of).max().unwrap_or(0)
    }
}

/// An account from which reservations are taken on trial.
#[derive(Debug)]
pub(crate) struct Trial(Account);

impl Trial {
    pub(crate) fn new(account: &Account) -> Self {
        Self(account.clone())
    }

    /// Takes one reservation away.
    pub(crate) fn without(&mut self, grant: &Grant) {
        let copy = Grant {
            amounts: grant.amounts,
            devices: grant.devices,
        };
        self.0.release(copy);
    }

    /// Whether the demand fits.
    pub(crate) fn fits(&self, want: &Resources) -> bool {
        self.0.short_of(want).is_none()
    }

    /// Whether a reservation holds some of what the demand is short of.
    pub(crate) fn helps(&self, want: &Resources, grant: &Grant) -> bool {
        let mut held = Resource::ALL.iter().filter(|r| grant.amounts.get(**r) > 0);
        held.any(|r| self.0.is_short(want, *r))
    }
}

/// Whole devices, and the share of one more: `(3, 0)`, `(0, 250)`.
pub(crate) const fn devices(amounts: &Resources) -> (u64, u64) {
    let gpu = amounts.gpu();
    (gpu / DEVICE, gpu % DEVICE)
}

/// `10^6 · part / whole`, rounded down.
pub(crate) fn share(part: u64, whole: u64) -> u64 {
    match part.checked_mul(1_000_000) {
        Some(p) => p / whole.max(1),
        None => {
            let wide = u128::from(part) * 1_000_000 / u128::from(whole.max(1));
            u64::try_from(wide).unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(n: u64) -> Resources {
        Resources::new(Amounts {
            cpu: 8_000,
            gpu: n,
            ..Amounts::default()
        })
        .unwrap()
    }

    fn want(gpu: u64) -> Resources {
        Resources::new(Amounts {
            cpu: 100,
            gpu,
            ..Amounts::default()
        })
        .unwrap()
    }

    #[test]
    fn a_share_takes_the_fullest_device_that_holds_it_and_whole_ones_the_lowest_free() {
        let mut a = Account::new(gpus(4_000));
        let first = a.reserve(&want(460)).unwrap();
        assert_eq!(first.devices(), [0]);
        assert_eq!(a.reserve(&want(700)).unwrap().devices(), [1]);
        assert_eq!(a.reserve(&want(300)).unwrap().devices(), [1]);
        assert_eq!(a.reserve(&want(2_000)).unwrap().devices(), [2, 3]);
        assert!(a.reserve(&want(1_000)).is_none());
        assert_eq!(a.short_of(&want(1_000)), Some(Resource::Gpu));
        a.release(first);
        assert_eq!(a.reserve(&want(1_000)).unwrap().devices(), [0]);
    }

    #[test]
    fn nothing_is_promised_beyond_a_capacity_that_was_lowered() {
        let mut a = Account::new(gpus(2_000));
        let both = a.reserve(&want(2_000)).unwrap();
        a.resize(gpus(1_000));
        assert_eq!(a.free(Resource::Gpu), 0);
        assert!(a.reserve(&want(1)).is_none());
        a.release(both);
        assert_eq!(a.widest(), (1_000, 1));
        assert!(a.reserve(&want(2_000)).is_none());
        assert!(a.reserve(&want(1_000)).is_some());
    }
}
