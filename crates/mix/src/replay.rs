//! Which packets were here before.

use alloc::vec::Vec;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};

/// One session's part of the memory, at most: one in so many.
const SESSION_ONE_IN: usize = 32;
/// The part of an address, whatever the sessions that come from it.
const ADDRESS_ONE_IN: usize = 16;

/// What those who brought a tag have had noted so far.
#[derive(Debug)]
pub struct Noted<'a> {
    /// The session.
    pub of_session: &'a mut usize,
    /// All sessions that the same one pays for.
    pub of_charge: &'a mut usize,
}

/// What became of a tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// It is new, and noted.
    New,
    /// It was here, or, once in 2^35 packets at most, another with the same fingerprint.
    Again,
    /// There is no room, or this session or its address has had its part: what is not noted does not pass.
    Full,
}

/// The tags of one epoch key, each by a fingerprint of 64 bits under a secret key. Nothing is ever forgotten before the key is.
///
/// Its memory is taken once: eight bytes for each place, of which seven in eight are used.
pub struct Replays {
    cipher: Aes128,
    places: Vec<u64>,
    len: usize,
}

impl core::fmt::Debug for Replays {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Replays({} of {})", self.len, self.capacity())
    }
}

impl Replays {
    /// Room for so many packets, which is a relay's rate times the life of a key, under a fresh random key.
    #[must_use]
    pub fn with_capacity(packets: usize, key: &[u8; 16]) -> Self {
        Self {
            cipher: Aes128::new(key.into()),
            places: alloc::vec![0; Self::places(packets)],
            len: 0,
        }
    }

    const fn places(packets: usize) -> usize {
        packets.div_ceil(7).saturating_mul(8)
    }

    /// The memory that so many packets need, in bytes.
    #[must_use]
    pub const fn bytes(packets: usize) -> usize {
        Self::places(packets).saturating_mul(8)
    }

    /// How many packets there is room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.places.len() / 8 * 7
    }

    /// How many are noted.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether three quarters are used: then a relay publishes a further key.
    #[must_use]
    pub const fn wants_another_key(&self) -> bool {
        self.len * 4 >= self.capacity() * 3
    }

    /// Notes a tag, and counts it.
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
        loop {
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
        self.len += 1;
        *noted.of_session += 1;
        *noted.of_charge += 1;
        Taken::New
    }

    /// Where a fingerprint belongs first.
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
        /// What a session from an address of its own brings.
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
