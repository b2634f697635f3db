//! The primitives of `Noise_XK_25519_ChaChaPoly_SHA256` for snow, without system randomness.

use alloc::boxed::Box;

use betanet_keys::same;
use sha2::{Digest as _, Sha256};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::cipher::{FrameKey as _, Wiped};
use crate::frame::TAG;

/// Provides the primitives; its randomness is one ephemeral key that was drawn beforehand.
pub(crate) struct Resolver {
    ephemeral: [u8; 32],
    /// The public half of the static key, if known: deriving it costs a multiplication.
    own: Option<[u8; 32]>,
}

impl Resolver {
    pub(crate) const fn new(ephemeral: [u8; 32], own: Option<[u8; 32]>) -> Self {
        Self { ephemeral, own }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.ephemeral.zeroize();
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| {
            Box::new(X25519 {
                private: [0; 32],
                public: [0; 32],
                own: self.own,
            }) as Box<dyn Dh>
        })
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha(Sha256::new())) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly)
            .then(|| Box::new(ChaChaPoly(None)) as Box<dyn Cipher>)
    }
}

/// Yields its 32 bytes once; a second request is refused, because it would repeat the key.
struct Once(Option<[u8; 32]>);

impl Drop for Once {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        let mut bytes = self.0.take().ok_or(snow::Error::Rng)?;
        if dest.len() != bytes.len() {
            return Err(snow::Error::Rng);
        }
        dest.copy_from_slice(&bytes);
        bytes.zeroize();
        Ok(())
    }
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct X25519 {
    private: [u8; 32],
    public: [u8; 32],
    own: Option<[u8; 32]>,
}

impl X25519 {
    fn derive(&mut self) {
        // The base-point table takes a third of the ladder's time.
        let secret = x25519_dalek::StaticSecret::from(self.private);
        self.public = x25519_dalek::PublicKey::from(&secret).to_bytes();
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        if let Ok(key) = privkey.try_into() {
            self.private = key;
            // The static key is set; the ephemeral key is generated.
            match self.own {
                Some(public) => self.public = public,
                None => self.derive(),
            }
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(&mut self.private)?;
        self.derive();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.private
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public: [u8; 32] = pubkey
            .get(..32)
            .and_then(|p| p.try_into().ok())
            .ok_or(snow::Error::Dh)?;
        let mut shared = x25519(&self.private, &public).ok_or(snow::Error::Dh)?;
        out.get_mut(..32)
            .ok_or(snow::Error::Dh)?
            .copy_from_slice(&shared);
        shared.zeroize();
        Ok(())
    }
}

/// The shared secret; `None` if it is zero, because a point of small order lets its sender fix the secret.
pub(crate) fn x25519(private: &[u8; 32], public: &[u8; 32]) -> Option<[u8; 32]> {
    let shared = x25519_dalek::x25519(*private, *public);
    (!same(&shared, &[0; 32])).then_some(shared)
}

struct Sha(Sha256);

impl Hash for Sha {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Sha256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}

/// Holds no key until one is set.
struct ChaChaPoly(Option<Box<Wiped>>);

fn noise_nonce(n: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&n.to_le_bytes());
    nonce
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Wiped::chacha(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let n = plaintext.len();
        let Some(key) = &self.0 else { return 0 };
        out[..n].copy_from_slice(plaintext);
        let sealed = key.seal(noise_nonce(nonce), authtext, &mut out[..n]);
        let Some(tag) = sealed else { return 0 };
        out[n..n + TAG].copy_from_slice(&tag);
        n + TAG
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let key = self.0.as_ref().ok_or(snow::Error::Decrypt)?;
        let (sealed, tag) = ciphertext
            .split_last_chunk::<TAG>()
            .ok_or(snow::Error::Decrypt)?;
        let mut copy = Zeroizing::new(sealed.to_vec());
        if !key.open(noise_nonce(nonce), authtext, &mut copy, tag) {
            return Err(snow::Error::Decrypt);
        }
        out.get_mut(..copy.len())
            .ok_or(snow::Error::Decrypt)?
            .copy_from_slice(&copy);
        Ok(copy.len())
    }
}
