//! PING, the round-trip time, and when a silent peer counts as gone.

use core::time::Duration;

use betanet_machine::{Time, Wake};

use super::{Event, Session};
use crate::frame::{Head, REPLY, ty};

/// A PING is answered within this.
const ANSWER: Duration = Duration::from_secs(5);
/// After which a second one is sent, while an answer is waited for.
const AGAIN: Duration = Duration::from_millis(2500);
/// A carrier's sign of life puts the end off by no more than this.
const PUT_OFF: Duration = Duration::from_secs(30);
/// Before anything was measured.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

/// A PING that was sent: its number and when.
type Asked = (u64, Time);

#[derive(Debug, Hash)]
pub(super) struct Liveness {
    /// When bytes of the peer came last.
    heard: Time,
    /// When a request was begun last.
    began: Time,
    /// The PINGs in a row that silence brought about and that are not answered, at most two.
    asked: [Option<Asked>; 2],
    /// The PING that measures the round-trip time, until it is answered.
    measured: Option<Asked>,
    /// When the carrier last showed that what was said before a PING is on its way.
    moved: Time,
    /// It showed so since the last look.
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

    /// Smooths as RFC 9002 §5.3 does.
    pub(super) fn sample(&mut self, rtt: Duration) {
        self.rtt = Some(match self.rtt {
            None => rtt,
            Some(old) => (old * 7 + rtt) / 8,
        });
    }

    /// A PING's time begins when what was said before it had left.
    fn since(&self, (_, at): Asked) -> Time {
        at.max(self.moved)
    }
}

impl Session {
    /// Since when the peer has said nothing, once it was asked twice whether it is there.
    #[must_use]
    pub fn silent_since(&self) -> Option<Time> {
        let (_, at) = self.liveness.asked[1]?;
        (self.is_open() && self.liveness.heard <= at).then_some(self.liveness.heard)
    }

    /// When the peer was heard last.
    #[must_use]
    pub const fn heard_at(&self) -> Time {
        self.liveness.heard
    }

    /// Whether a PING is unanswered.
    #[must_use]
    pub const fn is_asking(&self) -> bool {
        self.liveness.asked[0].is_some()
    }

    /// Measures the round-trip time; a PING that is under way already does.
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

    /// Asks whether the peer is there.
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
            // An answer to a question that was given up, or never put, says nothing.
            (None, None) => return self.without_progress(now, 1),
        };
        let rtt = now - at;
        self.liveness.sample(rtt);
        self.event(now, Event::Pong { rtt });
    }

    /// Whether somebody waits for the peer to say something.
    fn is_waited_for(&self) -> bool {
        self.streams.awaited() > 0 || self.liveness.measured.is_some()
    }

    /// Silence after which the peer is asked whether it is there, and from when on it counts.
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
            // It is there, and the answer is behind what else it says.
            self.liveness.asked = [None; 2];
        }
        if self.liveness.asked[1].is_some() {
            return self.cut(now, "two PINGs without an answer");
        }
        self.ask(now);
    }
}
