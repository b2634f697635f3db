//! Keys whose validity was checked: the check costs more than a signature's verification.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use betanet_fog::{Authentic, Received, Record, Refusal};
use betanet_keys::PublicKey;

/// Most keys that are remembered. Beyond, all are forgotten.
const KEYS_MAX: usize = 1 << 16;

/// Keys that have signed something.
#[derive(Debug, Default)]
pub(crate) struct CheckedKeys(Mutex<BTreeMap<[u8; 32], PublicKey>>);

impl CheckedKeys {
    fn get(&self, key: &[u8; 32]) -> Option<PublicKey> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).copied()
    }

    fn note(&self, key: PublicKey) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.insert(*key.as_bytes(), key);
    }

    /// Verifies a record's signature.
    ///
    /// # Errors
    ///
    /// `sig_invalid`.
    pub(crate) fn verify<T: Record>(&self, received: Received<T>) -> Result<Authentic<T>, Refusal> {
        if let Some(key) = self.get(received.signer()) {
            return received.verify_with(&key);
        }
        let authentic = received.verify()?;
        self.note(*authentic.signer());
        Ok(authentic)
    }
}

#[cfg(test)]
mod tests {
    use betanet_fog::{RefusalCode, Signed};
    use betanet_fog_client::testkit;
    use betanet_keys::Identity;

    use super::*;

    #[test]
    fn a_known_key_verifies_what_it_signed_and_nothing_else() {
        let keys = CheckedKeys::default();
        let me = Identity::from_seed(&[1; 32]);
        for nonce in 0..2 {
            let signed = Signed::sign(testkit::task(&me, nonce, 1), &me).unwrap();
            let received = Received::<betanet_fog::Task>::new(signed.envelope().clone()).unwrap();
            assert_eq!(keys.verify(received).unwrap().signer(), me.public());
            let mut wrong = signed.envelope().clone();
            wrong.sig[3] ^= 1;
            let received = Received::<betanet_fog::Task>::new(wrong).unwrap();
            let refused = keys.verify(received).map(|_| ());
            assert_eq!(refused, Err(RefusalCode::SigInvalid.bare()));
        }
        assert_eq!(keys.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn keys_beyond_the_bound_let_go_of_all() {
        let keys = CheckedKeys::default();
        for n in 0..=KEYS_MAX {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
            keys.note(*Identity::from_seed(&seed).public());
        }
        assert_eq!(keys.0.lock().unwrap().len(), 1);
    }
}
