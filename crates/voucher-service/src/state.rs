//! The durable state: the redemption service, the mint, and the coupons that were used.

mod coupons;
mod outbox;
mod redeem;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use betanet_durable::{Now, State, Unreadable};
use betanet_journal::{Kind, PART_MAX, Record};
use betanet_keys::{PublicKey, hash};
use betanet_vouchers::bank::{Bank, Verified};
use betanet_vouchers::message::{
    Answer, BlindedPoints, IssueRequest, RedeemRequest, RestoreRequest, SwapRequest,
};
use betanet_vouchers::mint::{Mint, Paid, ToRestore, ToSign};
use betanet_vouchers::{Denomination, Held, Keyset, KeysetId, Keysets};
use betanet_wire::{Code, NodeId};

use crate::keysets::LEDGER_UNIT;
use crate::payments::Payment;
pub use coupons::COUPONS_MAX;
use coupons::Used;
pub use outbox::OUTBOX_MAX;
use outbox::Outbox;
pub(crate) use outbox::{Owed, Waiting};
pub(crate) use redeem::Standing;
pub use view::{Counts, KeysetView, View};

const BANK: Kind = kind("bank");
const MINT: Kind = kind("mint");
const COUPON: Kind = kind("coupon");
const OUTBOX: Kind = kind("outbox");
const LEDGER: Kind = kind("ledger");

/// Tags of the pieces of a snapshot.
const BANK_PIECE: u8 = 1;
const MINT_PIECE: u8 = 2;
const COUPON_PIECE: u8 = 3;
const OUTBOX_PIECE: u8 = 5;
const LEDGER_PIECE: u8 = 6;
/// Tag of a part that holds several pieces, each with its length and its own tag: there are more pieces than a snapshot has parts.
const PACKED: u8 = 4;

/// Time after a keyset's grace until what is known of it is forgotten, in ms: 30 days. A clock that is a little wrong forgets nothing.
const SWEEP_AFTER: u64 = 30 * 86_400_000;

const fn kind(word: &str) -> Kind {
    match Kind::new(word) {
        Some(kind) => kind,
        // Evaluated by the compiler.
        None => unreachable!(),
    }
}

/// A request whose arithmetic is done.
#[derive(Debug)]
pub(crate) enum Ask {
    /// With what the ledger says, once it was asked.
    Redeem(
        Option<NodeId>,
        Box<(RedeemRequest, Verified)>,
        Option<Result<Standing, Code>>,
    ),
    Swap(SwapRequest, BlindedPoints, Verified),
    Issue(IssueRequest, BlindedPoints, Option<Payment>),
    Restore(RestoreRequest),
    Issued(KeysetId, Vec<(Denomination, u64)>),
    /// The oldest redemptions that the ledger has not paid out, so many.
    Owed(usize),
    /// Redemptions that a final head shows, and those that the ledger refused; the records of the head.
    Settle(Vec<[u8; 32]>, Vec<([u8; 32], u16)>, u64),
    Sweep,
    View,
    Fingerprint,
}

/// What was decided.
#[derive(Debug)]
pub(crate) enum Said {
    Answer(Answer),
    /// The ledger is to be asked about a redemption under this keyset first.
    AskLedger(KeysetId, Box<(RedeemRequest, Verified)>),
    /// Later: the ledger's units do not cover it now, or too many redemptions wait for the ledger.
    Later(KeysetId, Box<(RedeemRequest, Verified)>),
    /// The node is not connected to the ledger that its vouchers belong to.
    Elsewhere,
    Owed(Waiting),
    Sign(Result<ToSign, Code>),
    Restore(ToRestore),
    Counted(bool),
    Swept,
    View(Box<View>),
    Fingerprint([u8; 32]),
    Failed,
}

/// What a state is told about its node, which is in no record.
#[derive(Clone, Debug)]
pub(crate) struct Of {
    pub(crate) spender: PublicKey,
    pub(crate) keysets: Arc<Keysets>,
    /// Keysets of which this node has a share.
    pub(crate) mints: BTreeSet<KeysetId>,
    /// Keysets of a ledger, whose vouchers are redeemed to its accounts.
    pub(crate) ledger: BTreeSet<KeysetId>,
    /// The ledger's ID.
    pub(crate) genesis: Option<[u8; 32]>,
    /// Whether more was redeemed than issued, for whoever looks.
    pub(crate) alarm: Arc<AtomicBool>,
}

/// The state behind [`betanet_durable::Durable`]. Its answers leave once their records are committed.
#[derive(Debug)]
pub(crate) struct VoucherState {
    of: Of,
    bank: Bank,
    mint: Mint,
    coupons: Used,
    outbox: Outbox,
    /// The ledger that vouchers were first sold for or redeemed on: it stays that one.
    bound: Option<[u8; 32]>,
    /// Records of the head under which payments were settled last.
    settled: u64,
}

impl VoucherState {
    pub(crate) fn new(of: Of) -> Self {
        Self {
            bank: Bank::new(of.spender),
            mint: Mint::new(),
            coupons: Used::default(),
            outbox: Outbox::default(),
            bound: None,
            settled: 0,
            of,
        }
    }

    /// Whether the node is connected to the ledger that its vouchers belong to.
    fn fits(&self) -> bool {
        self.bound
            .is_none_or(|bound| self.of.genesis == Some(bound))
    }

    /// Whether a keyset belongs to a ledger: the one that the node is connected to, or the one that it was.
    fn is_ledgers(&self, id: &KeysetId) -> bool {
        let unit = || {
            self.of
                .keysets
                .get(id)
                .is_some_and(|k| k.unit() == LEDGER_UNIT)
        };
        self.of.ledger.contains(id) || self.bound.is_some() && unit()
    }

    /// What the journal keeps of the ledger: its ID, and the records of the head under which payments were settled last.
    fn ledger_record(&self) -> Option<Vec<u8>> {
        let bound = self.bound?;
        Some([&bound[..], &self.settled.to_be_bytes()].concat())
    }

    /// Binds the vouchers to the ledger that the node is connected to.
    fn bind(&mut self, records: &mut Vec<Record>) {
        if let (None, Some(genesis)) = (self.bound, self.of.genesis) {
            self.bound = Some(genesis);
            records.extend(self.ledger_record().map(|r| Record::new(LEDGER, r)));
        }
    }

    fn issue(
        &mut self,
        unix_ms: u64,
        (request, points): (&IssueRequest, &BlindedPoints),
        payment: Option<Payment>,
        records: &mut Vec<Record>,
    ) -> Result<ToSign, Code> {
        let keysets = Arc::clone(&self.of.keysets);
        let keyset = keysets.get(&request.keyset);
        let keyset = keyset.filter(|k| self.of.mints.contains(&k.id()));
        let keyset = keyset.ok_or(Code::POLICY_REJECTED)?;
        if let Some(opened) = self.mint.open(keyset) {
            records.push(Record::new(MINT, opened));
        }
        let once = payment.and_then(|p| p.once);
        // A coupon pays for one request, down to its bytes.
        let mut by = [0; 16];
        by.copy_from_slice(&request.hash()[..16]);
        let usable = once.is_none_or(|o| self.coupons.pays(unix_ms, &o, &by));
        // Swaps have a reserve, because they are committed already.
        let fits = |p: &Payment| p.counted || self.mint.has_room(request.blinded.len());
        // Without a payment, the mint still repeats an answer.
        let nothing = Paid {
            amount: 0,
            at: u64::MAX,
        };
        let payment = payment.filter(|p| usable && fits(p));
        let paid = payment.map_or(nothing, |p| p.paid);
        let decided = self.mint.issue(unix_ms, keyset, request, points, paid);
        if let Some(record) = decided.record {
            if let Some(once) = once {
                let used = self.coupons.use_up(unix_ms, &once, &by);
                records.push(Record::new(COUPON, used));
            }
            records.push(Record::new(MINT, record));
            if self.of.ledger.contains(&keyset.id()) {
                self.bind(records);
            }
            if payment.is_some_and(|p| !p.counted) {
                self.count_issued(keyset, request, records);
            }
        }
        now(decided.answer).unwrap_or(Err(Code::INTERNAL_ERROR))
    }

    /// Counts paid points as issued, if the spender is here and no voucher is issued without this mint.
    fn count_issued(&mut self, keyset: &Keyset, request: &IssueRequest, records: &mut Vec<Record>) {
        if *keyset.spender() != self.of.spender || keyset.threshold() != keyset.shares() {
            return;
        }
        let mut counts: Vec<(Denomination, u64)> = Vec::new();
        for e in keyset.denominations() {
            let n = request.blinded.iter().filter(|b| b.denomination == e);
            match n.count() as u64 {
                0 => {}
                n => counts.push((e, n)),
            }
        }
        let record = self.bank.issued(&keyset.id(), &counts);
        records.extend(record.map(|r| Record::new(BANK, r)));
    }

    fn sweep(&mut self, unix_ms: u64, records: &mut Vec<Record>) {
        let keysets = Arc::clone(&self.of.keysets);
        let then = unix_ms.saturating_sub(SWEEP_AFTER);
        for keyset in keysets.iter() {
            let (bank, mint) = (self.bank.sweep(then, keyset), self.mint.sweep(then, keyset));
            records.extend(bank.map(|r| Record::new(BANK, r)));
            records.extend(mint.map(|r| Record::new(MINT, r)));
        }
    }

    fn bank_said(
        &mut self,
        decided: betanet_vouchers::Decided<Answer>,
        records: &mut Vec<Record>,
    ) -> Said {
        records.extend(decided.record.map(|r| Record::new(BANK, r)));
        now(decided.answer).map_or(Said::Failed, Said::Answer)
    }

    fn look(&self) {
        let alarm = self.bank.alarms().next().is_some();
        self.of.alarm.store(alarm, Ordering::Relaxed);
    }

    fn apply_one(&mut self, kind: Kind, body: &[u8]) -> Result<(), Unreadable> {
        match kind {
            BANK => self.bank.apply(body).map_err(|_| Unreadable),
            MINT => self.mint.apply(body).map_err(|_| Unreadable),
            COUPON => self.coupons.apply(body),
            OUTBOX => self.outbox.apply(body),
            LEDGER => {
                let (bound, settled) = body.split_first_chunk::<32>().ok_or(Unreadable)?;
                let settled = settled.try_into().map_err(|_| Unreadable)?;
                (self.bound, self.settled) = (Some(*bound), u64::from_be_bytes(settled));
                Ok(())
            }
            _ => Err(Unreadable),
        }
    }

    /// Applies a piece of a snapshot with its tag.
    fn piece(&mut self, piece: &[u8]) -> Result<(), Unreadable> {
        let (tag, piece) = piece.split_first().ok_or(Unreadable)?;
        let kind = match *tag {
            BANK_PIECE => BANK,
            MINT_PIECE => MINT,
            COUPON_PIECE => COUPON,
            OUTBOX_PIECE => OUTBOX,
            LEDGER_PIECE => LEDGER,
            _ => return Err(Unreadable),
        };
        self.apply_one(kind, piece)
    }

    fn fingerprint(&self) -> [u8; 32] {
        let parts = [
            self.bank.fingerprint(),
            self.mint.fingerprint(),
            self.coupons.fingerprint(),
            self.outbox.fingerprint(),
        ];
        let ledger = self.ledger_record().unwrap_or_default();
        hash(&[&parts[0], &parts[1], &parts[2], &parts[3], &ledger])
    }
}

/// Adds a piece to the last part, or begins another.
fn pack(parts: &mut Vec<Vec<u8>>, tag: u8, piece: &[u8]) {
    let length = u32::try_from(piece.len() + 1).unwrap_or(u32::MAX);
    let fits = |part: &Vec<u8>| part.len() + 5 + piece.len() <= PART_MAX;
    if !parts.last().is_some_and(fits) {
        parts.push(vec![PACKED]);
    }
    if let Some(part) = parts.last_mut() {
        part.extend_from_slice(&length.to_be_bytes());
        part.push(tag);
        part.extend_from_slice(piece);
    }
}

/// A piece with its tag, and what comes after it.
type Piece<'p> = (&'p [u8], &'p [u8]);

/// The next piece of a packed part.
fn unpack(part: &[u8]) -> Result<Option<Piece<'_>>, Unreadable> {
    if part.is_empty() {
        return Ok(None);
    }
    let (length, rest) = part.split_first_chunk::<4>().ok_or(Unreadable)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Unreadable)?;
    rest.split_at_checked(length).map(Some).ok_or(Unreadable)
}

/// The answer now: [`betanet_durable`] holds it until its records are committed. No answer waits for more records than there can be.
fn now<T>(held: Held<T>) -> Option<T> {
    held.release(u64::MAX).ok()
}

impl State for VoucherState {
    type Request = Ask;
    type Answer = Said;

    fn apply(&mut self, record: &Record) -> Result<(), Unreadable> {
        self.apply_one(record.kind, &record.body)?;
        self.look();
        Ok(())
    }

    fn decide(&mut self, at: Now, ask: Ask, records: &mut Vec<Record>) -> Said {
        let unix_ms = at.unix_ms;
        let keysets = Arc::clone(&self.of.keysets);
        let said = match ask {
            Ask::Redeem(asker, asked, standing) => {
                self.redeem(unix_ms, asker, asked, standing, records)
            }
            Ask::Owed(_) if !self.fits() => Said::Elsewhere,
            Ask::Owed(most) => Said::Owed(self.outbox.waiting(most)),
            Ask::Settle(done, refused, size) => {
                if let Some(record) = self.outbox.settle(done, &refused) {
                    records.push(Record::new(OUTBOX, record));
                    self.settled = self.settled.max(size);
                    records.extend(self.ledger_record().map(|r| Record::new(LEDGER, r)));
                }
                Said::Swept
            }
            Ask::Swap(request, points, verified) => {
                let decided = self
                    .bank
                    .swap(unix_ms, &keysets, &request, &points, &verified);
                self.bank_said(decided, records)
            }
            Ask::Issue(request, _, Some(_)) if !self.fits() && self.is_ledgers(&request.keyset) => {
                Said::Elsewhere
            }
            Ask::Issue(request, points, payment) => {
                Said::Sign(self.issue(unix_ms, (&request, &points), payment, records))
            }
            Ask::Restore(request) => {
                now(self.mint.restore(&request)).map_or(Said::Failed, Said::Restore)
            }
            Ask::Issued(keyset, counts) => {
                let record = self.bank.issued(&keyset, &counts);
                let counted = record.is_some();
                records.extend(record.map(|r| Record::new(BANK, r)));
                Said::Counted(counted)
            }
            Ask::Sweep => {
                self.sweep(unix_ms, records);
                Said::Swept
            }
            Ask::View => Said::View(Box::new(View::of(&keysets, &self.bank, &self.mint))),
            Ask::Fingerprint => Said::Fingerprint(self.fingerprint()),
        };
        self.look();
        said
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut tagged = |tag: u8, piece: &[u8]| pack(&mut parts, tag, piece);
        self.bank.snapshot(&mut |piece| tagged(BANK_PIECE, &piece));
        self.mint.snapshot(&mut |piece| tagged(MINT_PIECE, &piece));
        self.coupons
            .snapshot(&mut |piece| tagged(COUPON_PIECE, &piece));
        self.outbox
            .snapshot(&mut |piece| tagged(OUTBOX_PIECE, &piece));
        if let Some(ledger) = self.ledger_record() {
            tagged(LEDGER_PIECE, &ledger);
        }
        parts
    }

    fn restore(&mut self, parts: Vec<Vec<u8>>) -> Result<(), Unreadable> {
        *self = Self::new(self.of.clone());
        for part in parts {
            match part.split_first().ok_or(Unreadable)? {
                (&PACKED, mut rest) => {
                    while let Some((piece, after)) = unpack(rest)? {
                        self.piece(piece)?;
                        rest = after;
                    }
                }
                _ => self.piece(&part)?,
            }
        }
        self.look();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
