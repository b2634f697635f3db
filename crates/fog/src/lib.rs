//! Vocabulary of the fog: resources, words, placement wishes, and the draws that anybody can check.
//!
//! **Promises.** A [`Resources`] value is within the chapter's bounds. Its arithmetic is checked. A [`Word`] holds only
//! the characters that the chapter allows. Every draw is a pure function of bytes.
//!
//! **Below:** `wire`, `keys`. **Above:** `scheduler`, coordinators, workers and their users.
//! **Source:** profile chapter 10 (`spec-vectors/PROFILE.md`).
//!
//! ```
//! use betanet_fog::{Resource, Resources, Tier};
//!
//! let room = Resources::new([(Resource::Cpu, 4_000), (Resource::Memory, 8 << 30)])?;
//! let asked = Resources::new([(Resource::Cpu, 1_500)])?;
//! assert_eq!(room.checked_sub(&asked).map(|left| left.get(Resource::Cpu)), Some(2_500));
//! assert!(Tier::Gold > Tier::Silver);
//! # Ok::<(), betanet_fog::OutOfBounds>(())
//! ```
#![no_std]

extern crate alloc;

mod draw;
mod resources;
mod tier;
mod wish;
mod word;

pub use draw::{draw, label};
pub use resources::{DEVICE, OutOfBounds, Resource, Resources};
pub use tier::Promise;
pub use wish::{Need, Op, Preference, Wishes};
pub use word::{Kind, Level, NodeState, Reason, Strategy, TaskState, Tier, Word, WordError};

/// SHA-256 of a task's signed record after its label: the same bytes are the same task.
pub type TaskId = [u8; 32];

/// SHA-256 of a blob, such as a module, an input or an output.
pub type Digest = [u8; 32];
