//! The redemption service: the one keeper of a keyset's spent set.

mod books;
mod decide;
mod record;
mod snapshot;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_wire::{Code, NodeId};

use crate::message::Answer;
use crate::{Denomination, KeysetId, Keysets, Voucher};

use books::Books;
pub use books::{
    ANSWER_KEPT, ANSWERS_MAX, BALANCES_MAX, BOOKS_MAX, Counter, GRANTED_MAX, SPENT_MAX, SWAPS_MAX,
};
pub use decide::{Credit, FORGED_MAX, Withdrawal, Withdrawn, verified};
use record::Record;

/// Reason why bytes are not the next record of this journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Not a record.
    #[error("not a record: {0}")]
    Malformed(#[from] betanet_wire::cbor::Error),
    /// A record that the state before it does not allow, such as a voucher that is spent already.
    #[error("the record contradicts those before it")]
    Contradiction,
}

/// Verdicts of the arithmetic about one request, for [`Bank::redeem`] and [`Bank::swap`].
#[derive(Clone, Debug)]
pub struct Verified {
    /// Hash of the request.
    request: [u8; 32],
    codes: Vec<Code>,
    /// Vouchers whose signatures were wrong.
    forged: usize,
}

impl Verified {
    /// Vouchers that turned out forged, to charge for.
    #[must_use]
    pub const fn forged(&self) -> usize {
        self.forged
    }

    /// Verdicts without arithmetic, for a model.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn good(request: &[u8; 32], n: usize) -> Self {
        Self {
            request: *request,
            codes: alloc::vec![Code::OK; n],
            forged: 0,
        }
    }
}

/// More was redeemed of a denomination than was issued: its key was stolen, or a mint lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Alarm {
    /// The keyset.
    pub keyset: KeysetId,
    /// The denomination.
    pub denomination: Denomination,
    /// What was counted.
    pub counter: Counter,
}

/// The redemption service as a deterministic machine over a journal.
///
/// Each decision gives a record and a held answer. The state is ahead of the journal, and [`Bank::apply`] rebuilds it from records.
/// Time and verdicts come in as arguments; only what the records say is durable.
#[derive(Clone, Debug)]
pub struct Bank {
    spender: PublicKey,
    books: Books,
}

impl Bank {
    /// An empty service of this key.
    #[must_use]
    pub fn new(spender: PublicKey) -> Self {
        Self {
            spender,
            books: Books::default(),
        }
    }

    /// Applies the next record of the journal, as on start.
    ///
    /// # Errors
    ///
    /// Not the next record; nothing is changed then.
    pub fn apply(&mut self, record: &[u8]) -> Result<(), JournalError> {
        let record = Record::from_bytes(record)?;
        self.books.apply(&record)
    }

    /// Number of records so far, committed or not.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.books.records
    }

    /// A node's balance in a unit.
    #[must_use]
    pub fn balance(&self, node: &NodeId, unit: &str) -> u64 {
        self.books.balance(node, unit)
    }

    /// The sum of all balances in a unit.
    #[must_use]
    pub fn balances(&self, unit: &str) -> u128 {
        self.books.balances_of(unit)
    }

    /// What was counted of a denomination.
    #[must_use]
    pub fn counter(&self, keyset: &KeysetId, denomination: Denomination) -> Counter {
        self.books.counter(keyset, denomination)
    }

    /// Denominations of which more was redeemed than issued, among keysets whose issue was reported ([`Bank::issued`]).
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> + '_ {
        self.books.alarms()
    }

    /// Whether a voucher is spent.
    #[must_use]
    pub fn is_spent(&self, voucher: &Voucher) -> bool {
        self.books.is_spent(&voucher.keyset(), &voucher.spend_key())
    }

    /// Keysets that are past their grace, whose spent sets [`Bank::sweep`] can forget.
    pub fn sweepable(&self, keysets: &Keysets, unix_ms: u64) -> Vec<KeysetId> {
        let past = |id: &&KeysetId| {
            keysets
                .get(id)
                .is_some_and(|k| k.phase(unix_ms) == crate::Phase::Expired)
        };
        self.books.unswept().filter(past).copied().collect()
    }

    /// A hash over the whole durable state: equal for equal states.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.books.fingerprint()
    }

    /// Gives the durable state as records, in pieces of at most about 64 KiB, which [`Bank::apply`] takes in an empty service. They
    /// replace all records before.
    pub fn snapshot(&self, out: &mut dyn FnMut(Vec<u8>)) {
        self.books.snapshot(&mut |record| out(record.to_bytes()));
    }
}

/// Where every voucher has this code.
fn all(request: [u8; 32], id: [u8; 16], n: usize, code: Code) -> Answer {
    Answer {
        id,
        request,
        codes: alloc::vec![code; n],
        total: 0,
        balance: 0,
        swapped: None,
    }
}
