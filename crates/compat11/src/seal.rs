use alloc::vec::Vec;

use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Reading;
use crate::frame::{Framed, HEAD_MAX, Head, TAG};

/// Key of one direction for one key generation.
struct Keys {
    key: Zeroizing<[u8; 32]>,
    aead: ChaCha20Poly1305,
    salt: Zeroizing<[u8; 12]>,
    counter: u64,
    reading: Reading,
}

fn derived<const N: usize>(key: &[u8; 32], salt: &[u8]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    // Fails only for more than 8 160 bytes.
    let _ = Hkdf::<Sha256>::new(Some(salt), key).expand(&[], &mut out[..]);
    out
}

impl Keys {
    fn new(key: Zeroizing<[u8; 32]>, reading: Reading) -> Self {
        Self {
            aead: ChaCha20Poly1305::new((&*key).into()),
            salt: derived(&key, reading.nonce_salt),
            key,
            counter: 0,
            reading,
        }
    }

    fn turn(&mut self) {
        *self = Self::new(derived(&self.key, self.reading.next_salt), self.reading);
    }

    fn nonce(&self) -> [u8; 12] {
        betanet_keys::schedule::nonce(&self.salt, self.counter)
    }
}

/// Seals the frames of one direction.
#[derive(Hash)]
pub struct Sealer {
    keys: Keys,
    frames: u64,
    bytes: u64,
}

impl core::hash::Hash for Keys {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        betanet_machine::hash_fields!(self, state, Keys { counter } without {
            key: "a secret",
            aead: "a secret",
            salt: "a secret",
            reading: "set once",
        });
    }
}

impl Sealer {
    /// Starts with one half of the exported keys.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>, reading: Reading) -> Self {
        Self {
            keys: Keys::new(key, reading),
            frames: 0,
            bytes: 0,
        }
    }

    /// Seals a frame.
    pub fn seal(&mut self, head: Head, plaintext: &[u8]) -> Vec<u8> {
        self.seal_pieces(head, &[plaintext])
    }

    /// Seals a frame whose plaintext is in pieces.
    pub fn seal_pieces(&mut self, head: Head, pieces: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let len = pieces.iter().map(|p| p.as_ref().len()).sum();
        let mut out = Vec::with_capacity(HEAD_MAX + len + TAG);
        head.write(len, &mut out);
        let at = out.len();
        for piece in pieces {
            out.extend_from_slice(piece.as_ref());
        }
        let nonce = self.keys.nonce();
        let body = &mut out[at..];
        let sealed = self
            .keys
            .aead
            .encrypt_inout_detached((&nonce).into(), &[], body.into());
        match sealed {
            Ok(tag) => out.extend_from_slice(&tag),
            // Fails only for more than 2^38 bytes: nothing may leave unsealed.
            Err(_) => out.clear(),
        }
        self.keys.counter += 1;
        self.frames += 1;
        self.bytes += out.len() as u64;
        out
    }

    /// Seals a KEY_UPDATE and switches to the next key.
    pub fn turn(&mut self) -> Vec<u8> {
        let frame = self.seal(Head::KeyUpdate, &[]);
        self.keys.turn();
        self.frames = 0;
        self.bytes = 0;
        frame
    }

    /// Number of frames sealed under the current key.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Number of bytes sealed under the current key.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Opens the frames of the other direction.
#[derive(Hash)]
pub struct Opener {
    keys: Keys,
}

impl Opener {
    /// Starts with the other half of the exported keys.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>, reading: Reading) -> Self {
        Self {
            keys: Keys::new(key, reading),
        }
    }

    /// Decrypts a whole frame in place and follows a KEY_UPDATE; the plaintext lies between header and tag. `None` if it does not
    /// decrypt; its bytes are then unusable.
    pub fn open(&mut self, framed: &Framed, frame: &mut [u8]) -> Option<()> {
        let (body, tag) = frame
            .get_mut(framed.at..framed.end)?
            .split_last_chunk_mut::<TAG>()?;
        let nonce = self.keys.nonce();
        let tag = Tag::from(*tag);
        self.keys
            .aead
            .decrypt_inout_detached((&nonce).into(), &[], body.into(), &tag)
            .ok()?;
        self.keys.counter += 1;
        if framed.head == Head::KeyUpdate {
            self.keys.turn();
        }
        Some(())
    }
}
