//! Two bounds with a gap between them, so that a reading that trembles at one bound changes nothing.

use serde::{Deserialize, Serialize};

/// The bound at which a device pauses, and the one at which it goes on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Beyond this bound a device pauses.
    pub pause: i64,
    /// From this bound on it goes on.
    pub resume: i64,
}

impl Band {
    pub(crate) const fn new(pause: i64, resume: i64) -> Self {
        Self { pause, resume }
    }

    /// Whether a reading is on the wrong side, given whether the last one was.
    pub(crate) const fn trips(&self, tripped: bool, value: i64) -> bool {
        let low_is_wrong = self.pause < self.resume;
        match (tripped, low_is_wrong) {
            (false, true) => value < self.pause,
            (true, true) => value < self.resume,
            (false, false) => value > self.pause,
            (true, false) => value > self.resume,
        }
    }

    /// The bound that a reading has to reach.
    pub(crate) const fn bound(&self) -> i64 {
        self.resume
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A change of the verdict takes a reading that went through the whole gap.
        #[test]
        fn between_the_bounds_nothing_changes(pause in -100_i64..100, gap in 1_i64..50, up: bool, values in prop::collection::vec(-200_i64..200, 1..60)) {
            let resume = if up { pause + gap } else { pause - gap };
            let band = Band::new(pause, resume);
            let mut tripped = true;
            for value in values {
                let next = band.trips(tripped, value);
                if (pause.min(resume)..=pause.max(resume)).contains(&value) && value != resume {
                    prop_assert_eq!(next, tripped);
                }
                let beyond = if up { value < pause } else { value > pause };
                let cleared = if up { value >= resume } else { value <= resume };
                prop_assert!(!beyond || next);
                prop_assert!(!cleared || !next);
                tripped = next;
            }
        }
    }
}
