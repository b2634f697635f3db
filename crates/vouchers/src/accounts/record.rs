//! Records of the accounts' journal.

use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_wire::{NodeId, cbor, message};

use super::{Given, Key, Settled, Signed, Taken};

message! {
    pub(super) struct SettledRow {
        req "key" key: [u8; 32],
        req "own" own: [u8; 64],
        req "seq" seq: u64,
        req "sig" sig: [u8; 64],
        req "bytes" bytes: u64,
    }
}

message! {
    pub(super) struct GivenRow {
        req "seq" seq: u64,
        req "open" open: bool,
        req "peer" peer: NodeId,
        req "bytes" bytes: u64,
        req "period" period: u64,
        req "claimed" claimed: u64,
        req "refused" refused: u16,
        /// One at most.
        req "settled" settled: Vec<SettledRow>,
    }
}

message! {
    pub(super) struct SignedRow {
        req "key" key: [u8; 32],
        req "seq" seq: u64,
        req "sig" sig: [u8; 64],
        req "bytes" bytes: u64,
    }
}

message! {
    pub(super) struct TakenRow {
        req "peer" peer: NodeId,
        req "bytes" bytes: u64,
        req "times" times: u64,
        req "period" period: u64,
        /// One at most.
        req "signed" signed: Vec<SignedRow>,
    }
}

message! {
    /// A record, or a piece of a snapshot: rows that replace those of their keys.
    #[derive(Default)]
    pub(super) struct Piece {
        /// Periods below are forgotten.
        req "gone" gone: u64,
        /// Number of the last batch of counts; 0 in a record without counts.
        req "batch" batch: u64,
        req "given" given: Vec<GivenRow>,
        req "taken" taken: Vec<TakenRow>,
    }
}

impl Piece {
    /// Whether anything changes.
    pub(super) const fn changes(&self) -> bool {
        self.gone > 0 || !self.given.is_empty() || !self.taken.is_empty()
    }

    /// The bytes, unless nothing changes.
    pub(super) fn record(&self) -> Option<Vec<u8>> {
        self.changes().then(|| cbor::to_vec(self))
    }
}

fn key(bytes: &[u8; 32]) -> Result<PublicKey, cbor::Error> {
    PublicKey::from_bytes(bytes).map_err(|_| cbor::Error::Range("a public key"))
}

/// One item at most.
fn one<T>(items: &[T]) -> Result<Option<&T>, cbor::Error> {
    match items {
        [] => Ok(None),
        [item] => Ok(Some(item)),
        _ => Err(cbor::Error::Range("one item at most")),
    }
}

impl GivenRow {
    pub(super) fn of((period, peer): &Key, row: &Given) -> Self {
        let settled = row.settled.iter().map(|s| SettledRow {
            key: *s.from.0.as_bytes(),
            own: s.own,
            seq: s.seq,
            sig: s.from.1,
            bytes: s.bytes,
        });
        Self {
            seq: row.seq,
            open: row.open,
            peer: *peer,
            bytes: row.bytes,
            period: *period,
            claimed: row.claimed,
            refused: row.refused,
            settled: settled.collect(),
        }
    }

    pub(super) fn read(&self) -> Result<(Key, Given), cbor::Error> {
        let settled = one(&self.settled)?.map(|s| {
            Ok::<_, cbor::Error>(Settled {
                seq: s.seq,
                bytes: s.bytes,
                own: s.own,
                from: (key(&s.key)?, s.sig),
            })
        });
        let row = Given {
            bytes: self.bytes,
            seq: self.seq,
            claimed: self.claimed,
            open: self.open,
            refused: self.refused,
            settled: settled.transpose()?,
        };
        Ok(((self.period, self.peer), row))
    }
}

impl TakenRow {
    pub(super) fn of((period, peer): &Key, row: &Taken) -> Self {
        let signed = row.signed.iter().map(|s| SignedRow {
            key: *s.relay.0.as_bytes(),
            seq: s.seq,
            sig: s.relay.1,
            bytes: s.bytes,
        });
        Self {
            peer: *peer,
            bytes: row.bytes,
            times: row.times,
            period: *period,
            signed: signed.collect(),
        }
    }

    pub(super) fn read(&self) -> Result<(Key, Taken), cbor::Error> {
        let signed = one(&self.signed)?.map(|s| {
            Ok::<_, cbor::Error>(Signed {
                seq: s.seq,
                bytes: s.bytes,
                relay: (key(&s.key)?, s.sig),
            })
        });
        let row = Taken {
            bytes: self.bytes,
            times: self.times,
            signed: signed.transpose()?,
        };
        Ok(((self.period, self.peer), row))
    }
}
