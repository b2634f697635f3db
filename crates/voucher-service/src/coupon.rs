//! Coupons: an issuer's signed promise that a mint signs points of a value once.

use std::fmt;
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use betanet_keys::{Identity, KeyError, PublicKey};
use betanet_vouchers::KeysetId;
use betanet_wire::{cbor, message};

/// Label of a coupon's signature.
pub const COUPON_LABEL: &str = "BN-COUPON1";
/// Longest encoded coupon, in bytes.
pub const COUPON_MAX: usize = 256;

const HRP: Hrp = Hrp::parse_unchecked("bnc");
/// Longest text: five bits a character, the prefix, the separator and the checksum.
const TEXT_MAX: usize = COUPON_MAX * 8 / 5 + 16;

message! {
    struct Body {
        req "id" id: [u8; 16],
        req "exp" exp: u64,
        req "value" value: u64,
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    struct Envelope<'a> {
        req "sig" sig: [u8; 64],
        req "body" body: &'a [u8],
    }
}

/// Reason why bytes or text are not a coupon that pays.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CouponError {
    /// Not the one DET-CBOR encoding of a coupon.
    #[error("not a coupon: {0}")]
    Malformed(#[from] cbor::Error),
    /// Longer than [`COUPON_MAX`], or with keys that a coupon does not have.
    #[error("not the one encoding of a coupon")]
    Encoding,
    /// Not bech32m text with the prefix `bnc`: mistyped, or damaged on its way.
    #[error("not bech32m text that begins with bnc1: mistyped or damaged")]
    Text,
    /// The issuer did not sign it.
    #[error("the coupon: {0}")]
    Signature(KeyError),
}

/// A promise before it is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Coupon {
    /// The number by which mints know that it was used.
    pub id: [u8; 16],
    /// Keyset of the points.
    pub keyset: KeysetId,
    /// Sum of the points' values, in units.
    pub value: u64,
    /// Time from which it pays for nothing new, in ms.
    pub exp: u64,
}

impl Coupon {
    fn body(&self) -> Vec<u8> {
        cbor::to_vec(&Body {
            id: self.id,
            exp: self.exp,
            value: self.value,
            keyset: self.keyset.0,
        })
    }

    /// Signs it with the issuer's key.
    #[must_use]
    pub fn sign(&self, issuer: &Identity) -> SignedCoupon {
        SignedCoupon {
            coupon: *self,
            sig: issuer.sign(COUPON_LABEL, &[&self.body()]),
        }
    }
}

/// A signed coupon. Whoever has it can use it: [`fmt::Display`] prints the money, [`fmt::Debug`] does not.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct SignedCoupon {
    coupon: Coupon,
    sig: [u8; 64],
}

impl SignedCoupon {
    /// Reads a coupon. The signature is looked at by [`SignedCoupon::verify`] only.
    ///
    /// # Errors
    ///
    /// Not the one encoding of a coupon.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CouponError> {
        if bytes.len() > COUPON_MAX {
            return Err(CouponError::Encoding);
        }
        let envelope: Envelope<'_> = cbor::from_slice(bytes)?;
        let body: Body = cbor::from_slice(envelope.body)?;
        let read = Self {
            coupon: Coupon {
                id: body.id,
                keyset: KeysetId(body.keyset),
                value: body.value,
                exp: body.exp,
            },
            sig: envelope.sig,
        };
        // Keys that a coupon does not have would be lost: there is one encoding.
        match read.to_bytes() == bytes {
            true => Ok(read),
            false => Err(CouponError::Encoding),
        }
    }

    /// The encoded form, the `pay` of an issue.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (sig, body) = (self.sig, self.coupon.body());
        cbor::to_vec(&Envelope { sig, body: &body })
    }

    /// The promise, if this issuer signed it.
    ///
    /// # Errors
    ///
    /// Another key, or nobody, signed it.
    pub fn verify(&self, issuer: &PublicKey) -> Result<&Coupon, CouponError> {
        let signed = issuer.verify(COUPON_LABEL, &[&self.coupon.body()], &self.sig);
        signed.map_err(CouponError::Signature)?;
        Ok(&self.coupon)
    }

    /// The promise, whoever signed it.
    #[must_use]
    pub const fn unverified(&self) -> &Coupon {
        &self.coupon
    }
}

impl fmt::Debug for SignedCoupon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedCoupon({}, …)", self.coupon.value)
    }
}

/// Bech32m with the prefix `bnc`.
impl fmt::Display for SignedCoupon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bech32::encode_lower_to_fmt::<Bech32m, _>(f, HRP, &self.to_bytes()).map_err(|_| fmt::Error)
    }
}

impl FromStr for SignedCoupon {
    type Err = CouponError;

    fn from_str(text: &str) -> Result<Self, CouponError> {
        if text.len() > TEXT_MAX {
            return Err(CouponError::Text);
        }
        let parsed = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| CouponError::Text)?;
        if parsed.hrp() != HRP {
            return Err(CouponError::Text);
        }
        let bytes: Vec<u8> = parsed.byte_iter().collect();
        let coupon = Self::from_bytes(&bytes)?;
        // Spare bits of the last character: one text for one coupon.
        match coupon.to_string().eq_ignore_ascii_case(text) {
            true => Ok(coupon),
            false => Err(CouponError::Text),
        }
    }
}

/// Reads arbitrary bytes as a coupon and as its text: for a fuzz target.
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
#[allow(
    clippy::unwrap_used,
    reason = "a fuzz target stops where it is surprised"
)]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(coupon) = SignedCoupon::from_bytes(bytes) {
        assert_eq!(coupon.to_bytes(), bytes);
        let text = coupon.to_string();
        assert!(text.len() <= TEXT_MAX);
        assert_eq!(text.parse::<SignedCoupon>().unwrap(), coupon);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(coupon) = text.parse::<SignedCoupon>()
    {
        assert_eq!(
            SignedCoupon::from_bytes(&coupon.to_bytes()).unwrap(),
            coupon
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn issuer() -> Identity {
        Identity::from_seed(&[7; 32])
    }

    fn coupon() -> Coupon {
        Coupon {
            id: [1; 16],
            keyset: KeysetId([2; 32]),
            value: 1_000,
            exp: 1_790_000_000_000,
        }
    }

    #[test]
    fn a_coupon_counts_for_its_issuer_and_prints_without_its_signature() {
        let signed = coupon().sign(&issuer());
        assert_eq!(signed.verify(issuer().public()), Ok(&coupon()));
        let other = *Identity::from_seed(&[8; 32]).public();
        assert!(matches!(
            signed.verify(&other),
            Err(CouponError::Signature(_))
        ));
        assert_eq!(format!("{signed:?}"), "SignedCoupon(1000, …)");
        let text = signed.to_string();
        assert!(text.starts_with("bnc1") && text.len() < 320, "{text}");
        assert_eq!(text.to_uppercase().parse::<SignedCoupon>(), Ok(signed));
    }

    #[test]
    fn any_changed_character_or_byte_is_refused() {
        let signed = coupon().sign(&issuer());
        let text = signed.to_string();
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] = if bad[at] == b'q' { b'p' } else { b'q' };
            let bad = String::from_utf8(bad).unwrap();
            assert!(bad.parse::<SignedCoupon>().is_err(), "{at}");
        }
        let bytes = signed.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let counts =
                SignedCoupon::from_bytes(&bad).is_ok_and(|c| c.verify(issuer().public()).is_ok());
            assert!(!counts, "bit {bit}");
        }
        let bnv = bech32::encode::<Bech32m>(Hrp::parse_unchecked("bnv"), &bytes).unwrap();
        assert_eq!(bnv.parse::<SignedCoupon>(), Err(CouponError::Text));
    }

    #[test]
    fn unknown_keys_and_bytes_after_the_end_are_refused() {
        let signed = coupon().sign(&issuer());
        let mut long = signed.to_bytes();
        long.push(0);
        assert!(SignedCoupon::from_bytes(&long).is_err());
        // A map of three entries, the last of which is `"zzzzz": 0`.
        let mut more = signed.to_bytes();
        more[0] = 0xa3;
        more.extend(b"\x65zzzzz\x00");
        assert_eq!(SignedCoupon::from_bytes(&more), Err(CouponError::Encoding));
        assert_eq!(
            SignedCoupon::from_bytes(&[0; 257]),
            Err(CouponError::Encoding)
        );
    }

    proptest! {
        #[test]
        fn a_coupon_outlasts_bytes_and_text(id: [u8; 16], keyset: [u8; 32], value: u64, exp: u64) {
            let signed = Coupon { id, keyset: KeysetId(keyset), value, exp }.sign(&issuer());
            prop_assert_eq!(SignedCoupon::from_bytes(&signed.to_bytes()), Ok(signed));
            prop_assert_eq!(signed.to_string().parse::<SignedCoupon>(), Ok(signed));
        }
    }

    #[test]
    fn corpus() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/coupon");
        let mut n = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            fuzz(&std::fs::read(entry.unwrap().path()).unwrap());
            n += 1;
        }
        assert!(n >= 4, "{n} files");
    }
}
