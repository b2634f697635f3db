//! Readings that a sensor failed to give now and then.

use core::time::Duration;

use betanet_machine::Time;

use crate::{Reading, Readings};

/// Time for which a reading stands that its sensor no longer gives.
pub const STALE: Duration = Duration::from_secs(60);

const COUNT: usize = Reading::ALL.len();

/// The last reading of each sensor, for [`STALE`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    seen: Readings,
    at: [Time; COUNT],
}

impl Held {
    pub(crate) fn observe(&mut self, now: Time, readings: &Readings) -> &Readings {
        for (at, reading) in self.at.iter_mut().zip(Reading::ALL) {
            if readings.has(*reading) {
                self.seen.take(*reading, readings);
                *at = now;
            } else if now - *at > STALE {
                self.seen.clear(*reading);
            }
        }
        &self.seen
    }

    pub(crate) const fn seen(&self) -> &Readings {
        &self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_stands_for_a_minute_after_its_sensor_fell_silent() {
        let at = |s| Time::ZERO + Duration::from_secs(s);
        let mut held = Held::default();
        let full = Readings {
            battery: Some(80),
            load: Some(10),
            ..Readings::default()
        };
        let load = Readings {
            load: Some(20),
            ..Readings::default()
        };
        assert_eq!(*held.observe(at(0), &full), full);
        assert_eq!(*held.observe(at(60), &load), load.or(&full));
        assert_eq!(*held.observe(at(61), &load), load);
    }
}
