use chacha20::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Seed of a machine's randomness; the driver draws it from the system.
///
/// Secrets derive from it, so it is wiped on drop and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Wraps 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Derives a seed from a number, for a test or a simulation.
    #[must_use]
    pub fn from_number(n: u64) -> Self {
        Self(Sha256::digest([b"seed".as_slice(), &n.to_be_bytes()].concat()).into())
    }

    /// Derives a seed for one named part, so that adding a part changes no other part's random numbers.
    #[must_use]
    pub fn split(&self, label: &str) -> Self {
        let mut h = Sha256::new();
        h.update(b"BN-SEED");
        h.update(self.0);
        h.update(label.as_bytes());
        Self(h.finalize().into())
    }
}

impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// A ChaCha20 generator: suitable for keys, and reproducible from its seed.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// Creates a generator from a seed.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self(ChaCha20Rng::from_seed(seed.0))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills a buffer.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// An array of random bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A fresh seed.
    pub fn seed(&mut self) -> Seed {
        Seed(self.array())
    }

    /// Uniform in `0..n`, by rejection; 0 when `n` is 0 or 1.
    pub fn below(&mut self, n: u64) -> u64 {
        if n <= 1 {
            return 0;
        }
        // `excess` draws at the top would make the low remainders more likely.
        let excess = (u64::MAX % n + 1) % n;
        loop {
            let x = self.next_u64();
            if x <= u64::MAX - excess {
                return x % n;
            }
        }
    }
}

impl core::hash::Hash for Rng {
    /// How much was drawn: the seed stays as it is.
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.0.get_word_pos().hash(state);
    }
}

impl core::fmt::Debug for Rng {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rng(…)")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;

    #[test]
    fn same_seed_same_dice_other_label_other_dice() {
        let seed = Seed::from_number(7);
        let draw = |s: &Seed| Rng::new(s).array::<16>();
        assert_eq!(draw(&seed), draw(&seed.clone()));
        assert_ne!(draw(&seed.split("a")), draw(&seed.split("b")));
        assert_ne!(draw(&seed), draw(&seed.split("")));
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut seen = [0u32; 6];
        for _ in 0..6_000 {
            seen[usize::try_from(rng.below(6)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|n| (850..1_150).contains(n)), "{seen:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let seed = Seed::new([0xab; 32]);
        assert_eq!(format!("{seed:?} {:?}", Rng::new(&seed)), "Seed(…) Rng(…)");
    }
}
