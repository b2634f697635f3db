//! The pace of a stream: when it may send its next page. A page goes out only once the client has confirmed the one before, and the
//! pause grows with the time that this took and with the time that the page took to draw.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest time between two pages of a stream.
pub(crate) const PAGE_PAUSE: Duration = Duration::from_millis(80);
/// Longest time that a stream leaves between two pages beyond the wait for its client.
const PAGE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// From one page to the next, a stream takes at least so many times as long as the page took to draw.
const DRAW_PARTS: u32 = 2;

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

    fn rest(&mut self, pause: Duration) {
        let until = self.at + pause.clamp(PAGE_PAUSE, PAGE_PAUSE_MAX);
        self.next = self.next.max(until);
    }

    /// A page is sent that took so long to draw. Returns its number.
    pub(crate) fn send(&mut self, now: Instant, drawn: Duration) -> u64 {
        self.sent += 1;
        self.at = now;
        self.rest(drawn * DRAW_PARTS);
        self.sent
    }

    /// A page could not be drawn.
    pub(crate) fn fail(&mut self, now: Instant, drawn: Duration) {
        self.at = now;
        self.rest(drawn * DRAW_PARTS);
    }

    /// The client confirmed a page at a time. It and what lies between rest for half as long as that took.
    pub(crate) fn confirm(&mut self, page: u64, at: Instant) {
        if page != self.sent || !self.waits() {
            return;
        }
        self.confirmed = page;
        self.rest(at.saturating_duration_since(self.at) * 3 / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_the_client_and_with_the_page() {
        let began = Instant::now();
        let ms = |n| began + Duration::from_millis(n);
        let mut pace = Pace::new(began);
        assert_eq!(pace.next(), began);
        assert_eq!(pace.send(began, Duration::from_millis(5)), 1);
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
        pace.send(ms(80), Duration::from_millis(5));
        pace.confirm(2, ms(280));
        assert_eq!(pace.next(), ms(380));
        // A page that is hard to draw.
        pace.send(ms(380), Duration::from_millis(100));
        pace.confirm(3, ms(390));
        assert_eq!(pace.next(), ms(580));
        // A client that took very long waits no longer than the bound.
        pace.send(ms(580), Duration::ZERO);
        pace.confirm(4, ms(580) + Duration::from_secs(8));
        assert_eq!(pace.next(), ms(580) + PAGE_PAUSE_MAX);
        pace.fail(ms(20_000), Duration::ZERO);
        assert_eq!((pace.next(), pace.sent), (ms(20_080), 4));
    }
}
