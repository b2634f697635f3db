//! A wrapper that panics when a machine breaks the contract.
//!
//! The same wrapper serves every layer. A new layer gets these checks when its tests and the simulator drive it through
//! [`Checked`].

use crate::{Machine, Now, Time, Wake};

/// Calls at one instant after which a machine counts as livelocked.
const LIVELOCK: u32 = 64;

/// A machine whose calls are checked against the contract.
#[derive(Debug)]
pub struct Checked<M> {
    inner: M,
    last: Time,
    repeats: u32,
}

#[allow(
    clippy::panic,
    reason = "a broken contract is a programming error that a test must show"
)]
impl<M: Machine> Checked<M> {
    /// Wraps a machine that was made at time zero.
    pub const fn new(inner: M) -> Self {
        Self::since(inner, Time::ZERO)
    }

    /// Wraps a machine that was made at `start`.
    pub const fn since(inner: M, start: Time) -> Self {
        Self {
            inner,
            last: start,
            repeats: 0,
        }
    }

    /// The wrapped machine.
    pub const fn get(&self) -> &M {
        &self.inner
    }

    /// The wrapped machine, for calls other than the six verbs.
    pub const fn get_mut(&mut self) -> &mut M {
        &mut self.inner
    }

    /// Calls a verb that must not fail, which is a plain method.
    pub fn call<T>(&mut self, now: Now, verb: impl FnOnce(&mut M) -> T) -> T {
        self.tick(now.mono, false);
        verb(&mut self.inner)
    }

    fn tick(&mut self, now: Time, timeout: bool) {
        assert!(
            now >= self.last,
            "time ran backwards: {now} after {}",
            self.last
        );
        self.repeats = if timeout && now == self.last {
            self.repeats + 1
        } else {
            0
        };
        assert!(
            self.repeats < LIVELOCK,
            "livelock at {now}: still asks for {:?} after {LIVELOCK} timeouts",
            self.inner.poll_timeout(),
        );
        self.last = now;
    }

    fn refused<T>(
        &mut self,
        call: impl FnOnce(&mut M) -> Result<T, M::Error>,
    ) -> Result<T, M::Error> {
        let before = self.inner.fingerprint();
        let answer = call(&mut self.inner);
        if answer.is_err() {
            assert_eq!(
                before,
                self.inner.fingerprint(),
                "refused, and changed all the same"
            );
        }
        answer
    }

    fn popped<T>(&mut self, pop: impl Fn(&mut M) -> Option<T>) -> Option<T> {
        let due = self.inner.poll_timeout().is_some_and(|w| w.at <= self.last);
        let out = pop(&mut self.inner);
        match out {
            Some(_) => assert!(due, "something waited, and poll_timeout did not say so"),
            None => assert!(
                pop(&mut self.inner).is_none(),
                "an empty queue filled by polling it"
            ),
        }
        out
    }
}

impl<M: Machine> Machine for Checked<M> {
    type Input = M::Input;
    type Command = M::Command;
    type Answer = M::Answer;
    type Transmit = M::Transmit;
    type Event = M::Event;
    type Error = M::Error;

    fn handle_input(&mut self, now: Now, input: M::Input) -> Result<(), M::Error> {
        self.tick(now.mono, false);
        self.refused(|m| m.handle_input(now, input))
    }

    fn handle_command(&mut self, now: Now, command: M::Command) -> Result<M::Answer, M::Error> {
        self.tick(now.mono, false);
        self.refused(|m| m.handle_command(now, command))
    }

    fn handle_timeout(&mut self, now: Now) {
        self.tick(now.mono, true);
        self.inner.handle_timeout(now);
    }

    fn poll_transmit(&mut self) -> Option<M::Transmit> {
        self.popped(M::poll_transmit)
    }

    fn poll_event(&mut self) -> Option<M::Event> {
        self.popped(M::poll_event)
    }

    fn poll_timeout(&self) -> Option<Wake> {
        let first = self.inner.poll_timeout();
        assert_eq!(
            first,
            self.inner.poll_timeout(),
            "asking changed the answer"
        );
        first
    }

    fn fingerprint(&self) -> u64 {
        self.inner.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::{Interest, Queue, fingerprint};
    use alloc::collections::BTreeMap;
    use core::fmt;
    use std::panic::catch_unwind;

    #[derive(Clone, Copy, PartialEq)]
    enum Sin {
        None,
        ForgetsWake,
        ChangesBeforeErr,
        ChangesDeepBeforeErr,
        NeverSettles,
    }

    struct Sinner {
        sin: Sin,
        seen: u64,
        deep: BTreeMap<u64, (u64, Interest)>,
        out: Queue<u64>,
    }

    #[derive(Debug)]
    struct Refused;
    impl fmt::Display for Refused {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("refused")
        }
    }
    impl core::error::Error for Refused {}

    impl Machine for Sinner {
        type Input = u64;
        type Command = u64;
        type Answer = ();
        type Transmit = u64;
        type Event = u64;
        type Error = Refused;
        fn handle_input(&mut self, now: Now, n: u64) -> Result<(), Refused> {
            if n == 0 {
                self.seen += u64::from(self.sin == Sin::ChangesBeforeErr);
                let (deep, interest) = self.deep.entry(7).or_default();
                *deep += u64::from(self.sin == Sin::ChangesDeepBeforeErr);
                interest.register();
                return Err(Refused);
            }
            self.seen += n;
            self.deep.insert(7, (n, Interest::default()));
            if self.out.push(now.mono, n) {
                Ok(())
            } else {
                Err(Refused)
            }
        }
        fn handle_command(&mut self, now: Now, n: u64) -> Result<(), Refused> {
            self.handle_input(now, n)
        }
        fn handle_timeout(&mut self, _: Now) {}
        fn poll_transmit(&mut self) -> Option<u64> {
            self.out.pop()
        }
        fn poll_event(&mut self) -> Option<u64> {
            None
        }
        fn poll_timeout(&self) -> Option<Wake> {
            match self.sin {
                Sin::ForgetsWake => None,
                Sin::NeverSettles => Some(Wake {
                    at: Time::ZERO,
                    why: "always",
                }),
                Sin::None | Sin::ChangesBeforeErr | Sin::ChangesDeepBeforeErr => {
                    self.out.wake("out")
                }
            }
        }
        fn fingerprint(&self) -> u64 {
            fingerprint!(self, Sinner { seen, deep, out } without { sin: "never changes" })
        }
    }

    fn drive(sin: Sin) -> bool {
        catch_unwind(|| {
            let mut m = Checked::new(Sinner {
                sin,
                seen: 0,
                deep: BTreeMap::new(),
                out: Queue::new(4),
            });
            let now = Now::default();
            m.handle_input(now, 3).unwrap();
            assert_eq!(m.poll_transmit(), Some(3));
            assert!(m.handle_input(now, 0).is_err());
            for _ in 0..2 * LIVELOCK {
                match m.poll_timeout() {
                    Some(w) if w.at <= now.mono => m.handle_timeout(now),
                    _ => break,
                }
            }
        })
        .is_ok()
    }

    #[test]
    fn the_honest_pass_and_each_sin_is_found() {
        assert!(drive(Sin::None));
        for sin in [
            Sin::ForgetsWake,
            Sin::ChangesBeforeErr,
            Sin::ChangesDeepBeforeErr,
            Sin::NeverSettles,
        ] {
            assert!(!drive(sin));
        }
    }

    #[test]
    fn time_that_runs_back_is_found() {
        let back = catch_unwind(|| {
            let mut m = Checked::new(Sinner {
                sin: Sin::None,
                seen: 0,
                deep: BTreeMap::new(),
                out: Queue::new(1),
            });
            m.handle_timeout(Now::new(Time::from_micros(2), 0));
            m.handle_timeout(Now::new(Time::from_micros(1), 0));
        });
        assert!(back.is_err());
    }
}
