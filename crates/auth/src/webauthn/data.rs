//! Attestation objects, authenticator data, and COSE keys.

use super::CREDENTIAL_MAX;
use super::cbor::{Item, Reader};
use crate::PasskeyFault;

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const MAY_BACK_UP: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;

/// The authenticator data in an attestation object of the format `none`.
pub(super) fn attested(object: &[u8]) -> Result<&[u8], PasskeyFault> {
    let mut r = Reader::new(object);
    let map = r.map()?;
    if !r.rest().is_empty() {
        return Err(PasskeyFault::Cbor);
    }
    let get = |name: &str| {
        let mut all = map.iter();
        all.find(|(k, _)| *k == Item::Text(name)).map(|(_, v)| *v)
    };
    match (get("fmt"), get("attStmt")) {
        (Some(Item::Text("none")), Some(Item::Map(true))) => {}
        (Some(Item::Text(_)), Some(Item::Map(_))) => return Err(PasskeyFault::Attestation),
        _ => return Err(PasskeyFault::Cbor),
    }
    match get("authData") {
        Some(Item::Bytes(data)) => Ok(data),
        _ => Err(PasskeyFault::Cbor),
    }
}

/// A public key of a supported algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CoseKey {
    /// An uncompressed point.
    Es256([u8; 65]),
    EdDsa([u8; 32]),
}

impl CoseKey {
    fn read(r: &mut Reader<'_>) -> Result<Self, PasskeyFault> {
        let map = r.map()?;
        let get = |label: i64| {
            let mut all = map.iter();
            all.find(|(k, _)| *k == Item::Number(label))
                .map(|(_, v)| *v)
        };
        let coordinate = |label: i64| match get(label) {
            Some(Item::Bytes(b)) => <[u8; 32]>::try_from(b).map_err(|_| PasskeyFault::Key),
            _ => Err(PasskeyFault::Key),
        };
        // Labels 1, 3 and -1 are the type, the algorithm and the curve.
        let kind = [get(1), get(3), get(-1)];
        if kind == [2, -7, 1].map(|n| Some(Item::Number(n))) {
            let mut point = [4; 65];
            point[1..33].copy_from_slice(&coordinate(-2)?);
            point[33..].copy_from_slice(&coordinate(-3)?);
            Ok(Self::Es256(point))
        } else if kind == [1, -8, 6].map(|n| Some(Item::Number(n))) {
            Ok(Self::EdDsa(coordinate(-2)?))
        } else {
            Err(PasskeyFault::Key)
        }
    }
}

/// A credential that was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Credential<'a> {
    pub(super) id: &'a [u8],
    pub(super) key: CoseKey,
}

/// Authenticator data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct AuthenticatorData<'a> {
    /// Hash of the relying party's ID.
    pub(super) domain: &'a [u8; 32],
    flags: u8,
    pub(super) count: u32,
    pub(super) credential: Option<Credential<'a>>,
}

impl<'a> AuthenticatorData<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, PasskeyFault> {
        let bad = PasskeyFault::AuthenticatorData;
        let (domain, rest) = bytes.split_first_chunk::<32>().ok_or(bad)?;
        let (flags, rest) = rest.split_first().ok_or(bad)?;
        let (count, mut rest) = rest.split_first_chunk::<4>().ok_or(bad)?;
        let has = |flag: u8| flags & flag != 0;
        if has(BACKED_UP) && !has(MAY_BACK_UP) {
            return Err(bad);
        }
        let credential = match has(ATTESTED) {
            true => Some(Self::credential(&mut rest)?),
            false => None,
        };
        if has(EXTENSIONS) {
            let mut r = Reader::new(rest);
            if !matches!(r.item()?, Item::Map(false)) {
                return Err(bad);
            }
            rest = r.rest();
        }
        match rest.is_empty() {
            true => Ok(Self {
                domain,
                flags: *flags,
                count: u32::from_be_bytes(*count),
                credential,
            }),
            false => Err(bad),
        }
    }

    fn credential(rest: &mut &'a [u8]) -> Result<Credential<'a>, PasskeyFault> {
        let bad = PasskeyFault::AuthenticatorData;
        // The AAGUID says which model the authenticator is; with the attestation `none` it means nothing.
        let (_, after) = rest.split_first_chunk::<16>().ok_or(bad)?;
        let (length, after) = after.split_first_chunk::<2>().ok_or(bad)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if !(1..=CREDENTIAL_MAX).contains(&length) {
            return Err(PasskeyFault::Length);
        }
        let (id, after) = after.split_at_checked(length).ok_or(bad)?;
        let mut r = Reader::new(after);
        let key = CoseKey::read(&mut r)?;
        *rest = r.rest();
        Ok(Credential { id, key })
    }

    pub(super) const fn present(&self) -> bool {
        self.flags & PRESENT != 0
    }

    pub(super) const fn verified(&self) -> bool {
        self.flags & VERIFIED != 0
    }

    pub(super) const fn may_back_up(&self) -> bool {
        self.flags & MAY_BACK_UP != 0
    }
}
