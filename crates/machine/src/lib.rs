//! The contract of every layer, and its basic types: time, seeds and bounded queues.
//!
//! **Promises.** A layer is a value. It owns no socket, task, clock or system randomness. The driver tells it each event and its
//! time, then polls it for output. Everything here is `no_std`.
//!
//! **Below:** nothing. **Above:** every other crate. **Source:** the architecture in the README.
//!
//! | verb              | direction                  |
//! |-------------------|----------------------------|
//! | `handle_input`    | up, from the layer below   |
//! | `handle_command`  | down, from the layer above |
//! | `handle_timeout`  | time passed                |
//! | `poll_transmit`   | down, to the layer below   |
//! | `poll_event`      | up, to the layer above     |
//! | `poll_timeout`    | when to call back          |
//!
//! # Contract
//!
//! 1. `poll_*` does no work: it pops a queue or reads a field.
//! 2. While a queue holds something, `poll_timeout` is due at once.
//! 3. Once drained and timed out at `now`, `poll_timeout` is `None` or strictly later.
//! 4. A `handle_*` that returns `Err` has changed nothing but its `Stats`.
//! 5. The same seed and the same calls give the same outputs.
//! 6. Every queue has a bound and counts its refusals.
//!
//! With the feature `testkit`, `testkit::Checked` wraps any machine and panics when it breaks one of these.
#![no_std]

extern crate alloc;

mod queue;
mod rng;
#[cfg(feature = "testkit")]
pub mod testkit;
mod time;

pub use queue::Queue;
pub use rng::{Rng, Seed};
pub use time::{Now, Time, Wake};

/// One protocol layer, or a whole node made of layers.
pub trait Machine {
    /// Input from the layer below, such as received bytes.
    type Input;
    /// Command from the layer above.
    type Command;
    /// Output for the layer below, such as bytes to send.
    type Transmit;
    /// Event for the layer above.
    type Event;
    /// Reason for refusing an input or a command.
    type Error: core::error::Error;

    /// Handles an input from the layer below.
    ///
    /// # Errors
    ///
    /// The caller misused the machine, or a queue is full; the state is unchanged. A peer's fault is `Ok` and an event.
    fn handle_input(&mut self, now: Now, input: Self::Input) -> Result<(), Self::Error>;

    /// Handles a command from the layer above.
    ///
    /// # Errors
    ///
    /// The machine refused the command; the state is unchanged.
    fn handle_command(&mut self, now: Now, command: Self::Command) -> Result<(), Self::Error>;

    /// Handles timers that are due at `now`.
    fn handle_timeout(&mut self, now: Now);

    /// Pops the next output for the layer below.
    fn poll_transmit(&mut self) -> Option<Self::Transmit>;

    /// Pops the next event for the layer above.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Time and reason of the next [`Machine::handle_timeout`] call that the machine needs.
    fn poll_timeout(&self) -> Option<Wake>;

    /// A cheap digest of the state without its statistics; a refusal leaves it unchanged.
    fn fingerprint(&self) -> u64;
}

/// Folds words into a [`Machine::fingerprint`]: FNV-1a over their bytes.
#[derive(Clone, Copy, Debug)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds one word.
    #[must_use]
    pub fn word(self, word: u64) -> Self {
        self.bytes(&word.to_le_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// The digest so far.
    #[must_use]
    pub const fn finish(self) -> u64 {
        self.0
    }
}
