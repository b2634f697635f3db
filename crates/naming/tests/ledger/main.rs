//! The rules of profile chapter 6, one by one.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod bounds;
mod heads;
mod records;
mod registries;
mod signers;

use betanet_keys::{Identity, PublicKey};
use betanet_log::{Head, SIGNERS_MAX};
use betanet_naming::testkit::{DAY, Network, T0, identity, owner, replayed};
use betanet_naming::{
    ADVANCE_AFTER_MS, Accepted, Advance, Alias, AliasRecord, CLOCK_MS, EVIDENCE_MAX, Effect, Entry,
    Finalized, Genesis, HeadFault, LIFE_MS, Ledger, MAINTAINERS, Proof, ProofError, RECORD_MAX,
    ROTATIONS_MAX, Reject, RotateMaintainers, SnapshotError, Status, Verified, WAITING_BYTES,
    WAITING_MAX,
};
use betanet_wire::{Code, cbor};
use bytes::Bytes;

fn alias(text: &str) -> Alias {
    Alias::from_wire(text).unwrap()
}

/// A ledger that keeps its records, as a node does.
struct Node {
    network: Network,
    ledger: Ledger,
    records: Vec<Bytes>,
}

impl Node {
    fn new(signers: u16, maintainers: u16) -> Self {
        let network = Network::new(signers, maintainers);
        Self {
            ledger: network.ledger(),
            network,
            records: Vec::new(),
        }
    }

    fn apply(&mut self, now: u64, record: Bytes) -> Result<Effect, Reject> {
        self.ledger.apply(now, record).map(|(_, effect)| effect)
    }

    /// Makes everything final.
    fn settle(&mut self, now: u64) {
        let head = self.network.head(&self.ledger, now, &[0, 1]);
        self.records.extend(self.ledger.waiting().cloned());
        assert_eq!(self.ledger.accept(head), Ok(Accepted::Extends));
    }

    fn status(&self, text: &str, now: u64) -> Status {
        self.ledger.resolve(&alias(text), now).status
    }

    fn check_replay(&self) {
        replayed(&self.network, &self.ledger, &self.records);
    }
}
