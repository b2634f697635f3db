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
//! 4. A `handle_*` that returns `Err` has changed nothing but its `Stats` and registered [`Interest`].
//! 5. The same seed and the same calls give the same outputs.
//! 6. Every queue has a bound and counts its refusals.
//! 7. A command returns what the caller needs, such as the ID of a new stream.
//! 8. A verb that must not fail is a plain method; the queues reserve room for it. Examples: returning credit, aborting, closing.
//! 9. A fingerprint covers all fields, by [`fingerprint!`].
//!
//! [`drive`] is the loop around a machine. Its caller implements [`Io`].
//!
//! With the feature `testkit`, `testkit::Checked` wraps any machine and panics when it breaks one of these.
#![no_std]

extern crate alloc;

mod drive;
mod fingerprint;
mod queue;
mod rng;
#[cfg(feature = "testkit")]
pub mod testkit;
mod time;

pub use drive::{Io, Next, drive};
pub use fingerprint::{Fingerprint, Interest};
pub use queue::Queue;
pub use rng::{Rng, Seed};
pub use time::{Now, Time, Wake};

/// One protocol layer, or a whole node made of layers.
pub trait Machine {
    /// Input from the layer below, such as received bytes.
    type Input;
    /// Command from the layer above.
    type Command;
    /// Result of a command, such as an ID.
    type Answer;
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
    /// The machine refused the command. The state is unchanged, except that the machine may have registered [`Interest`].
    fn handle_command(
        &mut self,
        now: Now,
        command: Self::Command,
    ) -> Result<Self::Answer, Self::Error>;

    /// Handles timers that are due at `now`.
    fn handle_timeout(&mut self, now: Now);

    /// Pops the next output for the layer below.
    fn poll_transmit(&mut self) -> Option<Self::Transmit>;

    /// Pops the next event for the layer above.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Time and reason of the next [`Machine::handle_timeout`] call that the machine needs.
    fn poll_timeout(&self) -> Option<Wake>;

    /// A cheap digest of the state without its statistics; a refusal leaves it unchanged. [`fingerprint!`] computes it.
    fn fingerprint(&self) -> u64;
}
