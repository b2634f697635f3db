//! The list of keysets, `GET /vouchers/keysets`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use betanet_machine::Rng;
use betanet_vouchers::{KEYSET_MAX, KEYSETS_MAX, Keyset, KeysetError, KeysetId, Keysets, Phase};
use betanet_wire::cbor::{self, Decode, Encode, Reader, Writer};
use betanet_wire::message;
use bytes::Bytes;

/// Unit of the keysets that belong to a ledger: a unit of theirs is one FOG, for ever.
pub const LEDGER_UNIT: &str = "FOG";

/// Longest list that a client reads.
pub const LIST_MAX: usize = 4 * KEYSET_MAX;

message! {
    /// A keyset of a node.
    struct Entry<'a> {
        /// Part of its life.
        req "phase" phase: &'a str,
        /// Index of this mint's share; absent on a node that only redeems.
        opt "share" share: u16,
        /// The keyset.
        req "keyset" keyset: &'a [u8],
        /// ID of the ledger that the keyset belongs to; absent without one.
        opt "ledger" ledger: [u8; 32],
        /// The keys of its refreshed shares; absent while they are those of the keyset.
        opt "refresh" refresh: &'a [u8],
    }
}

/// A keyset that a node offers, not checked yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offered {
    /// The keyset's bytes, for [`betanet_vouchers::Keyset::check`].
    pub keyset: Vec<u8>,
    /// The keys of its refreshed shares; empty while they are those of the keyset.
    pub refresh: Vec<u8>,
    /// Part of its life, by the node's clock.
    pub phase: Phase,
    /// Index of the node's share; `None` for a node that only redeems.
    pub share: Option<u8>,
    /// The ledger that the node sells the keyset for, or redeems it on.
    pub ledger: Option<[u8; 32]>,
}

impl Offered {
    /// Reads the answer to `GET /vouchers/keysets`, of at most [`LIST_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// Not a list of at most 256 keysets.
    pub fn read_list(bytes: &[u8]) -> Result<Vec<Self>, cbor::Error> {
        read(bytes)
    }

    /// Checks the keyset, and its refreshed shares. `rng` must not be known to the keyset's author.
    ///
    /// # Errors
    ///
    /// The first rule that they break.
    pub fn check(&self, rng: &mut Rng) -> Result<Keyset, KeysetError> {
        let mut keyset = Keyset::check(&self.keyset, rng)?;
        if !self.refresh.is_empty() {
            keyset.refresh(&self.refresh, rng)?;
        }
        Ok(keyset)
    }
}

/// The word of a part of a keyset's life.
pub(crate) const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Announced => "announced",
        Phase::Active => "active",
        Phase::Retiring => "retiring",
        Phase::Expired => "expired",
    }
}

fn phase(word: &str) -> Option<Phase> {
    use Phase::{Active, Announced, Expired, Retiring};
    let mut all = [Announced, Active, Retiring, Expired].into_iter();
    all.find(|phase| self::word(*phase) == word)
}

/// A list as it is sent.
struct List<'a>(Vec<Entry<'a>>);

impl Encode for List<'_> {
    fn encode(&self, w: &mut Writer) {
        w.array(self.0.len());
        self.0.iter().for_each(|entry| entry.encode(w));
    }
}

impl<'a> Decode<'a> for List<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        let n = r.array()?;
        if n > KEYSETS_MAX {
            return Err(cbor::Error::Range("256 keysets"));
        }
        let mut out = Vec::with_capacity(n);
        for _ in 0..n {
            out.push(Entry::decode(r)?);
        }
        r.leave();
        Ok(Self(out))
    }
}

/// Reads a list.
///
/// # Errors
///
/// Not a list of at most 256 keysets.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Offered>, cbor::Error> {
    let list: List<'_> = cbor::from_slice(bytes)?;
    let offered = |entry: &Entry<'_>| {
        let share = entry.share.map(u8::try_from).transpose();
        Ok(Offered {
            keyset: entry.keyset.to_vec(),
            refresh: entry.refresh.unwrap_or_default().to_vec(),
            phase: phase(entry.phase).ok_or(cbor::Error::Range("a phase"))?,
            share: share.map_err(|_| cbor::Error::Range("a u8"))?,
            ledger: entry.ledger,
        })
    };
    list.0.iter().map(offered).collect()
}

/// The encoded list. All who read it share its memory; it is encoded again when a phase changes.
#[derive(Debug, Default)]
pub(crate) struct Listed(Mutex<(Vec<Phase>, Bytes)>);

impl Listed {
    pub(crate) fn at(
        &self,
        keysets: &Keysets,
        mints: &BTreeMap<KeysetId, u8>,
        ledger: Option<[u8; 32]>,
        unix_ms: u64,
    ) -> Bytes {
        let phases: Vec<Phase> = keysets.iter().map(|k| k.phase(unix_ms)).collect();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1.is_empty() || kept.0 != phases {
            let entries = keysets.iter().zip(&phases).map(|(keyset, phase)| Entry {
                phase: word(*phase),
                share: mints.get(&keyset.id()).map(|i| u16::from(*i)),
                keyset: keyset.as_bytes(),
                ledger: ledger.filter(|_| keyset.unit() == LEDGER_UNIT),
                refresh: keyset.refresh_record(),
            });
            *kept = (
                phases.clone(),
                cbor::to_vec(&List(entries.collect())).into(),
            );
        }
        kept.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use betanet_vouchers::testkit::{BEGIN, World};

    use super::*;

    #[test]
    fn a_list_says_the_phase_of_the_moment_and_the_share() {
        let world = World::new(1, 1, 2, &[0]);
        let listed = Listed::default();
        let mints = [(world.id, 2)].into();
        let at = |ms, mints: &BTreeMap<KeysetId, u8>| {
            read(&listed.at(&world.keysets, mints, Some([5; 32]), ms)).unwrap()
        };
        let first = at(BEGIN - 1, &mints);
        assert_eq!(first[0].keyset, world.keyset().as_bytes());
        let is_fog = world.keyset().unit() == LEDGER_UNIT;
        assert_eq!(first[0].ledger, is_fog.then_some([5; 32]));
        assert_eq!(
            (first[0].phase, first[0].share),
            (Phase::Announced, Some(2))
        );
        assert_eq!(at(BEGIN, &mints)[0].phase, Phase::Active);
        let none = Listed::default().at(&world.keysets, &BTreeMap::new(), None, BEGIN);
        let none = read(&none).unwrap();
        assert_eq!((none[0].share, none[0].ledger), (None, None));
        assert!(read(b"\xa0").is_err() && read(&[0x99, 0x01, 0x01]).is_err());
    }
}
