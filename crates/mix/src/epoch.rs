//! A relay's keys, epoch by epoch.

use alloc::vec::Vec;

use betanet_keys::{VRF_PROOF, VrfSecret};
use betanet_machine::Rng;
use betanet_wire::{cbor, message};
use zeroize::Zeroizing;

use crate::beacon::layer_text;
use crate::delay::delay_text;
use crate::unwrap::{EpochKeys, public_key};

/// Length of an epoch.
pub const EPOCH_MS: u64 = 10_800 * 1000;
/// Time after an epoch for which its key still opens packets.
pub const AFTER_MS: u64 = 600 * 1000;
/// Keys read from one record.
const KEYS_MAX: usize = 8;

/// The mix epoch of a UNIX time in milliseconds.
#[must_use]
pub fn epoch_at(unix_ms: u64) -> u32 {
    u32::try_from(unix_ms / EPOCH_MS).unwrap_or(u32::MAX)
}

/// Start of an epoch, UNIX milliseconds.
#[must_use]
pub const fn epoch_start(epoch: u32) -> u64 {
    epoch as u64 * EPOCH_MS
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Listed {
    epoch: u32,
    key: [u8; 32],
}

impl cbor::Encode for Listed {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        self.epoch.encode(w);
        self.key.encode(w);
    }

    fn size_hint(&self) -> usize {
        40
    }
}

impl<'a> cbor::Decode<'a> for Listed {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        if r.array()? != 2 {
            return Err(cbor::Error::Range("an epoch and a key"));
        }
        let epoch = u32::decode(r)?;
        let key = <[u8; 32]>::decode(r)?;
        r.leave();
        Ok(Self { epoch, key })
    }
}

message! {
    struct Record<'a> {
        req "vrf" vrf: &'a [u8; 32],
        req "keys" keys: Vec<Listed>,
    }
}

/// A relay's keys, as its peer record lists them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MixKeys {
    keys: Vec<Listed>,
    vrf: [u8; 32],
}

impl MixKeys {
    /// Reads the `mix` field of a peer record.
    ///
    /// # Errors
    ///
    /// It does not decode, or lists more than eight keys.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, cbor::Error> {
        let record: Record<'_> = cbor::from_slice(bytes)?;
        if record.keys.len() > KEYS_MAX {
            return Err(cbor::Error::Range("at most eight keys"));
        }
        Ok(Self {
            vrf: *record.vrf,
            keys: record.keys,
        })
    }

    /// Encodes the keys for a peer record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Record {
            vrf: &self.vrf,
            keys: self.keys.clone(),
        })
    }

    /// The key for new packets of an epoch: the last one listed.
    #[must_use]
    pub fn of(&self, epoch: u32) -> Option<[u8; 32]> {
        let mut listed = self.keys.iter().rev();
        listed.find(|k| k.epoch == epoch).map(|k| k.key)
    }

    /// All keys of an epoch.
    pub fn keys_of(&self, epoch: u32) -> impl Iterator<Item = [u8; 32]> {
        let listed = self.keys.iter().filter(move |k| k.epoch == epoch);
        listed.map(|k| k.key)
    }

    /// The key that proves the relay's layer and delays.
    #[must_use]
    pub const fn vrf(&self) -> &[u8; 32] {
        &self.vrf
    }
}

/// Proof that a relay's own delays of a past epoch came from its VRF.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DelayProof {
    /// Epoch of the delays.
    pub epoch: u32,
    /// VRF proof for the epoch's [`delay_text`].
    pub proof: [u8; VRF_PROOF],
}

/// A relay's keys. They are drawn for each epoch and destroyed ten minutes after it. A relay that restarts draws new keys, so
/// packets for the lost replay memory no longer open.
#[derive(Debug)]
pub struct KeyRing {
    vrf: VrfSecret,
    keys: EpochKeys,
    listed: Vec<Listed>,
}

impl KeyRing {
    /// Creates a ring without keys; [`Self::turn`] draws them.
    #[must_use]
    pub const fn new(vrf: VrfSecret) -> Self {
        Self {
            vrf,
            keys: EpochKeys::new(),
            listed: Vec::new(),
        }
    }

    /// The keys that unwrap packets.
    #[must_use]
    pub const fn keys(&self) -> &EpochKeys {
        &self.keys
    }

    /// The keys for the current peer record.
    #[must_use]
    pub fn record(&self) -> MixKeys {
        MixKeys {
            keys: self.listed.clone(),
            vrf: *self.vrf.public(),
        }
    }

    /// Draws missing keys of this and the next epoch. Destroys keys of past epochs and returns their delay proofs. If the clock
    /// runs backwards, no key is destroyed early.
    pub fn turn(&mut self, unix_ms: u64, rng: &mut Rng) -> Vec<DelayProof> {
        let over = |k: &Listed| epoch_start(k.epoch) + EPOCH_MS + AFTER_MS <= unix_ms;
        let mut proofs: Vec<DelayProof> = Vec::new();
        for ended in self.listed.iter().filter(|k| over(k)) {
            if proofs.iter().any(|p| p.epoch == ended.epoch) {
                continue;
            }
            self.keys.remove(low_byte(ended.epoch));
            let (_, proof) = self.vrf.prove(&delay_text(ended.epoch));
            let epoch = ended.epoch;
            proofs.push(DelayProof { epoch, proof });
        }
        self.listed.retain(|k| !over(k));
        let now = epoch_at(unix_ms);
        for epoch in [now, now.saturating_add(1)] {
            if !self.listed.iter().any(|k| k.epoch == epoch) {
                self.draw(epoch, rng);
            }
        }
        proofs
    }

    /// Proves this relay's layer in an epoch with this beacon.
    #[must_use]
    pub fn prove_layer(&self, epoch: u32, beacon: &[u8; 32]) -> [u8; VRF_PROOF] {
        self.vrf.prove(&layer_text(epoch, beacon)).1
    }

    /// Draws a further key for an epoch whose newest key's replay memory fills up; `false` if the epoch has three.
    pub fn further(&mut self, epoch: u32, rng: &mut Rng) -> bool {
        self.draw(epoch, rng)
    }

    /// Time of the next [`Self::turn`], UNIX milliseconds.
    #[must_use]
    pub fn due(&self, unix_ms: u64) -> u64 {
        let ends = self
            .listed
            .iter()
            .map(|k| epoch_start(k.epoch) + EPOCH_MS + AFTER_MS);
        let next = epoch_start(epoch_at(unix_ms).saturating_add(1));
        ends.chain([next]).min().unwrap_or(next)
    }

    fn draw(&mut self, epoch: u32, rng: &mut Rng) -> bool {
        let private: Zeroizing<[u8; 32]> = Zeroizing::new(rng.array());
        let (delays, _) = self.vrf.prove(&delay_text(epoch));
        let added = self.keys.add(low_byte(epoch), *private, delays);
        if added {
            let key = public_key(&private);
            self.listed.push(Listed { epoch, key });
        }
        added
    }
}

const fn low_byte(epoch: u32) -> u8 {
    epoch.to_be_bytes()[3]
}

#[cfg(test)]
mod tests {
    use betanet_keys::VrfPublic;
    use betanet_machine::Seed;

    use super::*;

    #[test]
    fn keys_come_and_go_with_their_epochs_and_their_delays_are_proved_then() {
        let vrf = VrfSecret::from_seed(&[1; 32]);
        let public = VrfPublic::from_bytes(*vrf.public()).unwrap();
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut ring = KeyRing::new(vrf);
        let start = epoch_start(159_000) + 5_000;
        assert_eq!(ring.turn(start, &mut rng), []);
        let first = ring.record();
        assert!(first.of(158_999).is_none() && first.of(159_002).is_none());
        let (now, next) = (first.of(159_000).unwrap(), first.of(159_001).unwrap());
        assert_ne!(now, next);
        // Every turn that is due has something to do, for ten epochs.
        let (mut at, mut proved) = (start, 0);
        while at < start + 10 * EPOCH_MS {
            let due = ring.due(at);
            assert!(due > at);
            assert_eq!(ring.turn(due - 1, &mut rng), []);
            for DelayProof { epoch, proof } in ring.turn(due, &mut rng) {
                assert_eq!(epoch, 159_000 + proved);
                assert_eq!(due, epoch_start(epoch) + EPOCH_MS + AFTER_MS);
                assert!(public.verify(&delay_text(epoch), &proof).is_ok());
                proved += 1;
            }
            at = due;
        }
        assert_eq!(proved, 10);
        assert_eq!(first.of(159_001), Some(next), "a record is what it was");
        assert!(ring.record().of(159_001).is_none());
    }

    #[test]
    fn the_last_of_an_epochs_keys_is_for_new_packets_and_none_keeps_the_next_epoch_from_one() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut ring = KeyRing::new(VrfSecret::from_seed(&[1; 32]));
        ring.turn(epoch_start(7), &mut rng);
        let before = ring.record().of(7);
        assert!(ring.further(7, &mut rng) && ring.further(7, &mut rng));
        assert_ne!(ring.record().of(7), before);
        assert!(!ring.further(7, &mut rng));
        let record = ring.record();
        assert_eq!(MixKeys::from_bytes(&record.to_bytes()), Ok(record));
        // Every epoch has its first key, however many the others have, and all of an epoch's go together.
        for epoch in 8..20 {
            ring.turn(epoch_start(epoch), &mut rng);
            assert!(ring.further(epoch, &mut rng) && ring.further(epoch, &mut rng));
            assert!(!ring.further(epoch, &mut rng));
            let record = ring.record();
            let listed = |e| record.keys_of(e).count();
            assert_eq!(
                [-1, 0, 1].map(|d| listed(epoch.saturating_add_signed(d))),
                [3, 3, 1]
            );
            assert_eq!(MixKeys::from_bytes(&record.to_bytes()), Ok(record));
            ring.turn(epoch_start(epoch) + AFTER_MS, &mut rng);
            assert_eq!(ring.record().keys_of(epoch - 1).count(), 0);
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut ring = KeyRing::new(VrfSecret::from_seed(&[1; 32]));
        ring.turn(epoch_start(7), &mut rng);
        let good = ring.record().to_bytes();
        for len in 0..good.len() {
            assert!(MixKeys::from_bytes(&good[..len]).is_err(), "{len}");
        }
        let mut many = ring.record();
        while many.keys.len() <= KEYS_MAX {
            many.keys.push(many.keys[0]);
        }
        assert!(MixKeys::from_bytes(&many.to_bytes()).is_err());
        assert!(MixKeys::from_bytes(&[0xa0]).is_err());
    }
}
