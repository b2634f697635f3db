//! Delays of packets at relays.

use core::time::Duration;

use betanet_machine::Rng;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::packet::{DELAY_MAX_MS, DELAY_RANGE_MS};

/// Text that a relay's VRF proves for an epoch. The output seeds the relay's own delays.
#[must_use]
pub fn delay_text(epoch: u32) -> [u8; 16] {
    let mut text = *b"BN-MIX-DELAY\0\0\0\0";
    text[12..].copy_from_slice(&epoch.to_be_bytes());
    text
}

/// The relay's own delay of a packet in milliseconds, from 30 to `most`. It depends only on the epoch's seed and the packet's
/// tag, so that the packet's builder can check it once the seed is proved.
#[must_use]
pub fn own_delay(seed: &[u8; 64], tag: &[u8; 16], most: u16) -> u16 {
    let least = *DELAY_RANGE_MS.start();
    let span = u32::from(most.clamp(least, DELAY_MAX_MS) - least) + 1;
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(seed) else {
        return least;
    };
    mac.update(tag);
    let digest: [u8; 32] = mac.finalize().into_bytes().into();
    let drawn = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    least + u16::try_from(drawn % span).unwrap_or(0)
}

/// e^(-1/50) in units of 2^-64: the probability that an exponential delay with mean 50 ms lasts one millisecond more.
const ONE_MORE: u64 = 18_081_474_067_879_353_234;

/// A client's delay in milliseconds: exponential with a mean of 50 ms, in whole milliseconds, at most 150.
#[must_use]
pub fn exponential_delay(rng: &mut Rng) -> u16 {
    let mut ms = 0;
    while ms < DELAY_MAX_MS && rng.next_u64() < ONE_MORE {
        ms += 1;
    }
    ms
}

/// Time to the next event of a Poisson stream: exponential with this mean, by the inverse of its distribution.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    reason = "53 bits of a random number are kept"
)]
pub fn poisson_gap(rng: &mut Rng, mean: Duration) -> Duration {
    // From 2^-53 to 1.
    let uniform = ((rng.next_u64() >> 11) + 1) as f64 / 9_007_199_254_740_992.0;
    // libm gives the same bits on any machine.
    mean.mul_f64(-libm::log(uniform))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use betanet_machine::Seed;

    use super::*;

    #[test]
    fn own_delays_are_even_from_30_to_the_most() {
        for most in [30, 31, 90, 150, 400] {
            let end = usize::from(most.min(150));
            let mut seen = vec![0_u32; 151];
            let n = 100_000_u32;
            for i in 0..n {
                let mut tag = [0; 16];
                tag[..4].copy_from_slice(&i.to_be_bytes());
                seen[usize::from(own_delay(&[7; 64], &tag, most))] += 1;
            }
            assert!(seen[..30].iter().chain(&seen[end + 1..]).all(|n| *n == 0));
            let places = end - 29;
            let expected = f64::from(n) / f64::from(u32::try_from(places).unwrap());
            let apart = |n: &u32| (f64::from(*n) - expected).powi(2) / expected;
            let chi: f64 = seen[30..=end].iter().map(apart).sum();
            // One in a thousand, for 0, 1, 60 and 120 degrees of freedom.
            let bound = match places {
                1 => 0.1,
                2 => 10.8,
                61 => 99.6,
                _ => 173.6,
            };
            assert!(chi < bound, "{most}: {chi}");
        }
    }

    #[test]
    fn exponential_delays_are_exponential_up_to_the_cut() {
        let mut rng = Rng::new(&Seed::from_number(4));
        let n = 100_000_u32;
        let mut seen = [0_u32; 151];
        for _ in 0..n {
            seen[usize::from(exponential_delay(&mut rng))] += 1;
        }
        let q = (-1.0_f64 / 50.0).exp();
        let mut chi = 0.0;
        for (ms, seen) in seen.iter().enumerate() {
            let ms = i32::try_from(ms).unwrap();
            let share = if ms == 150 {
                q.powi(ms)
            } else {
                q.powi(ms) * (1.0 - q)
            };
            let expected = f64::from(n) * share;
            chi += (f64::from(*seen) - expected).powi(2) / expected;
        }
        // 150 degrees of freedom, one in a thousand.
        assert!(chi < 209.3, "{chi}");
    }
}
