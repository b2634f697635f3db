//! The beacon: a number for each epoch that nobody can predict. It determines the layers of relays.

mod shares;

use betanet_keys::hash;
use blst::BLST_ERROR;
use blst::min_sig::{PublicKey, SecretKey, Signature};

pub use shares::{BeaconShare, PartialBeacon, join_beacon};

/// Length of a signature: a compressed point of G1.
pub const BEACON_SIG: usize = 48;
/// Length of a key: a compressed point of G2.
pub const BEACON_KEY: usize = 96;

/// The suite of profile chapter 7; the label in the text keeps beacons apart from vouchers.
const DST: &[u8] = b"BETANET-V12-VOUCHER_BLS12381G1_XMD:SHA-256_SSWU_RO_";

fn text(epoch: u32) -> [u8; 17] {
    let mut text = *b"BN-MIX-BEACON\0\0\0\0";
    text[13..].copy_from_slice(&epoch.to_be_bytes());
    text
}

/// Text that a relay's VRF proves for its layer.
#[must_use]
pub fn layer_text(epoch: u32, beacon: &[u8; 32]) -> [u8; 48] {
    let mut text = [0; 48];
    text[..12].copy_from_slice(b"BN-MIX-LAYER");
    text[12..16].copy_from_slice(&epoch.to_be_bytes());
    text[16..].copy_from_slice(beacon);
    text
}

/// The layer for a VRF output.
#[must_use]
pub const fn layer_of(output: &[u8; 64], layers: u8) -> u8 {
    if layers == 0 { 0 } else { output[0] % layers }
}

/// The public key of a network's beacons. Its owners sign with shares; their joined signature is unique.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BeaconKey(PublicKey);

impl BeaconKey {
    /// Reads a key; `None` if it is the identity or outside the right subgroup.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; BEACON_KEY]) -> Option<Self> {
        PublicKey::key_validate(bytes).ok().map(Self)
    }

    /// The key's bytes, for the network's file.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BEACON_KEY] {
        self.0.compress()
    }

    /// Verifies the signature of an epoch and returns the beacon.
    #[must_use]
    pub fn beacon(&self, epoch: u32, sig: &[u8; BEACON_SIG]) -> Option<[u8; 32]> {
        let signature = Signature::sig_validate(sig, true).ok()?;
        let verified = signature.verify(false, &text(epoch), DST, &[], &self.0, false);
        (verified == BLST_ERROR::BLST_SUCCESS).then(|| hash(&[sig]))
    }
}

/// The secret of a beacon key that one party holds alone, as in a test network; wiped on drop.
pub struct BeaconSecret(SecretKey);

impl core::fmt::Debug for BeaconSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("BeaconSecret(…)")
    }
}

impl BeaconSecret {
    /// Derives a secret from 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        SecretKey::key_gen(seed, &[]).ok().map(Self)
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> BeaconKey {
        BeaconKey(self.0.sk_to_pk())
    }

    /// Signs an epoch.
    #[must_use]
    pub fn sign(&self, epoch: u32) -> [u8; BEACON_SIG] {
        self.0.sign(&text(epoch), DST, &[]).compress()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_is_its_epochs_and_its_keys() {
        let secret = BeaconSecret::from_seed(&[1; 32]).unwrap();
        let key = BeaconKey::from_bytes(&secret.public().to_bytes()).unwrap();
        let sig = secret.sign(7);
        assert_eq!(sig, secret.sign(7), "unique");
        let beacon = key.beacon(7, &sig).unwrap();
        assert_eq!(beacon, hash(&[&sig]));
        assert_eq!(key.beacon(8, &sig), None);
        let other = BeaconSecret::from_seed(&[2; 32]).unwrap();
        assert_eq!(other.public().beacon(7, &sig), None);
        for at in [0, 1, 47] {
            let mut bad = sig;
            bad[at] ^= 1;
            assert_eq!(key.beacon(7, &bad), None);
        }
        // The identities, of the key's group and of the signature's.
        let mut none = [0; BEACON_KEY];
        none[0] = 0xc0;
        assert_eq!(BeaconKey::from_bytes(&none), None);
        let mut none = [0; BEACON_SIG];
        none[0] = 0xc0;
        assert_eq!(key.beacon(7, &none), None);
    }
}
