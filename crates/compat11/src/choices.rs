//! Who has spoken which version, so that nobody is brought down to the weaker one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_wire::{cbor, message};

/// How long a peer that has spoken 1.2 is not spoken 1.1 with.
const NEWER_MS: u64 = 30 * 24 * 3_600_000;
/// How long a peer is held to its choice.
const HELD_MS: u64 = 600_000;
const HOUR_MS: u64 = 3_600_000;

/// A version of L2, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Minor {
    /// 1.1.
    One,
    /// 1.2.
    Two,
}

/// Why a peer is not spoken with in the version it chose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It chose the other one within the last 10 minutes: AUTH_FAILED.
    Changed,
    /// It has spoken 1.2 within the last 30 days: VERSION_NEGOTIATION_FAILED.
    Newer,
    /// So many peers are remembered that it cannot be told whether this one was: VERSION_NEGOTIATION_FAILED.
    Full,
}

/// What is remembered of one peer, by its X25519 key, which both versions have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chosen {
    minor: Minor,
    at: u64,
    /// The hour in which it last spoke 1.2; 0: never.
    newer: u64,
}

/// The memory.
#[derive(Debug)]
pub struct Choices {
    peers: BTreeMap<[u8; 16], Chosen>,
    max: usize,
    overflown: u64,
}

message! {
    struct File<'a> {
        req "v" version: u16,
        req "full" full: u64,
        req "newer" newer: Vec<&'a [u8]>,
    }
}

/// Bytes of one entry on disk.
const ENTRY: usize = 16 + 4;
/// Entries of one string there.
const CHUNK: usize = 4096;

fn short(key: &[u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&betanet_keys::hash(&[b"BN-SEEN12", key])[..16]);
    out
}

/// Whether an hour, if there is one, lies within the last 30 days.
const fn lately(hour: u64, unix_ms: u64) -> bool {
    hour > 0 && hour.saturating_mul(HOUR_MS).saturating_add(NEWER_MS) > unix_ms
}

impl Choices {
    /// Remembers so many peers at most.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self {
            peers: BTreeMap::new(),
            max,
            overflown: 0,
        }
    }

    /// Reads what [`Choices::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], max: usize) -> Option<Self> {
        let file: File<'_> = cbor::from_slice(bytes).ok()?;
        if file.version != 1 {
            return None;
        }
        let mut this = Self::new(max);
        this.overflown = file.full;
        for chunk in file.newer {
            let (entries, rest) = chunk.as_chunks::<ENTRY>();
            if !rest.is_empty() {
                return None;
            }
            for entry in entries {
                let mut key = [0; 16];
                key.copy_from_slice(&entry[..16]);
                let [.., a, b, c, d] = *entry;
                let newer = u32::from_be_bytes([a, b, c, d]).into();
                let chosen = Chosen {
                    minor: Minor::Two,
                    at: 0,
                    newer,
                };
                this.peers.insert(key, chosen);
            }
        }
        Some(this)
    }

    /// Who has spoken 1.2, to be kept: DET-CBOR of `{"v": 1, "newer": [bstr], "full": u64}`, 16 bytes of a key's hash and the hour.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let newer: Vec<_> = self.peers.iter().filter(|(_, c)| c.newer > 0).collect();
        let chunk = |entries: &[(&[u8; 16], &Chosen)]| -> Vec<u8> {
            let bytes = entries.iter().flat_map(|(key, chosen)| {
                let hour = u32::try_from(chosen.newer).unwrap_or(u32::MAX);
                key.iter().copied().chain(hour.to_be_bytes())
            });
            bytes.collect()
        };
        let chunks: Vec<Vec<u8>> = newer.chunks(CHUNK).map(chunk).collect();
        cbor::to_vec(&File {
            version: 1,
            full: self.overflown,
            newer: chunks.iter().map(Vec::as_slice).collect(),
        })
    }

    /// Peers that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// A peer shows itself with this version. What is given back is whether it is remembered as something new, to be kept.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the peer is not spoken with.
    pub fn chose(&mut self, unix_ms: u64, peer: &[u8; 32], minor: Minor) -> Result<bool, Refusal> {
        let key = short(peer);
        let hour = unix_ms / HOUR_MS;
        if let Some(known) = self.peers.get_mut(&key) {
            if known.minor != minor && unix_ms.saturating_sub(known.at) < HELD_MS {
                return Err(Refusal::Changed);
            }
            if minor == Minor::One && lately(known.newer, unix_ms) {
                return Err(Refusal::Newer);
            }
            let newer = if minor == Minor::Two {
                hour
            } else {
                known.newer
            };
            let news = newer != known.newer;
            *known = Chosen {
                minor,
                at: unix_ms,
                newer,
            };
            return Ok(news);
        }
        if self.peers.len() >= self.max {
            self.forget(unix_ms);
        }
        let full = self.peers.len() >= self.max;
        let newer = match minor {
            // One that spoke 1.2 may be among those who were not remembered.
            Minor::One if full || lately(self.overflown, unix_ms) => return Err(Refusal::Full),
            Minor::One => 0,
            Minor::Two if full => return Ok(core::mem::replace(&mut self.overflown, hour) != hour),
            Minor::Two => hour,
        };
        let chosen = Chosen {
            minor,
            at: unix_ms,
            newer,
        };
        self.peers.insert(key, chosen);
        Ok(newer > 0)
    }

    /// Forgets those of whom nothing follows any more.
    fn forget(&mut self, unix_ms: u64) {
        self.peers
            .retain(|_, c| lately(c.newer, unix_ms) || unix_ms.saturating_sub(c.at) < HELD_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 500_000 * HOUR_MS;
    const PEER: [u8; 32] = [1; 32];

    #[test]
    fn who_has_spoken_the_newer_is_not_brought_down_for_thirty_days() {
        let mut choices = Choices::new(10);
        assert_eq!(choices.chose(NOW, &PEER, Minor::Two), Ok(true));
        assert_eq!(choices.chose(NOW + 1, &PEER, Minor::Two), Ok(false));
        let again = |choices: &mut Choices, after| choices.chose(NOW + after, &PEER, Minor::One);
        assert_eq!(again(&mut choices, HELD_MS - 1), Err(Refusal::Changed));
        assert_eq!(again(&mut choices, HELD_MS + 1), Err(Refusal::Newer));
        let mut kept = Choices::from_bytes(&choices.to_bytes(), 10).unwrap();
        assert_eq!(again(&mut kept, NEWER_MS - 1), Err(Refusal::Newer));
        assert_eq!(again(&mut kept, NEWER_MS), Ok(false));
    }

    #[test]
    fn a_choice_holds_for_ten_minutes() {
        let mut choices = Choices::new(10);
        assert_eq!(choices.chose(NOW, &PEER, Minor::One), Ok(false));
        let up = |choices: &mut Choices, after| choices.chose(NOW + after, &PEER, Minor::Two);
        assert_eq!(up(&mut choices, HELD_MS - 1), Err(Refusal::Changed));
        assert_eq!(up(&mut choices, HELD_MS), Ok(true));
    }

    #[test]
    fn a_full_memory_speaks_the_older_with_nobody_it_does_not_know() {
        let mut choices = Choices::new(1);
        assert_eq!(choices.chose(NOW, &PEER, Minor::Two), Ok(true));
        assert_eq!(choices.chose(NOW, &[2; 32], Minor::One), Err(Refusal::Full));
        assert_eq!(choices.chose(NOW, &[3; 32], Minor::Two), Ok(true));
        let later = NOW + NEWER_MS;
        let mut kept = Choices::from_bytes(&choices.to_bytes(), 10).unwrap();
        assert_eq!(
            kept.chose(later - 1, &[3; 32], Minor::One),
            Err(Refusal::Full)
        );
        assert_eq!(kept.chose(later, &[3; 32], Minor::One), Ok(false));
    }

    #[test]
    fn other_bytes_are_no_memory() {
        for bad in [&b""[..], b"\x01", &[0xa0], &Choices::new(1).to_bytes()[1..]] {
            assert!(Choices::from_bytes(bad, 1).is_none());
        }
    }
}
