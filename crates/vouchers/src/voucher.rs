use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use betanet_bls::{G1Affine, hash_to_g1};
use betanet_keys::hash;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{DST, Denomination, KeysetId};

/// Length of a voucher.
pub const VOUCHER: usize = 128;

/// Length without the checksum.
const CHECKED: usize = 116;
const VERSION: u8 = 1;
const HRP: Hrp = Hrp::parse_unchecked("bnv");

/// Reason why bytes or text are not a voucher. None of these says that somebody forged it: see [`crate::Invalid`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VoucherError {
    /// Not 128 bytes.
    #[error("a voucher has 128 bytes")]
    Length,
    /// The checksum is wrong: mistyped, or damaged on its way.
    #[error("the checksum is wrong: mistyped or damaged")]
    Checksum,
    /// A version that this code does not know.
    #[error("version {0} is unknown")]
    Version(u8),
    /// The denomination is above 2^40.
    #[error("denomination 2^{0} is out of range")]
    Denomination(u8),
    /// The spare bytes are not zero.
    #[error("spare bytes are not zero")]
    Spare,
    /// Not bech32m text with the prefix `bnv`: mistyped, or damaged on its way.
    #[error("not bech32m text that begins with bnv1: mistyped or damaged")]
    Text,
}

/// A bearer credit: who knows its bytes owns it. Wiped on drop; only [`fmt::Display`] prints its secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Voucher([u8; VOUCHER]);

impl Voucher {
    /// Joins the parts.
    #[must_use]
    pub fn new(
        keyset: &KeysetId,
        denomination: Denomination,
        secret: &[u8; 32],
        signature: &G1Affine,
    ) -> Self {
        let mut out = [0; VOUCHER];
        out[..32].copy_from_slice(&keyset.0);
        out[32..64].copy_from_slice(secret);
        out[64..112].copy_from_slice(&signature.to_bytes());
        out[112] = VERSION;
        out[113] = denomination.exponent();
        let sum = checksum(&out);
        out[CHECKED..].copy_from_slice(&sum);
        Self(out)
    }

    /// Reads 128 bytes. Cheap: the signature is looked at by [`crate::verify`] only.
    ///
    /// # Errors
    ///
    /// A wrong checksum first; then what a right checksum does not excuse.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VoucherError> {
        let bytes: &[u8; VOUCHER] = bytes.try_into().map_err(|_| VoucherError::Length)?;
        if !betanet_keys::same(&checksum(bytes), &bytes[CHECKED..]) {
            return Err(VoucherError::Checksum);
        }
        match (bytes[112], bytes[113], bytes[114], bytes[115]) {
            (VERSION, e, 0, 0) if Denomination::new(e).is_some() => Ok(Self(*bytes)),
            (VERSION, e, 0, 0) => Err(VoucherError::Denomination(e)),
            (VERSION, ..) => Err(VoucherError::Spare),
            (v, ..) => Err(VoucherError::Version(v)),
        }
    }

    /// The 128 bytes, exposed on purpose.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; VOUCHER] {
        &self.0
    }

    /// The keyset that signed it.
    #[must_use]
    pub fn keyset(&self) -> KeysetId {
        KeysetId(part(&self.0, 0))
    }

    /// The denomination.
    #[must_use]
    pub fn denomination(&self) -> Denomination {
        // In range since `from_bytes` or `new`.
        Denomination::new(self.0[113]).unwrap_or(Denomination::LEAST)
    }

    /// The value in units.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.denomination().value()
    }

    /// What a redemption service remembers: exponent and secret, 33 bytes.
    #[must_use]
    pub fn spend_key(&self) -> [u8; 33] {
        let mut out = [0; 33];
        out[0] = self.0[113];
        out[1..].copy_from_slice(&self.0[32..64]);
        out
    }

    pub(crate) fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(part(&self.0, 32))
    }

    pub(crate) fn signature(&self) -> [u8; 48] {
        part(&self.0, 64)
    }

    /// The point that the keyset signed.
    pub(crate) fn point(&self) -> Option<G1Affine> {
        message_point(&self.keyset(), self.denomination(), &self.secret())
    }
}

/// The point that a keyset signs: `hash_to_g1("BN-VOUCHER1" || keysetID || e || secret)`. `None` for the identity, to which no known
/// message hashes.
#[must_use]
pub fn message_point(
    keyset: &KeysetId,
    denomination: Denomination,
    secret: &[u8; 32],
) -> Option<G1Affine> {
    let mut message = Zeroizing::new([0; 76]);
    message[..11].copy_from_slice(b"BN-VOUCHER1");
    message[11..43].copy_from_slice(&keyset.0);
    message[43] = denomination.exponent();
    message[44..].copy_from_slice(secret);
    hash_to_g1(message.as_slice(), DST)
}

fn checksum(bytes: &[u8; VOUCHER]) -> [u8; 12] {
    part(&hash(&[b"BN-VCHK1", &bytes[..CHECKED]]), 0)
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl PartialEq for Voucher {
    fn eq(&self, other: &Self) -> bool {
        betanet_keys::same(&self.0, &other.0)
    }
}

impl Eq for Voucher {}

/// Bech32m with the prefix `bnv`. The text is the money: show it to the payee only.
impl fmt::Display for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bech32::encode_lower_to_fmt::<Bech32m, _>(f, HRP, &self.0).map_err(|_| fmt::Error)
    }
}

impl FromStr for Voucher {
    type Err = VoucherError;

    fn from_str(text: &str) -> Result<Self, VoucherError> {
        // 215 characters, and room for an error in length to be told apart.
        if text.len() > 256 {
            return Err(VoucherError::Text);
        }
        let parsed = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| VoucherError::Text)?;
        if parsed.hrp() != HRP {
            return Err(VoucherError::Text);
        }
        let mut bytes = Zeroizing::new([0; VOUCHER]);
        let mut n = 0;
        for byte in parsed.byte_iter() {
            *bytes.get_mut(n).ok_or(VoucherError::Length)? = byte;
            n += 1;
        }
        let voucher = Self::from_bytes(&bytes[..n])?;
        // Spare bits of the last character: one text for one voucher.
        let again: Zeroizing<String> = Zeroizing::new(alloc::format!("{voucher}"));
        match again.eq_ignore_ascii_case(text) {
            true => Ok(voucher),
            false => Err(VoucherError::Text),
        }
    }
}

impl fmt::Debug for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Voucher(2^{}, …)", self.0[113])
    }
}
