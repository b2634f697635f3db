//! Records of the node's journal, and how the state is rebuilt from them.

use betanet_durable::Unreadable;
use betanet_journal::{Kind, Record as Journaled};
use betanet_log::{Hash, SignedHead};

use super::Books;
use crate::body::domain;

const GENESIS: &str = "eco.genesis";
const RECORD: &str = "eco.record";
const SIGNED: &str = "eco.signed";
const HEAD: &str = "eco.head";
const DROP: &str = "eco.drop";
const ANCHOR: &str = "eco.anchor";

fn of(kind: &str, body: impl Into<Vec<u8>>) -> Option<Journaled> {
    Kind::new(kind).map(|kind| Journaled::new(kind, body))
}

/// The ID of the ledger that the journal is of.
pub(super) fn genesis(id: &Hash) -> Option<Journaled> {
    of(GENESIS, *id)
}

/// A record of the ledger.
pub(super) fn record(bytes: &[u8]) -> Option<Journaled> {
    of(RECORD, bytes)
}

/// A head that this node proposed or signed, with its own signatures.
pub(super) fn signed(head: &SignedHead) -> Option<Journaled> {
    of(SIGNED, head.to_bytes())
}

/// A final head.
pub(super) fn head(head: &SignedHead) -> Option<Journaled> {
    of(HEAD, head.to_bytes())
}

/// The records from this number on are dropped.
pub(super) fn dropped(size: u64) -> Option<Journaled> {
    of(DROP, size.to_be_bytes())
}

/// The registry record of a head.
pub(super) fn anchor(record: &[u8]) -> Option<Journaled> {
    of(ANCHOR, record)
}

impl Books {
    pub(super) fn apply_journaled(&mut self, record: &Journaled) -> Result<(), Unreadable> {
        let body = &record.body;
        match record.kind.as_str() {
            GENESIS => {
                if self.anchored || body[..] != *self.setup.genesis.id() {
                    return Err(Unreadable);
                }
                self.anchored = true;
            }
            RECORD => {
                self.economy.replay(body).map_err(|_| Unreadable)?;
                self.note(body.clone());
            }
            SIGNED => self.proposed = Some(SignedHead::from_bytes(body).map_err(|_| Unreadable)?),
            HEAD => {
                let head = SignedHead::from_bytes(body).map_err(|_| Unreadable)?;
                let signers = self.signers().ok_or(Unreadable)?;
                let checked = head.check(domain(self.setup.genesis.id()), signers);
                checked.map_err(|_| Unreadable)?;
                self.advance(head).map_err(|_| Unreadable)?;
            }
            ANCHOR => self.anchor = Some(body.clone()),
            DROP => {
                let size = body[..].try_into().map_err(|_| Unreadable)?;
                let dropped = self.take_back(u64::from_be_bytes(size));
                dropped.map_err(|_| Unreadable)?;
            }
            _ => return Err(Unreadable),
        }
        Ok(())
    }
}
