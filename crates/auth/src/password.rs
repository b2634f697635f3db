//! Passwords: the rules for new ones, and their hashes.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use betanet_keys::same;
use betanet_wire::cbor;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{Error, PasswordFault};

/// Memory of one check, in KiB.
pub const MEMORY_KIB: u32 = 19 << 10;
/// Passes of one check.
pub const PASSES: u32 = 2;
/// Fewest characters.
pub const PASSWORD_MIN: usize = 12;
/// Most characters.
pub const PASSWORD_MAX: usize = 128;
/// Least score of `zxcvbn`, which gives 0 to 4.
pub const SCORE_MIN: u8 = 3;

/// Version of a stored hash: argon2id, 19 MiB, two passes, one lane.
const VERSION: u8 = 1;

/// A new password that keeps the rules; wiped on drop.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Checks a new password. `score` is zxcvbn's, of the password and of words that its owner is known by; `own` are these words.
    ///
    /// # Errors
    ///
    /// [`Error::Password`].
    pub fn new(
        text: &str,
        own: &[&str],
        score: impl FnOnce(&str, &[&str]) -> u8,
    ) -> Result<Self, Error> {
        let fault = match length(text) {
            Length::Short => PasswordFault::Short,
            Length::Long => PasswordFault::Long,
            Length::Fits if score(text, own) < SCORE_MIN => PasswordFault::Weak,
            Length::Fits => return Ok(Self(Zeroizing::new(text.into()))),
        };
        Err(Error::Password(fault))
    }

    /// Computes the hash. It takes as long as a check: at most two at once.
    ///
    /// # Errors
    ///
    /// [`Error::Bug`].
    pub fn hash(&self, salt: [u8; 16], scratch: &mut Scratch) -> Result<PasswordHash, Error> {
        let tag = *stretch(&self.0, &salt, scratch)?;
        Ok(PasswordHash { salt, tag })
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

enum Length {
    Short,
    Fits,
    Long,
}

fn length(text: &str) -> Length {
    // No more than one character beyond the bound is counted.
    match text.chars().take(PASSWORD_MAX + 1).count() {
        0..PASSWORD_MIN => Length::Short,
        PASSWORD_MIN..=PASSWORD_MAX => Length::Fits,
        _ => Length::Long,
    }
}

/// The memory of checks, of 19 MiB from the first one on. Checks one after the other share it. It is wiped on drop.
#[derive(Default)]
pub struct Scratch(Vec<Block>);

impl Scratch {
    fn blocks(&mut self, n: usize) -> Result<&mut [Block], Error> {
        let more = n.saturating_sub(self.0.len());
        self.0.try_reserve_exact(more).map_err(|_| Error::Bug)?;
        self.0.resize(n, Block::new());
        Ok(&mut self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch(…)")
    }
}

fn stretch(
    password: &str,
    salt: &[u8; 16],
    scratch: &mut Scratch,
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).map_err(|_| Error::Bug)?;
    let mut tag = Zeroizing::new([0; 32]);
    let blocks = scratch.blocks(params.block_count())?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, tag.as_mut_slice(), blocks)
        .map_err(|_| Error::Bug)?;
    Ok(tag)
}

/// A stored hash of a password: argon2id with 19 MiB, two passes and one lane.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct PasswordHash {
    salt: [u8; 16],
    tag: [u8; 32],
}

/// The hash that stands for an account without a password: no password has it.
const NOBODY: PasswordHash = PasswordHash {
    salt: *b"BN-AUTH-NOBODY-1",
    tag: [0; 32],
};

/// Checks a password against a hash, with the same work if there is none.
pub(crate) fn check(
    password: &str,
    hash: Option<PasswordHash>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let known = hash.is_some();
    let hash = hash.unwrap_or(NOBODY);
    let tag = stretch(password, &hash.salt, scratch)?;
    match same(tag.as_slice(), &hash.tag) & known {
        true => Ok(()),
        false => Err(Error::Credentials),
    }
}

/// Whether a password has more characters than any that was accepted.
pub(crate) fn is_too_long(password: &str) -> bool {
    matches!(length(password), Length::Long)
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl cbor::Encode for PasswordHash {
    fn encode(&self, w: &mut cbor::Writer) {
        let mut out = [VERSION; 49];
        out[1..17].copy_from_slice(&self.salt);
        out[17..].copy_from_slice(&self.tag);
        w.bytes(&out);
    }
}

impl<'a> cbor::Decode<'a> for PasswordHash {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        let range = || cbor::Error::Range("a password's hash of version 1");
        let bytes: [u8; 49] = cbor::Decode::decode(r)?;
        let (version, rest) = bytes.split_first().ok_or_else(range)?;
        let (salt, tag) = rest.split_first_chunk().ok_or_else(range)?;
        match (*version, <[u8; 32]>::try_from(tag)) {
            (VERSION, Ok(tag)) => Ok(Self { salt: *salt, tag }),
            _ => Err(range()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    fn score(text: &str, own: &[&str]) -> u8 {
        zxcvbn::zxcvbn(text, own).score().into()
    }

    fn fault(text: &str) -> Option<Error> {
        Password::new(text, &["amelie", "betanet"], score).err()
    }

    #[test]
    fn rules_are_12_to_128_characters_and_a_score_of_3() {
        use PasswordFault::{Long, Short, Weak};
        for (text, why) in [
            ("", Short),
            ("xK9!rQ2#vB7", Short),
            ("passwordpassword", Weak),
            ("123456789012", Weak),
            ("qwertyuiop12", Weak),
            ("ameliebetanet", Weak),
            (&"xK9!rQ2#".repeat(17), Long),
        ] {
            assert_eq!(fault(text), Some(Error::Password(why)), "{text}");
        }
        assert_eq!(fault("xK9!rQ2#vB7z"), None);
        assert_eq!(fault("correct horse battery staple mouse"), None);
        // Characters are counted, not bytes.
        let greek = "ωξφψθλ".repeat(2) + "ρμνκζχ";
        assert_eq!(fault(&greek), None);
        let most: String = (0_u32..128)
            .map(|i| char::from_u32(0x4e00 + i * 37).unwrap())
            .collect();
        assert_eq!(fault(&most), None);
        assert_eq!(fault(&(most + "x")), Some(Error::Password(Long)));
        // The estimator is not asked where the length is wrong: it would take time.
        let asked = |text: &str| Password::new(text, &[], |_, _| panic!("asked")).err();
        assert_eq!(asked(&"x".repeat(1 << 20)), Some(Error::Password(Long)));
    }

    #[test]
    fn a_hash_is_argon2id_with_the_issues_cost() {
        assert_eq!((MEMORY_KIB, PASSES), (19_456, 2));
        let password = Password::new("xK9!rQ2#vB7z", &[], score).unwrap();
        let mut scratch = Scratch::default();
        let other = Password::new("another one of them", &[], score).unwrap();
        let other = other.hash(*b"fedcba9876543210", &mut scratch).unwrap();
        // What the check before has left changes nothing, and its memory is taken again.
        let blocks = (scratch.0.as_ptr(), scratch.0.capacity());
        let hash = password.hash(*b"0123456789abcdef", &mut scratch).unwrap();
        assert_ne!(hash, other);
        assert_eq!(blocks, (scratch.0.as_ptr(), MEMORY_KIB as usize));
        // argon2-cffi 25.1: hash_secret_raw(b"xK9!rQ2#vB7z", b"0123456789abcdef", 2, 19456, 1, 32, Type.ID).
        assert_eq!(betanet_wire::text::hex(&hash.tag), KNOWN);
        let bytes = cbor::to_vec(&hash);
        assert_eq!(cbor::from_slice::<PasswordHash>(&bytes), Ok(hash));
        let mut other = bytes.clone();
        other[2] = 2;
        assert!(cbor::from_slice::<PasswordHash>(&other).is_err());
        assert_eq!(
            format!("{password:?} {hash:?} {scratch:?}"),
            "Password(…) PasswordHash(…) Scratch(…)"
        );
    }
    const KNOWN: &str = "3320810322d5ac8f946461a6883a8d7df54e50b234d50fe7e375aeb79d5be6b3";
}
