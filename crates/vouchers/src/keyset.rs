//! Keysets: the public keys of a mint for a time.

mod check;
pub(crate) mod record;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use betanet_bls::G2Affine;
use betanet_keys::{KeyError, PublicKey, hash};
use betanet_machine::Rng;
use betanet_wire::cbor;

use crate::{Denomination, SharedKey};

use record::Record;
pub use record::{KEYSET_MAX, KeysetDraft};

/// Time after `exp` in which vouchers are still redeemed, in ms: 29 days.
pub const GRACE: u64 = 29 * DAY;
/// Age of the ledger head that proves a keyset before a wallet issues under it, in ms: 24 hours.
pub const MIN_AGE: u64 = DAY;
/// Shortest life of a keyset under which a wallet issues, in ms: 30 days.
pub const MIN_LIFE: u64 = 30 * DAY;
const DAY: u64 = 86_400_000;

/// Hash of a keyset.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeysetId(pub [u8; 32]);

impl fmt::Display for KeysetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&betanet_wire::text::hex(&self.0))
    }
}

impl fmt::Debug for KeysetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeysetId({self})")
    }
}

/// Reason why bytes are not a keyset that a reader accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysetError {
    /// Longer than [`KEYSET_MAX`].
    #[error("a keyset has at most 1 MiB")]
    Length,
    /// Not the DET-CBOR of a keyset.
    #[error("not a keyset: {0}")]
    Malformed(#[from] cbor::Error),
    /// Another curve than BLS12-381 with signatures in G1.
    #[error("the suite is unknown")]
    Suite,
    /// Another version than 1.
    #[error("version {0} is unknown")]
    Version(u16),
    /// A unit that is empty, long, or not visible ASCII.
    #[error("the unit is not 1 to 32 visible ASCII characters")]
    Unit,
    /// Not 1 ≤ t ≤ n ≤ 255.
    #[error("{t} of {n} is no threshold")]
    Threshold {
        /// Shares that sign together.
        t: u16,
        /// All shares.
        n: u16,
    },
    /// `exp` is not after `not_before`.
    #[error("it expires before it begins")]
    Times,
    /// A denomination above 2^40, or none at all.
    #[error("a denomination is out of range, or there is none")]
    Denominations,
    /// Keys and shares differ in their denominations, or there are not n shares.
    #[error("the shares of 2^{0} are not one for each index")]
    Shares(u8),
    /// A key or share that is no good point.
    #[error("a point of 2^{e}: {why}")]
    Point {
        /// Exponent of the denomination.
        e: u8,
        /// What is wrong with it.
        why: betanet_bls::Error,
    },
    /// The shares and the key do not lie on one polynomial of degree t − 1.
    #[error("the shares of 2^{0} are not of one polynomial of degree t - 1 with the key at zero")]
    Polynomial(u8),
    /// A public key that another denomination or keyset has as well.
    #[error("a public key of 2^{0} occurs twice")]
    KeyTwice(u8),
    /// The spender's key is no Ed25519 key.
    #[error("the spender's key: {0}")]
    Spender(KeyError),
    /// Another keyset's refreshed shares, or an older generation.
    #[error("not newer shares of this keyset")]
    OtherShares,
    /// The reader knows as many keysets as it may.
    #[error("too many keysets are known")]
    Full,
}

/// Part of a keyset's life.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Before `not_before`: published; neither issues nor redeems.
    Announced,
    /// Issues and redeems.
    Active,
    /// 29 days from `exp`: redeems, and issues only for what was bought before.
    Retiring,
    /// Nothing.
    Expired,
}

/// Reason why a wallet does not issue under a keyset.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It is not active.
    #[error("the keyset is not active")]
    NotActive,
    /// The ledger head that proves it is younger than 24 hours.
    #[error("the keyset was proven less than 24 hours ago")]
    TooNew,
    /// It lives less than 30 days: so few use it that it names them.
    #[error("the keyset lives less than 30 days")]
    TooShort,
}

/// A checked keyset.
#[derive(Clone)]
pub struct Keyset {
    bytes: Vec<u8>,
    id: KeysetId,
    unit: String,
    not_before: u64,
    exp: u64,
    t: u8,
    n: u8,
    spender: PublicKey,
    keys: BTreeMap<Denomination, SharedKey>,
    /// Of the shares: raised by each refresh.
    generation: u64,
    /// The record of the last refresh; empty if there was none.
    refreshed: Vec<u8>,
}

impl Keyset {
    /// Reads a keyset and checks all that a reader must, but for keys that occur in other keysets: see [`crate::Keysets::add`].
    /// The polynomial check is by a random combination, for which `rng` must not be known to the keyset's author. About 0.2 ms a
    /// point.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn check(bytes: &[u8], rng: &mut Rng) -> Result<Self, KeysetError> {
        if bytes.len() > KEYSET_MAX {
            return Err(KeysetError::Length);
        }
        let record: Record<'_> = cbor::from_slice(bytes)?;
        let (t, n) = record.bounds()?;
        let keys = check::points(&record.keys, &record.shares, n)?;
        check::polynomials(&keys, t, n, rng)?;
        check::no_key_twice(&keys)?;
        Ok(Self {
            id: KeysetId(hash(&[b"BN-KEYSET1", bytes])),
            bytes: bytes.to_vec(),
            unit: record.unit.into(),
            not_before: record.not_before,
            exp: record.exp,
            t,
            n,
            spender: PublicKey::from_bytes(&record.spend).map_err(KeysetError::Spender)?,
            keys,
            generation: 0,
            refreshed: Vec::new(),
        })
    }

    /// Replaces the shares by refreshed ones (see [`crate::dkg::refreshed`]): of a higher generation, on one polynomial of the same
    /// degree with the same keys at zero. The keyset's ID stays.
    ///
    /// # Errors
    ///
    /// The first rule that they break; nothing is changed then.
    pub fn refresh(&mut self, bytes: &[u8], rng: &mut Rng) -> Result<(), KeysetError> {
        if bytes.len() > KEYSET_MAX {
            return Err(KeysetError::Length);
        }
        let record: record::Refreshed = cbor::from_slice(bytes)?;
        if record.keyset != self.id.0 || record.generation <= self.generation {
            return Err(KeysetError::OtherShares);
        }
        let old = record::Points::of(self.keys.iter().map(|(e, k)| (*e, k.public.to_bytes())));
        let keys = check::points(&old, &record.shares, self.n)?;
        check::polynomials(&keys, self.t, self.n, rng)?;
        check::no_key_twice(&keys)?;
        (self.keys, self.generation) = (keys, record.generation);
        self.refreshed = bytes.to_vec();
        Ok(())
    }

    /// The bytes as they were published.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its hash.
    #[must_use]
    pub const fn id(&self) -> KeysetId {
        self.id
    }

    /// The unit of its values.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Time from which it is active.
    #[must_use]
    pub const fn not_before(&self) -> u64 {
        self.not_before
    }

    /// Time from which it retires.
    #[must_use]
    pub const fn exp(&self) -> u64 {
        self.exp
    }

    /// Shares that sign together.
    #[must_use]
    pub const fn threshold(&self) -> u8 {
        self.t
    }

    /// All shares.
    #[must_use]
    pub const fn shares(&self) -> u8 {
        self.n
    }

    /// The key of the one service that keeps the spent set.
    #[must_use]
    pub const fn spender(&self) -> &PublicKey {
        &self.spender
    }

    /// The record of its refreshed shares, for [`Keyset::refresh`] by readers; `None` while they are those of the keyset.
    #[must_use]
    pub fn refresh_record(&self) -> Option<&[u8]> {
        (!self.refreshed.is_empty()).then_some(self.refreshed.as_slice())
    }

    /// Generation of the shares: 0 as published.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// A denomination's key.
    #[must_use]
    pub fn key(&self, denomination: Denomination) -> Option<&SharedKey> {
        self.keys.get(&denomination)
    }

    /// The denominations, lowest first.
    pub fn denominations(&self) -> impl Iterator<Item = Denomination> + '_ {
        self.keys.keys().copied()
    }

    /// Whether double issue is impossible while this many mints are dishonest: 2t > n + f (E-39).
    #[must_use]
    pub fn tolerates(&self, dishonest: u8) -> bool {
        2 * u16::from(self.t) > u16::from(self.n) + u16::from(dishonest)
    }

    /// The part of its life at a time in ms.
    #[must_use]
    pub const fn phase(&self, unix_ms: u64) -> Phase {
        if unix_ms < self.not_before {
            Phase::Announced
        } else if unix_ms < self.exp {
            Phase::Active
        } else if unix_ms < self.exp.saturating_add(GRACE) {
            Phase::Retiring
        } else {
            Phase::Expired
        }
    }

    /// Whether a wallet may issue under it. `proven` is the time of the final ledger head that proves it.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub fn fit_for_issue(&self, unix_ms: u64, proven: u64) -> Result<(), Unfit> {
        if self.phase(unix_ms) != Phase::Active {
            return Err(Unfit::NotActive);
        }
        if unix_ms.saturating_sub(proven) < MIN_AGE {
            return Err(Unfit::TooNew);
        }
        match self.exp - self.not_before < MIN_LIFE {
            true => Err(Unfit::TooShort),
            false => Ok(()),
        }
    }

    /// Every point with its denomination: keys and shares.
    pub(crate) fn points(&self) -> impl Iterator<Item = (u8, &G2Affine)> {
        self.keys.iter().flat_map(|(e, k)| {
            let all = core::iter::once(&k.public).chain(&k.shares);
            all.map(move |p| (e.exponent(), p))
        })
    }
}

impl fmt::Debug for Keyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Keyset({}, {} of {}, {})",
            self.id, self.t, self.n, self.unit
        )
    }
}

#[cfg(test)]
mod tests;
