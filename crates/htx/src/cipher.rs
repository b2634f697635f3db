//! The AEADs of frames, behind one interface: a node brings the fastest implementation for its machine.

use alloc::boxed::Box;
use core::fmt::Debug;

use ring::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey,
};

use crate::frame::TAG;

/// The AEAD of a session's frames. Both have keys of 32 bytes, nonces of 12 and tags of 16.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Suite {
    /// For frames of epoch 0, and of sessions without the feature `aes`.
    #[default]
    ChaCha20Poly1305,
    /// For frames of epoch 1 where both sides offered the feature `aes` (E-40).
    Aes256Gcm,
}

impl Suite {
    /// Name of the AEAD as RFC 8439 and NIST SP 800-38D write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
            Self::Aes256Gcm => "AES-256-GCM",
        }
    }
}

/// A key of an AEAD. It must overwrite its memory when dropped.
pub trait FrameKey: Send + Sync {
    /// Encrypts `data` in place and returns the tag. `None` if the implementation refuses; `data` is then unusable.
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Option<[u8; TAG]>;

    /// Decrypts `data` in place and returns whether the tag fits. If it does not, `data` is unusable.
    #[must_use]
    fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; TAG]) -> bool;
}

/// An implementation of the AEADs.
pub trait Ciphers: Debug + Send + Sync {
    /// Prepares a key. `None` if the implementation does not have the AEAD; the session then cannot send or receive.
    fn key(&self, suite: Suite, key: &[u8; 32]) -> Option<Box<dyn FrameKey>>;

    /// Whether the AEAD runs in constant time and fast on this processor. A node offers AES only then.
    fn suits(&self, suite: Suite) -> bool;
}

/// The AEADs of `ring`, for any target. It does not tell what the processor has, so AES is not offered with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring;

impl Ciphers for Ring {
    fn key(&self, suite: Suite, key: &[u8; 32]) -> Option<Box<dyn FrameKey>> {
        let algorithm = match suite {
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Aes256Gcm => &AES_256_GCM,
        };
        Some(Wiped::new(algorithm, key)?)
    }

    fn suits(&self, suite: Suite) -> bool {
        matches!(suite, Suite::ChaCha20Poly1305)
    }
}

/// A ring key that is overwritten when dropped, which ring itself does not do.
pub(crate) struct Wiped(LessSafeKey);

impl Wiped {
    fn new(algorithm: &'static Algorithm, key: &[u8; 32]) -> Option<Box<Self>> {
        let key = UnboundKey::new(algorithm, key).ok()?;
        Some(Box::new(Self(LessSafeKey::new(key))))
    }

    /// A key of ChaCha20-Poly1305.
    pub(crate) fn chacha(key: &[u8; 32]) -> Option<Box<Self>> {
        Self::new(&CHACHA20_POLY1305, key)
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // The same algorithm's key has the same size, so no byte of the old one stays.
        if let Ok(zero) = UnboundKey::new(self.0.algorithm(), &[0; 32]) {
            self.0 = LessSafeKey::new(zero);
        }
        // Without a reader the store above is dead and may be removed.
        core::hint::black_box(&self.0);
    }
}

impl FrameKey for Wiped {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Option<[u8; TAG]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), data)
            .ok()?;
        tag.as_ref().try_into().ok()
    }

    fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; TAG]) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(*tag), data, 0..)
            .is_ok()
    }
}
