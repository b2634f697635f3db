//! Liveness of the next hop, checked while bytes wait for an answer.

use core::time::Duration;

use betanet_machine::Time;

/// Shortest and longest time that bytes wait for an answer.
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(3);

/// Shortest time for a PROBE's answer, because a busy host answers late.
const ANSWER: Duration = Duration::from_millis(250);

/// Silence after which a hop is probed, even if no bytes wait.
const IDLE: Duration = Duration::from_secs(20);

/// Slowest tolerated uplink, in bytes per second. Time to send at this rate does not count as the hop's silence.
const SLOWEST: u64 = 16 << 10;

/// Action for a hop that did not answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Doubt {
    /// Send a PROBE with this token.
    Probe([u8; 8]),
    /// Report the hop as down (PEER_DOWN).
    Down,
}

/// Watches one hop. It asks for a PROBE when bytes stay unanswered for 3 × the smoothed round-trip time (200 ms to 3 s), when a
/// stream stops for as long, or after 20 s of silence. A PROBE unanswered for as long again, at least 250 ms, means that the hop
/// is down.
#[derive(Clone, Debug)]
pub struct Watch {
    heard: Time,
    /// Time when an uplink at [`SLOWEST`] has sent everything.
    drained: Time,
    waiting: Option<Time>,
    probed: Option<Time>,
    /// The next answer brings bytes of a stream, which should continue.
    fed: bool,
    token: u64,
}

fn patience(rtt: Duration) -> Duration {
    (rtt * 3).clamp(LEAST, MOST)
}

impl Watch {
    /// Creates a watch of a hop that was heard at `now`.
    #[must_use]
    pub const fn new(now: Time) -> Self {
        Self {
            heard: now,
            drained: now,
            waiting: None,
            probed: None,
            fed: false,
            token: 0,
        }
    }

    /// Records bytes sent to the hop.
    pub fn sent(&mut self, now: Time, bytes: u64) {
        if self.waiting.is_none() {
            self.drained = self.drained.max(now);
        }
        self.drained = self.drained + Duration::from_millis(bytes * 1000 / SLOWEST);
        self.waiting.get_or_insert(now);
    }

    /// Announces that the next answer brings bytes of a stream, so that the watch notices when they stop.
    pub const fn fed(&mut self) {
        self.fed = true;
    }

    /// Records an answer of the hop.
    pub const fn heard(&mut self, now: Time) {
        self.heard = now;
        self.waiting = if self.fed { Some(now) } else { None };
        self.fed = false;
        self.probed = None;
    }

    /// Returns the action that is due.
    pub fn check(&mut self, now: Time, rtt: Duration) -> Option<Doubt> {
        if self.wake(rtt) > now {
            return None;
        }
        if self.probed.is_some() {
            return Some(Doubt::Down);
        }
        self.probed = Some(now);
        self.token += 1;
        Some(Doubt::Probe(self.token.to_be_bytes()))
    }

    /// Time of the next check.
    #[must_use]
    pub fn wake(&self, rtt: Duration) -> Time {
        match (self.probed, self.waiting) {
            (Some(since), _) => since.max(self.drained) + patience(rtt).max(ANSWER),
            (None, Some(since)) => since.max(self.drained) + patience(rtt),
            (None, None) => self.heard + IDLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    const RTT: Duration = Duration::from_millis(100);

    #[test]
    fn bytes_without_a_sign_bring_a_probe_and_then_the_end() {
        let mut watch = Watch::new(at(0));
        assert_eq!(watch.check(at(0), RTT), None);
        watch.sent(at(10), 0);
        watch.sent(at(200), 0);
        assert_eq!(watch.wake(RTT), at(310));
        assert_eq!(watch.check(at(309), RTT), None);
        let token = 1_u64.to_be_bytes();
        assert_eq!(watch.check(at(310), RTT), Some(Doubt::Probe(token)));
        assert_eq!(watch.check(at(609), RTT), None);
        assert_eq!(watch.check(at(610), RTT), Some(Doubt::Down));
    }

    #[test]
    fn a_sign_ends_the_doubt() {
        let mut watch = Watch::new(at(0));
        watch.sent(at(0), 8);
        assert!(watch.check(at(300), RTT).is_some());
        watch.heard(at(301));
        assert_eq!(watch.check(at(9_000), RTT), None);
        watch.sent(at(9_000), 8);
        let token = 2_u64.to_be_bytes();
        assert_eq!(watch.check(at(9_300), RTT), Some(Doubt::Probe(token)));
    }

    #[test]
    fn silence_brings_a_probe_after_20_s_and_the_end_soon_after() {
        let mut watch = Watch::new(at(500));
        assert_eq!(watch.check(at(20_499), RTT), None);
        let token = 1_u64.to_be_bytes();
        assert_eq!(watch.check(at(20_500), RTT), Some(Doubt::Probe(token)));
        assert_eq!(watch.check(at(20_799), RTT), None);
        assert_eq!(watch.check(at(20_800), RTT), Some(Doubt::Down));
    }

    #[test]
    fn what_waits_in_a_slow_uplink_is_no_silence() {
        let mut watch = Watch::new(at(0));
        watch.sent(at(0), 2 * SLOWEST);
        watch.sent(at(500), SLOWEST);
        assert_eq!(watch.check(at(3_299), RTT), None);
        assert!(matches!(watch.check(at(3_300), RTT), Some(Doubt::Probe(_))));
    }

    #[test]
    fn a_stream_that_stops_brings_a_probe_and_an_answer_to_it_ends_the_doubt() {
        let mut watch = Watch::new(at(0));
        watch.fed();
        watch.heard(at(1_000));
        assert_eq!(watch.check(at(1_299), RTT), None);
        assert!(matches!(watch.check(at(1_300), RTT), Some(Doubt::Probe(_))));
        watch.heard(at(1_400));
        assert_eq!(watch.check(at(21_399), RTT), None);
    }

    #[test]
    fn patience_has_its_bounds() {
        for (rtt_ms, ms) in [(1, 200), (66, 200), (100, 300), (1000, 3000), (9000, 3000)] {
            let got = patience(Duration::from_millis(rtt_ms));
            assert_eq!(got, Duration::from_millis(ms));
        }
    }
}
