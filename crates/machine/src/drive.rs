//! The loop around a machine, the same for every layer and every kind of IO.

use crate::{Machine, Now, Time};

/// Rounds of the loop before other tasks get a turn.
const ROUNDS: u32 = 64;
/// Events that are taken in one round.
const EVENTS: usize = 32;

/// A machine with what stands around it: what carries its transmits, who hears its events, and where its inputs come from.
pub trait Io {
    /// The layer that is driven.
    type Machine: Machine;

    /// The layer.
    fn machine(&mut self) -> &mut Self::Machine;

    /// What time it is.
    fn now(&self) -> Now;

    /// Whether a transmit would be taken now.
    fn is_ready(&mut self) -> bool {
        true
    }

    /// Takes something for the layer below.
    fn transmit(&mut self, transmit: <Self::Machine as Machine>::Transmit);

    /// Takes something for the layer above.
    fn event(&mut self, event: <Self::Machine as Machine>::Event);

    /// Gives the machine what came from below and from above meanwhile; whether there was something.
    fn take(&mut self) -> bool {
        false
    }

    /// Whether it has ended: nothing is moved after that.
    fn is_over(&self) -> bool {
        false
    }
}

/// How a machine goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// It has ended.
    Over,
    /// At once, after other tasks had a turn.
    Again,
    /// Nothing is left to be done before this time, or before something comes.
    Wait(Option<Time>),
    /// Transmits wait that nobody takes now. Timers may be due meanwhile.
    Stuck,
}

/// Moves transmits down and events up, gives inputs, and lets time pass, until nothing is left to be done.
pub fn drive<I: Io>(io: &mut I) -> Next {
    let mut was_stuck = false;
    for _ in 0..ROUNDS {
        let mut moved = transmits(io);
        for _ in 0..EVENTS {
            if io.is_over() {
                return Next::Over;
            }
            let Some(event) = io.machine().poll_event() else {
                break;
            };
            io.event(event);
            moved = true;
        }
        moved |= !io.is_over() && io.take();
        if io.is_over() {
            return Next::Over;
        }
        let now = io.now();
        let wake = io.machine().poll_timeout();
        let due = wake.is_some_and(|w| w.at <= now.mono);
        if due {
            // What waits for a layer below that takes nothing is no reason to turn again and again.
            let stuck = !moved && !io.is_ready();
            if io.is_over() {
                return Next::Over;
            }
            if stuck && was_stuck {
                return Next::Stuck;
            }
            was_stuck = stuck;
            io.machine().handle_timeout(now);
        } else if !moved {
            return Next::Wait(wake.map(|w| w.at));
        }
    }
    Next::Again
}

fn transmits<I: Io>(io: &mut I) -> bool {
    let mut moved = false;
    while !io.is_over() && io.is_ready() {
        let Some(transmit) = io.machine().poll_transmit() else {
            break;
        };
        io.transmit(transmit);
        moved = true;
    }
    moved
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::convert::Infallible;
    use core::time::Duration;

    use super::*;
    use crate::{Queue, Wake, fingerprint};

    /// Doubles what it is given after a second, and says so.
    struct Doubler {
        held: Option<(u64, Time)>,
        out: Queue<u64>,
        events: Queue<u64>,
    }

    impl Machine for Doubler {
        type Input = u64;
        type Command = Infallible;
        type Answer = ();
        type Transmit = u64;
        type Event = u64;
        type Error = Infallible;
        fn handle_input(&mut self, now: Now, n: u64) -> Result<(), Infallible> {
            self.held = Some((n, now.mono + Duration::from_secs(1)));
            Ok(())
        }
        fn handle_command(&mut self, _: Now, command: Infallible) -> Result<(), Infallible> {
            match command {}
        }
        fn handle_timeout(&mut self, now: Now) {
            if let Some((n, _)) = self.held.take_if(|(_, at)| *at <= now.mono) {
                self.out.push_reserved(now.mono, 2 * n);
                self.events.push_reserved(now.mono, n);
            }
        }
        fn poll_transmit(&mut self) -> Option<u64> {
            self.out.pop()
        }
        fn poll_event(&mut self) -> Option<u64> {
            self.events.pop()
        }
        fn poll_timeout(&self) -> Option<Wake> {
            let held = self.held.map(|(_, at)| Wake { at, why: "held" });
            Wake::earliest([held, self.out.wake("out"), self.events.wake("events")])
        }
        fn fingerprint(&self) -> u64 {
            fingerprint!(self, Doubler { held, out, events })
        }
    }

    struct Around {
        doubler: Doubler,
        now: Now,
        given: Option<u64>,
        ready: bool,
        sent: Vec<u64>,
        told: Vec<u64>,
    }

    impl Io for Around {
        type Machine = Doubler;
        fn machine(&mut self) -> &mut Doubler {
            &mut self.doubler
        }
        fn now(&self) -> Now {
            self.now
        }
        fn is_ready(&mut self) -> bool {
            self.ready
        }
        fn transmit(&mut self, n: u64) {
            self.sent.push(n);
        }
        fn event(&mut self, n: u64) {
            self.told.push(n);
        }
        fn take(&mut self) -> bool {
            let given = self.given.take();
            let now = self.now;
            given.is_some_and(|n| self.doubler.handle_input(now, n).is_ok())
        }
        fn is_over(&self) -> bool {
            self.sent.len() > 1
        }
    }

    #[test]
    fn all_that_is_due_is_moved_and_the_rest_waits() {
        let mut io = Around {
            doubler: Doubler {
                held: None,
                out: Queue::new(4),
                events: Queue::new(4),
            },
            now: Now::default(),
            given: None,
            ready: true,
            sent: Vec::new(),
            told: Vec::new(),
        };
        assert_eq!(drive(&mut io), Next::Wait(None));
        let second = Time::ZERO + Duration::from_secs(1);
        io.given = Some(4);
        assert_eq!(drive(&mut io), Next::Wait(Some(second)));
        io.now.mono = second;
        io.ready = false;
        assert_eq!(drive(&mut io), Next::Stuck);
        assert_eq!((&io.sent[..], &io.told[..]), (&[][..], &[4][..]));
        io.ready = true;
        assert_eq!(drive(&mut io), Next::Wait(None));
        assert_eq!(io.sent, [8]);
        io.given = Some(1);
        assert!(matches!(drive(&mut io), Next::Wait(Some(_))));
        io.now.mono = second + Duration::from_secs(1);
        assert_eq!(drive(&mut io), Next::Over);
    }
}
