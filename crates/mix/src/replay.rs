//! The replay memory of a mix relay.

use alloc::vec::Vec;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};

/// One session's largest part of the memory, as a divisor.
const SESSION_ONE_IN: usize = 32;
/// One address's largest part, for all of its sessions, as a divisor.
const ADDRESS_ONE_IN: usize = 16;

/// Tags noted so far for a session and its charged party.
#[derive(Debug)]
pub struct Noted<'a> {
    /// Tags of the session.
    pub of_session: &'a mut usize,
    /// Tags of all sessions of the same charged party.
    pub of_charge: &'a mut usize,
}

/// Result of noting a tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// The tag is new and was noted.
    New,
    /// The tag was noted before. Once in 2^35 packets at most, it is another tag with the same fingerprint.
    Again,
    /// The memory, or the part of this session or address, is full. The packet must not pass.
    Full,
}

/// The tags of one epoch key, as 64-bit fingerprints under a secret key. No tag is forgotten before the key is destroyed.
///
/// The memory is allocated once: eight bytes for each place, of which seven in eight are used, and one bit for each 512 places.
pub struct Replays {
    cipher: Aes128,
    places: Vec<u64>,
    /// One bit for each block of places: whether it holds a tag. A block without tags is never read. A system maps memory at its
    /// first use, and to write a page that was read before costs an interrupt of all processors.
    used: Vec<u64>,
    len: usize,
}

/// Places of a block: as many as fit in a page of memory.
const BLOCK: usize = 512;

impl core::fmt::Debug for Replays {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Replays({} of {})", self.len, self.capacity())
    }
}

impl Replays {
    /// Creates a memory for this many packets, which is a relay's rate times a key's lifetime, under a fresh random key.
    #[must_use]
    pub fn with_capacity(packets: usize, key: &[u8; 16]) -> Self {
        let places = Self::places(packets);
        Self {
            cipher: Aes128::new(key.into()),
            places: alloc::vec![0; places],
            used: alloc::vec![0; places.div_ceil(BLOCK).div_ceil(64)],
            len: 0,
        }
    }

    const fn places(packets: usize) -> usize {
        packets.div_ceil(7).saturating_mul(8)
    }

    /// Memory for this many packets' places, in bytes.
    #[must_use]
    pub const fn bytes(packets: usize) -> usize {
        Self::places(packets).saturating_mul(8)
    }

    /// Number of packets that fit.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.places.len() / 8 * 7
    }

    /// Number of noted packets.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no packet is noted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether three quarters are used, so that the relay should publish a further key.
    #[must_use]
    pub const fn wants_another_key(&self) -> bool {
        self.len * 4 >= self.capacity() * 3
    }

    /// Notes a tag and counts it.
    pub fn take(&mut self, tag: &[u8; 16], noted: &mut Noted<'_>) -> Taken {
        if self.places.is_empty() {
            return Taken::Full;
        }
        let mut block = (*tag).into();
        self.cipher.encrypt_block(&mut block);
        let (words, _) = block.as_slice().as_chunks::<8>();
        // Zero marks a free place.
        let print = u64::from_le_bytes(words[0]).max(1);
        let mut at = self.home(u64::from_le_bytes(words[1]));
        while self.is_used(at) {
            match self.places[at] {
                0 => break,
                there if there == print => return Taken::Again,
                _ => at = (at + 1) % self.places.len(),
            }
        }
        let spent = *noted.of_session >= self.capacity() / SESSION_ONE_IN
            || *noted.of_charge >= self.capacity() / ADDRESS_ONE_IN;
        if self.len >= self.capacity() || spent {
            return Taken::Full;
        }
        self.places[at] = print;
        self.used[at / BLOCK / 64] |= 1 << (at / BLOCK % 64);
        self.len += 1;
        *noted.of_session += 1;
        *noted.of_charge += 1;
        Taken::New
    }

    /// Whether the block of a place holds a tag.
    fn is_used(&self, at: usize) -> bool {
        self.used[at / BLOCK / 64] >> (at / BLOCK % 64) & 1 == 1
    }

    /// First place of a fingerprint.
    fn home(&self, word: u64) -> usize {
        let wide = u128::from(word) * self.places.len() as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(n: u64) -> [u8; 16] {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&n.to_le_bytes());
        tag
    }

    impl Replays {
        /// Notes a tag of a session from an address of its own.
        fn one(&mut self, tag: &[u8; 16], session: &mut usize) -> Taken {
            let mut of_charge = *session;
            let mut noted = Noted {
                of_session: session,
                of_charge: &mut of_charge,
            };
            self.take(tag, &mut noted)
        }
    }

    #[test]
    fn the_sessions_of_one_address_have_two_parts_together() {
        let mut memory = Replays::with_capacity(3_500, &[3; 16]);
        let (mut sessions, mut of_charge) = ([0; 100], 0);
        let mut take = |memory: &mut Replays, n: u64| {
            let mut noted = Noted {
                of_session: &mut sessions[usize::try_from(n % 100).unwrap()],
                of_charge: &mut of_charge,
            };
            memory.take(&tag(n), &mut noted)
        };
        let new = (0..3_500).filter(|n| take(&mut memory, *n) == Taken::New);
        assert_eq!(new.count(), 3_500 / 16);
        assert_eq!(memory.one(&tag(9_999), &mut 0), Taken::New);
    }

    #[test]
    fn nothing_passes_twice_and_nothing_is_forgotten() {
        let mut memory = Replays::with_capacity(7_000, &[3; 16]);
        let mut sessions = [0; 64];
        for n in 0..7_000_u64 {
            let session = &mut sessions[usize::try_from(n % 64).unwrap()];
            assert_eq!(memory.one(&tag(n), session), Taken::New, "{n}");
            assert_eq!(memory.one(&tag(n), session), Taken::Again, "{n}");
            assert_eq!(memory.wants_another_key(), memory.len() >= 5_250);
        }
        assert_eq!(memory.one(&tag(7_000), &mut 0), Taken::Full);
        for n in 0..7_000 {
            assert_eq!(memory.one(&tag(n), &mut 0), Taken::Again, "{n}");
        }
    }

    #[test]
    fn one_session_fills_no_more_than_its_part() {
        let mut memory = Replays::with_capacity(3_500, &[3; 16]);
        let mut session = 0;
        let new = (0..3_500).filter(|n| memory.one(&tag(*n), &mut session) == Taken::New);
        assert_eq!(new.count(), 3_500 / 32);
        assert_eq!(memory.one(&tag(9_999), &mut 0), Taken::New);
    }

    #[test]
    fn memory_is_stated_and_an_empty_one_lets_nothing_through() {
        assert_eq!(Replays::bytes(7_000_000), 64_000_000);
        let mut none = Replays::with_capacity(0, &[0; 16]);
        assert_eq!(none.one(&tag(1), &mut 0), Taken::Full);
    }
}
