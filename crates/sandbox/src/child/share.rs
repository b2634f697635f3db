//! How much of a core a guest may have: between slices of its fuel it sleeps for the rest.

use std::{os::unix::net::UnixStream, time::Duration};

use rustix::{
    net::{RecvFlags, recv},
    time::{ClockId, clock_gettime},
};

use crate::guest::clock::nanos;

/// Longest sleep at once, so that a change of the share is soon heeded.
const NAP: u64 = 200_000_000;
/// Processor time in nanoseconds after which a guest yields to those that have just begun.
const FRESH: u64 = 20_000_000;
/// How nice it is from then on: a ninth of the processor is left to it where another wants the rest.
pub(super) const PATIENT: i32 = 10;

pub(super) struct Share {
    percent: u8,
    burned: u64,
    /// Time that is owed to others, in nanoseconds.
    owed: u64,
    /// Processor time at which the guest is no longer fresh, until then.
    fresh: Option<u64>,
}

impl Share {
    pub(super) fn new(percent: u8) -> Self {
        let burned = processor();
        Self {
            percent: percent.clamp(1, 100),
            burned,
            owed: 0,
            fresh: Some(burned.saturating_add(FRESH)),
        }
    }

    /// Hears what the parent says in between, and sleeps what is owed.
    pub(super) fn pay(&mut self, socket: &UnixStream) {
        self.hear(socket);
        let now = processor();
        let worked = now.saturating_sub(self.burned);
        self.burned = now;
        if self.fresh.take_if(|until| now > *until).is_some() {
            // Where idle time is lent it has no effect, and nothing depends on it.
            let _ = rustix::process::setpriority_process(None, PATIENT);
        }
        let share = u64::from(self.percent);
        self.owed = if share == 100 {
            0
        } else {
            self.owed + worked / share * (100 - share)
        };
        while self.owed > 0 {
            let nap = self.owed.min(NAP);
            std::thread::sleep(Duration::from_nanos(nap));
            self.owed -= nap;
            self.hear(socket);
            if self.percent == 100 {
                self.owed = 0;
            }
        }
    }

    fn hear(&mut self, socket: &UnixStream) {
        let mut said = [0_u8; 64];
        while let Ok((got, _)) = recv(socket, &mut said[..], RecvFlags::DONTWAIT)
            && let Some(&percent) = said[..got].last()
        {
            // The last one counts.
            self.percent = percent.clamp(1, 100);
        }
    }
}

/// Processor time of this thread, which is all that runs here.
fn processor() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}
