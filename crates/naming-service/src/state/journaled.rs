//! Records of the journal, and how the state is rebuilt from them.

use betanet_durable::Unreadable;
use betanet_journal::{Kind, RECORD_MAX, Record};
use betanet_log::{SignedHead, Split};
use betanet_naming::{RivalRotation, Verified, Verifier};
use betanet_wire::{cbor, message};
use bytes::Bytes;

use super::Names;
use crate::arithmetic::verify_now;

/// Bytes of final records in one record of the journal. One more record of the longest length still fits.
const TOGETHER: usize = RECORD_MAX - betanet_naming::RECORD_MAX - 1024;

message! {
    struct RivalForm<'a> {
        req "ts" ts: u64,
        req "rots" rotations: Vec<&'a [u8]>,
    }
}

message! {
    struct HeldForm<'a> {
        req "from" from: u64,
        req "recs" records: Vec<&'a [u8]>,
    }
}

message! {
    struct PooledForm<'a> {
        req "ts" ts: u64,
        req "rec" record: &'a [u8],
    }
}

fn record(kind: &str, body: Vec<u8>) -> Option<Record> {
    Kind::new(kind).map(|kind| Record::new(kind, body))
}

fn list(records: &[Bytes]) -> Vec<&[u8]> {
    records.iter().map(AsRef::as_ref).collect()
}

pub(super) fn finals(out: &mut Vec<Record>, records: &[Bytes]) {
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|record| {
            let room = bytes < TOGETHER;
            bytes += record.len() + 5;
            room
        });
        let (now, later) = rest.split_at(fits.count());
        out.extend(record("final", cbor::to_vec(&list(now))));
        rest = later;
    }
}

pub(super) fn head(head: &SignedHead) -> Option<Record> {
    record("head", head.to_bytes())
}

pub(super) fn split(split: &Split) -> Option<Record> {
    record("split", split.to_bytes())
}

/// The rotations in the order in which they are taken again.
pub(super) fn rival(now_ms: u64, rival: &RivalRotation) -> Option<Record> {
    let mut rotations = list(&rival.rotations);
    rotations.reverse();
    let ts = now_ms;
    record("rival", cbor::to_vec(&RivalForm { ts, rotations }))
}

pub(super) fn signed(change: &[u8]) -> Option<Record> {
    record("signed", change.to_vec())
}

pub(super) fn held(from: u64, records: &[Bytes]) -> Option<Record> {
    let records = list(records);
    record("held", cbor::to_vec(&HeldForm { from, records }))
}

pub(super) fn pooled(now_ms: u64, bytes: &Bytes) -> Option<Record> {
    let (ts, rec) = (now_ms, bytes.as_ref());
    record("pooled", cbor::to_vec(&PooledForm { ts, record: rec }))
}

impl Names {
    /// Takes final records again.
    pub(super) fn replay(&mut self, records: Vec<Bytes>) -> Result<(), Unreadable> {
        let signers = self.ledger().signers().cloned().ok_or(Unreadable)?;
        let kept = self.verifier.take().filter(|v| *v.signers() == signers);
        let verifier = kept.unwrap_or_else(|| Verifier::new(&signers, usize::MAX));
        for verified in verify_now(&verifier, &records) {
            // One that does not count stands in the log all the same.
            let _ = self.gossip.replay(&verified);
        }
        self.verifier = Some(verifier);
        self.records.extend(records);
        let kept = self.records.len() as u64;
        (self.ledger().final_size() == kept)
            .then_some(())
            .ok_or(Unreadable)
    }

    pub(super) fn replay_pooled(&mut self, ts: u64, bytes: &[u8]) {
        let Some(signers) = self.ledger().signers() else {
            return;
        };
        let verified = Verified::new(Bytes::copy_from_slice(bytes), signers);
        if self.pool.has_room(bytes.len()) {
            self.pool.push(ts, verified);
        }
    }

    pub(super) fn apply_journaled(&mut self, journaled: &Record) -> Result<(), Unreadable> {
        let body = journaled.body.as_slice();
        match journaled.kind.as_str() {
            "final" => {
                let list: Vec<&[u8]> = cbor::from_slice(body).map_err(|_| Unreadable)?;
                let records = list.into_iter().map(Bytes::copy_from_slice);
                self.replay(records.collect())?;
                let records = &self.records;
                let from = records.len().saturating_sub(4096);
                let newest = records.get(from..).unwrap_or_default();
                let gone: Vec<bool> = self.pool.timed().map(|(_, r)| newest.contains(r)).collect();
                self.pool.remove(&gone);
            }
            "head" => {
                let head = SignedHead::from_bytes(body).map_err(|_| Unreadable)?;
                self.gossip.replay_head(head).map_err(|_| Unreadable)?;
            }
            "split" => {
                let split = Split::from_bytes(body).map_err(|_| Unreadable)?;
                self.gossip.replay_split(split).map_err(|_| Unreadable)?;
                self.split = true;
            }
            "rival" => {
                let form: RivalForm<'_> = cbor::from_slice(body).map_err(|_| Unreadable)?;
                let signers = self.ledger().signers().cloned().ok_or(Unreadable)?;
                let rotations = form.rotations.iter();
                let verified: Vec<Verified> = rotations
                    .map(|r| Verified::new(Bytes::copy_from_slice(r), &signers))
                    .collect();
                self.gossip.propose(form.ts, &verified);
                self.rivals = self.ledger().rival_rotations().len();
            }
            "signed" => {
                self.memory.learn(body).map_err(|_| Unreadable)?;
                self.recall();
            }
            "held" => {
                let form: HeldForm<'_> = cbor::from_slice(body).map_err(|_| Unreadable)?;
                let records = form.records.into_iter().map(Bytes::copy_from_slice);
                self.held = (form.from, records.collect());
            }
            "pooled" => {
                let form: PooledForm<'_> = cbor::from_slice(body).map_err(|_| Unreadable)?;
                self.replay_pooled(form.ts, form.record);
            }
            _ => return Err(Unreadable),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use betanet_journal::{APPEND_BYTES_MAX, APPEND_RECORDS_MAX};
    use betanet_naming::{WAITING_BYTES, WAITING_MAX};

    use super::*;

    #[test]
    fn records_that_become_final_together_fit_one_append() {
        // Beside the final records stand a head, evidence, and records that this signer is bound to.
        let others = 2 << 20;
        for long in [
            300,
            WAITING_BYTES / WAITING_MAX,
            50_000,
            520_000,
            betanet_naming::RECORD_MAX,
        ] {
            let n = (WAITING_BYTES / long).min(WAITING_MAX);
            let records = vec![Bytes::from(vec![0; long]); n];
            let mut out = Vec::new();
            finals(&mut out, &records);
            let bytes: usize = out.iter().map(|r| r.body.len()).sum();
            assert!(bytes + others <= APPEND_BYTES_MAX, "{n} of {long}: {bytes}");
            assert!(out.len() + 64 <= APPEND_RECORDS_MAX, "{}", out.len());
            assert!(out.iter().all(|r| r.body.len() <= RECORD_MAX));
        }
    }
}
