//! Messages of ALIAS_GOSSIP streams (profile chapters 4 and 6).

use alloc::vec::Vec;

use betanet_log::{Hash, Link, Proof, SignedHead, Split};
use betanet_wire::{cbor, message, msg};
use bytes::Bytes;

/// Type of an ALIAS_GOSSIP stream.
pub const KIND: u8 = 0x00;
/// Most records of one answer.
pub const RECORDS_MAX: u64 = 256;
/// Longest first message of either side, in bytes.
pub const HELLO_MAX: usize = 64 << 10;
/// Longest request for records, in bytes.
pub const ASK_MAX: usize = 64;
/// Longest answer, in bytes.
pub const ANSWER_MAX: usize = msg::MAX;
/// Bytes of records after which an answer takes no further one.
pub const ANSWER_FULL: usize = 512 << 10;

message! {
    struct HelloForm<'a> {
        opt "head" head: cbor::Raw<'a>,
        opt "split" split: cbor::Raw<'a>,
    }
}

message! {
    struct AskForm {
        req "n" n: u64,
        req "from" from: u64,
    }
}

message! {
    struct AnswerForm<'a> {
        req "recs" records: Vec<&'a [u8]>,
        opt "root" root: Hash,
        req "proof" proof: Proof,
    }
}

/// Reason why a message is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The message does not decode.
    #[error("the message does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// Its head or evidence does not decode.
    #[error("its head or evidence: {0}")]
    Log(#[from] betanet_log::Error),
    /// More records than the profile allows.
    #[error("{0} records, where 256 are allowed")]
    TooMany(u64),
}

/// The first message of either side.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hello {
    /// A head: of the opener its newest, of the answerer the one that it serves records of.
    pub head: Option<SignedHead>,
    /// Evidence of a split view.
    pub split: Option<Split>,
}

impl Hello {
    /// Encodes the message.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let head = self.head.as_ref().map(SignedHead::to_bytes);
        let split = self.split.as_ref().map(Split::to_bytes);
        msg::to_vec(&HelloForm {
            head: head.as_deref().map(cbor::Raw),
            split: split.as_deref().map(cbor::Raw),
        })
        .into()
    }

    /// Decodes the message, without its length.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn from_cbor(cbor: &[u8]) -> Result<Self, MessageError> {
        let form: HelloForm<'_> = cbor::from_slice(cbor)?;
        let head = form.head.map(|raw| SignedHead::from_bytes(raw.0));
        let split = form.split.map(|raw| Split::from_bytes(raw.0));
        Ok(Self {
            head: head.transpose()?,
            split: split.transpose()?,
        })
    }
}

/// A request for records, or with `n` 0 for a proof alone.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ask {
    /// Index of the first record.
    pub from: u64,
    /// Number of records.
    pub n: u64,
}

impl Ask {
    /// Encodes the message.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        let Self { from, n } = self;
        msg::to_vec(&AskForm { n, from }).into()
    }

    /// Decodes the message, without its length.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn from_cbor(cbor: &[u8]) -> Result<Self, MessageError> {
        let AskForm { n, from } = cbor::from_slice(cbor)?;
        match n <= RECORDS_MAX {
            true => Ok(Self { from, n }),
            false => Err(MessageError::TooMany(n)),
        }
    }
}

/// Records from the asked index on, the root of the records before them, and a proof that the log up to the last of them is the
/// beginning of the served head's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The records; fewer than asked for where they are long.
    pub records: Vec<Bytes>,
    /// Root of the records before the first.
    pub root: Option<Hash>,
    /// Consistency proof from the end of the records to the served head.
    pub proof: Proof,
}

impl Answer {
    /// Encodes the message.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        msg::to_vec(&AnswerForm {
            records: self.records.iter().map(AsRef::as_ref).collect(),
            root: self.root,
            proof: self.proof.clone(),
        })
        .into()
    }

    /// Decodes the message, without its length.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn from_cbor(cbor: &[u8]) -> Result<Self, MessageError> {
        let form: AnswerForm<'_> = cbor::from_slice(cbor)?;
        let n = form.records.len() as u64;
        if n > RECORDS_MAX {
            return Err(MessageError::TooMany(n));
        }
        let records = form.records.iter();
        Ok(Self {
            records: records.map(|r| Bytes::copy_from_slice(r)).collect(),
            root: form.root,
            proof: form.proof,
        })
    }

    /// The connection that an answer without records shows; `ours` is the root that a sender means who names none.
    #[must_use]
    pub fn into_link(self, ours: Hash) -> Link {
        Link {
            root: self.root.unwrap_or(ours),
            proof: self.proof,
        }
    }
}
