//! Answers about names, heads and records.

use betanet_log::{Hash, SignedHead};
use betanet_naming::{Alias, Status};
use betanet_wire::cbor;
use bytes::Bytes;

use super::{Listed, Names};
use crate::body::{
    ANSWER_MAX, AliasBody, ConsistencyBody, EntriesBody, HeadBody, HistoryBody, LIST_MAX,
    REGISTRY_MAX, RegistryBody, RegistryListBody,
};

/// Bytes of records after which an answer takes no further one.
const FULL: usize = ANSWER_MAX / 4;

/// The word for a condition.
pub(crate) const fn word(status: Status) -> &'static str {
    match status {
        Status::Unknown => "unknown",
        Status::Bound => "bound",
        Status::Expired => "expired",
        Status::Retired => "retired",
        Status::Conflicted => "conflicted",
    }
}

impl Names {
    fn record(&self, index: u64) -> Option<Bytes> {
        self.records.get(usize::try_from(index).ok()?).cloned()
    }

    fn prove(&self, index: u64) -> Option<Vec<u8>> {
        let proof = self.ledger().prove_at(index, |at| self.record(at))?;
        Some(proof.to_bytes())
    }

    fn rotations(&self) -> Vec<Bytes> {
        // In the order of the log: an advance counts under the maintainers of its place.
        let turns = self.ledger().turns();
        let mut all: Vec<u64> = turns.chain(self.ledger().lists()).collect();
        all.sort_unstable();
        all.into_iter().filter_map(|at| self.record(at)).collect()
    }

    fn head_bytes(&self) -> Option<Vec<u8>> {
        self.ledger().head().map(SignedHead::to_bytes)
    }

    pub(super) fn alias(&self, now_ms: u64, alias: &Alias) -> Vec<u8> {
        let found = self.ledger().resolve(alias, now_ms);
        let proof = found.latest.and_then(|held| self.prove(held.index));
        let first = found.latest.map(|held| held.index);
        let rivals = self.ledger().rivals();
        let conflicted = found.status == Status::Conflicted;
        let rival = rivals.iter().find(|r| conflicted && Some(r.first) == first);
        let rival = rival.and_then(|r| self.prove(r.second));
        let (head, rotations) = (self.head_bytes(), self.rotations());
        cbor::to_vec(&AliasBody {
            ts: now_ms,
            head: head.as_deref(),
            rotations: rotations.iter().map(AsRef::as_ref).collect(),
            proof: proof.as_deref(),
            rival: rival.as_deref(),
            status: word(found.status),
        })
    }

    /// The record that stands for a type and key of a registry.
    pub(super) fn registered(&self, now_ms: u64, ty: &str, key: &[u8]) -> Vec<u8> {
        let standing = self.ledger().standing(ty, key);
        let proof = standing.and_then(|s| self.prove(s.index));
        let (head, rotations) = (self.head_bytes(), self.rotations());
        cbor::to_vec(&RegistryBody {
            ts: now_ms,
            head: head.as_deref(),
            rotations: rotations.iter().map(AsRef::as_ref).collect(),
            proof: proof.as_deref(),
        })
    }

    /// The records that stand for a type of a registry: the first of them, as many as fit.
    pub(super) fn registry(&self, now_ms: u64, ty: &str) -> Vec<u8> {
        let mut bytes = 0;
        let standing = self.ledger().registry(ty);
        let proofs = standing.filter_map(|(_, standing)| self.prove(standing.index));
        let proofs: Vec<Vec<u8>> = proofs
            .take(REGISTRY_MAX)
            .take_while(|proof| {
                bytes += proof.len();
                bytes <= FULL
            })
            .collect();
        let (head, rotations) = (self.head_bytes(), self.rotations());
        cbor::to_vec(&RegistryListBody {
            ts: now_ms,
            head: head.as_deref(),
            rotations: rotations.iter().map(AsRef::as_ref).collect(),
            proofs: proofs.iter().map(Vec::as_slice).collect(),
        })
    }

    pub(super) fn history(&self, now_ms: u64, alias: &Alias) -> Vec<u8> {
        let held = self.ledger().history(alias).iter();
        let mut bytes = 0;
        let proofs = held.filter_map(|held| self.prove(held.index));
        let proofs: Vec<Vec<u8>> = proofs
            .take_while(|proof| {
                bytes += proof.len();
                bytes <= ANSWER_MAX - FULL
            })
            .collect();
        let rotations = self.rotations();
        cbor::to_vec(&HistoryBody {
            ts: now_ms,
            rotations: rotations.iter().map(AsRef::as_ref).collect(),
            proofs: proofs.iter().map(Vec::as_slice).collect(),
        })
    }

    pub(super) fn newest(&self, now_ms: u64) -> Vec<u8> {
        let (head, rotations) = (self.head_bytes(), self.rotations());
        let split = self.ledger().split().map(betanet_log::Split::to_bytes);
        cbor::to_vec(&HeadBody {
            ts: now_ms,
            head: head.as_deref(),
            rotations: rotations.iter().map(AsRef::as_ref).collect(),
            split: split.as_deref(),
            waiting: self.pool.len() as u64,
        })
    }

    pub(super) fn entries(&self, from: u64, n: u64) -> Option<Vec<u8>> {
        let size = self.records.len() as u64;
        if from > size {
            return None;
        }
        let mut bytes = 0;
        let records = self.range(from, n.min(LIST_MAX)).iter();
        let records = records.take_while(|record| {
            let room = bytes < FULL;
            bytes += record.len();
            room
        });
        Some(cbor::to_vec(&EntriesBody {
            from,
            records: records.map(AsRef::as_ref).collect(),
            size,
        }))
    }

    pub(super) fn consistency(&self, from: u64) -> Option<Vec<u8>> {
        let head = self.ledger().head()?;
        let log = self.ledger().log();
        let root: Hash = log.root_at(from).ok()?;
        let proof = log.consistency(from, head.head().size).ok()?;
        Some(cbor::to_vec(&ConsistencyBody {
            head: &head.to_bytes(),
            root,
            proof,
        }))
    }

    pub(super) fn names(&self, now_ms: u64, after: Option<Alias>, n: usize) -> Vec<Listed> {
        let listed = self.ledger().aliases(after.as_ref()).map(|alias| {
            let found = self.ledger().resolve(alias, now_ms);
            Listed {
                alias: alias.clone(),
                status: found.status,
                held: found.latest,
            }
        });
        listed.take(n).collect()
    }
}
