//! Timestamps that distinguish a sender's path headers.

/// Most difference of a timestamp ahead of its sender's clock. A receiver accepts 120 s, including its own clock error.
const AHEAD_MS: u64 = 50_000;

/// Draws timestamps for one sender's path headers; no two are equal.
///
/// A receiver identifies headers by sender, expiry and timestamp, and links identify paths by these. With equal timestamps, the
/// second of two paths would be refused as a replay, and a few such refusals end the session (profile chapter 3).
#[derive(Clone, Debug, Default)]
pub struct Stamps {
    last: u64,
}

impl Stamps {
    /// Creates a source that has drawn no timestamp.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: 0 }
    }

    /// Draws the timestamp of a header that is sent now: the clock's time, or the first after the last drawn one.
    ///
    /// If the last one is more than 50 s ahead of the clock, which may have been set back, the clock's time is used again.
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
