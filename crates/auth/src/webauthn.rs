//! Passkeys (WebAuthn Level 2) with ES256 and EdDSA, and the attestation `none`.
//!
//! A registration gives a [`Passkey`], which is stored with its account. A login checks the authenticator's signature, and gives the
//! passkey back with its new counter. Challenges come from [`Challenges`], which counts each once.
//!
//! A point that is not on the curve is accepted at registration, and verifies nothing later: with the attestation `none`, a registration
//! proves nothing about the key anyway.

mod cbor;
mod challenge;
mod data;
#[cfg(test)]
mod soft;

use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::{PublicKey, hash, same};
use betanet_wire::message;
use betanet_wire::text::unbase64url;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use crate::PasskeyFault;
use crate::json::Object;

pub use challenge::{CHALLENGES_MAX, Challenges, Purpose, REGISTRATIONS_MAX};
use data::{AuthenticatorData, CoseKey};

/// Longest client data.
pub const CLIENT_DATA_MAX: usize = 4096;
/// Longest attestation object.
pub const ATTESTATION_MAX: usize = 16 << 10;
/// Longest authenticator data of a login.
pub const AUTHENTICATOR_MAX: usize = 4096;
/// Longest credential ID, by the standard.
pub const CREDENTIAL_MAX: usize = 1023;
/// Longest signature: DER of two numbers of 32 bytes.
pub const SIGNATURE_MAX: usize = 72;

crate::words::words! {
    /// Algorithm of a passkey.
    pub enum Algorithm {
        /// ECDSA over P-256 with SHA-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

impl Algorithm {
    /// The number in `pubKeyCredParams`.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
        }
    }
}

message! {
    /// A passkey, as it is stored.
    pub struct Passkey {
        /// Credential ID, chosen by the authenticator.
        req "id" id: Vec<u8>,
        /// Algorithm.
        req "alg" algorithm: Algorithm,
        /// Public key: a point of 65 bytes, or 32 bytes of Ed25519.
        req "key" key: Vec<u8>,
        /// Registration, in UNIX milliseconds.
        req "made" made: u64,
        /// Name that its owner gave it.
        req "name" name: String,
        /// The authenticator's counter at its last use; 0 if it has none.
        req "count" count: u64,
        /// Whether the authenticator may copy it to other devices.
        req "backup" backup: bool,
    }
}

impl Passkey {
    /// Whether a use with this counter is newer than the last one. An authenticator without a counter says 0 each time.
    pub(crate) const fn counts_up_to(&self, count: u64) -> bool {
        count > self.count || (count == 0 && self.count == 0)
    }
}

/// The site and the rules of a ceremony.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Challenge that was given out for this ceremony.
    pub challenge: &'a [u8; 32],
    /// Domain of the site: the relying party's ID.
    pub domain: &'a str,
    /// Origins of the site's pages.
    pub origins: &'a [&'a str],
    /// Whether the authenticator must have verified its user, by PIN or body. Ask it where no password is asked.
    pub verified: bool,
}

/// Checks the client data, and gives their hash.
fn client_data(
    bytes: &[u8],
    ceremony: &str,
    want: &Expected<'_>,
) -> Result<[u8; 32], PasskeyFault> {
    use PasskeyFault::{Ceremony, Challenge, ClientData, CrossOrigin, Length, Origin};
    if bytes.len() > CLIENT_DATA_MAX {
        return Err(Length);
    }
    let object = Object::read(bytes).ok_or(ClientData)?;
    if object.text("type").ok_or(ClientData)? != ceremony {
        return Err(Ceremony);
    }
    let challenge = object.text("challenge").and_then(unbase64url);
    if !same(&challenge.ok_or(ClientData)?, want.challenge) {
        return Err(Challenge);
    }
    if !want
        .origins
        .contains(&object.text("origin").ok_or(ClientData)?)
    {
        return Err(Origin);
    }
    if object.flag("crossOrigin").ok_or(ClientData)? {
        return Err(CrossOrigin);
    }
    Ok(hash(&[bytes]))
}

/// The challenge that client data name, for [`Challenges::check`]; `None` if they name none. [`register`] and [`log_in`] compare it.
#[must_use]
pub fn challenge_of(client: &[u8]) -> Option<[u8; 32]> {
    let client = client.get(..CLIENT_DATA_MAX.min(client.len()))?;
    let object = Object::read(client)?;
    unbase64url(object.text("challenge")?)?.try_into().ok()
}

/// Checks the site and the flags of authenticator data.
fn authenticator(data: &AuthenticatorData<'_>, want: &Expected<'_>) -> Result<(), PasskeyFault> {
    if !same(data.domain, &hash(&[want.domain.as_bytes()])) {
        return Err(PasskeyFault::RelyingParty);
    }
    match data.present() && (data.verified() || !want.verified) {
        true => Ok(()),
        false => Err(PasskeyFault::User),
    }
}

/// Checks a registration: `clientDataJSON` and `attestationObject` as the browser gave them.
///
/// # Errors
///
/// [`PasskeyFault`].
pub fn register(
    now_ms: u64,
    name: &str,
    client: &[u8],
    attestation: &[u8],
    want: &Expected<'_>,
) -> Result<Passkey, PasskeyFault> {
    client_data(client, "webauthn.create", want)?;
    if attestation.len() > ATTESTATION_MAX {
        return Err(PasskeyFault::Length);
    }
    let data = data::attested(attestation)?;
    let data = AuthenticatorData::read(data)?;
    authenticator(&data, want)?;
    let credential = data.credential.ok_or(PasskeyFault::AuthenticatorData)?;
    let (algorithm, key) = match credential.key {
        CoseKey::Es256(point) => (Algorithm::Es256, point.to_vec()),
        CoseKey::EdDsa(key) => {
            PublicKey::from_bytes(&key).map_err(|_| PasskeyFault::Key)?;
            (Algorithm::EdDsa, key.to_vec())
        }
    };
    let end = name.char_indices().nth(64).map_or(name.len(), |(at, _)| at);
    Ok(Passkey {
        id: credential.id.to_vec(),
        algorithm,
        key,
        made: now_ms,
        name: name[..end].into(),
        count: u64::from(data.count),
        backup: data.may_back_up(),
    })
}

/// A login by passkey, as the browser gave it.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// `rawId`.
    pub credential: &'a [u8],
    /// `clientDataJSON`.
    pub client: &'a [u8],
    /// `authenticatorData`.
    pub authenticator: &'a [u8],
    /// `signature`.
    pub signature: &'a [u8],
}

/// Checks a login, and gives the passkey with its new counter, to be stored before the session is opened.
///
/// # Errors
///
/// [`PasskeyFault`].
pub fn log_in(
    passkey: &Passkey,
    assertion: &Assertion<'_>,
    want: &Expected<'_>,
) -> Result<Passkey, PasskeyFault> {
    let too_long = assertion.authenticator.len() > AUTHENTICATOR_MAX
        || assertion.signature.len() > SIGNATURE_MAX
        || assertion.credential.len() > CREDENTIAL_MAX;
    if too_long {
        return Err(PasskeyFault::Length);
    }
    if assertion.credential != passkey.id {
        return Err(PasskeyFault::Credential);
    }
    let client = client_data(assertion.client, "webauthn.get", want)?;
    let data = AuthenticatorData::read(assertion.authenticator)?;
    authenticator(&data, want)?;
    let signed = [assertion.authenticator, &client].concat();
    verify(passkey, &signed, assertion.signature)?;
    let count = u64::from(data.count);
    if !passkey.counts_up_to(count) {
        return Err(PasskeyFault::Counter);
    }
    Ok(Passkey {
        count,
        ..passkey.clone()
    })
}

fn verify(passkey: &Passkey, signed: &[u8], signature: &[u8]) -> Result<(), PasskeyFault> {
    let bad = PasskeyFault::Signature;
    match passkey.algorithm {
        Algorithm::Es256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &passkey.key)
            .verify(signed, signature)
            .map_err(|_| bad),
        Algorithm::EdDsa => {
            let key: &[u8; 32] = passkey.key.as_slice().try_into().map_err(|_| bad)?;
            let signature: &[u8; 64] = signature.try_into().map_err(|_| bad)?;
            let key = PublicKey::from_bytes(key).map_err(|_| bad)?;
            key.verify_message(signed, signature).map_err(|_| bad)
        }
    }
}

#[cfg(test)]
mod tests;
