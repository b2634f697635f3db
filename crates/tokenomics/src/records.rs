//! Signed records of other layers that prove work, offences and forwarded bytes.

use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::{PublicKey, hash};
use betanet_wire::NodeId;
use betanet_wire::cbor::{self, Error as Cbor, Reader};

use crate::account::NUMBER_END;
use crate::read::{self, Fields, ensure};
use crate::{Hash, Id};

const RECEIPT_LABEL: &str = "BN-FOG-DONE1";
const ACCOUNT_LABEL: &str = "BN-ACCT1";
const TASK_LABEL: &[u8] = b"BN-FOG-TASK1";
/// Label of the signatures of heads.
pub const HEAD_LABEL: &str = "BN-ECO-HEAD1";
/// Most letters of a word.
const WORD_MAX: usize = 63;
/// Statuses of results: what a program did. The others are faults.
const RESULTS: [&str; 7] = ["ok", "exit", "trap", "fuel", "memory", "output", "module"];

/// The keys of a worker's receipt that count here; others are passed over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// Number of the copy.
    pub copy: u64,
    /// The coordinator's epoch.
    pub epoch: u64,
    /// The assignment.
    pub fence: u64,
    /// Burnt fuel.
    pub fuel: u64,
    /// Key of the node.
    pub key: Hash,
    /// Digest of the output, or nothing.
    pub out: Vec<u8>,
    /// Status word.
    pub status: String,
    /// The task.
    pub task: Hash,
}

impl Receipt {
    /// Reads a receipt. `None`: it does not read as one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes).ok()
    }

    fn read(bytes: &[u8]) -> Result<Self, Cbor> {
        let mut f = Fields::of(bytes)?;
        let receipt = Self {
            copy: f.u("copy")?,
            epoch: f.u("epoch")?,
            fence: f.u("fence")?,
            fuel: f.u("fuel")?,
            key: f.array("key")?,
            out: f.bytes("out", 32)?.to_vec(),
            status: f.get("status", |r| r.text().map(String::from))?,
            task: f.array("task")?,
        };
        ensure(matches!(receipt.out.len(), 0 | 32) && is_word(&receipt.status))?;
        Ok(receipt)
    }

    /// Whether its key signed the record.
    pub(crate) fn is_signed(&self, record: &[u8], sig: &[u8; 64]) -> bool {
        verify(&self.key, RECEIPT_LABEL, &[record], sig)
    }

    /// Whether it tells a result rather than a fault.
    pub(crate) fn is_result(&self) -> bool {
        RESULTS.contains(&self.status.as_str())
    }

    /// Its result.
    pub(crate) fn result(&self) -> (&str, &[u8]) {
        (&self.status, &self.out)
    }
}

fn is_word(text: &str) -> bool {
    let letter = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    text.len() <= WORD_MAX && text.bytes().all(letter)
}

/// Whether a key signed `H(label || parts…)`.
pub(crate) fn verify(key: &Hash, label: &str, parts: &[&[u8]], sig: &[u8; 64]) -> bool {
    PublicKey::from_bytes(key).is_ok_and(|key| key.verify(label, parts, sig).is_ok())
}

/// ID of a task, and the number of equal results that its record asks for. `None`: results of it are not compared.
#[must_use]
pub fn task_verification(record: &[u8]) -> Option<(Hash, usize)> {
    let id = hash(&[TASK_LABEL, record]);
    let read = || -> Result<Option<usize>, Cbor> {
        cbor::check(record)?;
        let mut r = Reader::new(record);
        let mut found = None;
        for _ in 0..r.map()? {
            // A task's other keys are passed over.
            let key = r.text()?;
            let value = r.skip()?;
            if key == "verify" {
                found = Some(value);
            }
        }
        let mut r = Reader::new(found.ok_or(Cbor::Missing("verify"))?);
        read::tuple(&mut r, 3)?;
        let rule = r.text()?;
        let k = read::number(&mut r)?;
        read::number(&mut r)?;
        Ok(match rule {
            "quorum" => usize::try_from(k).ok().filter(|k| *k >= 2),
            "spot" => Some(2),
            _ => None,
        })
    };
    read().ok().flatten().map(|k| (id, k))
}

/// A head of the economy's log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LogHead {
    pub(crate) root: Hash,
    pub(crate) size: u64,
    pub(crate) state: Hash,
}

impl LogHead {
    /// Reads a head; unknown keys are refused.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let read = || -> Result<Self, Cbor> {
            let mut f = Fields::of(bytes)?;
            let head = Self {
                root: f.array("root")?,
                size: f.u("size")?,
                state: f.array("state")?,
            };
            let _set: Hash = f.array("set")?;
            f.u("ts")?;
            f.end()?;
            Ok(head)
        };
        read().ok()
    }
}

/// A relay's counter of bytes that it forwarded for a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Forwarded {
    /// Bytes.
    pub bytes: u64,
    /// The peer, who pays.
    pub from: NodeId,
    /// Number of the UTC day.
    pub period: u64,
    /// The relay.
    pub relay: NodeId,
}

impl Forwarded {
    /// Reads a counter; unknown keys are refused. `None`: it does not read as one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let read = || -> Result<Self, Cbor> {
            let mut f = Fields::of(bytes)?;
            let counter = Self {
                bytes: f.up_to("bytes", NUMBER_END - 1)?,
                from: f.account("from")?,
                period: f.u("period")?,
                relay: f.account("relay")?,
            };
            f.u("seq")?;
            f.end()?;
            Ok(counter)
        };
        read().ok()
    }

    /// Whether a key signed the record.
    pub(crate) fn is_signed(key: &Hash, record: &[u8], sig: &[u8; 64]) -> bool {
        verify(key, ACCOUNT_LABEL, &[record], sig)
    }
}

/// ID of a proposal: the first 16 bytes of `H("BN-ECO-PROP1" || body)`.
#[must_use]
pub fn proposal_id(body: &[u8]) -> Id {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(&[b"BN-ECO-PROP1", body])[..16]);
    id
}
