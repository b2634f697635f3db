//! Wrong results: receipts that contradict the result that decided a task are evidence for the ledger.

use std::collections::BTreeSet;

use betanet_fog::{Fate, Outcome, Receipt, Signed, Task, Verify};
use betanet_tokenomics::request::{EVIDENCE_MAX, Op, Proof, RECORD_MAX, TASK_MAX};

/// Kind of this evidence.
const WRONG: u8 = 2;

/// Equal results that decide a task by its rule; `None` where one is enough.
fn decisive(task: &Task) -> Option<usize> {
    match task.verify.rule {
        Verify::None => None,
        Verify::Spot => Some(2),
        Verify::Quorum => usize::try_from(task.verify.k).ok(),
    }
}

fn proof(receipt: &Signed<Receipt>) -> Proof {
    Proof {
        record: receipt.rec().to_vec(),
        key: receipt.key,
        sig: receipt.envelope().sig,
    }
}

/// Evidence against each node whose receipt contradicts the result that decided a task, in the order of the receipts. `deciding` are
/// the fences of the receipts that decided it. Results of other engines tell nothing about one another, and neither do programs that
/// broke off: how deep a stack may be, for one, differs between machines.
pub(crate) fn evidence(
    task: &Signed<Task>,
    receipts: &[Signed<Receipt>],
    deciding: &[u64],
) -> Vec<Op> {
    let Some(k) = decisive(task).filter(|_| task.rec().len() <= TASK_MAX) else {
        return Vec::new();
    };
    let grants = !task.grants.is_empty();
    let id = task.id();
    let counts = |r: &&Signed<Receipt>| {
        let result = r.status.fate(grants) == Fate::Result;
        let whole = matches!(r.status, Outcome::Ok | Outcome::Exit);
        result && whole && r.task == id && r.rec().len() <= RECORD_MAX
    };
    let (right, others): (Vec<_>, Vec<_>) = receipts
        .iter()
        .filter(counts)
        .partition(|r| deciding.contains(&r.fence));
    let mut accused = BTreeSet::new();
    let mut all = Vec::new();
    for wrong in others {
        let mut keys = BTreeSet::from([wrong.key]);
        let agree = right.iter().filter(|r| {
            let differs = (r.status, r.out) != (wrong.status, wrong.out);
            differs && r.engine == wrong.engine && keys.insert(r.key)
        });
        let agree: Vec<Proof> = agree.take(EVIDENCE_MAX - 1).map(|r| proof(r)).collect();
        // A node loses its stake once for a task.
        if agree.len() < k || !accused.insert(wrong.key) {
            continue;
        }
        let list = [vec![proof(wrong)], agree].concat();
        all.push(Op::Evidence {
            kind: WRONG,
            list,
            task: task.rec().to_vec(),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use betanet_fog::Verification;
    use betanet_fog_client::testkit;
    use betanet_keys::Identity;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn task(rule: Verify, k: u64, n: u64) -> Signed<Task> {
        let owner = Identity::from_seed(&[1; 32]);
        let mut task = testkit::task(&owner, 1, NOW);
        task.verify = Verification { rule, k, n };
        Signed::sign(task, &owner).unwrap()
    }

    fn receipt(task: &Signed<Task>, node: u8, out: u8, engine: &str) -> Signed<Receipt> {
        let node_key = Identity::from_seed(&[node; 32]);
        let receipt = Receipt {
            inputs: [1; 32],
            key: *node_key.public().as_bytes(),
            end: NOW + 1,
            out: Some([out; 32]),
            copy: 0,
            fuel: 1_000_000,
            task: task.id(),
            epoch: 1,
            fence: node.into(),
            start: NOW,
            engine: engine.parse().unwrap(),
            module: task.module.digest,
            status: Outcome::Ok,
        };
        Signed::sign(receipt, &node_key).unwrap()
    }

    /// Nodes that are accused, and the number of receipts against each.
    fn accused(ops: &[Op]) -> Vec<([u8; 32], usize)> {
        let one = |op: &Op| match op {
            Op::Evidence { kind: 2, list, .. } => (list[0].key, list.len() - 1),
            other => panic!("{other:?}"),
        };
        ops.iter().map(one).collect()
    }

    #[test]
    fn a_program_that_broke_off_on_one_side_accuses_nobody() {
        let task = task(Verify::Quorum, 2, 3);
        let broke = |n: u8, status| {
            let receipt = Receipt {
                status,
                out: None,
                ..(*receipt(&task, n, 8, "test")).clone()
            };
            Signed::sign(receipt, &Identity::from_seed(&[n; 32])).unwrap()
        };
        let of = |n, out| receipt(&task, n, out, "test");
        for status in [Outcome::Trap, Outcome::Memory, Outcome::Fuel] {
            let one = [of(2, 8), of(3, 8), broke(4, status)];
            assert_eq!(evidence(&task, &one, &[2, 3]), [], "{status:?}");
            let two = [broke(2, status), broke(3, status), of(4, 8)];
            assert_eq!(evidence(&task, &two, &[2, 3]), [], "{status:?}");
        }
    }

    #[test]
    fn who_contradicts_what_decided_a_task_is_accused_once() {
        let key = |n: u8| *Identity::from_seed(&[n; 32]).public().as_bytes();
        let task_q = task(Verify::Quorum, 2, 3);
        let of = |n, out| receipt(&task_q, n, out, "test");
        let mut all = vec![of(2, 8), of(3, 8), of(4, 9)];
        let made = evidence(&task_q, &all, &[2, 3]);
        assert_eq!(accused(&made), [(key(4), 2)]);
        let Op::Evidence { task: record, .. } = &made[0] else {
            panic!("other than evidence");
        };
        assert_eq!(
            betanet_tokenomics::records::task_verification(record),
            Some((task_q.id().0, 2))
        );
        // Twice for one task, nobody; nor who agrees, later.
        all.push(of(4, 7));
        all.push(of(5, 8));
        assert_eq!(accused(&evidence(&task_q, &all, &[2, 3])), [(key(4), 2)]);
        // Another engine may differ, and so may a fault.
        all[2] = receipt(&task_q, 4, 9, "other");
        all.truncate(3);
        assert_eq!(evidence(&task_q, &all, &[2, 3]), []);
        // Too few equal results prove nothing, and without verification there is no wrong one.
        let few = [of(2, 8), of(4, 9)];
        assert_eq!(evidence(&task_q, &few, &[2]), []);
        let plain = task(Verify::None, 0, 0);
        let of = |n, out| receipt(&plain, n, out, "test");
        let all = [of(2, 8), of(3, 8), of(4, 9)];
        assert_eq!(evidence(&plain, &all, &[2, 3]), []);
        let spot = task(Verify::Spot, 0, 0);
        let of = |n, out| receipt(&spot, n, out, "test");
        let all = [of(2, 8), of(3, 8), of(4, 9)];
        assert_eq!(accused(&evidence(&spot, &all, &[2, 3])), [(key(4), 2)]);
        assert_eq!(evidence(&spot, &all, &[2]), []);
    }
}
