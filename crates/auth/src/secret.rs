use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use betanet_keys::{hash, same};
use betanet_wire::text::{base32, unbase32};
use ring::hmac;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Error;

/// Bytes of a hash that stand in a token as its check digits.
const CHECK: usize = 3;

/// A secret text that its owner is shown once; wiped on drop, and never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, exposed on purpose.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Key of the server from which it derives tokens and keyed hashes; wiped on drop. Coordinators of one cluster share it.
#[derive(Clone)]
pub struct ServerKey(Zeroizing<[u8; 32]>);

impl ServerKey {
    /// Wraps 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// HMAC-SHA-256 of a purpose and parts. The parts of one purpose have fixed lengths, but for the last.
    pub(crate) fn mac(&self, purpose: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        let mut context = hmac::Context::with_key(&key);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        for part in parts {
            context.update(part);
        }
        let mut out = Zeroizing::new([0; 32]);
        for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        out
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(…)")
    }
}

fn check(prefix: &str, body: &[u8]) -> [u8; CHECK] {
    let [a, b, c, ..] = hash(&[b"BN-AUTH-CHECK", prefix.as_bytes(), body]);
    [a, b, c]
}

/// Prefix, then body and check digits in base32.
pub(crate) fn to_token(prefix: &str, body: &[u8]) -> Secret {
    let mut bytes = Zeroizing::new(Vec::with_capacity(body.len() + CHECK));
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&check(prefix, body));
    let mut text = Zeroizing::new(base32(&bytes));
    let mut out = String::with_capacity(prefix.len() + text.len());
    out.push_str(prefix);
    out.push_str(&text);
    text.zeroize();
    Secret::new(out)
}

/// The body of a token of this prefix and length. A body has one text.
pub(crate) fn from_token<const N: usize>(
    prefix: &str,
    text: &str,
) -> Result<Zeroizing<[u8; N]>, Error> {
    let rest = text.strip_prefix(prefix).ok_or(Error::Credentials)?;
    let length = ((N + CHECK) * 8).div_ceil(5);
    if rest.len() != length || rest.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Error::Credentials);
    }
    let bytes = Zeroizing::new(unbase32(rest).ok_or(Error::Credentials)?);
    let (body, digits) = bytes.split_first_chunk::<N>().ok_or(Error::Credentials)?;
    match same(digits, &check(prefix, body)) {
        true => Ok(Zeroizing::new(*body)),
        false => Err(Error::Typing),
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let key = ServerKey::new([0xab; 32]);
        let token = to_token("x_", &[0xcd; 12]);
        assert_eq!(format!("{key:?} {token:?}"), "ServerKey(…) Secret(…)");
        assert_ne!(key.mac("a", &[b"b"]), key.mac("ab", &[]));
        assert_ne!(*key.mac("a", &[]), *ServerKey::new([1; 32]).mac("a", &[]));
    }

    #[test]
    fn the_keyed_hash_is_hmac_sha_256() {
        // RFC 4231 has no case with this framing; this is Python's hmac.new(b"\xab" * 32, b"p\0text", "sha256").
        let key = ServerKey::new([0xab; 32]);
        let mac = betanet_wire::text::hex(key.mac("p", &[b"te", b"xt"]).as_slice());
        assert_eq!(mac, KNOWN_MAC);
    }
    const KNOWN_MAC: &str = "036e0c0b1364d373500698729dcd88b7f59ac06e367e70f82fb7fa32327437ea";

    proptest! {
        #[test]
        fn a_token_reads_as_it_was_made_and_one_wrong_letter_is_told(
            body: [u8; 42], at in 2_usize..74, letter in 0_usize..31,
        ) {
            let token = to_token("x_", &body);
            let text = token.expose();
            prop_assert_eq!(*from_token::<42>("x_", text)?, body);
            prop_assert_eq!(from_token::<41>("x_", text).err(), Some(Error::Credentials));
            prop_assert_eq!(from_token::<42>("y_", text).err(), Some(Error::Credentials));
            let mut wrong = text.as_bytes().to_vec();
            let others = b"abcdefghijklmnopqrstuvwxyz234567".iter().filter(|b| **b != wrong[at]);
            wrong[at] = *others.collect::<Vec<_>>()[letter];
            let wrong = String::from_utf8(wrong).unwrap();
            prop_assert_eq!(from_token::<42>("x_", &wrong).err(), Some(Error::Typing));
            let upper = text.to_ascii_uppercase().replace("X_", "x_");
            prop_assert_eq!(from_token::<42>("x_", &upper).err(), Some(Error::Credentials));
        }
    }
}
