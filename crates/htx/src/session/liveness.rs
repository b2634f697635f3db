//! PING, the round-trip time, and when a silent peer counts as gone.

use core::time::Duration;

use betanet_machine::{Time, Wake};

use super::{Event, Session};
use crate::frame::{Head, REPLY, ty};

/// A PING is answered within this.
const ANSWER: Duration = Duration::from_secs(5);
/// PINGs in a row without an answer that end a session.
const MISSES: u8 = 2;
/// Before anything was measured.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Liveness {
    heard: Time,
    asked: Option<(u64, Time)>,
    token: u64,
    misses: u8,
    rtt: Option<Duration>,
}

impl Liveness {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            heard: now,
            asked: None,
            token: 0,
            misses: 0,
            rtt: None,
        }
    }

    pub(super) const fn heard(&mut self, now: Time) {
        self.heard = now;
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
}

impl Session {
    pub(super) fn ping(&mut self, now: Time) {
        self.liveness.token += 1;
        self.liveness.asked = Some((self.liveness.token, now));
        let token = self.liveness.token.to_be_bytes();
        self.send_frame(now, Head::connection(ty::PING), &token, &[]);
    }

    pub(super) fn on_ping(&mut self, now: Time, token: [u8; 8], reply: bool) {
        if !reply {
            let head = Head {
                mark: REPLY,
                ..Head::connection(ty::PING)
            };
            return self.send_frame(now, head, &token, &[]);
        }
        // An answer to a question that was given up, or never put, says nothing.
        if let Some((asked, at)) = self.liveness.asked
            && asked.to_be_bytes() == token
        {
            self.liveness.asked = None;
            self.liveness.misses = 0;
            let rtt = now - at;
            self.liveness.sample(rtt);
            self.event(now, Event::Pong { rtt });
        }
    }

    pub(super) fn liveness_wake(&self) -> Option<Wake> {
        if !self.is_open() {
            return None;
        }
        Some(match self.liveness.asked {
            Some((_, at)) => Wake {
                at: at + ANSWER,
                why: "htx: a PING is unanswered",
            },
            None => Wake {
                at: self.liveness.heard + self.config.keepalive,
                why: "htx: silence",
            },
        })
    }

    pub(super) fn check_liveness(&mut self, now: Time) {
        if self.liveness_wake().is_none_or(|w| w.at > now) {
            return;
        }
        if self.liveness.asked.is_some() {
            self.liveness.misses += 1;
            if self.liveness.misses >= MISSES {
                return self.cut(now, "two PINGs without an answer");
            }
        }
        self.ping(now);
    }
}
