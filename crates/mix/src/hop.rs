//! The keys that a packet's builder shares with one hop.

use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use chacha20::{ChaCha20, Key};
use hkdf::{Hkdf, HkdfExtract};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::packet::{BETA, SLOT};

/// Length of the key stream for beta: the slot, and the bytes that move up.
pub(crate) const STREAM: usize = BETA + SLOT;

const OKM: usize = 144;

/// The keys of one hop of one packet.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct HopKeys {
    okm: [u8; OKM],
}

impl HopKeys {
    /// Derives the keys from the shared point and alpha.
    pub(crate) fn new(extract: &Extract, shared: &[u8; 32], alpha: &[u8; 32]) -> Self {
        let hkdf = extract.with(shared);
        let mut okm = [0; OKM];
        // 144 bytes are within HKDF's bound.
        let _ = hkdf.expand_multi_info(&[b"hop", alpha], &mut okm);
        Self { okm }
    }

    fn key(&self, n: usize) -> &[u8; 32] {
        let (keys, _) = self.okm.as_chunks();
        &keys[n]
    }

    pub(crate) fn payload(&self) -> &[u8; 32] {
        self.key(2)
    }

    pub(crate) fn blind(&self) -> &[u8; 32] {
        self.key(3)
    }

    /// Tag by which the replay memory knows the packet.
    pub(crate) fn tag(&self) -> [u8; 16] {
        crate::packet::part(&self.okm, 128)
    }

    /// The MAC of a header: its first four bytes, alpha, beta.
    pub(crate) fn gamma(&self, first: &[u8], alpha: &[u8; 32], beta: &[u8; BETA]) -> [u8; 16] {
        let mut text = [0; 4 + 32 + BETA];
        text[..4].copy_from_slice(first);
        text[4..36].copy_from_slice(alpha);
        text[36..].copy_from_slice(beta);
        let key = poly1305::Key::from(*self.key(1));
        Poly1305::new(&key).compute_unpadded(&text).into()
    }

    /// The key stream of beta.
    pub(crate) fn stream(&self) -> [u8; STREAM] {
        let mut out = [0; STREAM];
        let key = Key::from(*self.key(0));
        ChaCha20::new(&key, &[0; 12].into()).apply_keystream(&mut out);
        out
    }
}

/// HKDF's first half, with its salt, which is hashed once for many packets.
pub(crate) struct Extract(HkdfExtract<Sha256>);

impl Extract {
    pub(crate) fn new() -> Self {
        Self(HkdfExtract::new(Some(b"betanet/mix/1")))
    }

    fn with(&self, shared: &[u8; 32]) -> Hkdf<Sha256> {
        let mut extract = self.0.clone();
        extract.input_ikm(shared);
        extract.finalize().1
    }
}

/// `a ^= b`, to the shorter length.
pub(crate) fn xor(a: &mut [u8], b: &[u8]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a ^= b;
    }
}
