//! The economy of a fog: a ledger that balances, stake that can be lost, votes that bind, rewards for work that was proven.
//!
//! **Promises.** State, time and request give one answer and one next state, so whoever has the journal reaches the same root.
//! Debits equal credits per asset after every record, and no account but the source of issuance goes below zero. A refused request
//! changes nothing. A request or transfer happens once, however often it is sent. No record causes more than 512 events.
//! A proposal carries no code, and executes once, as a whole or not at all.
//!
//! **Below:** `keys`, `wire`. **Above:** `economy-service`, which a coordinator runs. Heads over its journal are those of `log`.
//! **Source:** profile chapter 11 (`spec-vectors/PROFILE.md`); `spec-vectors/economy.json` has its known answers.
//!
//! | part | what it is |
//! |---|---|
//! | [`Economy`] | the machine: [`apply`](Economy::apply), [`tick`](Economy::tick), [`replay`](Economy::replay), [`audit`](Economy::audit) |
//! | [`Genesis`] | constants and first balances |
//! | [`request`] | envelopes, operations, transfers, effects of proposals |
//! | [`journal`] | records, and signed answers |
//! | [`Code`] | reasons of refusals: where several apply, the lowest is the answer |
//! | [`Tree`], [`verify_state`] | the root over all tables, proofs of balances and votes |
//! | [`math`], [`params`] | arithmetic without state; parameters with their bounds |
//!
//! ```
//! use betanet_keys::Identity;
//! use betanet_tokenomics::account::{MICRO, USER, address};
//! use betanet_tokenomics::request::{Kind, Op, Transfer};
//! use betanet_tokenomics::{Asset, Code, Economy, Envelope, GenesisDraft, Request};
//!
//! // A ledger with two users, who have 1 000 FOG each.
//! let [alice, bob] = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
//! let [a, b] = [&alice, &bob].map(|i| address(i.public().as_bytes()));
//! let alloc = [&alice, &bob].map(|i| (*i.public().as_bytes(), USER, 1_000 * MICRO));
//! let draft = GenesisDraft {
//!     name: "two users",
//!     epoch_ms: 86_400_000,
//!     cap: 10_000 * MICRO,
//!     halving: 365,
//!     alloc: &alloc,
//!     ..GenesisDraft::default()
//! };
//! let mut economy = Economy::new(&draft.to_bytes())?;
//!
//! // Alice pays Bob 5 FOG. The same envelope again gives the same answer and moves nothing.
//! let kind = Kind::Plain { from: a, to: b, asset: Asset::Fog, amt: 5 * MICRO };
//! let list = vec![Transfer::new([1; 16], false, &kind).ok_or("range")?];
//! let request = Request::new(&[(a, 0)], 60_000, [2; 16], &Op::Transfers { list }).ok_or("range")?;
//! let envelope = Envelope::sign(request, economy.genesis().id(), &[&alice]).to_bytes();
//! for repeat in [false, true] {
//!     let answer = economy.apply(1_000, &envelope)?;
//!     assert_eq!((answer.code, answer.repeat), (Code::Ok, repeat));
//! }
//! assert_eq!(economy.counters(&b, Asset::Fog).available(), 1_005 * u128::from(MICRO));
//! economy.audit()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Measured
//!
//! By `cargo xtask bench --only economy`, on one core of a Xeon server that others used too, 2026-11-30. All are processor time of one
//! run, without a journal and without signatures.
//!
//! | what | figure |
//! |---|---|
//! | 1 000 000 transfers, 64 a request: read from bytes | 799 000 a second |
//! | the same applied | 634 000 to 749 000 a second |
//! | their root, once at the end | 1.4 s |
//! | the longest of the records in which 100 000 holds end in one instant | 4 ms, counted in steps of 4 ms |
//! | 1 125 261 rows of a snapshot loaded, and their root | 0.24 s, 1.42 s |
//! | the end of an epoch with 1 000 nodes and 100 000 stakes | 40 ms |
//! | votes of 1 000 nodes for 100 000 holders, together | 16 ms |
//! | 1 000 000 records of one transfer read and applied, and their root | 9.9 s |
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod account;
mod apply;
mod audit;
mod bridge;
mod code;
mod due;
mod effects;
mod epoch;
mod error;
mod genesis;
mod govern;
pub mod journal;
mod key;
mod ledger;
pub mod math;
pub mod params;
mod read;
pub mod records;
pub mod request;
mod rows;
mod shards;
mod slash;
mod stake;
mod start;
mod state;
mod table;
mod tally;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
mod transfers;
mod tree;
mod views;
mod voters;
mod work;

pub use account::{ASSETS, Asset, Hash, Id};
pub use apply::{Answer, CheckedKeys, EVENTS_MAX, Verified};
pub use audit::Imbalance;
pub use bridge::{metered_mark, redeemed_mark};
pub use code::Code;
pub use error::Error;
pub use genesis::{GENESIS_MAX, Genesis, GenesisDraft};
pub use ledger::Counters;
pub use params::{Param, Role};
pub use request::{Envelope, Request};
pub use stake::{HOLDERS_MAX, UNBONDINGS_MAX};
pub use state::{Economy, StateProof, TABLES};
pub use tree::{Change, NO_ROOT, PATH_MAX, Tree, leaf_hash, leaf_key, verify_state};
pub use views::{Reserved, effects_of};
