//! Verifiable random numbers: ECVRF-EDWARDS25519-SHA512-ELL2 (RFC 9381).
//!
//! The one library with this suite needs `std`, and accepts proofs whose `s` is not reduced, which the RFC forbids.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity as _;
use curve25519_dalek::{EdwardsPoint, Scalar};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

const SUITE: u8 = 4;
const DST: &[u8] = b"ECVRF_edwards25519_XMD:SHA-512_ELL2_NU_\x04";

/// Length of a proof.
pub const VRF_PROOF: usize = 80;

/// A secret key, wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct VrfSecret {
    x: Scalar,
    prefix: [u8; 32],
    public: [u8; 32],
}

impl core::fmt::Debug for VrfSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("VrfSecret(…)")
    }
}

/// A checked public key: canonical, and not of small order (RFC 9381, section 5.4.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VrfPublic {
    bytes: [u8; 32],
    point: EdwardsPoint,
}

/// Reason why a key or a proof is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VrfError {
    /// The public key is not a point, or has small order.
    #[error("the VRF key is no point, or one of small order")]
    Key,
    /// The proof does not decode.
    #[error("the VRF proof does not decode")]
    Proof,
    /// The proof is not of this key and text.
    #[error("the VRF proof does not hold")]
    Invalid,
}

fn point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY(*bytes).decompress()?;
    (point.compress().0 == *bytes).then_some(point)
}

fn to_curve(public: &[u8; 32], text: &[u8]) -> EdwardsPoint {
    EdwardsPoint::encode_to_curve::<Sha512>(&[public, text], &[DST])
}

/// The challenge, as the 16 bytes that it has in a proof.
fn challenge(points: [&[u8; 32]; 5]) -> [u8; 16] {
    let mut hash = Sha512::new();
    hash.update([SUITE, 2]);
    for point in points {
        hash.update(point);
    }
    hash.update([0]);
    let mut out = [0; 16];
    out.copy_from_slice(&hash.finalize()[..16]);
    out
}

fn scalar(c: &[u8; 16]) -> Scalar {
    Scalar::from(u128::from_le_bytes(*c))
}

fn output(gamma: &EdwardsPoint) -> [u8; 64] {
    let mut hash = Sha512::new();
    hash.update([SUITE, 3]);
    hash.update(gamma.mul_by_cofactor().compress().0);
    hash.update([0]);
    hash.finalize().into()
}

impl VrfSecret {
    /// Derives the key from 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let mut hashed: [u8; 64] = Sha512::digest(seed).into();
        let (halves, _) = hashed.as_chunks::<32>();
        let mut bytes = curve25519_dalek::scalar::clamp_integer(halves[0]);
        let x = Scalar::from_bytes_mod_order(bytes);
        let public = EdwardsPoint::mul_base(&x).compress().0;
        let prefix = halves[1];
        hashed.zeroize();
        bytes.zeroize();
        Self { x, prefix, public }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The output for a text, and its proof.
    #[must_use]
    pub fn prove(&self, text: &[u8]) -> ([u8; 64], [u8; VRF_PROOF]) {
        let h = to_curve(&self.public, text);
        let h_bytes = h.compress().0;
        let gamma = self.x * h;
        let mut nonce = Sha512::new();
        nonce.update(self.prefix);
        nonce.update(h_bytes);
        let mut k = Scalar::from_bytes_mod_order_wide(&nonce.finalize().into());
        let gamma_bytes = gamma.compress().0;
        let c = challenge([
            &self.public,
            &h_bytes,
            &gamma_bytes,
            &EdwardsPoint::mul_base(&k).compress().0,
            &(k * h).compress().0,
        ]);
        let s = k + scalar(&c) * self.x;
        k.zeroize();
        let mut proof = [0; VRF_PROOF];
        proof[..32].copy_from_slice(&gamma_bytes);
        proof[32..48].copy_from_slice(&c);
        proof[48..].copy_from_slice(s.as_bytes());
        (output(&gamma), proof)
    }
}

impl VrfPublic {
    /// Checks a key.
    ///
    /// # Errors
    ///
    /// [`VrfError::Key`].
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, VrfError> {
        let point = point(&bytes).ok_or(VrfError::Key)?;
        if point.mul_by_cofactor().is_identity() {
            return Err(VrfError::Key);
        }
        Ok(Self { bytes, point })
    }

    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Verifies a proof and returns the output for a text.
    ///
    /// # Errors
    ///
    /// [`VrfError::Proof`] or [`VrfError::Invalid`].
    pub fn verify(&self, text: &[u8], proof: &[u8; VRF_PROOF]) -> Result<[u8; 64], VrfError> {
        let (mut gamma_bytes, mut c, mut s) = ([0; 32], [0; 16], [0; 32]);
        gamma_bytes.copy_from_slice(&proof[..32]);
        c.copy_from_slice(&proof[32..48]);
        s.copy_from_slice(&proof[48..]);
        let gamma = point(&gamma_bytes).ok_or(VrfError::Proof)?;
        let s = Option::from(Scalar::from_canonical_bytes(s));
        let s: Scalar = s.ok_or(VrfError::Proof)?;
        let h = to_curve(&self.bytes, text);
        let minus_c = -scalar(&c);
        let u = EdwardsPoint::vartime_double_scalar_mul_basepoint(&minus_c, &self.point, &s);
        let v = s * h + minus_c * gamma;
        let again = challenge([
            &self.bytes,
            &h.compress().0,
            &gamma_bytes,
            &u.compress().0,
            &v.compress().0,
        ]);
        if bool::from(again.ct_eq(&c)) {
            Ok(output(&gamma))
        } else {
            Err(VrfError::Invalid)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex<const N: usize>(text: &str) -> [u8; N] {
        betanet_wire::text::unhex_array(text).unwrap()
    }

    /// RFC 9381, appendix B.4: secret, public, text, proof, output.
    const CASES: [[&str; 5]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "7d9c633ffeee27349264cf5c667579fc583b4bda63ab71d001f89c10003ab46f14adf9a3cd8b8412d9038531e865c341cafa73589b023d14311c331a9ad15ff2fb37831e00f0acaa6d73bc9997b06501",
            "9d574bf9b8302ec0fc1e21c3ec5368269527b87b462ce36dab2d14ccf80c53cccf6758f058c5b1c856b116388152bbe509ee3b9ecfe63d93c3b4346c1fbc6c54",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "47b327393ff2dd81336f8a2ef10339112401253b3c714eeda879f12c509072ef055b48372bb82efbdce8e10c8cb9a2f9d60e93908f93df1623ad78a86a028d6bc064dbfc75a6a57379ef855dc6733801",
            "38561d6b77b71d30eb97a062168ae12b667ce5c28caccdf76bc88e093e4635987cd96814ce55b4689b3dd2947f80e59aac7b7675f8083865b46c89b2ce9cc735",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "926e895d308f5e328e7aa159c06eddbe56d06846abf5d98c2512235eaa57fdce35b46edfc655bc828d44ad09d1150f31374e7ef73027e14760d42e77341fe05467bb286cc2c9d7fde29120a0b2320d04",
            "121b7f9b9aaaa29099fc04a94ba52784d44eac976dd1a3cca458733be5cd090a7b5fbd148444f17f8daf1fb55cb04b1ae85a626e30a54b4b0f8abf4a43314a58",
        ],
    ];

    #[test]
    fn rfc_9381_appendix_b_4() {
        for [secret, public, text, proof, out] in CASES {
            let secret = VrfSecret::from_seed(&unhex(secret));
            assert_eq!(*secret.public(), unhex(public));
            let text = betanet_wire::text::unhex(text).unwrap();
            assert_eq!(secret.prove(&text), (unhex(out), unhex(proof)));
            let public = VrfPublic::from_bytes(*secret.public()).unwrap();
            assert_eq!(public.verify(&text, &unhex(proof)), Ok(unhex(out)));
        }
    }

    #[test]
    fn what_was_changed_does_not_hold() {
        let secret = VrfSecret::from_seed(&[5; 32]);
        let public = VrfPublic::from_bytes(*secret.public()).unwrap();
        let (out, proof) = secret.prove(b"text");
        assert_eq!(public.verify(b"text", &proof), Ok(out));
        assert_eq!(public.verify(b"other", &proof), Err(VrfError::Invalid));
        for bit in 0..VRF_PROOF * 8 {
            let mut changed = proof;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(public.verify(b"text", &changed).is_err(), "bit {bit}");
        }
        let other = VrfSecret::from_seed(&[6; 32]);
        let other = VrfPublic::from_bytes(*other.public()).unwrap();
        assert_eq!(other.verify(b"text", &proof), Err(VrfError::Invalid));
    }

    #[test]
    fn an_s_that_is_not_reduced_and_keys_of_small_order_are_refused() {
        let secret = VrfSecret::from_seed(&[5; 32]);
        let public = VrfPublic::from_bytes(*secret.public()).unwrap();
        let (_, mut proof) = secret.prove(b"text");
        // The group's order once more.
        let order = unhex::<32>("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut carry = 0;
        for (byte, more) in proof[48..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(more) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert_eq!(public.verify(b"text", &proof), Err(VrfError::Proof));
        let mut one = [0; 32];
        one[0] = 1;
        for small in [[0; 32], one] {
            assert_eq!(VrfPublic::from_bytes(small), Err(VrfError::Key));
        }
        assert_eq!(VrfPublic::from_bytes([0xff; 32]), Err(VrfError::Key));
    }
}
