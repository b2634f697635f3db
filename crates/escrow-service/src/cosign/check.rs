//! Whether a proposed settlement follows from what it carries: the same code computes it here.

use std::collections::BTreeSet;

use betanet_fog::{DAY_MS, Envelope, Fate, Receipt, Received, Signed, Task, TaskId, Verify};
use betanet_fog_service::Claim;
use betanet_scheduler::money::Bill;
use betanet_tokenomics::records::task_verification;
use betanet_tokenomics::request::{Item, Op};
use betanet_tokenomics::{Hash, Id, Request};
use betanet_wire::NodeId;

use super::body::Proposal;
use crate::When;
use crate::ids::VALID_MS;
use crate::items::{Payout, of_task};
use crate::reason::Reason;

/// Clocks of two coordinators differ by less, in ms.
const CLOCKS_MS: u64 = 600_000;
/// Most equal results that decide a task under spot.
const SPOT_MOST: usize = 4;
/// Parts of the pay, in percent, that a missed service level gives back: those of its start, and those of its end.
const CREDITS: [u64; 3] = [0, 10, 25];

/// A settlement as a request has it.
#[derive(Debug)]
pub(crate) struct Settlement<'a> {
    pub(crate) status: &'a str,
    pub(crate) out: &'a [u8],
    pub(crate) end: bool,
    pub(crate) list: &'a [Item],
    pub(crate) res: &'a Id,
}

/// The settlement of a request, which is valid for a bounded time.
pub(crate) fn settlement(request: &Request, now_ms: u64) -> Result<Settlement<'_>, Reason> {
    let most = now_ms.saturating_add(VALID_MS).saturating_add(CLOCKS_MS);
    match &request.op {
        Op::Settle {
            status,
            out,
            end,
            list,
            res,
        } if request.exp <= most => Ok(Settlement {
            status,
            out,
            end: *end,
            list,
            res,
        }),
        _ => Err(Reason::Request),
    }
}

/// The task of a request with evidence of a wrong result, which is valid for a bounded time. `None`: it is none.
pub(crate) fn accused(request: &Request, now_ms: u64) -> Result<Option<TaskId>, Reason> {
    let most = now_ms.saturating_add(VALID_MS).saturating_add(CLOCKS_MS);
    match &request.op {
        Op::Evidence { task, .. } => {
            let read = task_verification(task).filter(|_| request.exp <= most);
            let (id, _) = read.ok_or(Reason::Request)?;
            Ok(Some(TaskId(id)))
        }
        _ => Ok(None),
    }
}

/// Hash of a settlement without its signers, nonces, times and ID.
pub(crate) fn digest(op: &Op) -> Option<Hash> {
    let same = Request::new(&[(NodeId([0; 20]), 0)], 0, [0; 16], op);
    same.map(|request| request.digest())
}

/// The signed task of a proposal, checked but for its time.
pub(crate) fn task(bytes: &[u8]) -> Result<Signed<Task>, Reason> {
    let received = Received::<Task>::read(bytes).map_err(|_| Reason::Task)?;
    received.verify().map_err(|_| Reason::Task)?;
    let task = Signed::<Task>::restore(bytes).map_err(|_| Reason::Task)?;
    // Lots are paid for by their bid.
    match task.rsv {
        None => Ok(task),
        Some(_) => Err(Reason::Task),
    }
}

/// The receipts of a proposal, whose signatures and bounds hold.
fn receipts(proposal: &Proposal<'_>) -> Result<Vec<Signed<Receipt>>, Reason> {
    let each = proposal.receipts.0.iter().map(|shown| {
        let envelope = Envelope {
            rec: shown.rec.clone(),
            sig: shown.sig,
        };
        let received = Received::<Receipt>::new(envelope).map_err(|_| Reason::Receipt)?;
        let authentic = received.verify().map_err(|_| Reason::Receipt)?;
        authentic.check(0).map_err(|_| Reason::Receipt)
    });
    each.collect()
}

/// Whether these receipts, and no fewer, decide the task by its rule.
fn decides(task: &Task, receipts: &[Signed<Receipt>]) -> bool {
    let Some(canon) = receipts.first() else {
        return false;
    };
    let grants = !task.grants.is_empty();
    let result = canon.status.fate(grants) == Fate::Result;
    let equal = |r: &Signed<Receipt>| r.status == canon.status && r.out == canon.out;
    let n = receipts.len();
    let enough = match task.verify.rule {
        Verify::None => n == 1,
        Verify::Spot => n <= SPOT_MOST,
        Verify::Quorum => n as u64 >= task.verify.k && n as u64 <= task.verify.n,
    };
    result && enough && receipts.iter().all(equal)
}

/// What a task pays by its own terms, its receipts, and the factor and credit that the proposal names.
pub(crate) fn payout(
    proposal: &Proposal<'_>,
    task: &Signed<Task>,
    (when, now_ms): (When, u64),
) -> Result<Payout, Reason> {
    let receipts = receipts(proposal)?;
    if receipts.is_empty() {
        return Ok(Payout::none());
    }
    let id = task.id();
    let (mut keys, mut copies, mut fences) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for receipt in &receipts {
        let good = receipt.task == id
            && receipt.module == task.module.digest
            && receipt.fuel <= task.fuel
            && keys.insert(receipt.key)
            && copies.insert(receipt.copy);
        if !good {
            return Err(Reason::Receipt);
        }
        fences.push(receipt.fence);
    }
    if !fences.is_sorted_by(|a, b| a < b) {
        return Err(Reason::Receipt);
    }
    if !decides(task, &receipts) {
        return Err(Reason::Verdict);
    }
    // An end is its node's own claim, and no task ends after its deadline.
    let ended = receipts.iter().map(|r| r.end).max().unwrap_or(0);
    let ended = ended.min(task.deadline);
    if when == When::DayEnd && (ended / DAY_MS + 1).saturating_mul(DAY_MS) > now_ms {
        return Err(Reason::Early);
    }
    let some = |sum: u64| CREDITS.iter().any(|a| CREDITS.iter().any(|b| a + b == sum));
    if !some(proposal.percent) {
        return Err(Reason::Credit);
    }
    let bill = Bill {
        resources: task.res,
        tier: task.tier,
        quorum: task.verify.n,
        factor: proposal.factor,
    };
    // It was placed only where its limit is within the budget.
    if bill.for_fuel(task.fuel) > task.budget {
        return Err(Reason::Factor);
    }
    let least = receipts.iter().map(|r| r.fuel).min().unwrap_or(0);
    Ok(of_task(bill.for_fuel(least), &receipts, proposal.percent))
}

/// What must be held for a task, by its own terms.
pub(crate) fn claim(task: &Signed<Task>) -> Claim {
    Claim::of_task(task)
}

#[cfg(test)]
mod tests {
    use betanet_fog::Outcome;
    use betanet_fog_client::testkit;
    use betanet_keys::Identity;

    use super::*;
    use crate::cosign::body::{Receipts, Shown};

    const NOW: u64 = 20_000 * DAY_MS + 1_000;

    /// What is paid for a task at a time, if its node says that it ended then.
    fn paid(end: u64, when: When, now_ms: u64) -> Result<Payout, Reason> {
        let (owner, node) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let task = Signed::sign(testkit::task(&owner, 1, NOW), &owner).unwrap();
        let receipt = Receipt {
            inputs: [1; 32],
            key: *node.public().as_bytes(),
            end,
            out: Some([8; 32]),
            copy: 0,
            fuel: 1_000_000,
            task: task.id(),
            epoch: 1,
            fence: 9,
            start: NOW,
            engine: "test".parse().unwrap(),
            module: task.module.digest,
            status: Outcome::Ok,
        };
        let receipt = Signed::sign(receipt, &node).unwrap();
        let shown = Shown {
            rec: receipt.rec().to_vec(),
            sig: receipt.envelope().sig,
        };
        let proposal = Proposal {
            bid: None,
            request: &[],
            percent: 0,
            task: &[],
            receipts: Receipts(vec![shown]),
            factor: 500_000,
        };
        assert!(task.deadline < NOW + DAY_MS - 1_000);
        payout(&proposal, &task, (when, now_ms))
    }

    #[test]
    fn a_task_is_paid_after_its_day_whatever_end_its_node_claims() {
        let next = (NOW / DAY_MS + 1) * DAY_MS;
        for end in [NOW + 1, NOW + 30 * DAY_MS, u64::MAX >> 1] {
            let early = paid(end, When::DayEnd, next - 1);
            assert_eq!(early, Err(Reason::Early));
            let due = paid(end, When::DayEnd, next).unwrap();
            assert_eq!(due.items.len(), 1);
            assert_eq!(paid(end, When::AtOnce, NOW).unwrap(), due);
        }
    }
}
