//! Keys whose validity was checked: the check costs more than a signature's verification.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_fog::{Authentic, Received, Record, Refusal};
use betanet_keys::{Equation, PreparedKey, PublicKey};

use crate::together::Together;

/// Most keys that are remembered. Beyond, all are forgotten.
const KEYS_MAX: usize = 1 << 16;

/// Most keys with a table of 30 KiB each. Beyond, all tables are dropped.
const PREPARED_MAX: usize = 512;

/// Signatures after which a key gets its table, which costs as much as thirty verifications.
const OFTEN: u32 = 128;

/// A key that has signed something.
#[derive(Debug)]
struct Known {
    key: PublicKey,
    /// Signatures that were to be verified without a table.
    seen: u32,
    prepared: Option<Arc<PreparedKey>>,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<[u8; 32], Known>,
    /// Number of keys with a table.
    prepared: usize,
}

/// The form in which a key verifies next.
enum Form {
    Plain(PublicKey),
    /// It has signed often, and is to be prepared.
    Often(PublicKey),
    Prepared(Arc<PreparedKey>),
}

impl State {
    fn form(&mut self, key: &[u8; 32]) -> Option<Form> {
        let known = self.keys.get_mut(key)?;
        if let Some(prepared) = &known.prepared {
            return Some(Form::Prepared(Arc::clone(prepared)));
        }
        known.seen = known.seen.saturating_add(1);
        // Exactly one of those that come at the same time prepares the key.
        Some(if known.seen == OFTEN {
            Form::Often(known.key)
        } else {
            Form::Plain(known.key)
        })
    }

    fn note(&mut self, key: PublicKey) {
        if self.keys.len() >= KEYS_MAX {
            *self = Self::default();
        }
        self.keys.entry(*key.as_bytes()).or_insert(Known {
            key,
            seen: 0,
            prepared: None,
        });
    }

    fn prepared(&mut self, key: Arc<PreparedKey>) {
        if self.prepared >= PREPARED_MAX {
            for known in self.keys.values_mut() {
                (known.seen, known.prepared) = (0, None);
            }
            self.prepared = 0;
        }
        let known = self.keys.get_mut(key.key().as_bytes());
        if let Some(known) = known.filter(|k| k.prepared.is_none()) {
            known.prepared = Some(key);
            self.prepared += 1;
        }
    }
}

/// Keys that have signed something.
#[derive(Debug, Default)]
pub(crate) struct CheckedKeys {
    state: Mutex<State>,
    together: Together,
}

impl CheckedKeys {
    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies a record's signature, together with those of other requests that wait, where the machine gains by it.
    ///
    /// # Errors
    ///
    /// `sig_invalid`.
    pub(crate) async fn verify_with_others<T: Record>(
        &self,
        received: Received<T>,
    ) -> Result<Authentic<T>, Refusal> {
        let known = self.locked().keys.get(received.signer()).map(|k| k.key);
        let key = known.filter(|_| Equation::has_lanes());
        let Some(key) = key else {
            return self.verify(received);
        };
        let pending = received.with_others(&key)?;
        match self.together.judge(*pending.equation()).await {
            Some(holds) => pending.judged(holds),
            None => self.verify(pending.alone()),
        }
    }

    /// Verifies a record's signature.
    ///
    /// # Errors
    ///
    /// `sig_invalid`.
    pub(crate) fn verify<T: Record>(&self, received: Received<T>) -> Result<Authentic<T>, Refusal> {
        let form = self.locked().form(received.signer());
        match form {
            Some(Form::Prepared(key)) => received.verify_prepared(&key),
            Some(Form::Plain(key)) => received.verify_with(&key),
            Some(Form::Often(key)) => {
                let key = Arc::new(PreparedKey::new(key));
                self.locked().prepared(Arc::clone(&key));
                received.verify_prepared(&key)
            }
            None => {
                let authentic = received.verify()?;
                self.locked().note(*authentic.signer());
                Ok(authentic)
            }
        }
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
        assert_eq!(keys.locked().keys.len(), 1);
    }

    fn public(n: u64) -> PublicKey {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        *Identity::from_seed(&seed).public()
    }

    #[test]
    fn keys_beyond_the_bound_let_go_of_all() {
        let keys = CheckedKeys::default();
        for n in 0..=KEYS_MAX as u64 {
            keys.locked().note(public(n));
        }
        assert_eq!(keys.locked().keys.len(), 1);
    }

    #[test]
    fn a_key_that_signs_often_is_prepared_and_verifies_the_same() {
        let keys = CheckedKeys::default();
        let me = Identity::from_seed(&[1; 32]);
        let signed = Signed::sign(testkit::task(&me, 1, 1), &me).unwrap();
        let received = |envelope: &betanet_fog::Envelope| {
            Received::<betanet_fog::Task>::new(envelope.clone()).unwrap()
        };
        let mut wrong = signed.envelope().clone();
        wrong.sig[3] ^= 1;
        for _ in 0..=OFTEN + 1 {
            assert!(keys.verify(received(signed.envelope())).is_ok());
            let refused = keys.verify(received(&wrong)).map(|_| ());
            assert_eq!(refused, Err(RefusalCode::SigInvalid.bare()));
        }
        assert_eq!(keys.locked().prepared, 1);
        // Another key's signature does not pass for this one's.
        let other = Identity::from_seed(&[2; 32]);
        let mut swapped = signed.envelope().clone();
        swapped.sig = other.sign("BN-FOG-TASK", &[&swapped.rec]);
        assert!(keys.verify(received(&swapped)).is_err());
    }

    #[test]
    fn tables_beyond_the_bound_are_dropped() {
        let mut state = State::default();
        for n in 0..2 {
            state.note(public(n));
        }
        state.prepared(Arc::new(PreparedKey::new(public(0))));
        assert_eq!(state.prepared, 1);
        // As many as are allowed; to compute them would take a while.
        state.prepared = PREPARED_MAX;
        state.prepared(Arc::new(PreparedKey::new(public(1))));
        assert_eq!(state.prepared, 1);
        let has = |n| state.keys[public(n).as_bytes()].prepared.is_some();
        assert!(!has(0) && has(1));
    }
}
