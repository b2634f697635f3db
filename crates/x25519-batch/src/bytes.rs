//! Between 32 bytes and limbs.

/// The low 51 bits.
pub(crate) const MASK: u64 = (1 << 51) - 1;

/// The low 52 bits.
#[cfg(any(test, target_arch = "x86_64"))]
pub(crate) const MASK_52: u64 = (1 << 52) - 1;

/// How a scalar is decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decoding {
    /// As RFC 7748, section 5, has it.
    Clamped,
    /// As a number below 2^255.
    Plain,
}

impl Decoding {
    /// A scalar's bits, in four words.
    pub(crate) fn bits(self, scalar: &[u8; 32]) -> [u64; 4] {
        let mut words = words(scalar);
        words[3] &= u64::MAX >> 1;
        if matches!(self, Self::Clamped) {
            words[0] &= !7;
            words[3] |= 1 << 62;
        }
        words
    }
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let (chunks, _) = bytes.as_chunks();
    core::array::from_fn(|i| u64::from_le_bytes(chunks[i]))
}

/// A u-coordinate in limbs of 51 bits; its highest bit is dropped.
pub(crate) fn limbs(point: &[u8; 32]) -> [u64; 5] {
    let [a, b, c, d] = words(point);
    [
        a & MASK,
        (a >> 51 | b << 13) & MASK,
        (b >> 38 | c << 26) & MASK,
        (c >> 25 | d << 39) & MASK,
        (d >> 12) & MASK,
    ]
}

/// A u-coordinate in limbs of 52 bits; its highest bit is dropped.
#[cfg(any(test, target_arch = "x86_64"))]
pub(crate) fn limbs_52(point: &[u8; 32]) -> [u64; 5] {
    let [a, b, c, d] = words(point);
    [
        a & MASK_52,
        (a >> 52 | b << 12) & MASK_52,
        (b >> 40 | c << 24) & MASK_52,
        (c >> 28 | d << 36) & MASK_52,
        (d & u64::MAX >> 1) >> 16,
    ]
}

/// The one encoding of a field element in limbs of 52 bits, of which the highest is below 2^48.
#[cfg(any(test, target_arch = "x86_64"))]
pub(crate) fn encode_52(l: [u64; 5]) -> [u8; 32] {
    encode([
        l[0] & MASK,
        (l[0] >> 51 | l[1] << 1) & MASK,
        (l[1] >> 50 | l[2] << 2) & MASK,
        (l[2] >> 49 | l[3] << 3) & MASK,
        l[3] >> 48 | l[4] << 4,
    ])
}

/// The one encoding of a field element, of which each limb is below 2^63.
pub(crate) fn encode(mut l: [u64; 5]) -> [u8; 32] {
    // After two rounds the value is below 2^255 + 19.
    for _ in 0..2 {
        let mut carry = 0;
        for limb in &mut l {
            *limb += carry;
            carry = *limb >> 51;
            *limb &= MASK;
        }
        l[0] += 19 * carry;
    }
    // Whether it is p or more: then 19 more reach bit 255.
    let mut over = (l[0] + 19) >> 51;
    for limb in &l[1..] {
        over = (limb + over) >> 51;
    }
    let mut carry = 19 * over;
    for limb in &mut l {
        *limb += carry;
        carry = *limb >> 51;
        *limb &= MASK;
    }
    let words = [
        l[0] | l[1] << 51,
        l[1] >> 13 | l[2] << 38,
        l[2] >> 26 | l[3] << 25,
        l[3] >> 39 | l[4] << 12,
    ];
    let mut out = [0; 32];
    for (bytes, word) in out.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limbs_read_back() {
        let bytes: [u8; 32] = core::array::from_fn(|i| u8::try_from(i * 37 % 128).unwrap_or(0));
        assert_eq!(encode(limbs(&bytes)), bytes);
        assert_eq!(encode_52(limbs_52(&bytes)), bytes);
    }

    #[test]
    fn the_encoding_is_the_least() {
        let p = [MASK - 18, MASK, MASK, MASK, MASK];
        assert_eq!(encode(p), [0; 32]);
        let mut most = p;
        most[0] += 18;
        assert_eq!(encode(most)[0], 18);
        let mut double = p.map(|l| 2 * l);
        double[0] += 5;
        assert_eq!(encode(double)[0], 5);
        let below = [MASK - 19, MASK, MASK, MASK, MASK];
        assert_eq!((encode(below)[0], encode(below)[31]), (0xec, 0x7f));
    }
}
