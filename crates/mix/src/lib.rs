//! L4, the mix: Sphinx packets and exchanges over them.
//!
//! **Promises.** A batch of packets is unwrapped in place without allocation. Its time depends only on the number of packets, and
//! on which of them are valid. A packet has the same length at every hop. The next honest hop detects a changed bit in the
//! header; a changed payload becomes noise at the last hop. A repeated packet is refused for as long as its key lives. A path is
//! never shorter than requested.
//!
//! [`Client`] and [`RecipientMachine`] are the two ends of exchanges. A relay consists of [`KeyRing`], [`process`], [`Memory`],
//! [`Waiting`] and [`Links`]. [`Directory`] lists the relays.
//!
//! **Below:** `x25519-batch`, `hctr2`, `keys`, `wire`. **Above:** `stack` (BAR over it), `runtime` (threads, sockets), `sim`. **Source:**
//! profile chapter 5 (`spec-vectors/PROFILE.md`); Danezis and Goldberg, "Sphinx: A Compact and Provably Secure Mix Format", 2009;
//! Crowley, Huckleberry and Biggers, "Length-preserving encryption with HCTR2", 2021.
//!
//! ```
//! use betanet_mix::{Command, EpochKeys, Hop, Refusal, RelayKey, Way, build, public_key, unwrap_batch};
//!
//! let private = [7; 32]; // 32 random bytes
//! let hop = Hop {
//!     key: RelayKey::check(public_key(&private)).ok_or("no key")?,
//!     command: Command::Deliver { id: [1; 16] },
//! };
//! let way = Way { epoch: 9, hops: &[hop], x: [2; 32], pad: [3; 320] }; // x and pad are random
//! let mut packets = [build(way, &[5; 2048])?];
//!
//! let mut keys = EpochKeys::new();
//! assert!(keys.add(9, private, [0; 64]));
//! let mut outcomes = [Err(Refusal::Epoch)];
//! unwrap_batch(&keys, &mut packets, |_, _, _| false, &mut outcomes);
//! assert_eq!(outcomes[0]?.command, hop.command);
//! assert_eq!(packets[0].payload(), [5; 2048]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]

extern crate alloc;

mod beacon;
mod build;
mod client;
mod delay;
mod directory;
mod epoch;
mod fragment;
mod guard;
mod hop;
pub mod links;
mod lottery;
mod memory;
mod packet;
pub mod plane;
mod recipient;
mod replay;
mod share;
mod stream;
mod unwrap;
mod waiting;

pub use beacon::{
    BEACON_KEY, BEACON_SIG, BeaconKey, BeaconSecret, BeaconShare, PartialBeacon, join_beacon,
    layer_of, layer_text,
};
pub use betanet_hctr2::Hctr2;
/// Implementation of point multiplication.
pub use betanet_x25519_batch::Backend;
pub use build::{
    BuildError, Hop, Opener, RelayKey, ReplyWay, SURB, Surb, Way, build, build_batch, build_tagged,
    surb, surb_batch,
};
pub use client::{
    Client, ClientError, Command as ClientCommand, Cover, Done, Event as ClientEvent,
    Input as ClientInput, LoopHop, Looped, Lost, Recipient, Setup, Stats as ClientStats,
    Transmit as ClientTransmit, Work,
};
pub use delay::{delay_text, exponential_delay, own_delay, poisson_gap};
pub use directory::{
    DIRECTORY_MAX, DIRECTORY_TYPE, Directory, DirectoryError, LAYERS_MAX, ORG_MAX, Relay, Topology,
    weight,
};
pub use epoch::{AFTER_MS, DelayProof, EPOCH_MS, KeyRing, MixKeys, epoch_at, epoch_start};
pub use fragment::{Ack, DATA_MAX, Fragment, FragmentError, Kind, SURBS_MAX};
pub use guard::{GUARD_MS, Guard};
pub use links::Links;
pub use lottery::{Net, NetError, NoRoute, Ticket, draw, lottery_seed};
pub use memory::Memory;
pub use packet::{Command, DELAY_MAX_MS, DELAY_RANGE_MS, Delay, PACKET, PAYLOAD, Packet, SLOTS};
pub use plane::{Arrived, Cut, Fate, process};
pub use recipient::{
    Command as RecipientCommand, Delivered, Event as RecipientEvent, Message, RecipientConfig,
    RecipientError, RecipientMachine, Reply, Stats as RecipientStats,
};
pub use replay::{Noted, Replays, Taken};
pub use share::{Shares, Spent, Via};
pub use stream::{Piece, Receiver, Sender, StreamError, WINDOW};
pub use unwrap::{
    EpochKeys, KeyId, Outcome, Refusal, Unwrapped, public_key, unwrap_batch, unwrap_batch_with,
};
pub use waiting::{Crowded, Departure, Pool, Waiting};
