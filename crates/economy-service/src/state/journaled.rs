//! Records of the node's journal, and how the state is rebuilt from them.

use betanet_durable::Unreadable;
use betanet_journal::{Kind, Record as Journaled};
use betanet_log::{Hash, SignedHead};
use betanet_tokenomics::Economy;

use super::Books;

const GENESIS: &str = "eco.genesis";
const RECORD: &str = "eco.record";
const SIGNED: &str = "eco.signed";
const HEAD: &str = "eco.head";

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

/// Applies a record that was accepted once, and checks its signatures again. `None`: it is not one of this ledger.
pub(super) fn again(economy: &mut Economy, bytes: &[u8]) -> Option<()> {
    economy.replay(bytes).is_ok().then_some(())
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
                again(&mut self.economy, body).ok_or(Unreadable)?;
                self.note(body.clone());
            }
            SIGNED => self.proposed = Some(SignedHead::from_bytes(body).map_err(|_| Unreadable)?),
            HEAD => {
                let head = SignedHead::from_bytes(body).map_err(|_| Unreadable)?;
                self.advance(head).map_err(|_| Unreadable)?;
            }
            _ => return Err(Unreadable),
        }
        Ok(())
    }
}
