//! Shares of a beacon's secret. A threshold of holders signs together; fewer holders cannot learn a beacon in advance.

use alloc::vec::Vec;

use betanet_machine::Rng;
use blst::MultiPoint as _;
use blst::min_sig::{AggregateSignature, SecretKey, Signature};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{BEACON_SIG, BeaconSecret, DST, text};

/// The order of the groups, least limb first.
const R: [u64; 4] = [
    0xffff_ffff_0000_0001,
    0x53bd_a402_fffe_5bfe,
    0x3339_d808_09a1_d805,
    0x73ed_a753_299d_7d48,
];

/// A number modulo the order. Additions take the same time for all of them.
#[derive(Clone, Copy, Default, Eq, PartialEq, Zeroize)]
struct Number([u64; 4]);

impl Number {
    const fn small(n: u8) -> Self {
        Self([n as u64, 0, 0, 0])
    }

    /// Big-endian bytes of a number below the order.
    fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0.iter().rev()) {
            *limb = u64::from_be_bytes(*chunk);
        }
        Self(limbs)
    }

    fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (limb, chunk) in self.0.iter().rev().zip(out.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&limb.to_be_bytes());
        }
        out
    }

    fn plus(self, other: Self) -> Self {
        // The order leaves a bit free: the sum fits.
        let (sum, _) = limbs(&self.0, &other.0, add);
        let (less, borrow) = limbs(&sum, &R, sub);
        // All ones where the sum was below the order.
        let keep = borrow.wrapping_neg();
        let mut out = less;
        for (limb, kept) in out.iter_mut().zip(sum) {
            *limb = (kept & keep) | (*limb & !keep);
        }
        Self(out)
    }

    fn negative(self) -> Self {
        let (out, _) = limbs(&R, &self.0, sub);
        // Zero's is the order itself.
        Self(out).plus(Self::default())
    }

    /// Times a number that is no secret.
    fn times(self, public: Self) -> Self {
        let mut product = Self::default();
        for bit in (0..256).rev() {
            product = product.plus(product);
            if public.0[bit / 64] >> (bit % 64) & 1 == 1 {
                product = product.plus(self);
            }
        }
        product
    }

    /// One over a number that is no secret, and not zero: by Fermat.
    fn inverse(self) -> Self {
        let mut exponent = R;
        exponent[0] -= 2;
        let mut power = Self::small(1);
        for bit in (0..256).rev() {
            power = power.times(power);
            if exponent[bit / 64] >> (bit % 64) & 1 == 1 {
                power = power.times(self);
            }
        }
        power
    }
}

/// Limb by limb, with what goes over into the next.
fn limbs(a: &[u64; 4], b: &[u64; 4], one: fn(u64, u64, u64) -> (u64, u64)) -> ([u64; 4], u64) {
    let (mut out, mut over) = ([0; 4], 0);
    for (limb, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
        (*limb, over) = one(*a, *b, over);
    }
    (out, over)
}

const fn add(a: u64, b: u64, carry: u64) -> (u64, u64) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(carry);
    (sum, first as u64 | second as u64)
}

const fn sub(a: u64, b: u64, borrow: u64) -> (u64, u64) {
    let (rest, first) = a.overflowing_sub(b);
    let (rest, second) = rest.overflowing_sub(borrow);
    (rest, first as u64 | second as u64)
}

/// One holder's share of a beacon's secret; wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct BeaconShare {
    index: u8,
    secret: [u8; 32],
}

impl core::fmt::Debug for BeaconShare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BeaconShare({}, …)", self.index)
    }
}

/// Signature of one holder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PartialBeacon {
    /// Index of the share, from 1.
    pub index: u8,
    /// The signature.
    pub sig: [u8; BEACON_SIG],
}

impl BeaconShare {
    /// Restores a stored share; `None` if it is invalid.
    #[must_use]
    pub fn from_parts(index: u8, secret: &[u8; 32]) -> Option<Self> {
        let good = index > 0 && SecretKey::from_bytes(secret).is_ok();
        good.then_some(Self {
            index,
            secret: *secret,
        })
    }

    /// Index of the share, from 1.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.index
    }

    /// The secret part, for storage.
    #[must_use]
    pub const fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Signs an epoch; `None` if the share is invalid.
    #[must_use]
    pub fn sign(&self, epoch: u32) -> Option<PartialBeacon> {
        let key = SecretKey::from_bytes(&self.secret).ok()?;
        Some(PartialBeacon {
            index: self.index,
            sig: key.sign(&text(epoch), DST, &[]).compress(),
        })
    }
}

impl BeaconSecret {
    /// Splits the secret into shares, of which any `threshold` can sign. The dealer knows the secret and should destroy it.
    /// `None` unless 1 ≤ threshold ≤ shares.
    #[must_use]
    pub fn split(&self, threshold: u8, shares: u8, rng: &mut Rng) -> Option<Vec<BeaconShare>> {
        if threshold == 0 || threshold > shares {
            return None;
        }
        let whole = Zeroizing::new(self.0.to_bytes());
        let mut terms = Zeroizing::new(Vec::with_capacity(threshold.into()));
        terms.push(Number::from_bytes(&whole));
        for _ in 1..threshold {
            let seed: Zeroizing<[u8; 32]> = Zeroizing::new(rng.array());
            let drawn = SecretKey::key_gen(&seed[..], &[]).ok()?;
            terms.push(Number::from_bytes(&Zeroizing::new(drawn.to_bytes())));
        }
        let share = |index: u8| {
            let mut value = Number::default();
            for term in terms.iter().rev() {
                value = value.times(Number::small(index)).plus(*term);
            }
            BeaconShare::from_parts(index, &Zeroizing::new(value.to_bytes()))
        };
        (1..=shares).map(share).collect()
    }
}

/// Joins partial signatures into the beacon's one signature; any `threshold` holders give the same. `None` if a part is not a
/// signature, or occurs twice. With too few parts, or a wrong one, the result does not verify.
#[must_use]
pub fn join_beacon(parts: &[PartialBeacon]) -> Option<[u8; BEACON_SIG]> {
    let (mut points, mut scalars) = (Vec::new(), Vec::new());
    for part in parts {
        // Lagrange's coefficient at zero: the product of the other indices over their distances from this one.
        let (mut above, mut below) = (Number::small(1), Number::small(1));
        for other in parts.iter().filter(|o| o.index != part.index) {
            above = above.times(Number::small(other.index));
            let distance = Number::small(other.index).plus(Number::small(part.index).negative());
            below = below.times(distance);
        }
        let same = parts.iter().filter(|o| o.index == part.index).count();
        if part.index == 0 || same != 1 {
            return None;
        }
        points.push(Signature::sig_validate(&part.sig, true).ok()?);
        let mut scalar = above.times(below.inverse()).to_bytes();
        scalar.reverse();
        scalars.extend_from_slice(&scalar);
    }
    if points.is_empty() {
        return None;
    }
    let joined: AggregateSignature = points.mult(&scalars, 255);
    Some(joined.to_signature().compress())
}

#[cfg(test)]
mod tests {
    use betanet_machine::Seed;

    use super::*;

    #[test]
    fn numbers_add_multiply_and_invert() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut draw = || {
            let seed: [u8; 32] = rng.array();
            Number::from_bytes(&SecretKey::key_gen(&seed, &[]).unwrap().to_bytes())
        };
        for _ in 0..20 {
            let (a, b, c) = (draw(), draw(), draw());
            assert!(a.plus(b) == b.plus(a) && a.times(b) == b.times(a));
            assert!(a.plus(b).times(c) == a.times(c).plus(b.times(c)));
            assert!(a.plus(a.negative()) == Number::default());
            assert!(a.times(a.inverse()) == Number::small(1));
            assert!(Number::from_bytes(&a.to_bytes()) == a);
        }
        let zero = Number::default();
        assert!(zero.negative() == zero);
    }

    #[test]
    fn any_so_many_sign_what_the_whole_secret_signs_and_fewer_do_not() {
        let mut rng = Rng::new(&Seed::from_number(2));
        let secret = BeaconSecret::from_seed(&[3; 32]).unwrap();
        let key = secret.public();
        for (threshold, shares) in [(1, 1), (1, 3), (2, 3), (3, 5), (5, 5)] {
            let dealt = secret.split(threshold, shares, &mut rng).unwrap();
            let parts: Vec<PartialBeacon> = dealt.iter().map(|s| s.sign(7).unwrap()).collect();
            let need = usize::from(threshold);
            for start in 0..=parts.len() - need {
                let joined = join_beacon(&parts[start..start + need]).unwrap();
                assert_eq!(joined, secret.sign(7), "{threshold} of {shares}");
                assert!(key.beacon(7, &joined).is_some());
            }
            assert_eq!(
                join_beacon(&parts).unwrap(),
                secret.sign(7),
                "more do as well"
            );
            if need > 1 {
                let few = join_beacon(&parts[..need - 1]).unwrap();
                assert_eq!(key.beacon(7, &few), None);
                let mut wrong = parts.clone();
                wrong[0] = dealt[0].sign(8).unwrap();
                assert_eq!(key.beacon(7, &join_beacon(&wrong[..need]).unwrap()), None);
                assert_eq!(join_beacon(&[parts[0], parts[0]]), None, "one twice");
            }
        }
        assert!(secret.split(0, 3, &mut rng).is_none() && secret.split(4, 3, &mut rng).is_none());
        assert_eq!(join_beacon(&[]), None);
        assert!(BeaconShare::from_parts(1, &[0xff; 32]).is_none());
        assert!(BeaconShare::from_parts(0, &[1; 32]).is_none());
    }
}
