//! L3: peer discovery, and verification of peer records.
//!
//! **Promises.** The table accepts only records with a valid signature, time and `seq`. This node uses, passes on and counts a
//! peer only after it has reached that peer itself. One /24 holds two tested records, and one reporter 64 untested ones. A peer
//! that signs contradicting records is excluded, and the evidence is kept. Memory and traffic stay flat as the network grows.
//!
//! **Below:** DISCOVER and GOSSIP streams of sessions (`htx`), dialled by the code that composes a node. **Above:** `stack`.
//! **Source:** profile chapter 4 (`spec-vectors/PROFILE.md`); Heilman et al., "Eclipse Attacks on Bitcoin's Peer-to-Peer Network"
//! (USENIX Security 2015), for buckets, tests and anchors.
//!
//! ```
//! use betanet_keys::Identity;
//! use betanet_mesh::{Draft, Record, Role, Roles};
//!
//! let issuer = Identity::from_seed(&[1; 32]);
//! let draft = Draft {
//!     addrs: vec!["/ip4/192.0.2.1/tcp/443/tls".parse()?],
//!     roles: Roles::from_iter([Role::Entry]),
//!     ..Draft::default()
//! };
//! let record = draft.sign(&issuer, 1_755_000_000_000, 3_600_000);
//! assert_eq!(Record::from_envelope(record.envelope())?, record);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]

extern crate alloc;

mod addr;
mod admission;
mod bootstrap;
mod mesh;
pub mod message;
mod policy;
mod record;
mod table;
mod untested;
mod view;
mod work;

pub use addr::{Addr, AddrError, Carriage, Host, Prefix, is_public};
pub use admission::Admission;
pub use bootstrap::{BOOTSTRAP_TYPE, Bootstrap, BootstrapError};
pub use mesh::{
    Command, DialId, Error, Event, ExchangeId, Input, Mesh, PEERS_EXCHANGES, SEEDS_MAX, Saved,
    SeedPeer, Setup, Stats, Transmit, kind,
};
pub use policy::Policy;
pub use record::{
    Claims, Draft, ENVELOPE_MAX, GRACE_MS, LIFE_MAX_MS, Peek, Record, RecordError, Role, Roles,
    SKEW_MS, peek,
};
pub use table::{Entry, Evidence, Offer, Refusal, Table, Tested};
pub use untested::Teller;
pub use view::{Share, around};
pub use work::{Done, Work};
