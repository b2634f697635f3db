use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use betanet_keys::{Equation, Identity, PreparedKey, PublicKey, hash};
use betanet_wire::cbor::Reader;

use crate::item::{item, read, to_vec};
use crate::shape::compare;
use crate::{Item, Refusal, RefusalCode, Word};

/// Longest signed record, envelope included.
pub const SIGNED_MAX: usize = 64 << 10;

/// A record's bytes and the signature over them; nothing of it is checked. A token's is a secret, so none is printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Envelope {
    /// The record.
    pub rec: Vec<u8>,
    /// Ed25519 over `H(label || rec)`.
    pub sig: [u8; 64],
}

item!(Envelope { "rec" rec: Vec<u8>, "sig" sig: [u8; 64], });

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} bytes)", self.rec.len())
    }
}

impl Envelope {
    /// Decodes an envelope.
    ///
    /// # Errors
    ///
    /// `too_large` over 64 KiB, or `malformed`.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > SIGNED_MAX {
            return Err(RefusalCode::TooLarge.bare());
        }
        Self::SHAPE.check(bytes)?;
        read(bytes)
    }

    /// Length of its shortest encoding.
    fn encoded_len(&self) -> usize {
        const FIXED: usize = 1 + 4 + 4 + 2 + 64;
        let head = match self.rec.len() {
            0..=23 => 1,
            24..=0xff => 2,
            0x100..=0xffff => 3,
            _ => 5,
        };
        FIXED + head + self.rec.len()
    }
}

/// A kind of signed record.
pub trait Record: Item {
    /// The label its signature starts with.
    const LABEL: &'static str;
    /// The key under which the record names its signer.
    const SIGNER: &'static str;

    /// Public key of the signer.
    fn signer(&self) -> &[u8; 32];

    /// Checks the bounds that span several values or do not follow from a value's own type.
    ///
    /// # Errors
    ///
    /// `bad_value` with the key.
    fn check(&self) -> Result<(), Refusal>;

    /// Checks the bounds that depend on the time, in UNIX ms.
    ///
    /// # Errors
    ///
    /// `bad_value` with the key.
    fn check_time(&self, now_ms: u64) -> Result<(), Refusal> {
        let _ = now_ms;
        Ok(())
    }
}

/// A record whose size, encoding and types were checked, but neither its signature nor its bounds.
#[derive(Clone, Debug)]
pub struct Received<T> {
    envelope: Envelope,
    signer: [u8; 32],
    of: PhantomData<fn() -> T>,
}

/// A record whose signature is verified together with others.
#[derive(Clone, Debug)]
pub struct Pending<T> {
    received: Received<T>,
    signer: PublicKey,
    equation: Equation,
}

/// A record that its signer signed. Its bounds are not checked.
#[derive(Clone, Debug)]
pub struct Authentic<T> {
    received: Received<T>,
    signer: PublicKey,
}

/// A record whose signature and bounds were checked, with the exact bytes that were signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed<T> {
    envelope: Envelope,
    value: T,
}

impl<T: Record> Received<T> {
    /// Reads a record and checks size, encoding and types.
    ///
    /// # Errors
    ///
    /// `too_large` or `malformed`.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        Envelope::from_slice(bytes).and_then(Self::new)
    }

    /// Checks size, encoding and types of the record in an envelope.
    ///
    /// # Errors
    ///
    /// `too_large` or `malformed`.
    pub fn new(envelope: Envelope) -> Result<Self, Refusal> {
        if envelope.encoded_len() > SIGNED_MAX {
            return Err(RefusalCode::TooLarge.bare());
        }
        T::SHAPE.check(&envelope.rec)?;
        let signer = find(&envelope.rec, T::SIGNER)?;
        Ok(Self {
            envelope,
            signer,
            of: PhantomData,
        })
    }

    /// The key that the record names as its signer's; not checked to be one.
    #[must_use]
    pub const fn signer(&self) -> &[u8; 32] {
        &self.signer
    }

    /// The record's bytes.
    #[must_use]
    pub fn rec(&self) -> &[u8] {
        &self.envelope.rec
    }

    /// Verifies the signature.
    ///
    /// # Errors
    ///
    /// `sig_invalid`.
    pub fn verify(self) -> Result<Authentic<T>, Refusal> {
        let key =
            PublicKey::from_bytes(&self.signer).map_err(|_| RefusalCode::SigInvalid.bare())?;
        self.verify_with(&key)
    }

    /// Verifies the signature with a key that is known already, which saves the check of the key.
    ///
    /// # Errors
    ///
    /// `sig_invalid`, also where the record names another signer.
    pub fn verify_with(self, key: &PublicKey) -> Result<Authentic<T>, Refusal> {
        let Envelope { rec, sig } = &self.envelope;
        let stands = key.verify(T::LABEL, &[rec], sig).is_ok();
        self.signed_by(key, stands)
    }

    /// Like [`Self::verify_with`], with a key that was prepared for many signatures.
    ///
    /// # Errors
    ///
    /// `sig_invalid`, also where the record names another signer.
    pub fn verify_prepared(self, key: &PreparedKey) -> Result<Authentic<T>, Refusal> {
        let Envelope { rec, sig } = &self.envelope;
        let stands = key.verify(T::LABEL, &[rec], sig).is_ok();
        self.signed_by(key.key(), stands)
    }

    /// Prepares the signature, by a key that is known already, to be verified together with others.
    ///
    /// # Errors
    ///
    /// `sig_invalid` where the record names another signer, or no signature can be so.
    pub fn with_others(self, key: &PublicKey) -> Result<Pending<T>, Refusal> {
        let Envelope { rec, sig } = &self.envelope;
        let digest = hash(&[T::LABEL.as_bytes(), rec]);
        let equation = Equation::of(key, &digest, sig).filter(|_| *key.as_bytes() == self.signer);
        Ok(Pending {
            equation: equation.ok_or(RefusalCode::SigInvalid.bare())?,
            received: self,
            signer: *key,
        })
    }

    fn signed_by(self, key: &PublicKey, stands: bool) -> Result<Authentic<T>, Refusal> {
        if !stands || *key.as_bytes() != self.signer {
            return Err(RefusalCode::SigInvalid.bare());
        }
        Ok(Authentic {
            received: self,
            signer: *key,
        })
    }
}

impl<T: Record> Pending<T> {
    /// The equation that has to hold.
    #[must_use]
    pub const fn equation(&self) -> &Equation {
        &self.equation
    }

    /// The record as it was, to be verified alone.
    #[must_use]
    pub fn alone(self) -> Received<T> {
        self.received
    }

    /// Takes the verdict of [`Equation::hold`] on [`Self::equation`].
    ///
    /// # Errors
    ///
    /// `sig_invalid`.
    pub fn judged(self, holds: bool) -> Result<Authentic<T>, Refusal> {
        self.received.signed_by(&self.signer, holds)
    }
}

impl<T: Record> Authentic<T> {
    /// Public key of the signer, for the check of its role.
    #[must_use]
    pub const fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// The record's bytes.
    #[must_use]
    pub fn rec(&self) -> &[u8] {
        self.received.rec()
    }

    /// The namespace that a task or a job names, for the check of the signer's role.
    ///
    /// # Errors
    ///
    /// `malformed` for records that name none.
    pub fn namespace(&self) -> Result<Word, Refusal> {
        find(self.rec(), "ns")
    }

    /// Checks the bounds, the last check before state.
    ///
    /// # Errors
    ///
    /// `bad_value` with the key.
    pub fn check(self, now_ms: u64) -> Result<Signed<T>, Refusal> {
        let signed = Signed::<T>::bounded(self.received.envelope)?;
        signed.value.check_time(now_ms)?;
        Ok(signed)
    }
}

impl<T: Record> Signed<T> {
    /// Signs a record.
    ///
    /// # Errors
    ///
    /// `bad_value` for a record out of bounds, `too_large`, `sig_invalid` where the record names another signer.
    pub fn sign(value: T, signer: &Identity) -> Result<Self, Refusal> {
        if value.signer() != signer.public().as_bytes() {
            return Err(RefusalCode::SigInvalid.of(T::SIGNER));
        }
        value.check()?;
        let rec = to_vec(&value);
        // Values that no number on the wire has.
        T::SHAPE.check(&rec)?;
        let sig = signer.sign(T::LABEL, &[&rec]);
        let envelope = Envelope { rec, sig };
        if envelope.encoded_len() > SIGNED_MAX {
            return Err(RefusalCode::TooLarge.bare());
        }
        Ok(Self { envelope, value })
    }

    /// All checks but that of the signer's role: size, encoding, types, signature, bounds.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn open(bytes: &[u8], now_ms: u64) -> Result<Self, Refusal> {
        Received::read(bytes)?.verify()?.check(now_ms)
    }

    /// Reads a record that was checked before it was stored: all but signature and time.
    ///
    /// # Errors
    ///
    /// `too_large`, `malformed` or `bad_value`.
    pub fn restore(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::bounded(Received::<T>::read(bytes)?.envelope)
    }

    fn bounded(envelope: Envelope) -> Result<Self, Refusal> {
        let value: T = read(&envelope.rec)?;
        value.check()?;
        Ok(Self { envelope, value })
    }

    /// The record.
    #[must_use]
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// The signed bytes; unknown keys are in them.
    #[must_use]
    pub fn rec(&self) -> &[u8] {
        &self.envelope.rec
    }

    /// Record and signature.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Record and signature alone.
    #[must_use]
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }

    /// The encoded envelope.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_vec(&self.envelope)
    }
}

impl<T> Deref for Signed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The value under one key of a record.
fn find<T: Item>(rec: &[u8], key: &'static str) -> Result<T, Refusal> {
    let malformed = |_| RefusalCode::Malformed.of(key);
    let mut r = Reader::new(rec);
    for _ in 0..r.map().map_err(malformed)? {
        let raw = r.skip().map_err(malformed)?;
        if compare(raw, key).is_eq() {
            return T::decode(&mut r);
        }
        r.skip().map_err(malformed)?;
    }
    Err(RefusalCode::Malformed.of(key))
}
