//! A node's side of the fog: the copies that it holds, its beats, its leases and its receipts.
//!
//! [`NodeSession`] decides. It has no clock, socket or task: each call names the time. [`Worker`] drives it over a
//! [`FogClient`](crate::FogClient), and hands copies to an [`Engine`].
//!
//! ```
//! use betanet_fog::bodies::JoinAnswer;
//! use betanet_fog_client::node::{Due, NodeSession};
//! use betanet_keys::Identity;
//! use betanet_machine::{Now, Time};
//!
//! let leader = *Identity::from_seed(&[1; 32]).public();
//! let me = Identity::from_seed(&[2; 32]).public().node_id();
//! let coords = vec![*leader.as_bytes()].try_into()?;
//! let joined = JoinAnswer { ttl: 30_000, down: 90_000, join: 7, epoch: 3, coords };
//!
//! let now = Now::new(Time::ZERO, 1_790_000_000_000);
//! let mut node = NodeSession::new(now, me, &joined);
//! // The first beat is due at once: work comes to nodes that have beaten.
//! assert_eq!(node.due(now), [Due::Beat]);
//! let beat = node.beat(now);
//! assert!(beat.have.is_empty() && beat.work);
//! # Ok::<(), betanet_fog::TooMany>(())
//! ```

mod control;
mod engine;
mod levels;
mod receipts;
mod session;
mod worker;

pub use control::{Control, Copies, Intake};
pub use engine::{Ended, Engine, Running};
pub use levels::{Answers, COVER, MixWay, Questions, REACH, Way, Ways};
pub use receipts::{MemoryReceipts, Receipts, StoreFailed};
pub use session::{Beaten, Due, NodeSession, Order, Run, WorkError};
pub use worker::{Report, Worker};
