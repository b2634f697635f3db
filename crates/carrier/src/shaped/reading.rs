//! When a client that follows a shape reads, and how much: a browser that is busy does not, and what a connection has no room for waits.

use std::collections::VecDeque;
use std::task::Context;
use std::time::Duration;

use betanet_machine::Time;
use betanet_traffic::shape::Follower;
use tokio::time::Instant;

use super::{Wait, poll_until};
use crate::{Carrier, Reads};

/// How often it is looked whether an answer has begun: what it begins with may be less than a frame, and not be told.
const LOOK: Duration = Duration::from_micros(300);
/// How much later an answer may begin than it is to, before a client reads whatever comes.
const LATE: Duration = Duration::from_millis(100);
/// How long before a request leaves it is looked at what is read of its answer: what waits for the moment has the thread.
pub(super) const EARLY: Duration = Duration::from_micros(120);

/// What a client reads of the answer that it waits for.
#[derive(Default)]
pub(super) struct Reading {
    /// When a request leaves, and its answer is to begin.
    asked: Option<(Time, Time)>,
    /// When to look next whether the answer has begun, and until when.
    looks: Option<(Time, Time)>,
    /// When it reads on once it has, and how much.
    reads: VecDeque<(Time, Reads)>,
    timer: Option<(Time, Wait)>,
}

impl Reading {
    /// A request leaves then, and its answer is to begin so.
    pub(super) const fn asked(&mut self, leaves: Time, begins: Time) {
        self.asked = Some((leaves, begins));
    }

    /// Whether there is something that is not read yet on purpose.
    pub(super) fn waits(&self) -> bool {
        self.looks.is_some() || !self.reads.is_empty()
    }

    /// Lets more be read when a browser would have read on.
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

    /// An answer is to begin then: of a long one only the first is read.
    pub(super) fn begins(&mut self, carrier: &mut dyn Carrier, follower: &Follower, begins: Time) {
        self.reads.clear();
        let first = follower.first_read();
        carrier.reads(first.map_or(Reads::All, Reads::AtMost));
        self.looks = first.map(|_| (begins, begins + LATE));
    }

    /// Something came then: an answer that was waited for has begun, and the rest of it is read when a browser read it.
    pub(super) fn came(&mut self, follower: &Follower, begun: Time) {
        if self.looks.take().is_some() {
            let all = Reads::AtMost(usize::MAX);
            let on = follower.reads();
            let on = on.map(|(later, n)| (begun + later, n.map_or(all, Reads::About)));
            self.reads = on.collect();
        }
    }
}
