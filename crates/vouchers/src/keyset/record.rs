//! The encoding.

use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_wire::cbor::{self, Decode, Encode, Error, Reader, Writer};
use betanet_wire::message;

use super::{KeysetError, KeysetId};
use crate::{DENOMINATION_MAX, Denomination, SharedKey};

/// Longest keyset: 41 denominations with 255 shares fit.
pub const KEYSET_MAX: usize = 1 << 20;
/// Longest unit.
pub(super) const UNIT_MAX: usize = 32;

pub(super) const SUITE: &str = "BLS12381-G1";

/// A map from exponents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ByExponent<T>(pub(crate) Vec<(Denomination, T)>);

pub(crate) type Points = ByExponent<[u8; 96]>;
pub(crate) type Lists = ByExponent<Vec<[u8; 96]>>;

impl<T> ByExponent<T> {
    /// In ascending order of exponents, as a map's items come.
    pub(crate) fn of(items: impl Iterator<Item = (Denomination, T)>) -> Self {
        Self(items.collect())
    }
}

impl<T: Encode> Encode for ByExponent<T> {
    fn encode(&self, w: &mut Writer) {
        w.map(self.0.len());
        for (e, item) in &self.0 {
            w.unsigned(e.exponent().into());
            item.encode(w);
        }
    }
    fn size_hint(&self) -> usize {
        9 + self.0.iter().map(|(_, i)| 2 + i.size_hint()).sum::<usize>()
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for ByExponent<T> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let n = r.map()?;
        if n > usize::from(DENOMINATION_MAX) + 1 {
            return Err(Error::Range("41 denominations"));
        }
        let mut out: Vec<(Denomination, T)> = Vec::with_capacity(n);
        for _ in 0..n {
            let e = r.unsigned()?;
            let e = u8::try_from(e).ok().and_then(Denomination::new);
            let e = e.ok_or(Error::Range("an exponent up to 40"))?;
            // Shortest heads: numbers ascend as their encodings do.
            match out.last() {
                Some((last, _)) if *last == e => return Err(Error::DuplicateKey),
                Some((last, _)) if *last > e => return Err(Error::KeyOrder),
                _ => out.push((e, T::decode(r)?)),
            }
        }
        r.leave();
        Ok(Self(out))
    }
}

message! {
    /// A keyset as it is published.
    pub(crate) struct Record<'a> {
        /// Number of shares.
        req "n" n: u16,
        /// Threshold.
        req "t" t: u16,
        /// Version.
        req "v" v: u16,
        /// End of its active life, in ms.
        req "exp" exp: u64,
        /// Keys.
        req "keys" keys: Points,
        /// Unit of the values.
        req "unit" unit: &'a str,
        /// Ed25519 key of the spender.
        req "spend" spend: [u8; 32],
        /// Curve.
        req "suite" suite: &'a str,
        /// Keys of the shares.
        req "shares" shares: Lists,
        /// Begin of its active life, in ms.
        req "not_before" not_before: u64,
    }
}

message! {
    /// Shares' keys after a refresh.
    pub(crate) struct Refreshed {
        /// Number of the refresh, from 1.
        req "gen" generation: u64,
        /// The keyset.
        req "keyset" keyset: [u8; 32],
        /// Keys of the shares.
        req "shares" shares: Lists,
    }
}

impl Record<'_> {
    /// Checks what needs no arithmetic; gives t and n.
    pub(super) fn bounds(&self) -> Result<(u8, u8), KeysetError> {
        if self.suite != SUITE {
            return Err(KeysetError::Suite);
        }
        if self.v != 1 {
            return Err(KeysetError::Version(self.v));
        }
        let visible = self.unit.bytes().all(|b| b.is_ascii_graphic());
        if self.unit.is_empty() || self.unit.len() > UNIT_MAX || !visible {
            return Err(KeysetError::Unit);
        }
        if self.exp <= self.not_before {
            return Err(KeysetError::Times);
        }
        if self.keys.0.is_empty() {
            return Err(KeysetError::Denominations);
        }
        let threshold = KeysetError::Threshold {
            t: self.t,
            n: self.n,
        };
        match (u8::try_from(self.t), u8::try_from(self.n)) {
            (Ok(t), Ok(n)) if 1 <= t && t <= n => Ok((t, n)),
            _ => Err(threshold),
        }
    }
}

/// Parts of a keyset to publish.
#[derive(Clone, Debug)]
pub struct KeysetDraft<'a> {
    /// Unit of the values, 1 to 32 visible ASCII characters.
    pub unit: &'a str,
    /// Begin of its active life, in ms.
    pub not_before: u64,
    /// End of its active life, in ms.
    pub exp: u64,
    /// Shares that sign together.
    pub t: u8,
    /// Key of the one service that keeps the spent set.
    pub spender: PublicKey,
    /// The denominations' keys, in any order.
    pub keys: &'a [(Denomination, SharedKey)],
}

impl KeysetDraft<'_> {
    /// Encodes it. Whether it is a good one, [`super::Keyset::check`] says.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut keys: Vec<&(Denomination, SharedKey)> = self.keys.iter().collect();
        keys.sort_by_key(|(e, _)| *e);
        let n = keys.first().map_or(0, |(_, k)| k.shares.len());
        cbor::to_vec(&Record {
            n: u16::try_from(n).unwrap_or(u16::MAX),
            t: self.t.into(),
            v: 1,
            exp: self.exp,
            keys: Points::of(keys.iter().map(|(e, k)| (*e, k.public.to_bytes()))),
            unit: self.unit,
            spend: *self.spender.as_bytes(),
            suite: SUITE,
            shares: lists(keys.iter().map(|(e, k)| (*e, k))),
            not_before: self.not_before,
        })
    }
}

fn lists<'a>(keys: impl Iterator<Item = (Denomination, &'a SharedKey)>) -> Lists {
    let bytes = |k: &SharedKey| k.shares.iter().map(|s| s.to_bytes()).collect();
    Lists::of(keys.map(|(e, k)| (e, bytes(k))))
}

/// The record of refreshed shares, which [`super::Keyset::refresh`] reads.
pub(crate) fn refreshed(
    keyset: &KeysetId,
    generation: u64,
    keys: &[(Denomination, SharedKey)],
) -> Vec<u8> {
    let mut keys: Vec<&(Denomination, SharedKey)> = keys.iter().collect();
    keys.sort_by_key(|(e, _)| *e);
    cbor::to_vec(&Refreshed {
        generation,
        keyset: keyset.0,
        shares: lists(keys.iter().map(|(e, k)| (*e, k))),
    })
}
