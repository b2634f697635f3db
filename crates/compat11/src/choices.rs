//! Versions that each peer has used, so that no peer is downgraded.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_wire::{cbor, message};

/// How long a peer that has used 1.2 is refused 1.1.
const NEWER_MS: u64 = 30 * 24 * 3_600_000;
/// How long a peer must keep its choice.
const HELD_MS: u64 = 600_000;
const HOUR_MS: u64 = 3_600_000;

/// Minor version of L2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Minor {
    /// 1.1.
    One,
    /// 1.2.
    Two,
}

/// Why a peer's chosen version is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The peer chose the other version within the last 10 minutes: AUTH_FAILED.
    Changed,
    /// The peer has used 1.2 within the last 30 days: VERSION_NEGOTIATION_FAILED.
    Newer,
    /// The memory is full, so it cannot be excluded that the peer has used 1.2: VERSION_NEGOTIATION_FAILED.
    Full,
}

/// Choice of one peer, identified by its X25519 key, which both versions have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chosen {
    minor: Minor,
    at: u64,
    /// The hour in which the peer last used 1.2; 0 for never.
    newer: u64,
}

/// Choices of all remembered peers.
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

/// Length of one entry on disk.
const ENTRY: usize = 16 + 4;
/// Number of entries in one string on disk.
const CHUNK: usize = 4096;

fn short(key: &[u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&betanet_keys::hash(&[b"BN-SEEN12", key])[..16]);
    out
}

/// Whether `hour`, if set, lies within the last 30 days.
const fn lately(hour: u64, unix_ms: u64) -> bool {
    hour > 0 && hour.saturating_mul(HOUR_MS).saturating_add(NEWER_MS) > unix_ms
}

impl Choices {
    /// Creates an empty memory of at most `max` peers.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self {
            peers: BTreeMap::new(),
            max,
            overflown: 0,
        }
    }

    /// Decodes the output of [`Choices::to_bytes`]; `None` for anything else.
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

    /// Encodes the peers that have used 1.2: DET-CBOR of `{"v": 1, "newer": [bstr], "full": u64}`, each entry 16 bytes of a key's
    /// hash and the hour.
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

    /// Number of remembered peers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether no peer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Records the version that a peer uses. Returns whether the memory changed and should be saved.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the peer must not use this version.
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
            // A user of 1.2 may be among the peers that were not remembered.
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

    /// Forgets peers whose entry has no effect any more.
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
