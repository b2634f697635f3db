use alloc::string::String;
use core::fmt;

use betanet_wire::{NodeId, PeerId};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use zeroize::Zeroizing;

use crate::hash;

/// Reason why a key or a signature is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the encoding of a curve point, or not its canonical one.
    #[error("not a canonical Ed25519 public key")]
    NotCanonical,
    /// A point of small order, or outside the prime-order subgroup.
    #[error("the public key is not in the prime-order subgroup")]
    WrongSubgroup,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    BadSignature,
    /// Not an unencrypted PKCS#8 PEM file with an Ed25519 key.
    #[error("not a PKCS#8 PEM Ed25519 private key")]
    BadPem,
}

/// Encoding of the identity, the only point of small order in the prime-order subgroup.
pub(crate) const IDENTITY: [u8; 32] = {
    let mut y = [0; 32];
    y[0] = 1;
    y
};

/// An Ed25519 public key, canonical and in the prime-order subgroup.
#[derive(Clone, Copy)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Checks the encoding and the subgroup once, so that users of the key need not.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotCanonical`] or [`KeyError::WrongSubgroup`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotCanonical)?;
        let point = key.to_edwards();
        if is_below_p(bytes) && !point.is_identity() && is_in_subgroup(&point) {
            // Its x is not 0, so its encoding is the one of this y and sign.
            return Ok(Self(key));
        }
        match point.compress().as_bytes() == bytes {
            true => Err(KeyError::WrongSubgroup),
            false => Err(KeyError::NotCanonical),
        }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Verifies a signature over `H(label || parts…)` by the profile's rule: S below the group order, A and R canonical,
    /// neither of small order, cofactorless.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadSignature`].
    pub fn verify(&self, label: &str, parts: &[&[u8]], sig: &[u8; 64]) -> Result<(), KeyError> {
        self.verify_digest(&digest(label, parts), sig)
    }

    /// Verifies a signature over a 32-byte digest.
    ///
    /// The verdict is that of `verify_strict`, without its decompression of R, which costs a square root. `verify` compares R with
    /// the canonical encoding of `sB - kA`. That point is in the prime-order subgroup, because this key is: so it is of small order
    /// only if it is the identity.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadSignature`].
    pub fn verify_digest(&self, digest: &[u8; 32], sig: &[u8; 64]) -> Result<(), KeyError> {
        if sig.starts_with(&IDENTITY) {
            return Err(KeyError::BadSignature);
        }
        self.0
            .verify(digest, &Signature::from_bytes(sig))
            .map_err(|_| KeyError::BadSignature)
    }

    pub(crate) fn point(&self) -> EdwardsPoint {
        self.0.to_edwards()
    }

    /// The first 20 bytes of the key's SHA-256.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.peer_id().node_id()
    }

    /// The multihash of the key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_hash(hash(&[self.as_bytes()]))
    }

    /// The X25519 form: `u = (1 + y) / (1 - y)`.
    #[must_use]
    pub fn x25519(&self) -> [u8; 32] {
        self.0.to_montgomery().to_bytes()
    }
}

/// Whether the y of an encoded point is below `p = 2^255 - 19`.
fn is_below_p(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|b| *b != 0xff)
}

/// Whether the group order times the point is the identity, which is so if one less than the order gives its negative. Public keys
/// are no secrets: the time may depend on them.
fn is_in_subgroup(point: &EdwardsPoint) -> bool {
    let (last, none) = (-Scalar::ONE, Scalar::ZERO);
    EdwardsPoint::vartime_double_scalar_mul_basepoint(&last, point, &none) == -point
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl core::hash::Hash for PublicKey {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&betanet_wire::text::hex(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A node's Ed25519 key pair; wiped on drop.
#[derive(Clone)]
pub struct Identity {
    signing: SigningKey,
    public: PublicKey,
    x25519_public: [u8; 32],
}

impl Identity {
    /// Derives the key pair from a 32-byte seed (RFC 8032's private key).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::new(SigningKey::from_bytes(seed))
    }

    fn new(signing: SigningKey) -> Self {
        let public = PublicKey(signing.verifying_key());
        Self {
            signing,
            x25519_public: public.x25519(),
            public,
        }
    }

    /// The 32-byte seed, for another library that signs with this identity.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `H(label || parts…)`.
    #[must_use]
    pub fn sign(&self, label: &str, parts: &[&[u8]]) -> [u8; 64] {
        self.signing.sign(&digest(label, parts)).to_bytes()
    }

    /// The X25519 private key: the clamped first half of SHA-512 of the seed.
    #[must_use]
    pub fn x25519(&self) -> Zeroizing<[u8; 32]> {
        let scalar = Zeroizing::new(self.signing.to_scalar_bytes());
        Zeroizing::new(curve25519_dalek::scalar::clamp_integer(*scalar))
    }

    /// The public half of [`Identity::x25519`].
    #[must_use]
    pub const fn x25519_public(&self) -> &[u8; 32] {
        &self.x25519_public
    }

    /// Reads an unencrypted PKCS#8 PEM key (RFC 8410), as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadPem`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem)
            .map(Self::new)
            .map_err(|_| KeyError::BadPem)
    }

    /// Writes PKCS#8 PEM, version 1.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadPem`] when the encoder fails.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let pair = KeypairBytes {
            secret_key: self.signing.to_bytes(),
            public_key: None,
        };
        pair.to_pkcs8_pem(Default::default())
            .map_err(|_| KeyError::BadPem)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

pub(crate) fn digest(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    use sha2::Digest as _;
    let mut h = sha2::Sha256::new_with_prefix(label.as_bytes());
    for p in parts {
        h.update(p);
    }
    h.finalize().into()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::Equation;
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::edwards::CompressedEdwardsY;

    #[test]
    fn a_signature_stands_for_its_label_and_text_only() {
        let me = Identity::from_seed(&[1; 32]);
        let sig = me.sign("BN-TEST", &[b"a", b"b"]);
        let key = me.public();
        assert_eq!(key.verify("BN-TEST", &[b"ab"], &sig), Ok(()));
        for (label, text) in [("BN-TESS", b"ab"), ("BN-TEST", b"ac")] {
            assert_eq!(
                key.verify(label, &[text], &sig),
                Err(KeyError::BadSignature)
            );
        }
        let other = Identity::from_seed(&[2; 32]);
        assert!(other.public().verify("BN-TEST", &[b"ab"], &sig).is_err());
    }

    /// Checks that a verdict is the one of `verify_strict`, and returns it.
    fn verdict(key: &PublicKey, digest: &[u8; 32], sig: &[u8; 64]) -> bool {
        let strict = key
            .0
            .verify_strict(digest, &Signature::from_bytes(sig))
            .is_ok();
        assert_eq!(key.verify_digest(digest, sig).is_ok(), strict);
        let prepared = crate::PreparedKey::new(*key);
        assert_eq!(prepared.verify_digest(digest, sig).is_ok(), strict);
        let tables = crate::PreparedKeys::new(&[*key]);
        // Among others that hold and do not.
        let other = Identity::from_seed(&[0x77; 32]);
        let (good, mut bad) = (other.signing.sign(digest).to_bytes(), [0; 64]);
        bad[0] = 2;
        for equation in [
            tables.equation(0, digest, sig),
            Equation::of(key, digest, sig),
        ] {
            let of = |sig| Equation::of(other.public(), digest, sig).unwrap();
            let all: Vec<Equation> = [Some(of(&good)), equation, Some(of(&bad))]
                .into_iter()
                .flatten()
                .collect();
            let held = Equation::hold(&all);
            assert_eq!((held[0], held[held.len() - 1]), (true, false));
            assert_eq!(held.len() == 3 && held[1], strict);
        }
        strict
    }

    /// A signature with this R, by which the equation holds up to what R has of small order.
    fn forged(me: &Identity, digest: &[u8; 32], r: &[u8; 32]) -> [u8; 64] {
        use sha2::Digest as _;
        let a = Scalar::from_bytes_mod_order(*me.x25519());
        let mut h = sha2::Sha512::new();
        h.update(r);
        h.update(me.public().as_bytes());
        h.update(digest);
        let k = Scalar::from_bytes_mod_order_wide(&h.finalize().into());
        let mut sig = [0; 64];
        sig[..32].copy_from_slice(r);
        sig[32..].copy_from_slice((k * a).as_bytes());
        sig
    }

    #[test]
    fn an_r_of_small_order_is_refused_as_by_strict_verification() {
        let me = Identity::from_seed(&[6; 32]);
        let digest = [9; 32];
        for torsion in EIGHT_TORSION {
            let r = torsion.compress().to_bytes();
            assert!(!verdict(me.public(), &digest, &forged(&me, &digest, &r)));
        }
        // Without the check of R, the identity would pass.
        let sig = Signature::from_bytes(&forged(&me, &digest, &IDENTITY));
        assert!(me.public().0.verify(&digest, &sig).is_ok());
        // y = p + 1 is the identity written a second way; with the sign bit, a third.
        let mut high = [0xff; 32];
        high[0] = 0xee;
        high[31] = 0x7f;
        let mut signed = IDENTITY;
        signed[31] = 0x80;
        for r in [high, signed] {
            assert!(!verdict(me.public(), &digest, &forged(&me, &digest, &r)));
        }
    }

    #[test]
    fn an_r_of_mixed_order_and_an_s_above_the_order_are_refused_as_by_strict_verification() {
        let me = Identity::from_seed(&[7; 32]);
        let digest = [8; 32];
        let sig = me.signing.sign(&digest).to_bytes();
        assert!(verdict(me.public(), &digest, &sig));
        let r = CompressedEdwardsY(*sig.first_chunk().unwrap());
        let r = r.decompress().unwrap();
        for torsion in &EIGHT_TORSION[1..] {
            let mut mixed = sig;
            mixed[..32].copy_from_slice((r + torsion).compress().as_bytes());
            assert!(!verdict(me.public(), &digest, &mixed));
        }
        // S + L, as long as it fits.
        const L: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let (mut high, mut carry) = (sig, 0);
        for (byte, l) in high[32..].iter_mut().zip(L) {
            let sum = u16::from(*byte) + u16::from(l) + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert!(!verdict(me.public(), &digest, &high));
    }

    proptest::proptest! {
        #[test]
        fn any_signature_is_judged_as_by_strict_verification(
            seed: [u8; 32],
            digest: [u8; 32],
            at in 0..64_usize,
            flip: u8,
        ) {
            let me = Identity::from_seed(&seed);
            let mut sig = me.signing.sign(&digest).to_bytes();
            sig[at] ^= flip;
            proptest::prop_assert_eq!(verdict(me.public(), &digest, &sig), flip == 0);
        }

        #[test]
        fn any_point_is_a_key_as_by_the_plain_checks(bytes: [u8; 32], torsion in 0..8_usize, own: bool) {
            let point = match own {
                true => Some(Identity::from_seed(&bytes).public().point() + EIGHT_TORSION[torsion]),
                false => CompressedEdwardsY(bytes).decompress(),
            };
            if let Some(point) = point {
                let plain = !point.is_identity() && point.is_torsion_free();
                let bytes = point.compress().to_bytes();
                proptest::prop_assert_eq!(PublicKey::from_bytes(&bytes).is_ok(), plain);
            }
        }
    }

    #[test]
    fn small_order_mixed_order_and_non_canonical_keys_are_refused() {
        for torsion in EIGHT_TORSION {
            let bytes = torsion.compress().to_bytes();
            assert_eq!(PublicKey::from_bytes(&bytes), Err(KeyError::WrongSubgroup));
        }
        let honest = Identity::from_seed(&[3; 32]);
        let point = CompressedEdwardsY(*honest.public().as_bytes())
            .decompress()
            .unwrap();
        let mixed = (point + EIGHT_TORSION[1]).compress().to_bytes();
        assert_eq!(PublicKey::from_bytes(&mixed), Err(KeyError::WrongSubgroup));
        // y = p + 1 is y = 1 written a second way. Neither 1 nor -1 has a second sign.
        let mut high = [0xff; 32];
        high[0] = 0xee;
        high[31] = 0x7f;
        let mut minus = EIGHT_TORSION[4].compress().to_bytes();
        minus[31] |= 0x80;
        let mut signed = IDENTITY;
        signed[31] = 0x80;
        for bytes in [high, minus, signed] {
            assert_eq!(PublicKey::from_bytes(&bytes), Err(KeyError::NotCanonical));
        }
    }

    #[test]
    fn every_y_from_p_on_is_refused_with_either_sign() {
        for low in 0xed..=0xff {
            for high in [0x7f, 0xff] {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (low, high);
                assert!(!is_below_p(&bytes));
                assert!(PublicKey::from_bytes(&bytes).is_err());
            }
        }
        for at in 0..32 {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (0xed, 0x7f);
            bytes[at] -= 1;
            assert!(is_below_p(&bytes), "{at}");
        }
    }

    #[test]
    fn pem_goes_out_and_comes_back() {
        let me = Identity::from_seed(&[4; 32]);
        let pem = me.to_pem().unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(Identity::from_pem(&pem).unwrap().public(), me.public());
        assert_eq!(Identity::from_pem("").err(), Some(KeyError::BadPem));
    }

    #[test]
    fn both_x25519_halves_are_one_pair() {
        let me = Identity::from_seed(&[5; 32]);
        let public = x25519_dalek::x25519(*me.x25519(), x25519_dalek::X25519_BASEPOINT_BYTES);
        assert_eq!(public, me.public().x25519());
        assert_eq!(public, *me.x25519_public());
    }
}
