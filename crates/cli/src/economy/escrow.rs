//! `--escrow` of `task run` and `job run`: holds budgets on the ledger before tasks are submitted.

use betanet_escrow_service::{reservation_id, reserve};
use betanet_fog::{Signed, Task};
use betanet_fog_service::Claim;
use betanet_tokenomics::Id;
use betanet_tokenomics::request::Op;

use super::amount::fog;
use super::net::{Ledger, identity, now_ms, with_ledger};
use crate::Fail;
use crate::args::{AskArgs, BooksArgs, DialArgs, EscrowArgs};

/// Holds the budgets of tasks, and waits until a final head covers the last of them.
pub(crate) async fn hold(
    args: &EscrowArgs,
    dial: &DialArgs,
    tasks: &[&Signed<Task>],
) -> Result<(), Fail> {
    let (Some(ledger), Some(genesis)) = (&args.ledger, &args.genesis) else {
        let why = "--escrow needs the ledger's node and genesis: --ledger PEER --genesis FILE";
        return Err(Fail::Usage(why.to_owned()));
    };
    let mut ask = AskArgs {
        wait: false,
        account: None,
        books: BooksArgs {
            ledger: ledger.clone(),
            genesis: genesis.clone(),
            dial: dial.clone(),
            json: false,
        },
    };
    let me = identity(dial)?;
    let mut total = 0_u64;
    with_ledger!(Ledger::open(&ask.books), |ledger| {
        for (at, task) in tasks.iter().enumerate() {
            ask.wait = at + 1 == tasks.len();
            let (id, op) = asked(task)?;
            let amount = fog(task.budget.into());
            match ledger.submit(&ask, &[&me], &op, id).await {
                Ok(_) => total = total.saturating_add(task.budget),
                Err(Fail::Peer(why)) => {
                    let before = match total {
                        0 => String::new(),
                        total => format!(
                            "; {} FOG that were held before return when these holds end, three days after the tasks' deadlines",
                            fog(total.into())
                        ),
                    };
                    return Err(Fail::Peer(format!(
                        "the budget of {amount} FOG is not held, and nothing is submitted: {why}{before}"
                    )));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    })?;
    let total = fog(total.into());
    match tasks.len() {
        1 => note!("{total} FOG is held for the task"),
        n => note!("{total} FOG is held for {n} tasks"),
    }
    Ok(())
}

/// The request that holds a task's budget.
fn asked(task: &Signed<Task>) -> Result<(Id, Op), Fail> {
    let claim = Claim::of_task(task);
    let op = reserve(&claim, now_ms()).ok_or_else(|| {
        Fail::Usage("the task's deadline is too far for a hold: at most 362 days".to_owned())
    })?;
    let id = reservation_id(&claim.owner, claim.purpose, &claim.of);
    Ok((id, op))
}
