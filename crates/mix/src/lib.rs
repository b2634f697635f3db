//! The privacy hop (L4): Sphinx packets.
//!
//! **Promises.** A batch of packets is unwrapped in its place without an allocation, in time that depends on how many there are
//! and on which of them stand; a packet is as long at one hop as at any other; one bit that was changed anywhere is found by the
//! next honest hop, or leaves noise at the last. A packet whose tag was met before is refused for as long as its key lives.
//!
//! **Below:** `x25519-batch`, `wire`; `htx` carries packets in MIX streams. **Above:** `bar` by requests over packets and answers
//! over reply blocks. **Source:** profile chapter 5 (`spec-vectors/PROFILE.md`); Danezis and Goldberg, "Sphinx: A Compact and
//! Provably Secure Mix Format", 2009; Crowley, Huckleberry and Biggers, "Length-preserving encryption with HCTR2", 2021.
#![no_std]

extern crate alloc;

mod build;
mod delay;
mod epoch;
mod fragment;
mod hctr2;
mod hop;
mod lottery;
mod packet;
mod replay;
mod stream;
mod unwrap;
mod waiting;

/// How points are multiplied.
pub use betanet_x25519_batch::Backend;
pub use build::{BuildError, Hop, Opener, RelayKey, SURB, Surb, Way, build, build_batch, surb};
pub use delay::{delay_text, exponential_delay, own_delay};
pub use epoch::{AFTER_MS, DelayProof, EPOCH_MS, KeyRing, MixKeys, epoch_at, epoch_start};
pub use fragment::{Ack, DATA_MAX, Fragment, FragmentError, Kind, SURBS_MAX};
pub use hctr2::Hctr2;
pub use lottery::{Net, NoRoute, Ticket, draw, lottery_seed};
pub use packet::{Command, DELAY_MAX_MS, DELAY_RANGE_MS, Delay, PACKET, PAYLOAD, Packet, SLOTS};
pub use replay::{Replays, Taken};
pub use stream::{Piece, Receiver, Sender, StreamError, WINDOW};
pub use unwrap::{
    EpochKeys, Outcome, Refusal, Unwrapped, public_key, unwrap_batch, unwrap_batch_with,
};
pub use waiting::{Crowded, Departure, Pool, Waiting};
