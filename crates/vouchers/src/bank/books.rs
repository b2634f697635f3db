//! The durable state, and what each record does to it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};

use betanet_wire::NodeId;

use super::record::{
    Count, Counted, Debit, Issued, Kept, Piece, PointKey, Record, Redeem, SpendKey, Spent, Swap,
};
use super::{Alarm, JournalError};
use crate::message::VOUCHERS_MAX;
use crate::{Denomination, KeysetId};

/// Time for which an answer is kept after its commit, in ms: 30 days. Then the same request finds its vouchers spent.
pub const ANSWER_KEPT: u64 = 30 * 86_400_000;
/// Most answers to redemptions that are kept; the oldest goes first. And most answers to swaps: beyond them no swap is taken, because a
/// wallet that does not get its answer again loses what it swapped.
pub const ANSWERS_MAX: usize = 1 << 20;
/// Most balances that are not zero.
pub const BALANCES_MAX: usize = 1 << 20;
/// Most spent vouchers of keysets that are not swept.
pub const SPENT_MAX: usize = 1 << 24;
/// Most points that swaps grant under keysets that are not swept.
pub const GRANTED_MAX: usize = 1 << 23;
/// Spent vouchers up to which swaps are taken: they cost nothing, so the rest is for redemptions alone.
pub const SWAPS_MAX: usize = SPENT_MAX / 2;
/// Most keysets, swept ones included.
pub const BOOKS_MAX: usize = 1 << 12;

/// Numbers of vouchers of one denomination.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counter {
    /// Issued: reported by the mints, and by swaps.
    pub issued: u64,
    /// Redeemed, and spent by swaps.
    pub redeemed: u64,
}

/// What is known of one keyset.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    pub(super) spent: BTreeSet<SpendKey>,
    /// Points that swaps have granted. One that is granted twice is one voucher, paid twice.
    pub(super) granted: BTreeSet<PointKey>,
    pub(super) counters: BTreeMap<Denomination, Counter>,
    /// Whether mints report what they issue.
    pub(super) watched: bool,
    /// Whether its time is over; its spent set is forgotten, so nothing of it is ever taken again.
    pub(super) swept: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    pub(super) of: BTreeMap<KeysetId, Book>,
    pub(super) balances: BTreeMap<(NodeId, String), u64>,
    pub(super) answers: BTreeMap<[u8; 16], Kept>,
    /// Those to redemptions by age.
    pub(super) ages: BTreeSet<(u64, [u8; 16])>,
    /// Those to swaps.
    pub(super) swap_ages: BTreeSet<(u64, [u8; 16])>,
    pub(super) spent: usize,
    pub(super) granted: usize,
    pub(super) records: u64,
}

impl Books {
    pub(super) fn balance(&self, node: &NodeId, unit: &str) -> u64 {
        let key = (*node, unit.to_string());
        self.balances.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn balances_of(&self, unit: &str) -> u128 {
        let of = self.balances.iter().filter(|((_, u), _)| u == unit);
        of.map(|(_, amount)| u128::from(*amount)).sum()
    }

    pub(super) fn counter(&self, keyset: &KeysetId, e: Denomination) -> Counter {
        let book = self.of.get(keyset);
        book.and_then(|b| b.counters.get(&e).copied())
            .unwrap_or_default()
    }

    pub(super) fn alarms(&self) -> impl Iterator<Item = Alarm> + '_ {
        let watched = self.of.iter().filter(|(_, b)| b.watched);
        watched.flat_map(|(keyset, book)| {
            let over = book.counters.iter().filter(|(_, c)| c.redeemed > c.issued);
            over.map(|(e, c)| Alarm {
                keyset: *keyset,
                denomination: *e,
                counter: *c,
            })
        })
    }

    pub(super) fn is_spent(&self, keyset: &KeysetId, key: &SpendKey) -> bool {
        self.of.get(keyset).is_some_and(|b| b.spent.contains(key))
    }

    pub(super) fn is_swept(&self, keyset: &KeysetId) -> bool {
        self.of.get(keyset).is_some_and(|b| b.swept)
    }

    pub(super) fn unswept(&self) -> impl Iterator<Item = &KeysetId> {
        self.of.iter().filter(|(_, b)| !b.swept).map(|(id, _)| id)
    }

    pub(super) fn is_granted(&self, keyset: &KeysetId, point: &PointKey) -> bool {
        self.of
            .get(keyset)
            .is_some_and(|b| b.granted.contains(point))
    }

    /// Whether so many more spent vouchers, and this keyset, have room.
    pub(super) fn has_room(&self, keyset: &KeysetId, vouchers: usize) -> bool {
        self.spent + vouchers <= SPENT_MAX
            && (self.of.len() < BOOKS_MAX || self.of.contains_key(keyset))
    }

    /// Does what a record says, or nothing.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), JournalError> {
        match record {
            Record::Redeem(r) => self.redeem(r)?,
            Record::Swap(r) => self.swap(r)?,
            Record::Issued(r) => self.issued(r)?,
            Record::Debit(r) => self.debit(r)?,
            Record::Swept(r) => self.sweep(KeysetId(r.keyset)),
            Record::Piece(r) => self.piece(r)?,
        }
        if !matches!(record, Record::Piece(_)) {
            self.records += 1;
        }
        Ok(())
    }

    fn redeem(&mut self, r: &Redeem) -> Result<(), JournalError> {
        let total = r
            .spent
            .iter()
            .map(value)
            .try_fold(0_u64, |a, b| a.checked_add(b?));
        let key = (r.to, r.unit.clone());
        let total = total.ok_or(JournalError::Contradiction)?;
        let balance = match r.ledger {
            Some(shown) => shown,
            None => {
                let balance = self.balances.get(&key).copied().unwrap_or(0);
                let balance = balance.checked_add(total);
                balance.ok_or(JournalError::Contradiction)?
            }
        };
        let n = self.free(&r.spent, r.id)?;
        r.spent.iter().for_each(|s| self.spend(s));
        // What a ledger pays out is not owed here too.
        if r.ledger.is_none() {
            self.balances.insert(key, balance);
        }
        self.keep(Kept {
            n,
            at: r.at,
            blinded: None,
            id: r.id,
            to: Some(r.to),
            balance,
            request: r.request,
            total,
            keyset: None,
            ledger: r.ledger.map(|_| true),
        });
        Ok(())
    }

    fn swap(&mut self, r: &Swap) -> Result<(), JournalError> {
        let total = value(&r.spent).ok_or(JournalError::Contradiction)?;
        let mut out = r.out.iter().map(|c| c.0.value().checked_mul(c.1));
        let out = out.try_fold(0_u64, |a, b| a.checked_add(b?));
        if out != Some(total) {
            return Err(JournalError::Contradiction);
        }
        let keyset = KeysetId(r.spent.keyset);
        let points = r.points.as_deref().unwrap_or_default();
        let mut seen = BTreeSet::new();
        if points
            .iter()
            .any(|p| self.is_granted(&keyset, p) || !seen.insert(p))
        {
            return Err(JournalError::Contradiction);
        }
        let n = self.free(core::slice::from_ref(&r.spent), r.id)?;
        self.spend(&r.spent);
        self.grant(keyset, points);
        self.count(&keyset, &r.out);
        self.keep(Kept {
            n,
            at: r.at,
            blinded: Some(r.blinded),
            id: r.id,
            to: None,
            balance: 0,
            request: r.request,
            total,
            keyset: Some(r.spent.keyset),
            ledger: None,
        });
        Ok(())
    }

    fn issued(&mut self, r: &Issued) -> Result<(), JournalError> {
        let keyset = KeysetId(r.keyset);
        if !self.has_room(&keyset, 0) || self.is_swept(&keyset) {
            return Err(JournalError::Contradiction);
        }
        self.of.entry(keyset).or_default().watched = true;
        self.count(&keyset, &r.out);
        Ok(())
    }

    fn debit(&mut self, r: &Debit) -> Result<(), JournalError> {
        let key = (r.of, r.unit.clone());
        let balance = self.balances.get(&key).copied().unwrap_or(0);
        let left = balance
            .checked_sub(r.amount)
            .ok_or(JournalError::Contradiction)?;
        if self.answers.contains_key(&r.id) {
            return Err(JournalError::Contradiction);
        }
        match left {
            0 => drop(self.balances.remove(&key)),
            _ => drop(self.balances.insert(key, left)),
        }
        self.keep(Kept {
            n: 0,
            at: r.at,
            blinded: None,
            id: r.id,
            to: Some(r.of),
            balance: left,
            request: super::decide::debit_hash(&r.of, &r.unit, r.amount),
            total: r.amount,
            keyset: None,
            ledger: None,
        });
        Ok(())
    }

    fn sweep(&mut self, keyset: KeysetId) {
        let book = self.of.entry(keyset).or_default();
        self.spent -= book.spent.len();
        self.granted -= book.granted.len();
        book.spent.clear();
        book.granted.clear();
        book.swept = true;
    }

    /// How many vouchers these are, if none is spent and the number is new.
    fn free(&self, spent: &[Spent], id: [u8; 16]) -> Result<u16, JournalError> {
        let mut seen = BTreeSet::new();
        for part in spent {
            let keyset = KeysetId(part.keyset);
            let taken = part
                .keys
                .iter()
                .any(|k| self.is_spent(&keyset, k) || !seen.insert((keyset, *k)));
            if taken || self.is_swept(&keyset) || !self.has_room(&keyset, part.keys.len()) {
                return Err(JournalError::Contradiction);
            }
        }
        let n = u16::try_from(seen.len()).ok();
        let n = n.filter(|n| (1..=VOUCHERS_MAX).contains(&usize::from(*n)));
        n.filter(|_| !self.answers.contains_key(&id))
            .ok_or(JournalError::Contradiction)
    }

    fn spend(&mut self, spent: &Spent) {
        let book = self.of.entry(KeysetId(spent.keyset)).or_default();
        for key in &spent.keys {
            if let Some(e) = Denomination::new(key[0]) {
                book.counters.entry(e).or_default().redeemed += 1;
            }
            self.spent += usize::from(book.spent.insert(*key));
        }
    }

    fn grant(&mut self, keyset: KeysetId, points: &[PointKey]) {
        let book = self.of.entry(keyset).or_default();
        for point in points {
            self.granted += usize::from(book.granted.insert(*point));
        }
    }

    fn count(&mut self, keyset: &KeysetId, out: &[Count]) {
        let book = self.of.entry(*keyset).or_default();
        for Count(e, n) in out {
            let counter = book.counters.entry(*e).or_default();
            counter.issued = counter.issued.saturating_add(*n);
        }
    }

    /// Keeps an answer, and forgets old ones: by the journal's time only, so that every replay forgets the same.
    fn keep(&mut self, kept: Kept) {
        let now = kept.at;
        self.remember(kept);
        while let Some((at, id)) = self.ages.first().copied() {
            if at.saturating_add(ANSWER_KEPT) > now && self.ages.len() <= ANSWERS_MAX {
                break;
            }
            self.ages.pop_first();
            self.answers.remove(&id);
        }
        while let Some((at, id)) = self.swap_ages.first().copied() {
            if at.saturating_add(ANSWER_KEPT) > now {
                break;
            }
            self.swap_ages.pop_first();
            self.answers.remove(&id);
        }
    }

    fn remember(&mut self, kept: Kept) {
        let ages = match kept.blinded {
            Some(_) => &mut self.swap_ages,
            None => &mut self.ages,
        };
        ages.insert((kept.at, kept.id));
        self.answers.insert(kept.id, kept);
    }

    /// Whether a swap of so many vouchers for so many points is within what swaps may take.
    pub(super) fn takes_swap(&self, unix_ms: u64, vouchers: usize, points: usize) -> bool {
        let oldest = self.swap_ages.first();
        let ended = oldest.is_some_and(|(at, _)| at.saturating_add(ANSWER_KEPT) <= unix_ms);
        self.spent + vouchers <= SWAPS_MAX
            && self.granted + points <= GRANTED_MAX
            && (self.swap_ages.len() < ANSWERS_MAX || ended)
    }

    fn piece(&mut self, piece: &Piece) -> Result<(), JournalError> {
        let spent = piece.spent.iter().map(|s| s.keyset);
        let mut named = spent.chain(piece.granted.iter().map(|g| g.keyset));
        if named.any(|keyset| self.is_swept(&KeysetId(keyset))) {
            return Err(JournalError::Contradiction);
        }
        if let Some(granted) = &piece.granted {
            self.grant(KeysetId(granted.keyset), &granted.points);
        }
        for spent in &piece.spent {
            let book = self.of.entry(KeysetId(spent.keyset)).or_default();
            for key in &spent.keys {
                self.spent += usize::from(book.spent.insert(*key));
            }
        }
        for kept in &piece.answers {
            self.remember(kept.clone());
        }
        for b in &piece.balances {
            self.balances.insert((b.of, b.unit.clone()), b.amount);
        }
        for Counted {
            issued,
            keyset,
            swept,
            watched,
            redeemed,
        } in &piece.counters
        {
            let book = self.of.entry(KeysetId(*keyset)).or_default();
            (book.swept, book.watched) = (*swept, *watched);
            for Count(e, n) in issued {
                book.counters.entry(*e).or_default().issued = *n;
            }
            for Count(e, n) in redeemed {
                book.counters.entry(*e).or_default().redeemed = *n;
            }
        }
        self.records = piece.records;
        Ok(())
    }
}

/// The value of spent vouchers; `None` if it exceeds 64 bits, or an exponent is out of range.
fn value(spent: &Spent) -> Option<u64> {
    let values = spent
        .keys
        .iter()
        .map(|k| Denomination::new(k[0]).map(Denomination::value));
    values.sum::<Option<u64>>()
}
