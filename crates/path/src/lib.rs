//! L1: path headers, the hops that pass them on, and the choice of peers for a path.
//!
//! **Promises.** A decoded header encodes to the same bytes. A hop accepts each header once, and only with the signature of the
//! node that it names as sender. No path visits a node twice. The replay memory is bounded; one peer or one address fills only
//! its share, and no header is forgotten early.
//!
//! **Below:** PATH_CONTROL frames and FORWARD streams (`htx`). **Above:** code that composes a node. **Source:** profile chapter
//! 3 (`spec-vectors/PROFILE.md`), RFC 9002 §5 for the round-trip time.
//!
//! ```
//! use betanet_keys::Identity;
//! use betanet_machine::{Now, Time};
//! use betanet_path::{Accepted, Control, Hop, TTL, build};
//! use betanet_wire::ChargeTo;
//!
//! let [client, core, exit] = [1, 2, 3].map(|n| Identity::from_seed(&[n; 32]));
//! let nodes = [core.public().node_id(), exit.public().node_id()];
//! let now = Now::new(Time::ZERO, 1_755_000_000_000);
//! let built = build(&client, &nodes, now.unix_ms, TTL, None)?;
//! let control = Control::from_bytes(&built.control.to_bytes())?;
//!
//! let accepted = Hop::new(1024).receive(now, &core, (client.public(), ChargeTo::Unknown), control)?;
//! let Accepted::Forward { next, control, .. } = accepted else { panic!("the exit is next") };
//! assert_eq!(next, exit.public().node_id());
//!
//! let accepted = Hop::new(1024).receive(now, &exit, (core.public(), ChargeTo::Unknown), control)?;
//! assert!(matches!(accepted, Accepted::Exit { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]

extern crate alloc;

mod build;
mod choose;
mod control;
mod hop;
pub mod relay;
mod replay;
mod rtt;
mod sign;
mod stamps;
mod watch;

pub use build::{BuildError, Built, TTL, TTL_RANGE, build};
pub use choose::{Peers, Role, Roles, WAYS_MAX};
pub use control::{
    Cf, Control, ControlError, Ecn, Failure, PathId, SEGMENTS_MAX, Segment, VERSION,
};
pub use hop::{
    AHEAD_S, Accepted, CARRIED_S, Carried, Header, Hop, LinkPath, PathError, SKEW_S, Stands,
};
pub use relay::Relay;
pub use replay::REMEMBERED;
pub use rtt::Rtt;
pub use sign::{Route, path_id, segment_hash, segment_stands};
pub use stamps::Stamps;
pub use watch::{Doubt, Watch};
