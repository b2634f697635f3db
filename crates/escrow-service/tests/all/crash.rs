//! Processes that are killed at each point between the two journals.

use std::time::Duration;

use betanet_coordinator::Request;
use betanet_fog::{RefusalCode, Signed, TaskState};
use betanet_fog_service::{Claim, Escrow, Purpose, Untold};
use betanet_tokenomics::account::{ESCROW, MICRO};

use crate::world::{BUDGET, Disk, ME, OTHER, WORKER, identity, key, task};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_held_paid_once_and_released_whenever_the_process_is_killed() {
    let disk = Disk::new();
    let fee = 100;

    // Nothing is accepted that its owner cannot cover, and what was refused holds nothing.
    let one = disk.start(false).await;
    one.join().await;
    let refused = one.local.submit(task(1, 21 * MICRO)).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.key),
        (RefusalCode::Budget, "reservation")
    );
    assert_eq!(one.has(ME).await, 20 * u128::from(MICRO));

    // Killed between the hold and the acceptance: the same task is accepted, and held once.
    let first = task(2, BUDGET);
    let id = Signed::sign(first.clone(), &identity(ME)).unwrap().id();
    let claim = Claim {
        purpose: Purpose::Task,
        of: id.0,
        owner: key(ME),
        amount: BUDGET,
        until_ms: first.deadline + 3 * 86_400_000,
    };
    // Until the first head is final, nothing can be told.
    while one.escrow.covers(claim).await == Err(Untold) {
        one.ledger.changed(Duration::from_secs(1)).await;
    }
    assert_eq!(one.escrow.covers(claim).await, Ok(true));
    let stranger = Claim {
        owner: key(OTHER),
        ..claim
    };
    assert_eq!(one.escrow.covers(stranger).await, Ok(false));
    let rest = 20 * u128::from(MICRO) - u128::from(BUDGET) - fee;
    assert_eq!(one.has(ME).await, rest);
    disk.crash(one);
    let two = disk.start(false).await;
    assert_eq!(two.local.submit(first.clone()).await, Ok(id));
    assert_eq!(two.local.submit(first.clone()).await, Ok(id));
    assert_eq!(two.has(ME).await, rest);
    assert_eq!(two.of(ESCROW).await, u128::from(BUDGET));

    // Killed between the result and the settlement: another process settles from the journal.
    two.beat(2).await;
    two.work(id).await;
    let status = two.local.status(id).await.unwrap();
    assert_eq!(status.state, TaskState::Succeeded);
    assert!(status.cost > 0, "{status:?}");
    assert!(two.held(id).await);
    disk.crash(two);
    let three = disk.start(true).await;
    three.settled(id).await;
    let cost = u128::from(status.cost);
    assert_eq!(three.has(ME).await, rest + u128::from(BUDGET) - cost);
    let paid = three.has(WORKER).await - u128::from(MICRO);
    assert_eq!(
        paid,
        cost - cost * 20_000 / 1_000_000,
        "the default fee is 2 %"
    );
    assert_eq!(three.of(ESCROW).await, 0);
    // A repeat of the submission finds the task, though its hold is gone.
    assert_eq!(three.local.submit(first).await, Ok(id));

    // Killed after the settlement: nothing is paid twice.
    disk.crash(three);
    let four = disk.start(true).await;
    let again = task(3, BUDGET);
    let id = four.local.submit(again).await.unwrap();
    four.local.ask(Request::Cancel(id)).await.unwrap();
    // It died unplaced or unpaid: all of it comes back, but for the fee of the hold.
    four.settled(id).await;
    assert_eq!(four.has(WORKER).await, paid + u128::from(MICRO));
    assert_eq!(four.has(ME).await, rest + u128::from(BUDGET) - cost - fee);
    let audited = four.ledger.look(|view| view.latest.audit().is_ok());
    assert!(audited.await.unwrap());
    four.stop().await;
}
