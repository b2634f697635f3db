//! Redemptions: to balances here, or to accounts of a ledger.

use betanet_journal::Record;
use betanet_vouchers::KeysetId;
use betanet_vouchers::bank::{Credit, Verified};
use betanet_vouchers::message::{Answer, Op, RedeemRequest};
use betanet_wire::{Code, NodeId};

use std::sync::Arc;

use super::outbox::Owed;
use super::{BANK, OUTBOX, Said, VoucherState, now};

/// Most units of one purchase or redemption on the ledger.
const UNITS_MAX: u64 = 1 << 40;

/// What the ledger says of a redemption before it is committed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Standing {
    /// Units that the payee has available.
    pub(crate) available: u64,
    /// Units of the keyset that can still be redeemed.
    pub(crate) left: u64,
    /// Records of the head that shows it.
    pub(crate) size: u64,
}

/// Keysets of a redemption.
enum Of {
    /// None is a ledger's.
    Here,
    /// All are this one, of a ledger.
    Ledger(KeysetId),
    /// A ledger's keyset beside others: one answer pays out under one keyset.
    Mixed,
}

impl VoucherState {
    fn keyset_of(&self, request: &RedeemRequest) -> Of {
        let all = || request.vouchers.iter().flatten().map(|v| v.keyset());
        match all().find(|id| self.is_ledgers(id)) {
            None => Of::Here,
            Some(id) if all().all(|other| other == id) => Of::Ledger(id),
            Some(_) => Of::Mixed,
        }
    }

    pub(super) fn redeem(
        &mut self,
        unix_ms: u64,
        asker: Option<NodeId>,
        asked: Box<(RedeemRequest, Verified)>,
        standing: Option<Result<Standing, Code>>,
        records: &mut Vec<Record>,
    ) -> Said {
        let keysets = Arc::clone(&self.of.keysets);
        let (request, verified) = &*asked;
        let of = match request.op {
            Op::Check => Of::Here,
            Op::Redeem => self.keyset_of(request),
        };
        let keyset = match of {
            Of::Here => {
                let decided = self
                    .bank
                    .redeem(unix_ms, asker, &keysets, request, verified);
                return self.bank_said(decided, records);
            }
            Of::Mixed => return Said::Answer(refusal(request, Code::POLICY_REJECTED)),
            Of::Ledger(keyset) => keyset,
        };
        let mut before = None;
        if self.bank.would_redeem(unix_ms, &keysets, request, verified) {
            let standing = match standing {
                _ if !self.fits() => return Said::Elsewhere,
                None => return Said::AskLedger(keyset, asked),
                // What was settled since that head is in neither sum.
                Some(Ok(standing)) if standing.size < self.settled => {
                    return Said::AskLedger(keyset, asked);
                }
                Some(Err(code)) => return Said::Answer(refusal(request, code)),
                Some(Ok(standing)) => standing,
            };
            let values = request.vouchers.iter().flatten().map(|v| v.value());
            let value = values.fold(0_u64, u64::saturating_add);
            if value > UNITS_MAX {
                return Said::Answer(refusal(request, Code::POLICY_REJECTED));
            }
            // What waits was not redeemed there yet, as far as is known here.
            let left = standing.left.saturating_sub(self.outbox.units(&keyset));
            if value > left || self.outbox.is_full() {
                return Said::Later(keyset, asked);
            }
            let waits = self.outbox.units_to(&request.to);
            before = (asker == Some(request.to)).then(|| standing.available.saturating_add(waits));
        }
        let credit = Credit::Ledger { before };
        let decided = self
            .bank
            .redeem_to(unix_ms, credit, &keysets, request, verified);
        let is_new = decided.record.is_some();
        records.extend(decided.record.map(|r| Record::new(BANK, r)));
        let Some(answer) = now(decided.answer) else {
            return Said::Failed;
        };
        if is_new {
            // In the same commit: neither stands without the other.
            let owed = Owed {
                at: unix_ms,
                to: request.to,
                units: answer.total,
                ans: answer.body_hash(),
                code: None,
                keyset: keyset.0,
            };
            records.push(Record::new(OUTBOX, self.outbox.owe(owed)));
            self.bind(records);
        }
        Said::Answer(answer)
    }
}

/// The same code for each voucher: nothing has happened.
fn refusal(request: &RedeemRequest, code: Code) -> Answer {
    Answer {
        id: request.id,
        request: *request.hash(),
        codes: vec![code; request.vouchers.len()],
        total: 0,
        balance: 0,
        swapped: None,
    }
}
