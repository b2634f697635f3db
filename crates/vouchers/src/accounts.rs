//! The accounts of one node: what it forwarded for peers and they countersigned, and what it countersigned for relays.
//!
//! A deterministic machine over a journal: each change returns a record, and [`Accounts::apply`] repeats it.

mod record;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_wire::{Code, NodeId, cbor};

use crate::account::{Account, Countersigned, PERIOD};
use crate::meter::Batch;
use record::{GivenRow, Piece, TakenRow};

/// Most counts of either side: one a peer and period.
pub const ROWS_MAX: usize = 1 << 16;
/// Periods after which a relay claims no more, and a peer signs no more.
pub const CLAIMED: u64 = 7;
/// Periods after which a count and its evidence are forgotten.
pub const KEPT: u64 = 31;
/// Most records that a peer signs for a relay in one period.
pub const SIGNED_MAX: u64 = 4_096;
/// Rows in one piece of a snapshot.
const ROWS_A_PIECE: usize = 1_000;

type Key = (u64, NodeId);

/// What a peer countersigned last.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settled {
    /// Number of the record.
    pub seq: u64,
    /// Bytes that it says.
    pub bytes: u64,
    /// This relay's signature.
    pub own: [u8; 64],
    /// The peer's key and signature.
    pub from: (PublicKey, [u8; 64]),
}

/// What this node forwarded for a peer in one period.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Given {
    /// Bytes.
    pub bytes: u64,
    /// Number of the newest claim; 0 without one.
    pub seq: u64,
    /// Bytes of the newest claim.
    pub claimed: u64,
    /// Whether the newest claim has no answer yet: the same is sent again then.
    pub open: bool,
    /// Code with which the peer refused its newest claim; 0 if it did not.
    pub refused: u16,
    /// The newest record that counts.
    pub settled: Option<Settled>,
}

impl Given {
    /// Bytes that are not countersigned.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        let settled = self.settled.as_ref().map_or(0, |s| s.bytes);
        self.bytes.saturating_sub(settled)
    }
}

/// What this node countersigned last for a relay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// Number of the record.
    pub seq: u64,
    /// Bytes that it says.
    pub bytes: u64,
    /// The relay's key and signature.
    pub relay: (PublicKey, [u8; 64]),
}

/// What a relay was sent to forward for this node in one period.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Taken {
    /// Bytes.
    pub bytes: u64,
    /// Number of records that were signed.
    pub times: u64,
    /// The newest of them.
    pub signed: Option<Signed>,
}

/// The accounts of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accounts {
    me: NodeId,
    given: BTreeMap<Key, Given>,
    taken: BTreeMap<Key, Taken>,
    /// Periods below are forgotten.
    gone: u64,
    /// Number of the last batch of counts.
    batch: u64,
}

impl Accounts {
    /// Begins without counts.
    #[must_use]
    pub const fn new(me: NodeId) -> Self {
        Self {
            me,
            given: BTreeMap::new(),
            taken: BTreeMap::new(),
            gone: 0,
            batch: 0,
        }
    }

    /// Number of the last batch of counts; 0 without one.
    #[must_use]
    pub const fn last_batch(&self) -> u64 {
        self.batch
    }

    /// What was forwarded for peers, by period and peer.
    pub fn given(&self) -> impl DoubleEndedIterator<Item = (&(u64, NodeId), &Given)> {
        self.given.iter()
    }

    /// What relays forwarded, by period and relay.
    pub fn taken(&self) -> impl DoubleEndedIterator<Item = (&(u64, NodeId), &Taken)> {
        self.taken.iter()
    }

    /// Bytes of each peer that are not countersigned and can still be claimed.
    #[must_use]
    pub fn open(&self, unix_ms: u64) -> BTreeMap<NodeId, u64> {
        let (from, mut open) = (claimable(unix_ms), BTreeMap::new());
        for ((_, peer), given) in self.given.range((from, NodeId([0; 20]))..) {
            let of: &mut u64 = open.entry(*peer).or_default();
            *of = of.saturating_add(given.unsettled());
        }
        open.retain(|_, bytes| *bytes > 0);
        open
    }

    /// Adds a batch of counts, unless one with its number or a higher one was added: a lost answer changes nothing. Returns the
    /// record, and the bytes for which there is no row.
    pub fn count(&mut self, unix_ms: u64, batch: &Batch) -> (Option<Vec<u8>>, u64) {
        if batch.number <= self.batch {
            return (None, 0);
        }
        let (mut piece, mut lost) = (self.forget(unix_ms), 0_u64);
        for count in batch
            .counts
            .iter()
            .filter(|c| c.period >= self.gone.max(piece.gone))
        {
            let key = (count.period, count.peer);
            if count.given > 0 {
                match room(&mut self.given, key) {
                    Some(row) => {
                        row.bytes = row.bytes.saturating_add(count.given);
                        piece.given.push(GivenRow::of(&key, row));
                    }
                    None => lost = lost.saturating_add(count.given),
                }
            }
            if count.taken > 0 {
                match room(&mut self.taken, key) {
                    Some(row) => {
                        row.bytes = row.bytes.saturating_add(count.taken);
                        piece.taken.push(TakenRow::of(&key, row));
                    }
                    None => lost = lost.saturating_add(count.taken),
                }
            }
        }
        if piece.changes() {
            self.batch = batch.number;
            piece.batch = batch.number;
        }
        (piece.record(), lost)
    }

    /// Forgets periods that are over for long.
    fn forget(&mut self, unix_ms: u64) -> Piece {
        let gone = (unix_ms / PERIOD).saturating_sub(KEPT);
        let mut piece = Piece::default();
        if gone > self.gone {
            piece.gone = gone;
            self.drop_below(gone);
        }
        piece
    }

    fn drop_below(&mut self, gone: u64) {
        if gone > self.gone {
            let first = (gone, NodeId([0; 20]));
            self.given = self.given.split_off(&first);
            self.taken = self.taken.split_off(&first);
            self.gone = gone;
        }
    }

    /// Peers that have something to countersign.
    #[must_use]
    pub fn due(&self, unix_ms: u64) -> Vec<NodeId> {
        self.open(unix_ms).into_keys().collect()
    }

    /// The claims on a peer, which it is to countersign. One without an answer is repeated as it was, so that a lost answer changes
    /// nothing; else the next number has the bytes of now. Returns the record too.
    pub fn claim(&mut self, unix_ms: u64, peer: &NodeId) -> (Vec<Account>, Option<Vec<u8>>) {
        let (mut claims, mut piece) = (Vec::new(), Piece::default());
        let first = (claimable(unix_ms), NodeId([0; 20]));
        for (key, row) in self.given.range_mut(first..) {
            if key.1 != *peer || row.unsettled() == 0 {
                continue;
            }
            if !row.open {
                row.seq += 1;
                row.claimed = row.bytes.min((1 << 63) - 1);
                row.open = true;
                piece.given.push(GivenRow::of(key, row));
            }
            claims.push(Account {
                bytes: row.claimed,
                from: *peer,
                period: key.0,
                relay: self.me,
                seq: row.seq,
            });
        }
        (claims, piece.record())
    }

    /// Takes the peer's answer to the newest claim: both signatures, verified by [`Countersigned::verify`], or the code of its
    /// refusal. `None` if it answers another claim.
    pub fn answered(
        &mut self,
        claim: &Account,
        answer: Result<&Countersigned, Code>,
    ) -> Option<Vec<u8>> {
        let key = (claim.period, claim.from);
        let row = self.given.get_mut(&key)?;
        if !row.open || (row.seq, row.claimed) != (claim.seq, claim.bytes) {
            return None;
        }
        row.open = false;
        match answer {
            Ok(signed) => {
                row.refused = 0;
                row.settled = Some(Settled {
                    seq: claim.seq,
                    bytes: claim.bytes,
                    own: signed.relay.1,
                    from: signed.from,
                });
            }
            Err(code) => row.refused = code.0,
        }
        let mut piece = Piece::default();
        piece.given.push(GivenRow::of(&key, row));
        piece.record()
    }

    /// Whether this node countersigns a relay's record, whose signature is verified. Returns the record of the journal, if the
    /// answer is a new one.
    ///
    /// # Errors
    ///
    /// [`Code::POLICY_REJECTED`]: the record is not of this node and relay, of a period that is over for long or not yet begun, says
    /// more than this node counted, or less than it signed before. [`Code::REPLAY`]: its number is not above that of the last one.
    pub fn sign(
        &mut self,
        unix_ms: u64,
        account: &Account,
        relay: &(PublicKey, [u8; 64]),
    ) -> Result<Option<Vec<u8>>, Code> {
        let of_both = account.from == self.me && account.relay == relay.0.node_id();
        // A relay's clock may be ten minutes ahead.
        let last = unix_ms.saturating_add(600_000) / PERIOD;
        if !of_both || account.period < claimable(unix_ms) || account.period > last {
            return Err(Code::POLICY_REJECTED);
        }
        let key = (account.period, account.relay);
        // Without any traffic, not even the margin of `Account::agrees` is signed.
        let row = self.taken.get_mut(&key).filter(|r| r.bytes > 0);
        let row = row.ok_or(Code::POLICY_REJECTED)?;
        if let Some(signed) = &row.signed {
            let same = (signed.seq, signed.bytes) == (account.seq, account.bytes);
            match same {
                true => return Ok(None),
                false if account.seq <= signed.seq => return Err(Code::REPLAY),
                false if account.bytes < signed.bytes => return Err(Code::POLICY_REJECTED),
                false => {}
            }
        }
        if row.times >= SIGNED_MAX || !account.agrees(row.bytes) {
            return Err(Code::POLICY_REJECTED);
        }
        row.times += 1;
        row.signed = Some(Signed {
            seq: account.seq,
            bytes: account.bytes,
            relay: *relay,
        });
        let mut piece = Piece::default();
        piece.taken.push(TakenRow::of(&key, row));
        Ok(piece.record())
    }

    /// Bytes that this node counted itself of what a relay claims.
    #[must_use]
    pub fn counted(&self, account: &Account) -> u64 {
        let row = self.taken.get(&(account.period, account.relay));
        row.map_or(0, |r| r.bytes)
    }

    /// The records that count, newest periods last: evidence that the peers owe for these bytes.
    pub fn evidence<'a>(&'a self, me: &'a PublicKey) -> impl Iterator<Item = Countersigned> + 'a {
        self.given.iter().filter_map(move |((period, peer), row)| {
            let settled = row.settled.as_ref()?;
            let account = Account {
                bytes: settled.bytes,
                from: *peer,
                period: *period,
                relay: self.me,
                seq: settled.seq,
            };
            Some(Countersigned {
                record: account.to_bytes(),
                relay: (*me, settled.own),
                from: settled.from,
            })
        })
    }

    /// Repeats a record, or takes a piece of a snapshot.
    ///
    /// # Errors
    ///
    /// It is not of this version, and has changed nothing.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<(), cbor::Error> {
        let piece: Piece = cbor::from_slice(bytes)?;
        let given: Vec<(Key, Given)> = piece
            .given
            .iter()
            .map(GivenRow::read)
            .collect::<Result<_, _>>()?;
        let taken: Vec<(Key, Taken)> = piece
            .taken
            .iter()
            .map(TakenRow::read)
            .collect::<Result<_, _>>()?;
        self.drop_below(piece.gone);
        self.batch = self.batch.max(piece.batch);
        self.given.extend(given);
        self.taken.extend(taken);
        Ok(())
    }

    /// The state as pieces of less than 1 MiB, at least one.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Vec<u8>> {
        let first = Piece {
            gone: self.gone,
            batch: self.batch,
            ..Piece::default()
        };
        let mut pieces = alloc::vec![cbor::to_vec(&first)];
        let given: Vec<GivenRow> = self.given.iter().map(|(k, r)| GivenRow::of(k, r)).collect();
        let taken: Vec<TakenRow> = self.taken.iter().map(|(k, r)| TakenRow::of(k, r)).collect();
        for rows in given.chunks(ROWS_A_PIECE) {
            pieces.push(cbor::to_vec(&Piece {
                given: rows.to_vec(),
                ..Piece::default()
            }));
        }
        for rows in taken.chunks(ROWS_A_PIECE) {
            pieces.push(cbor::to_vec(&Piece {
                taken: rows.to_vec(),
                ..Piece::default()
            }));
        }
        pieces
    }
}

/// The first period that can be claimed.
const fn claimable(unix_ms: u64) -> u64 {
    (unix_ms / PERIOD).saturating_sub(CLAIMED)
}

/// The row of a key, if there is one or room for it.
fn room<T: Default>(rows: &mut BTreeMap<Key, T>, key: Key) -> Option<&mut T> {
    if rows.len() >= ROWS_MAX && !rows.contains_key(&key) {
        return None;
    }
    Some(rows.entry(key).or_default())
}

#[cfg(test)]
mod tests;
