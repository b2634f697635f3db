//! The durable state, and what each record does to it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use super::record::{Issued, Opened, Piece, Record, Used};
use crate::bank::{GRANTED_MAX, JournalError};
use crate::message::Blinded;
use crate::{Denomination, KeysetId};

/// Most points that are remembered of keysets that are not swept, before the reserve for swaps that a redemption service has committed.
pub const SIGNED_MAX: usize = 1 << 24;
/// With that reserve.
const ALL_MAX: usize = SIGNED_MAX + GRANTED_MAX;
/// Most keysets, swept ones included.
pub const OPENED_MAX: usize = 1 << 12;

/// Points and numbers in one piece of a snapshot.
const ITEMS_A_PIECE: usize = 500;

#[derive(Clone, Debug, Default)]
struct Book {
    unit: String,
    not_before: u64,
    exp: u64,
    signed: BTreeSet<([u8; 48], Denomination)>,
    issued: BTreeMap<Denomination, u64>,
    swept: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    of: BTreeMap<KeysetId, Book>,
    /// Numbers of requests that were paid for ([`crate::message::IssueRequest::number`]): the request, and the keyset with which it is forgotten.
    pub(super) ids: BTreeMap<[u8; 16], ([u8; 32], KeysetId)>,
    count: usize,
    pub(super) records: u64,
}

impl Books {
    pub(super) fn issued(&self, keyset: &KeysetId, e: Denomination) -> u64 {
        let book = self.of.get(keyset);
        book.and_then(|b| b.issued.get(&e).copied()).unwrap_or(0)
    }

    #[cfg(test)]
    pub(super) const fn fill(&mut self, count: usize) {
        self.count = count;
    }

    pub(super) const fn has_room(&self, points: usize) -> bool {
        self.count + points <= SIGNED_MAX
    }

    pub(super) fn signed(&self, keyset: &KeysetId, b: &Blinded) -> bool {
        let book = self.of.get(keyset);
        book.is_some_and(|k| k.signed.contains(&(b.point, b.denomination)))
    }

    /// Does what a record says, or nothing.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), JournalError> {
        match record {
            Record::Opened(r) => self.open(r)?,
            Record::Issued(r) => self.issue(r)?,
            Record::Swept(r) => self.sweep(KeysetId(r.keyset))?,
            Record::Piece(r) => {
                self.piece(r);
                return Ok(());
            }
        }
        self.records += 1;
        Ok(())
    }

    fn open(&mut self, r: &Opened) -> Result<(), JournalError> {
        let overlaps = |b: &Book| b.unit == r.unit && b.not_before < r.exp && r.not_before < b.exp;
        let refused = self.of.len() >= OPENED_MAX
            || self.of.contains_key(&KeysetId(r.keyset))
            || self.of.values().any(overlaps);
        if refused {
            return Err(JournalError::Contradiction);
        }
        let book = Book {
            unit: r.unit.clone(),
            not_before: r.not_before,
            exp: r.exp,
            ..Book::default()
        };
        self.of.insert(KeysetId(r.keyset), book);
        Ok(())
    }

    fn issue(&mut self, r: &Issued) -> Result<(), JournalError> {
        let keyset = KeysetId(r.keyset);
        let full = self.count + r.blinded.len() > ALL_MAX;
        let book = self.of.get_mut(&keyset).filter(|b| !b.swept);
        let book = book.ok_or(JournalError::Contradiction)?;
        if full || self.ids.contains_key(&r.id) {
            return Err(JournalError::Contradiction);
        }
        for b in &r.blinded {
            if book.signed.insert((b.point, b.denomination)) {
                self.count += 1;
                *book.issued.entry(b.denomination).or_default() += 1;
            }
        }
        self.ids.insert(r.id, (r.request, keyset));
        Ok(())
    }

    fn sweep(&mut self, keyset: KeysetId) -> Result<(), JournalError> {
        let book = self.of.get_mut(&keyset).filter(|b| !b.swept);
        let book = book.ok_or(JournalError::Contradiction)?;
        self.count -= book.signed.len();
        book.signed.clear();
        book.issued.clear();
        book.swept = true;
        self.ids.retain(|_, (_, of)| *of != keyset);
        Ok(())
    }

    fn piece(&mut self, r: &Piece) {
        self.records = r.records;
        let Some(keyset) = r.keyset.map(KeysetId) else {
            return;
        };
        let book = self.of.entry(keyset).or_default();
        book.unit.clone_from(&r.unit);
        (book.not_before, book.exp, book.swept) = (r.not_before, r.exp, r.swept);
        for b in &r.blinded {
            if book.signed.insert((b.point, b.denomination)) {
                self.count += 1;
                *book.issued.entry(b.denomination).or_default() += 1;
            }
        }
        for used in &r.ids {
            self.ids.insert(used.id, (used.request, keyset));
        }
    }

    pub(super) fn snapshot(&self, out: &mut dyn FnMut(Record)) {
        let piece = |keyset: Option<(&KeysetId, &Book)>, blinded: Vec<Blinded>, ids: Vec<Used>| {
            Record::Piece(Piece {
                blinded,
                exp: keyset.map_or(0, |(_, b)| b.exp),
                ids,
                unit: keyset.map_or_else(String::new, |(_, b)| b.unit.clone()),
                swept: keyset.is_some_and(|(_, b)| b.swept),
                keyset: keyset.map(|(id, _)| id.0),
                records: self.records,
                not_before: keyset.map_or(0, |(_, b)| b.not_before),
            })
        };
        out(piece(None, Vec::new(), Vec::new()));
        for (id, book) in &self.of {
            out(piece(Some((id, book)), Vec::new(), Vec::new()));
            let signed = book.signed.iter().map(|(point, e)| Blinded {
                denomination: *e,
                point: *point,
            });
            let signed: Vec<Blinded> = signed.collect();
            for signed in signed.chunks(ITEMS_A_PIECE) {
                out(piece(Some((id, book)), signed.to_vec(), Vec::new()));
            }
        }
        let mut by_keyset: BTreeMap<KeysetId, Vec<Used>> = BTreeMap::new();
        for (id, (request, keyset)) in &self.ids {
            by_keyset.entry(*keyset).or_default().push(Used {
                id: *id,
                request: *request,
            });
        }
        for (id, used) in by_keyset {
            let book = self.of.get(&id).map(|b| (&id, b));
            for used in used.chunks(ITEMS_A_PIECE) {
                out(piece(book, Vec::new(), used.to_vec()));
            }
        }
    }
}
