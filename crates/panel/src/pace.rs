//! The pace of a stream: when it may send its next page. A page goes out only once the client has confirmed the one before, and a slow
//! client has a rest between two pages. Drawing has a bound of its own, in the turns of streams.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest time between two pages of a stream.
pub(crate) const PAGE_PAUSE: Duration = Duration::from_millis(80);
/// Longest rest of a client. One that was held up once is not held up again by a rest as long.
const REST_MAX: Duration = Duration::from_millis(500);
/// Pause after a page that could not be drawn: its client asks for it itself.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// The pace of a stream.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Pages that were sent, and that the client has confirmed.
    sent: u64,
    confirmed: u64,
    /// When the last one was sent.
    at: Instant,
    /// When the next one may be.
    next: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            sent: 0,
            confirmed: 0,
            at: now,
            next: now,
        }
    }

    /// Whether a page was sent that the client has not confirmed.
    pub(crate) const fn waits(&self) -> bool {
        self.confirmed < self.sent
    }

    /// When the next page may be drawn.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// A page is sent. Returns its number.
    pub(crate) fn send(&mut self, now: Instant) -> u64 {
        self.sent += 1;
        self.at = now;
        self.next = now + PAGE_PAUSE;
        self.sent
    }

    /// A page could not be drawn.
    pub(crate) fn fail(&mut self, now: Instant) {
        self.next = now + FAILED_PAUSE;
    }

    /// The client confirmed a page at a time. It and what lies between rest for half as long as that took.
    pub(crate) fn confirm(&mut self, page: u64, at: Instant) {
        if page != self.sent || !self.waits() {
            return;
        }
        self.confirmed = page;
        let took = at.saturating_duration_since(self.at);
        self.next = self.next.max(at + (took / 2).min(REST_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_rest_that_grows_with_its_time() {
        let began = Instant::now();
        let ms = |n| began + Duration::from_millis(n);
        let mut pace = Pace::new(began);
        assert_eq!(pace.next(), began);
        assert_eq!(pace.send(began), 1);
        assert!(pace.waits());
        // An earlier number, one that was never sent and one that came already confirm nothing.
        pace.confirm(0, ms(1));
        pace.confirm(2, ms(1));
        assert!(pace.waits());
        pace.confirm(1, ms(10));
        assert!(!pace.waits());
        assert_eq!(pace.next(), began + PAGE_PAUSE);
        pace.confirm(1, ms(70));
        assert_eq!(pace.next(), began + PAGE_PAUSE);
        // A slow client.
        pace.send(ms(80));
        pace.confirm(2, ms(280));
        assert_eq!(pace.next(), ms(380));
        // One that took very long rests no longer than the bound.
        pace.send(ms(380));
        pace.confirm(3, ms(8_380));
        assert_eq!(pace.next(), ms(8_380) + REST_MAX);
        pace.fail(ms(20_000));
        assert_eq!((pace.next(), pace.sent), (ms(21_000), 3));
    }
}
