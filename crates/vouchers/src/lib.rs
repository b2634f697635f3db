//! L6: vouchers, bearer credits that mints issue blind and anyone verifies.
//!
//! **Promises.** A voucher has one encoding of 128 bytes, and a typing error is told apart from a forgery. No mint can link a spent
//! voucher to its issue. Any t of n mints sign, and a wrong answer is named. A batch is verified by a random combination, so
//! forgeries cannot cancel. The redemption service credits a voucher once, through crashes and repeated requests. A wallet sends no
//! request before it is stored, and its phrase restores what it issued.
//!
//! **Below:** `bls`, `keys`, `wire`, `machine`. **Above:** services of mints and payees.
//! **Source:** profile chapter 7 (`spec-vectors/PROFILE.md`); Chaum, "Blind Signatures for Untraceable Payments" (CRYPTO 1982);
//! Boldyreva, "Threshold Signatures, Multisignatures and Blind Signatures Based on the Gap-Diffie-Hellman-Group Signature Scheme"
//! (PKC 2003).
//!
//! | part | what it is |
//! |---|---|
//! | [`Voucher`], [`verify`], [`verify_batch`] | the credit, and its verification |
//! | [`Keyset`], [`Keysets`] | public keys, their checks, and the parts of their life |
//! | [`deal_keyset`], [`deal`], [`dkg`] | keysets and key shares: from a dealer, without one, refreshed |
//! | [`Blinding`], [`sign_blinded`], [`finish`] | blind issue by a threshold |
//! | [`message`] | requests and answers |
//! | [`mint`], [`bank`] | deterministic machines over journals: a mint, and the redemption service |
//! | [`wallet`] | secrets from a phrase, operations that survive crashes |
//! | [`meter`], [`account`], [`accounts`] | what a relay forwarded for a peer, the record of it, and its way to both signatures |
//!
//! Arithmetic is apart from state: it can run on any thread. Time and randomness are arguments.
//!
//! A mint calls, in this order, for each issue: `IssueRequest::from_bytes`, its own check of the payment, `IssueRequest::points`, and
//! `Mint::issue`. It writes the record to its journal, then takes the answer with `Held::release`, and signs it with `ToSign::sign`. A
//! redemption goes the same way: `RedeemRequest::from_bytes`, `bank::verified`, `Bank::redeem`, the journal, `Held::release`, and
//! `Answer::sign`. The example `mint` does all of it, with a client, in 50 lines; the example `friend` pays somebody offline.
//!
//! ```
//! use betanet_bls::Scalar;
//! use betanet_keys::Identity;
//! use betanet_machine::{Rng, Seed};
//! use betanet_vouchers::{
//!     Blinding, Denomination, Keysets, Partials, Terms, Voucher, deal_keyset, finish, sign_blinded, verify,
//! };
//!
//! // A keyset with one denomination of 2^5 units, shared 2 of 3.
//! let mut rng = Rng::new(&Seed::from_number(1));
//! let spender = *Identity::from_seed(&[9; 32]).public();
//! let terms = Terms { t: 2, n: 3, ..Terms::single("FOG", spender, 0) };
//! let (keyset, mints) = deal_keyset(&terms, &[5], &mut rng)?;
//!
//! // The client blinds a secret. Two mints sign the blinded point.
//! let e = Denomination::new(5).ok_or("range")?;
//! let blinding = Blinding::new(e, &rng.array(), Scalar::draw(|b| rng.fill(b))).ok_or("zero")?;
//! let blinded = blinding.blinded(&keyset).ok_or("identity")?;
//! let answer = |at: usize| {
//!     let share = &mints[at][0];
//!     let signature = sign_blinded(share, &blinded).ok_or("identity")?;
//!     Ok::<_, &str>(Partials { share: share.index(), signatures: vec![signature] })
//! };
//! let vouchers = finish(&keyset, &[blinding], &[answer(0)?, answer(2)?], &mut rng)?;
//!
//! // Anyone verifies it.
//! let mut keysets = Keysets::default();
//! keysets.add(keyset)?;
//! let text = vouchers[0].to_string();
//! assert!(text.starts_with("bnv1"));
//! assert_eq!(verify(&text.parse::<Voucher>()?, &keysets), Ok(()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Measured
//!
//! By `benches/src/vouchers.rs`, on one core of an AMD EPYC that others used too, 2026-11-29. All are processor time,
//! and medians of seven rounds.
//!
//! | what | figure |
//! |---|---|
//! | one voucher verified | 898 µs |
//! | a voucher in a batch of 128 | 153 µs, as long as its parts in `blst` |
//! | a voucher in a batch of 1 024 | 139 µs, as long as its parts in `blst` |
//! | points that a mint signs, from the wire to the wire | 6 853 a second |
//!
//! The example `unlinkable` plays a mint that keeps every byte of 10 000 issues and guesses which voucher comes from which. Its seven
//! ways to guess were right 0 to 4 times. By chance one guess in all is right.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod account;
pub mod accounts;
pub mod bank;
mod batch;
mod deal;
mod denomination;
pub mod dkg;
mod held;
mod issue;
mod keyset;
mod keysets;
mod limits;
pub mod message;
pub mod meter;
pub mod mint;
mod polynomial;
mod terms;
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a model stops where it is surprised"
)]
pub mod testkit;
mod voucher;
pub mod wallet;

pub use batch::{Invalid, verify, verify_batch};
pub use deal::{KeyShare, SharedKey, deal};
pub use denomination::{DENOMINATION_MAX, Denomination, WALLET_DENOMINATION_MAX, digits};
pub use held::{Decided, Held};
pub use issue::{Blinding, IssueError, Partials, finish, is_good, join, sign_blinded};
pub use keyset::{
    GRACE, KEYSET_MAX, Keyset, KeysetDraft, KeysetError, KeysetId, MIN_AGE, MIN_LIFE, Phase, Unfit,
};
pub use keysets::{KEYSETS_MAX, Keysets};
pub use limits::{Allowance, Limits, PAYERS_MAX};
pub use terms::{Terms, deal_keyset};
pub use voucher::{VOUCHER, Voucher, VoucherError, message_point};

/// Domain separation tag of hashes to G1 (profile chapter 7).
pub const DST: &[u8] = b"BETANET-V12-VOUCHER_BLS12381G1_XMD:SHA-256_SSWU_RO_";
/// Domain separation tag of proofs of possession.
pub const DST_POP: &[u8] = b"BETANET-V12-VOUCHER_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

#[cfg(test)]
mod tests;
