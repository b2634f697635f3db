//! Work: escrow for tasks and auctions, and its settlement from receipts.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::account::{BACKING, ESCROW, FEES, ISSUANCE, NODE, TREASURY, address};
use crate::apply::Context;
use crate::code::{Code, Lowest};
use crate::math::{PPM, narrow, share};
use crate::params::{Param, Role};
use crate::records::Receipt;
use crate::request::Item;
use crate::rows::{Once, Reservation};
use crate::state::Economy;
use crate::{Asset, Hash, Id};

/// Most units of a job.
const JOB_MAX: u128 = 1 << 40;
/// A reservation for a task.
const TASK: u64 = 0;
/// Number of the marks of receipts.
const ONCE: u8 = 1;

/// The canonical result: status and digest of the output.
type Canon<'a> = (&'a str, &'a [u8]);

impl Economy {
    pub(crate) fn reserve(
        &mut self,
        c: &Context<'_>,
        (amt, credit): (u64, u64),
        (kind, of): (u64, Hash),
        ttl: u64,
    ) -> Result<(), Code> {
        let fog = amt.saturating_sub(credit);
        let mut lowest = Lowest::default();
        lowest.join(self.payer(&c.by, Asset::Fog, u128::from(fog)));
        lowest.join(self.payer(&c.by, Asset::Credits, u128::from(credit)));
        lowest.done()?;
        self.shift(c.by, ESCROW, Asset::Fog, fog);
        // Credits become the FOG behind them.
        self.shift(c.by, ISSUANCE, Asset::Credits, credit);
        self.shift(BACKING, ESCROW, Asset::Fog, credit);
        let row = Reservation {
            client: c.by,
            kind,
            of,
            amt,
            credit,
            due: c.now.saturating_add(ttl.saturating_mul(1_000)),
        };
        self.t.reservations.set((c.request.id,), row);
        Ok(())
    }

    pub(crate) fn settle(
        &mut self,
        c: &Context<'_>,
        (status, out): (&str, &[u8]),
        end: bool,
        list: &[Item],
        res: &Id,
    ) -> Result<(), Code> {
        let mut lowest = Lowest::default();
        lowest.join(self.quorum(c.request, Role::Coordinators));
        let Some(row) = self.t.reservations.get(&(*res,)).cloned() else {
            lowest.add(self.ended(res));
            return lowest.done();
        };
        let receipts = self.check_items(&row, (status, out), list, &mut lowest);
        let least = receipts.iter().flatten().map(|r| r.fuel).min();
        let jobs: Vec<u128> = list
            .iter()
            .map(|item| self.units(item, least.unwrap_or(0)))
            .collect();
        if row.kind == TASK {
            lowest.when(jobs.iter().any(|units| *units > JOB_MAX), Code::Bounds);
        }
        let total: u128 = list.iter().map(|item| u128::from(item.pay)).sum();
        lowest.when(total > u128::from(row.amt), Code::Exceeds);
        lowest.done()?;
        let mut row = row;
        for (i, item) in list.iter().enumerate() {
            if let Some(Some(receipt)) = receipts.get(i) {
                let mark = receipt_mark(receipt);
                self.t.once.set((mark,), Once { one: 1 });
            }
            let fee = self.pay(&mut row, item);
            if row.kind == TASK {
                self.note_job(item.to, fee, jobs[i]);
            }
        }
        self.t.reservations.set((*res,), row);
        if end {
            self.return_reservation(res);
        }
        Ok(())
    }

    /// Checks payees and their receipts. A receipt that reads is returned, whether or not it is good.
    fn check_items(
        &self,
        row: &Reservation,
        canon: Canon<'_>,
        list: &[Item],
        lowest: &mut Lowest,
    ) -> Vec<Option<Receipt>> {
        let mut receipts = Vec::with_capacity(list.len());
        let mut marks = BTreeSet::new();
        for item in list {
            let account = self.t.accounts.get(&(item.to,));
            let gift = row.kind != TASK && item.to == TREASURY;
            if !gift {
                let is_node = account.is_some_and(|account| account.kind == NODE);
                lowest.when(!is_node, Code::Unknown);
                lowest.join(self.payee(&item.to));
            }
            if row.kind != TASK {
                lowest.when(!item.record.is_empty(), Code::BadEvidence);
                receipts.push(None);
                continue;
            }
            let receipt = Receipt::from_bytes(&item.record);
            match (&receipt, &item.sig) {
                (Some(receipt), Some(sig)) => {
                    let good = address(&receipt.key) == item.to
                        && receipt.task == row.of
                        && receipt.is_signed(&item.record, sig);
                    lowest.when(!good, Code::BadEvidence);
                    lowest.when(receipt.result() != canon, Code::NotCanonical);
                    let mark = receipt_mark(receipt);
                    let used = self.t.once.has(&(mark,)) || !marks.insert(mark);
                    lowest.when(used, Code::Once);
                }
                _ => lowest.add(Code::BadEvidence),
            }
            receipts.push(receipt);
        }
        receipts
    }

    fn units(&self, item: &Item, fuel: u64) -> u128 {
        let part = |amount: u64, weight: Param| {
            u128::from(amount).saturating_mul(u128::from(self.parameter(weight)))
        };
        let sum = part(fuel, Param::WFuel)
            .saturating_add(part(item.kib, Param::WKib))
            .saturating_add(part(item.mibh, Param::WMibh));
        sum / PPM
    }

    /// Pays an item out of escrow, credits first, and returns the fee.
    fn pay(&mut self, row: &mut Reservation, item: &Item) -> u64 {
        let credit = row.credit.min(item.pay);
        row.credit -= credit;
        row.amt = row.amt.saturating_sub(item.pay);
        let fee = match item.to == TREASURY {
            true => 0,
            false => share(item.pay, self.parameter(Param::FeePpm)),
        };
        let rest = item.pay - fee;
        let withheld = share(rest, item.sla);
        self.shift(ESCROW, FEES, Asset::Fog, fee);
        self.shift(ESCROW, BACKING, Asset::Fog, withheld);
        self.shift(ISSUANCE, row.client, Asset::Credits, withheld);
        self.shift(ESCROW, item.to, Asset::Fog, rest - withheld);
        fee
    }

    fn note_job(&mut self, id: NodeId, fee: u64, units: u128) {
        if let Some(node) = self.t.nodes.get(&(id,)) {
            let mut node = node.clone();
            node.jobs = node.jobs.saturating_add(1);
            node.fees = node.fees.saturating_add(fee);
            node.units = node.units.saturating_add(narrow(units));
            self.t.nodes.set((id,), node);
        }
    }
}

/// Mark of a receipt, which is paid once.
pub(crate) fn receipt_mark(receipt: &Receipt) -> Hash {
    let copy = receipt.copy.to_be_bytes();
    let fence = receipt.fence.to_be_bytes();
    Economy::once_key(ONCE, &[&receipt.task, &copy, &fence])
}
