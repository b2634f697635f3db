//! Timestamps that tell a sender's path headers apart.

/// How far a timestamp may be ahead of its sender's clock; a receiver bears 120 s, its own clock's error included.
const AHEAD_MS: u64 = 50_000;

/// Draws the timestamps of one sender's path headers, no two of them equal.
///
/// A receiver tells headers apart by sender, expiry and timestamp, and a link names its paths by these. Two paths that begin within one
/// millisecond would be one path: the second is refused as a replay, and a few such end the session (profile chapter 3).
#[derive(Clone, Debug, Default)]
pub struct Stamps {
    last: u64,
}

impl Stamps {
    /// Before the first.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: 0 }
    }

    /// The timestamp of a header that is sent now: the clock's, or the first after the last that was drawn.
    ///
    /// More than 50 s ahead of the clock, which may have been set back, it is the clock's again.
    pub const fn draw(&mut self, unix_ms: u64) -> u64 {
        let next = self.last.saturating_add(1);
        let ahead = next > unix_ms && next - unix_ms <= AHEAD_MS;
        self.last = if ahead { next } else { unix_ms };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_equal_and_a_clock_that_is_set_back_is_followed() {
        let mut stamps = Stamps::new();
        assert_eq!([5, 5, 5, 6, 9].map(|now| stamps.draw(now)), [5, 6, 7, 8, 9]);
        assert_eq!(stamps.draw(60_000), 60_000);
        assert_eq!(stamps.draw(10_001), 60_001, "50 s ahead");
        assert_eq!(stamps.draw(10_001), 10_001, "further ahead");
        assert_eq!(stamps.draw(u64::MAX), u64::MAX);
    }
}
