//! All sensors, read together.

use std::time::Duration;

use betanet_harvest::{Reading, Readings};
use betanet_machine::Now;
use serde::{Serialize, Serializer};

use crate::cgroup::Cgroup;
use crate::clock::Clock;
use crate::energy::{Energy, Meter};
use crate::idle::Idle;
use crate::power::Power;
use crate::processor::{Own, Times, ticks};
use crate::{Root, memory, network, temperature, told};

/// Readings of the sensors at one instant, with processor time and energy since the last look.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// The readings that rules are about.
    pub readings: Readings,
    /// Processor time since the last look, that of all and that of our own processes.
    pub used: Option<Used>,
    /// Energy since the last look.
    pub energy: Option<Energy>,
    /// Told readings whose text cannot be used; see [`crate::TOLD`].
    pub told_wrong: Vec<Reading>,
}

impl Sample {
    /// The part of the energy that belongs to our own processes, in thousandths of a joule: an upper estimate, by processor time.
    #[must_use]
    pub fn own_energy_mj(&self) -> Option<u64> {
        let (energy, used) = self.energy.zip(self.used)?;
        Some(betanet_harvest::energy(energy.uj, used.own, used.busy))
    }
}

/// Processor time between two looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Used {
    /// That of all programs and the kernel.
    #[serde(rename = "busy_ms", serialize_with = "millis")]
    pub busy: Duration,
    /// That of our own processes.
    #[serde(rename = "own_ms", serialize_with = "millis")]
    pub own: Duration,
    /// Processor time that all cores could have given.
    #[serde(rename = "all_ms", serialize_with = "millis")]
    pub all: Duration,
}

fn millis<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// The sensors of a machine, with what they told last.
///
/// [`Sensors::read`] reads some dozen small files and the line of every process, and may wait a second for services on D-Bus. So an
/// executor's thread is no place for it.
#[derive(Debug)]
pub struct Sensors {
    root: Root,
    own: Own,
    cgroup: Cgroup,
    clock: Clock,
    idle: Idle,
    meter: Meter,
    last: Option<(Times, u64)>,
    #[cfg(feature = "dbus")]
    bus: Option<crate::bus::Bus>,
}

impl Sensors {
    /// Sensors below `root`, for which the processes of `own` are not others.
    #[must_use]
    pub fn new(root: Root, own: Own) -> Self {
        Self {
            cgroup: Cgroup::read(&root),
            #[cfg(feature = "dbus")]
            bus: root.is_here().then(crate::bus::Bus::system),
            root,
            own,
            clock: Clock::default(),
            idle: Idle::default(),
            meter: Meter::default(),
            last: None,
        }
    }

    /// Asks the services of this bus in place of the system's.
    #[cfg(feature = "dbus")]
    #[must_use]
    pub fn with_bus(mut self, bus: crate::Bus) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Says anew which processes are ours.
    pub fn set_own(&mut self, own: Own) {
        // The sum of others is no basis for a difference.
        if self.own != own {
            self.last = None;
        }
        self.own = own;
    }

    /// Reads all sensors.
    pub fn read(&mut self, now: Now) -> Sample {
        let power = Power::read(&self.root);
        let used = self.processor();
        #[cfg_attr(not(feature = "dbus"), allow(unused_mut))]
        let mut readings = Readings {
            charging: power.charging,
            battery: power.battery,
            health: power.health,
            temperature: temperature::read(&self.root),
            idle_s: self.idle.read(&self.root, now),
            load: used.and_then(|u| u.others()),
            memory_free: memory::free(&self.root, &self.cgroup),
            pressure: memory::pressure(&self.root),
            metered: network::metered(&self.root),
            full_screen: None,
            local: self.clock.read(&self.root, now.unix_ms),
        };
        #[cfg(feature = "dbus")]
        if let Some(bus) = &mut self.bus {
            bus.lay_over(now, &mut readings);
        }
        let told_wrong = told::lay_over(&self.root, &mut readings);
        Sample {
            energy: self.meter.read(&self.root, now.mono, power.drawn_uw),
            readings,
            used,
            told_wrong,
        }
    }

    fn processor(&mut self) -> Option<Used> {
        let times = Times::read(&self.root)?;
        let own = self.own.time(&self.root);
        let (before, own_before) = self.last.replace((times, own))?;
        Some(Used {
            busy: ticks(times.busy.saturating_sub(before.busy)),
            own: ticks(own.saturating_sub(own_before)),
            all: ticks(times.all.saturating_sub(before.all)),
        })
    }
}

impl Used {
    /// The part of the machine that others use, in thousandths. `None` where too little time went by to tell.
    #[must_use]
    pub fn others(&self) -> Option<u16> {
        let others = self.busy.saturating_sub(self.own).as_millis() * 1000;
        let part = others.checked_div(self.all.as_millis())?;
        u16::try_from(part.min(1000)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::Source;

    #[test]
    fn others_and_energy_are_told_by_shares_of_time() {
        let ms = Duration::from_millis;
        let used = |busy, own, all| Used {
            busy: ms(busy),
            own: ms(own),
            all: ms(all),
        };
        assert_eq!(used(500, 200, 1000).others(), Some(300));
        // Two clocks that tremble against each other.
        assert_eq!(used(500, 510, 1000).others(), Some(0));
        assert_eq!(used(1010, 0, 1000).others(), Some(1000));
        assert_eq!(used(0, 0, 0).others(), None);
        let sample = Sample {
            used: Some(used(500, 200, 1000)),
            energy: Some(Energy {
                uj: 10_000_000,
                source: Source::Rapl,
            }),
            ..Sample::default()
        };
        assert_eq!(sample.own_energy_mj(), Some(4000));
        assert_eq!(Sample::default().own_energy_mj(), None);
    }
}
