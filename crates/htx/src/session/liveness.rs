//! PING, the round-trip time, and the detection of a silent peer.

use core::time::Duration;

use betanet_machine::{Time, Wake};

use super::{Event, Session};
use crate::frame::{Head, REPLY, ty};

/// Time within which a PING must be answered.
const ANSWER: Duration = Duration::from_secs(5);
/// Delay of the second PING while a request waits for its answer.
const AGAIN: Duration = Duration::from_millis(2500);
/// Maximum delay of the cut that a carrier's signs of life cause.
const PUT_OFF: Duration = Duration::from_secs(30);
/// Assumed round-trip time before the first measurement.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

/// A sent PING: its number and the time.
type Asked = (u64, Time);

#[derive(Debug, Hash)]
pub(super) struct Liveness {
    /// Time at which bytes of the peer last arrived.
    heard: Time,
    /// Time at which a request last began.
    began: Time,
    /// Unanswered PINGs in a row that silence caused, at most two.
    asked: [Option<Asked>; 2],
    /// The unanswered PING that measures the round-trip time.
    measured: Option<Asked>,
    /// Time at which the carrier last showed progress of data sent before a PING.
    moved: Time,
    /// Whether the carrier showed progress since the last check.
    moves: bool,
    token: u64,
    rtt: Option<Duration>,
}

impl Liveness {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            heard: now,
            began: now,
            asked: [None; 2],
            measured: None,
            moved: now,
            moves: false,
            token: 0,
            rtt: None,
        }
    }

    pub(super) const fn heard(&mut self, now: Time) {
        self.heard = now;
    }

    pub(super) const fn begins(&mut self, now: Time) {
        self.began = now;
    }

    pub(super) const fn moves(&mut self) {
        self.moves = true;
    }

    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn rtt_or_default(&self) -> Duration {
        self.rtt.unwrap_or(DEFAULT_RTT)
    }

    /// Smooths the round-trip time as RFC 9002 §5.3 does.
    pub(super) fn sample(&mut self, rtt: Duration) {
        self.rtt = Some(match self.rtt {
            None => rtt,
            Some(old) => (old * 7 + rtt) / 8,
        });
    }

    /// Start of a PING's timeout: the time at which the data before it had left.
    fn since(&self, (_, at): Asked) -> Time {
        at.max(self.moved)
    }
}

impl Session {
    /// Start of the peer's silence, once two PINGs are unanswered.
    #[must_use]
    pub fn silent_since(&self) -> Option<Time> {
        let (_, at) = self.liveness.asked[1]?;
        (self.is_open() && self.liveness.heard <= at).then_some(self.liveness.heard)
    }

    /// Time at which bytes of the peer last arrived.
    #[must_use]
    pub const fn heard_at(&self) -> Time {
        self.liveness.heard
    }

    /// Whether a PING is unanswered.
    #[must_use]
    pub const fn is_asking(&self) -> bool {
        self.liveness.asked[0].is_some()
    }

    /// Measures the round-trip time, unless a measuring PING is already under way.
    pub(super) fn measure(&mut self, now: Time) {
        if self.liveness.measured.is_none() {
            self.liveness.begins(now);
            self.liveness.measured = Some(self.ping(now));
        }
    }

    fn ping(&mut self, now: Time) -> Asked {
        self.liveness.token += 1;
        let token = self.liveness.token;
        self.send_frame(now, Head::connection(ty::PING), &token.to_be_bytes(), &[]);
        (token, now)
    }

    /// Sends a PING to probe the peer.
    fn ask(&mut self, now: Time) {
        let asked = Some(self.ping(now));
        match &mut self.liveness.asked {
            [first @ None, _] => *first = asked,
            [_, second] => *second = asked,
        }
    }

    pub(super) fn on_ping(&mut self, now: Time, token: [u8; 8], reply: bool) {
        if !reply {
            let head = Head {
                mark: REPLY,
                ..Head::connection(ty::PING)
            };
            self.without_progress(now, 1);
            return self.send_frame(now, head, &token, &[]);
        }
        let is_it = |(t, _): &Asked| t.to_be_bytes() == token;
        let asked = self.liveness.asked.iter().flatten().find(|a| is_it(a));
        let at = match (self.liveness.measured.filter(is_it), asked.copied()) {
            (Some((_, at)), _) => {
                self.liveness.measured = None;
                at
            }
            (None, Some((_, at))) => {
                self.liveness.asked = [None; 2];
                at
            }
            // An answer to an abandoned PING, or to none, is no progress.
            (None, None) => return self.without_progress(now, 1),
        };
        let rtt = now - at;
        self.liveness.sample(rtt);
        self.event(now, Event::Pong { rtt });
    }

    /// Whether an answer of the peer is awaited.
    fn is_waited_for(&self) -> bool {
        self.streams.awaited() > 0 || self.liveness.measured.is_some()
    }

    /// Start of the present silence, and the silence after which a PING is sent.
    fn silence(&self) -> (Time, Duration) {
        let heard = self.liveness.heard;
        if self.is_waited_for() {
            (heard.max(self.liveness.began), self.config.patience)
        } else {
            (heard, self.config.keepalive)
        }
    }

    pub(super) fn liveness_wake(&self) -> Option<Wake> {
        if !self.is_open() {
            return None;
        }
        let wake = |at, why| Some(Wake { at, why });
        match self.liveness.asked {
            [_, Some(second)] => wake(
                self.liveness.since(second) + ANSWER,
                "htx: two PINGs are unanswered",
            ),
            [Some(first), None] => {
                let again = if self.is_waited_for() { AGAIN } else { ANSWER };
                wake(
                    self.liveness.since(first) + again,
                    "htx: a PING is unanswered",
                )
            }
            [None, None] => {
                let (since, silence) = self.silence();
                wake(since + silence, "htx: silence")
            }
        }
    }

    pub(super) fn check_liveness(&mut self, now: Time) {
        if core::mem::take(&mut self.liveness.moves)
            && let [Some((_, first)), _] = self.liveness.asked
        {
            self.liveness.moved = now.min(first + PUT_OFF);
        }
        if self.liveness_wake().is_none_or(|w| w.at > now) {
            return;
        }
        let last = self.liveness.asked[1].or(self.liveness.asked[0]);
        if last.is_some_and(|(_, at)| self.liveness.heard > at) {
            // The peer is alive; its answer is queued behind other data.
            self.liveness.asked = [None; 2];
        }
        if self.liveness.asked[1].is_some() {
            return self.cut(now, "two PINGs without an answer");
        }
        self.ask(now);
    }
}
