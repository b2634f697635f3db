//! When, and how much, a client that follows a shape reads: a busy browser does not read, and excess data waits for the window.

use std::collections::VecDeque;
use std::task::Context;
use std::time::Duration;

use betanet_machine::Time;
use betanet_traffic::shape::Follower;
use tokio::time::Instant;

use super::{Wait, poll_until};
use crate::{Carrier, Reads};

/// Interval of checks for an answer's start: it may be less than a frame, and thus not reported.
const LOOK: Duration = Duration::from_micros(300);
/// Lateness of an answer after which a client reads without limit.
const LATE: Duration = Duration::from_millis(100);
/// Time before a request leaves at which the reading of its answer is set: a spinning wait then keeps the thread.
pub(super) const EARLY: Duration = Duration::from_micros(120);

/// Schedule for reading the awaited answer.
#[derive(Default)]
pub(super) struct Reading {
    /// Times at which a request leaves and its answer is due.
    asked: Option<(Time, Time)>,
    /// Time of the next check for the answer's start, and the end of the checks.
    looks: Option<(Time, Time)>,
    /// Times and amounts of further reading after the answer's start.
    reads: VecDeque<(Time, Reads)>,
    timer: Option<(Time, Wait)>,
}

impl Reading {
    /// Schedules a request at `leaves` with its answer at `begins`.
    pub(super) const fn asked(&mut self, leaves: Time, begins: Time) {
        self.asked = Some((leaves, begins));
    }

    /// Whether data is deliberately left unread.
    pub(super) fn waits(&self) -> bool {
        self.looks.is_some() || !self.reads.is_empty()
    }

    /// Allows further reading at the times at which a browser would have read.
    pub(super) fn drive(
        &mut self,
        carrier: &mut dyn Carrier,
        follower: &Follower,
        began: Instant,
        cx: &mut Context<'_>,
    ) {
        let now = || Time::ZERO + began.elapsed();
        if let Some((_, begins)) = self.asked.take_if(|(at, _)| now() + EARLY >= *at) {
            self.begins(carrier, follower, begins);
        }
        while let Some((at, last)) = self.looks {
            if let Some(heard) = carrier.heard() {
                let heard = heard.saturating_duration_since(began);
                self.came(follower, Time::ZERO + heard);
            } else if at > now() && poll_until(&mut self.timer, began, at, cx).is_pending() {
                return;
            } else if at > last {
                self.looks = None;
                carrier.reads(Reads::All);
            } else {
                self.looks = Some((now() + LOOK, last));
            }
        }
        while let Some((at, reads)) = self.reads.front().copied() {
            if at > now() && poll_until(&mut self.timer, began, at, cx).is_pending() {
                return;
            }
            carrier.reads(reads);
            self.reads.pop_front();
        }
    }

    /// Expects an answer at `begins`: of a long one only the first part is read.
    pub(super) fn begins(&mut self, carrier: &mut dyn Carrier, follower: &Follower, begins: Time) {
        self.reads.clear();
        let first = follower.first_read();
        carrier.reads(first.map_or(Reads::All, Reads::AtMost));
        self.looks = first.map(|_| (begins, begins + LATE));
    }

    /// Records that the awaited answer began at `begun`; the rest is read at a browser's times.
    pub(super) fn came(&mut self, follower: &Follower, begun: Time) {
        if self.looks.take().is_some() {
            let all = Reads::AtMost(usize::MAX);
            let on = follower.reads();
            let on = on.map(|(later, n)| (begun + later, n.map_or(all, Reads::About)));
            self.reads = on.collect();
        }
    }
}
