//! What the mints agree on before they make a keyset's keys, or refresh its shares.

use betanet_keys::{PublicKey, hash};
use betanet_machine::Rng;
use betanet_vouchers::dkg::Kind;
use betanet_vouchers::{Denomination, Keyset, KeysetId};
use betanet_wire::{cbor, message};

use super::{FILE_MAX, KeygenError};
use crate::{Deal, MintFolder};

/// The plan, which all mints get.
pub const PLAN_FILE: &str = "plan.cbor";

message! {
    struct Wire<'a> {
        /// Shares that sign together.
        req "t" t: u16,
        req "v" v: u16,
        req "exp" exp: u64,
        /// Generation of the shares; 0 for a new keyset.
        req "gen" generation: u64,
        req "unit" unit: &'a str,
        /// No two plans are the same.
        req "nonce" nonce: [u8; 32],
        /// Ed25519 key of the spender.
        req "spend" spend: [u8; 32],
        /// Key that signs coupons.
        opt "issuer" issuer: [u8; 32],
        /// The keyset whose shares are refreshed.
        opt "keyset" keyset: [u8; 32],
        /// The mints' keys, in the order of their shares.
        req "members" members: Vec<[u8; 32]>,
        /// Exponents of the denominations.
        req "exponents" exponents: &'a [u8],
        req "not_before" not_before: u64,
    }
}

/// A plan, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    bytes: Vec<u8>,
    pub(super) t: u8,
    members: Vec<PublicKey>,
    pub(super) exponents: Vec<Denomination>,
    pub(super) unit: String,
    pub(super) not_before: u64,
    pub(super) exp: u64,
    pub(super) spender: PublicKey,
    pub(super) issuer: Option<PublicKey>,
    keyset: Option<KeysetId>,
    pub(super) generation: u64,
}

impl Plan {
    /// Plans a new keyset, whose mints have these keys. `deal.n` is their number.
    ///
    /// # Errors
    ///
    /// The numbers are out of range, or a member occurs twice.
    pub fn fresh(
        deal: &Deal<'_>,
        members: &[PublicKey],
        issuer: PublicKey,
        rng: &mut Rng,
    ) -> Result<Self, KeygenError> {
        if usize::from(deal.n) != members.len() {
            return Err(KeygenError::Numbers);
        }
        let mut exponents = deal.exponents.to_vec();
        exponents.sort_unstable();
        Self::read(&cbor::to_vec(&Wire {
            t: deal.t.into(),
            v: 1,
            exp: deal.exp,
            generation: 0,
            unit: deal.unit,
            spend: *deal.spender.as_bytes(),
            issuer: Some(*issuer.as_bytes()),
            keyset: None,
            nonce: rng.array(),
            members: members.iter().map(|m| *m.as_bytes()).collect(),
            exponents: &exponents,
            not_before: deal.not_before,
        }))
    }

    /// Plans new shares of a keyset, for the mints in the order of their present shares.
    ///
    /// # Errors
    ///
    /// The keyset's threshold is 1, there are more or fewer members than shares, or one occurs twice.
    pub fn refresh(
        keyset: &Keyset,
        members: &[PublicKey],
        rng: &mut Rng,
    ) -> Result<Self, KeygenError> {
        if usize::from(keyset.shares()) != members.len() {
            return Err(KeygenError::Numbers);
        }
        let exponents: Vec<u8> = keyset.denominations().map(Denomination::exponent).collect();
        Self::read(&cbor::to_vec(&Wire {
            t: keyset.threshold().into(),
            v: 1,
            exp: keyset.exp(),
            generation: keyset.generation() + 1,
            unit: keyset.unit(),
            spend: *keyset.spender().as_bytes(),
            issuer: None,
            keyset: Some(keyset.id().0),
            nonce: rng.array(),
            members: members.iter().map(|m| *m.as_bytes()).collect(),
            exponents: &exponents,
            not_before: keyset.not_before(),
        }))
    }

    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// Not a plan, or its numbers are out of range.
    pub fn read(bytes: &[u8]) -> Result<Self, KeygenError> {
        if bytes.len() > FILE_MAX {
            return Err(KeygenError::NoPlan);
        }
        let wire: Wire<'_> = cbor::from_slice(bytes).map_err(|_| KeygenError::NoPlan)?;
        let key = |bytes: &[u8; 32]| PublicKey::from_bytes(bytes).map_err(|_| KeygenError::NoPlan);
        let members: Vec<PublicKey> = wire.members.iter().map(key).collect::<Result<_, _>>()?;
        let mut once = wire.members.clone();
        once.sort_unstable();
        once.dedup();
        if once.len() != members.len() {
            return Err(KeygenError::MemberTwice);
        }
        let n = u8::try_from(members.len()).map_err(|_| KeygenError::Numbers)?;
        let t = u8::try_from(wire.t).map_err(|_| KeygenError::Numbers)?;
        let least = 1 + u8::from(wire.keyset.is_some());
        let is_majority = 2 * u16::from(t) > u16::from(n);
        let rising = wire.exponents.is_sorted_by(|a, b| a < b);
        let is_refresh = wire.keyset.is_some() == (wire.generation > 0);
        let good = t >= least && t <= n && is_majority && rising && !wire.exponents.is_empty();
        if !good || wire.v != 1 || !is_refresh || wire.exp <= wire.not_before {
            return Err(KeygenError::Numbers);
        }
        let exponent = |e: &u8| Denomination::new(*e).ok_or(KeygenError::Numbers);
        Ok(Self {
            bytes: bytes.to_vec(),
            t,
            members,
            exponents: wire
                .exponents
                .iter()
                .map(exponent)
                .collect::<Result<_, _>>()?,
            unit: wire.unit.to_owned(),
            not_before: wire.not_before,
            exp: wire.exp,
            spender: key(&wire.spend)?,
            issuer: wire.issuer.as_ref().map(key).transpose()?,
            keyset: wire.keyset.map(KeysetId),
            generation: wire.generation,
        })
    }

    /// The bytes that all mints have.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash by which the mints' files name it.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        hash(&[b"BN-DKG-PLAN1", &self.bytes])
    }

    /// Number of the mints.
    #[must_use]
    pub fn n(&self) -> u8 {
        u8::try_from(self.members.len()).unwrap_or(u8::MAX)
    }

    /// Number of the shares that sign together.
    #[must_use]
    pub const fn threshold(&self) -> u8 {
        self.t
    }

    /// The keyset whose shares are refreshed; `None` for a new keyset.
    #[must_use]
    pub const fn keyset(&self) -> Option<KeysetId> {
        self.keyset
    }

    pub(super) const fn kind(&self) -> Kind {
        match self.keyset {
            Some(_) => Kind::Refresh,
            None => Kind::Fresh,
        }
    }

    /// The key of a mint, by its index from 1.
    #[must_use]
    pub fn member(&self, index: u8) -> Option<&PublicKey> {
        self.members.get(usize::from(index).checked_sub(1)?)
    }

    /// The index of a mint.
    #[must_use]
    pub fn index_of(&self, key: &PublicKey) -> Option<u8> {
        (1..=self.n()).find(|i| self.member(*i) == Some(key))
    }

    /// A refresh is by the mint of this index, with its present shares.
    pub(super) fn fits(&self, index: u8, old: Option<&MintFolder>) -> Result<(), KeygenError> {
        let (Some(id), Some(old)) = (self.keyset, old) else {
            return match self.keyset.is_some() == old.is_some() {
                true => Ok(()),
                false => Err(KeygenError::Old),
            };
        };
        let keyset = &old.keyset;
        let same = keyset.id() == id
            && keyset.generation() + 1 == self.generation
            && keyset.threshold() == self.t
            && keyset.shares() == self.n()
            && keyset.denominations().eq(self.exponents.iter().copied())
            && old.shares.len() == self.exponents.len()
            && old.shares.iter().all(|s| s.index() == index);
        match same {
            true => Ok(()),
            false => Err(KeygenError::OtherMint),
        }
    }
}
