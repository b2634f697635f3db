//! Requests, and what is decided.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_keys::hash;
use betanet_machine::Rng;
use betanet_wire::{Code, NodeId};

use super::books::{ANSWER_KEPT, BALANCES_MAX};
use super::record::{
    Count, Debit, Issued, Kept, PointKey, Record, Redeem, SpendKey, Spent, Swap, Swept,
};
use super::{Bank, Verified, all};
use crate::batch::verify_some;
use crate::held::{Decided, Held};
use crate::message::{
    Answer, Blinded, BlindedPoints, Op, RedeemRequest, SwapRequest, Swapped, blinded_hash,
    blinded_value,
};
use crate::{Denomination, Invalid, Keyset, KeysetId, Keysets, Phase, Voucher, VoucherError};

type Parsed = Result<Voucher, VoucherError>;

/// Most forged vouchers of a request that are looked for. Each costs about twenty pairings to find.
pub const FORGED_MAX: usize = 16;

/// Does the arithmetic of a request, apart from any state: on any thread. After [`FORGED_MAX`] forged vouchers it stops: the others,
/// which may be good, get POLICY_REJECTED.
#[must_use]
pub fn verified(
    request: &[u8; 32],
    vouchers: &[Parsed],
    keysets: &Keysets,
    rng: &mut Rng,
) -> Verified {
    let good: Vec<Voucher> = vouchers.iter().flatten().cloned().collect();
    let mut results = verify_some(&good, keysets, FORGED_MAX, rng).into_iter();
    let mut forged = 0;
    let code = |parsed: &Parsed| {
        let result = match parsed {
            Ok(_) => match results.next().flatten() {
                Some(result) => result,
                None => return Code::POLICY_REJECTED,
            },
            Err(why) => return why.code(),
        };
        match result {
            Ok(()) => Code::OK,
            Err(why) => {
                forged += usize::from(matches!(why, Invalid::Forged | Invalid::Point(_)));
                why.code()
            }
        }
    };
    let codes = vouchers.iter().map(code).collect();
    Verified {
        request: *request,
        codes,
        forged,
    }
}

/// Where the value of redeemed vouchers goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Credit {
    /// To the payee's balance here, which is shown if this asker is the payee.
    Here(Option<NodeId>),
    /// To the payee's account on a ledger. The caller pays it out there, once, by the hash of the answer's body.
    Ledger {
        /// What the payee has available there before it; `None` if the asker is not the payee.
        before: Option<u64>,
    },
}

impl Credit {
    const fn asker(self) -> Option<NodeId> {
        match self {
            Self::Here(asker) => asker,
            Self::Ledger { .. } => None,
        }
    }
}

/// A payment out of a balance.
#[derive(Clone, Copy, Debug)]
pub struct Withdrawal<'a> {
    /// The number by which a repetition is recognised.
    pub id: [u8; 16],
    /// The node whose balance shrinks.
    pub of: NodeId,
    /// The unit.
    pub unit: &'a str,
    /// The amount.
    pub amount: u64,
}

/// Result of a withdrawal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Withdrawn {
    /// Done, now or before; what was left then.
    Left(u64),
    /// The balance is too low, or the number was used for something else.
    Refused,
}

impl Bank {
    fn decided(&mut self, record: Option<Record>, answer: Answer) -> Decided<Answer> {
        let refused = |id, request, n| all(request, id, n, Code::INTERNAL_ERROR);
        if let Some(record) = record {
            if self.books.apply(&record).is_err() {
                // A decision that its own state refuses is a bug; nothing happened.
                let answer = refused(answer.id, answer.request, answer.codes.len());
                return self.only(answer);
            }
            return Decided {
                record: Some(record.to_bytes()),
                answer: Held::new(self.books.records, answer),
            };
        }
        self.only(answer)
    }

    const fn only<T>(&self, answer: T) -> Decided<T> {
        Decided {
            record: None,
            answer: Held::new(self.books.records, answer),
        }
    }

    /// Checks or redeems vouchers. `asker` is the session's node: the balance is shown to the payee only. All or none are redeemed;
    /// only a redemption is remembered, so a check tells the present.
    pub fn redeem(
        &mut self,
        unix_ms: u64,
        asker: Option<NodeId>,
        keysets: &Keysets,
        request: &RedeemRequest,
        verified: &Verified,
    ) -> Decided<Answer> {
        self.redeem_to(unix_ms, Credit::Here(asker), keysets, request, verified)
    }

    /// The same, where the value may go to a ledger. Of a request that repeats another, the first answer counts.
    pub fn redeem_to(
        &mut self,
        unix_ms: u64,
        credit: Credit,
        keysets: &Keysets,
        request: &RedeemRequest,
        verified: &Verified,
    ) -> Decided<Answer> {
        let asker = credit.asker();
        let n = request.vouchers.len();
        let refuse = |code| all(request.hash, request.id, n, code);
        if let Some(kept) = self.kept(unix_ms, &request.id) {
            let same = kept.request == request.hash;
            let answer = match same {
                true => again(&kept, asker),
                false => refuse(Code::POLICY_REJECTED),
            };
            return self.only(answer);
        }
        let (codes, unit) =
            self.codes(unix_ms, keysets, &request.hash, &request.vouchers, verified);
        let Some(unit) = unit else {
            // More units than one: there is no total.
            return self.only(refuse(Code::POLICY_REJECTED));
        };
        let good = codes.iter().all(|c| *c == Code::OK);
        let value = total(&codes, &request.vouchers);
        let mut answer = Answer {
            codes,
            ..refuse(Code::OK)
        };
        if request.op == Op::Check {
            let balance = self.books.balance(&request.to, unit);
            answer.balance = if asker == Some(request.to) {
                balance
            } else {
                0
            };
            answer.total = value.unwrap_or(0);
            return self.only(answer);
        }
        if !good {
            return self.only(answer);
        }
        let is_new = self.books.balance(&request.to, unit) == 0;
        let (room, before, shows) = match credit {
            Credit::Here(_) => (
                !is_new || self.books.balances.len() < BALANCES_MAX,
                self.books.balance(&request.to, unit),
                asker == Some(request.to),
            ),
            Credit::Ledger { before } => (true, before.unwrap_or(0), before.is_some()),
        };
        let after = value.and_then(|v| v.checked_add(before));
        let spent = spent(&request.vouchers);
        let fits = spent
            .iter()
            .all(|s| self.books.has_room(&KeysetId(s.keyset), n));
        let (Some(value), Some(after), true) = (value, after, room && fits) else {
            return self.only(refuse(Code::POLICY_REJECTED));
        };
        answer.total = value;
        answer.balance = if shows { after } else { 0 };
        let ledger = matches!(credit, Credit::Ledger { .. }).then_some(answer.balance);
        let record = Record::Redeem(Redeem {
            ledger,
            at: unix_ms,
            id: request.id,
            to: request.to,
            request: request.hash,
            unit: unit.into(),
            spent,
        });
        self.decided(Some(record), answer)
    }

    /// Spends vouchers for the right to have points of the same value signed under the same keyset, in one commit. `points` are the
    /// request's, checked. A point is granted once: a wallet whose counters are old loses nothing by it.
    pub fn swap(
        &mut self,
        unix_ms: u64,
        keysets: &Keysets,
        request: &SwapRequest,
        points: &BlindedPoints,
        verified: &Verified,
    ) -> Decided<Answer> {
        let n = request.vouchers.len();
        let refuse = |code| all(request.hash, request.id, n, code);
        if let Some(kept) = self.kept(unix_ms, &request.id) {
            let same = kept.request == request.hash;
            let answer = match same {
                true => again(&kept, None),
                false => refuse(Code::POLICY_REJECTED),
            };
            return self.only(answer);
        }
        if points.request != request.hash {
            return self.only(refuse(Code::INTERNAL_ERROR));
        }
        let (codes, _) = self.codes(unix_ms, keysets, &request.hash, &request.vouchers, verified);
        if codes.iter().any(|c| *c != Code::OK) {
            let answer = Answer {
                codes,
                ..refuse(Code::OK)
            };
            return self.only(answer);
        }
        let keyset = keysets.get(&request.keyset);
        let Some(keyset) = keyset.filter(|k| k.phase(unix_ms) == Phase::Active) else {
            return self.only(refuse(Code::POLICY_REJECTED));
        };
        let value = total(&codes, &request.vouchers);
        let one = request
            .vouchers
            .iter()
            .flatten()
            .all(|v| v.keyset() == request.keyset);
        let has_keys = request
            .blinded
            .iter()
            .all(|b| keyset.key(b.denomination).is_some());
        let fits = self.books.has_room(&request.keyset, n)
            && self.books.takes_swap(unix_ms, n, request.blinded.len());
        let (Some(value), true) = (value, one && has_keys && fits) else {
            return self.only(refuse(Code::POLICY_REJECTED));
        };
        let points: Vec<PointKey> = request.blinded.iter().map(point_key).collect();
        let distinct: BTreeSet<&PointKey> = points.iter().collect();
        let fresh = distinct.len() == points.len()
            && !points
                .iter()
                .any(|p| self.books.is_granted(&request.keyset, p));
        if blinded_value(&request.blinded) != Some(value) || !fresh {
            return self.only(refuse(Code::POLICY_REJECTED));
        }
        let mut out: BTreeMap<Denomination, u64> = BTreeMap::new();
        for b in &request.blinded {
            *out.entry(b.denomination).or_default() += 1;
        }
        let blinded = blinded_hash(&request.blinded);
        let keys = request.vouchers.iter().flatten().map(Voucher::spend_key);
        let record = Record::Swap(Swap {
            at: unix_ms,
            blinded,
            id: request.id,
            out: out.into_iter().map(|(e, n)| Count(e, n)).collect(),
            request: request.hash,
            spent: Spent {
                keys: keys.collect(),
                keyset: request.keyset.0,
            },
            points: Some(points),
        });
        let answer = Answer {
            total: value,
            swapped: Some(Swapped {
                keyset: request.keyset,
                blinded,
                at: unix_ms,
            }),
            ..refuse(Code::OK)
        };
        self.decided(Some(record), answer)
    }

    /// Counts what mints report to have issued for payments. Swaps are counted when they are decided. `None` if the keyset is
    /// swept, or there is no room for it.
    pub fn issued(&mut self, keyset: &KeysetId, counts: &[(Denomination, u64)]) -> Option<Vec<u8>> {
        let record = Record::Issued(Issued {
            out: counts.iter().map(|(e, n)| Count(*e, *n)).collect(),
            keyset: keyset.0,
        });
        self.books.apply(&record).ok()?;
        Some(record.to_bytes())
    }

    /// Takes an amount out of a balance, as when it is paid out on the ledger.
    pub fn withdraw(&mut self, unix_ms: u64, w: &Withdrawal<'_>) -> Decided<Withdrawn> {
        if let Some(kept) = self.kept(unix_ms, &w.id) {
            let same = kept.request == debit_hash(&w.of, w.unit, w.amount);
            let again = if same {
                Withdrawn::Left(kept.balance)
            } else {
                Withdrawn::Refused
            };
            return self.only(again);
        }
        let record = Record::Debit(Debit {
            at: unix_ms,
            id: w.id,
            of: w.of,
            unit: w.unit.into(),
            amount: w.amount,
        });
        if w.amount == 0 || self.books.apply(&record).is_err() {
            return self.only(Withdrawn::Refused);
        }
        let left = self.books.balance(&w.of, w.unit);
        Decided {
            record: Some(record.to_bytes()),
            answer: Held::new(self.books.records, Withdrawn::Left(left)),
        }
    }

    /// Forgets the spent set of a keyset that is past its grace. Nothing of it is ever taken again, whatever the clock says.
    /// `None` if it is not past it.
    pub fn sweep(&mut self, unix_ms: u64, keyset: &Keyset) -> Option<Vec<u8>> {
        let id = keyset.id();
        let swept = keyset.phase(unix_ms) == Phase::Expired && !self.books.is_swept(&id);
        let record = Record::Swept(Swept { keyset: id.0 });
        let known = self.books.has_room(&id, 0);
        (swept && known && self.books.apply(&record).is_ok()).then(|| record.to_bytes())
    }

    /// Whether redeeming these vouchers now would change anything: the request repeats no other, and each of them is good. Their keysets
    /// are the caller's to look at.
    #[must_use]
    pub fn would_redeem(
        &self,
        unix_ms: u64,
        keysets: &Keysets,
        request: &RedeemRequest,
        verified: &Verified,
    ) -> bool {
        let (codes, unit) =
            self.codes(unix_ms, keysets, &request.hash, &request.vouchers, verified);
        request.op == Op::Redeem
            && self.kept(unix_ms, &request.id).is_none()
            && unit.is_some()
            && codes.iter().all(|c| *c == Code::OK)
    }

    /// An answer that is kept and not too old.
    fn kept(&self, unix_ms: u64, id: &[u8; 16]) -> Option<Kept> {
        let kept = self.books.answers.get(id)?;
        (kept.at.saturating_add(ANSWER_KEPT) > unix_ms).then(|| kept.clone())
    }

    /// A code for each voucher; and the one unit of them all, or the empty one if none is of a known keyset.
    fn codes<'k>(
        &self,
        unix_ms: u64,
        keysets: &'k Keysets,
        request: &[u8; 32],
        vouchers: &[Parsed],
        verified: &Verified,
    ) -> (Vec<Code>, Option<&'k str>) {
        let n = vouchers.len();
        let mut unit = None;
        if verified.request != *request || verified.codes.len() != n {
            return (alloc::vec![Code::INTERNAL_ERROR; n], Some(""));
        }
        let mut keys: Vec<(KeysetId, SpendKey)> = vouchers
            .iter()
            .flatten()
            .map(|v| (v.keyset(), v.spend_key()))
            .collect();
        keys.sort_unstable();
        if keys.windows(2).any(|w| w[0] == w[1]) {
            return (alloc::vec![Code::VOUCHER_INVALID; n], Some(""));
        }
        let mut codes = Vec::with_capacity(n);
        for (voucher, code) in vouchers.iter().zip(&verified.codes) {
            let Ok(voucher) = voucher else {
                codes.push(Code::VOUCHER_INVALID);
                continue;
            };
            let keyset = keysets.get(&voucher.keyset());
            // A keyset with another spender is another service's.
            let Some(keyset) = keyset.filter(|k| *k.spender() == self.spender) else {
                codes.push(Code::VOUCHER_INVALID);
                continue;
            };
            if unit.is_some_and(|u| u != keyset.unit()) {
                return (codes, None);
            }
            unit = Some(keyset.unit());
            codes.push(self.code(unix_ms, keyset, voucher, *code));
        }
        (codes, Some(unit.unwrap_or("")))
    }

    fn code(&self, unix_ms: u64, keyset: &Keyset, voucher: &Voucher, verified: Code) -> Code {
        if verified != Code::OK {
            return verified;
        }
        let id = keyset.id();
        match keyset.phase(unix_ms) {
            Phase::Announced | Phase::Expired => Code::POLICY_REJECTED,
            _ if self.books.is_swept(&id) => Code::POLICY_REJECTED,
            _ if self.books.is_spent(&id, &voucher.spend_key()) => Code::VOUCHER_SPENT,
            _ => Code::OK,
        }
    }
}

/// The answer that was given before. The balance of that time is for the payee.
fn again(kept: &Kept, asker: Option<NodeId>) -> Answer {
    let swapped = match (kept.keyset, kept.blinded) {
        (Some(keyset), Some(blinded)) => Some(Swapped {
            keyset: KeysetId(keyset),
            blinded,
            at: kept.at,
        }),
        _ => None,
    };
    let shown = kept.ledger.is_some() || (asker.is_some() && asker == kept.to);
    Answer {
        total: kept.total,
        balance: if shown { kept.balance } else { 0 },
        swapped,
        ..all(kept.request, kept.id, kept.n.into(), Code::OK)
    }
}

/// The value of the good ones; `None` if it exceeds 64 bits.
fn total(codes: &[Code], vouchers: &[Parsed]) -> Option<u64> {
    let good = codes.iter().zip(vouchers).filter(|(c, _)| **c == Code::OK);
    let mut values = good.filter_map(|(_, v)| v.as_ref().ok().map(Voucher::value));
    values.try_fold(0_u64, u64::checked_add)
}

fn spent(vouchers: &[Parsed]) -> Vec<Spent> {
    let mut of: BTreeMap<KeysetId, Vec<SpendKey>> = BTreeMap::new();
    for voucher in vouchers.iter().flatten() {
        of.entry(voucher.keyset())
            .or_default()
            .push(voucher.spend_key());
    }
    of.into_iter()
        .map(|(keyset, keys)| Spent {
            keys,
            keyset: keyset.0,
        })
        .collect()
}

/// By which a granted point is known again. Whatever denomination it is for: no two vouchers of a wallet share a point.
fn point_key(blinded: &Blinded) -> PointKey {
    let (mut key, full) = ([0; 16], hash(&[b"BN-VPOINT1", &blinded.point]));
    key.copy_from_slice(&full[..16]);
    key
}

/// By which a repeated withdrawal is recognised.
pub(super) fn debit_hash(of: &NodeId, unit: &str, amount: u64) -> [u8; 32] {
    hash(&[b"BN-VDEBIT1", &of.0, &amount.to_be_bytes(), unit.as_bytes()])
}
