//! A day on which a tier's promise is not kept: the nodes' pay is less, and the client has credits for it.

use betanet_coordinator::Request;
use betanet_fog::{
    Amounts, Assignment, DAY_MS, Outcome, Receipt, Resources, Retry, Signed, Task, TaskId, Tier,
};
use betanet_tokenomics::Asset;
use betanet_tokenomics::account::{BACKING, FEES, MICRO, address};

use crate::world::{
    BUDGET, Disk, ME, Process, WORKER, genesis_with, identity, key, now_ms, receipt_of, task,
};

/// Tasks that must have ended before a credit is due, and every so many of them that fails.
const LEAST: u64 = 20;
const FAILS: u64 = 4;
/// Fuel of a task, so that its cost is divided.
const FUEL: u64 = 100_000_000_000;

/// A task that is not tried again.
fn once(nonce: u64) -> Task {
    let retry = Retry {
        most: 0,
        ..task(nonce, BUDGET).retry
    };
    let cores = Amounts {
        cpu: 10_000,
        memory: 1 << 30,
        ..Amounts::default()
    };
    Task {
        retry,
        fuel: FUEL,
        res: Resources::demand(cores).unwrap(),
        ..task(nonce, BUDGET)
    }
}

/// The worker's receipt of a program that burnt all its fuel.
fn receipt(work: &Assignment, status: Outcome) -> Signed<Receipt> {
    let mut receipt = Receipt::clone(&receipt_of(work, WORKER, [8; 32]));
    (receipt.status, receipt.fuel, receipt.end) = (status, FUEL, now_ms());
    if status != Outcome::Ok {
        receipt.out = None;
    }
    Signed::sign(receipt, &identity(WORKER)).unwrap()
}

/// Lets the worker run a task to this end, and waits until it is settled.
async fn run(process: &Process, nonce: u64, status: Outcome) {
    let id = process.local.submit(once(nonce)).await.unwrap();
    let work = assigned(process, id).await;
    process.ask(Request::Start(id, work.fence)).await;
    let done = Request::Done(id, Box::new(receipt(&work, status)));
    process.ask(done).await;
    process.settled(id).await;
}

async fn assigned(process: &Process, id: TaskId) -> Box<Assignment> {
    let found = async {
        loop {
            let mut all = process.assigned().await.into_iter();
            match all.find(|work| work.task == id) {
                Some(work) => return work,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), found).await;
    found.unwrap()
}

/// FOG of the worker and of all fees, FOG behind credits, and the client's credits, under the final head.
async fn books(process: &Process) -> [u128; 4] {
    let (client, worker) = (address(&key(ME)), address(&key(WORKER)));
    let look = process.ledger.look(move |view| {
        let state = view.covered.unwrap();
        state.audit().unwrap();
        let of = |id, asset| state.counters(id, asset).available();
        [
            of(&worker, Asset::Fog),
            of(&FEES, Asset::Fog),
            of(&BACKING, Asset::Fog),
            of(&client, Asset::Credits),
        ]
    });
    look.await.unwrap()
}

/// Percent of the pay that the client gets back today.
async fn percent(process: &Process) -> u64 {
    let (ns, day) = (task(1, BUDGET).ns, now_ms() / DAY_MS);
    let percent = process.running.handle().credit(ns, Tier::Bronze, day);
    percent.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_missed_service_level_withholds_of_the_pay_is_the_clients_credit() {
    let disk = Disk {
        genesis: genesis_with(1_000 * MICRO),
        ..Disk::new()
    };
    let one = disk.start(true).await;
    one.join().await;
    let mut n = 0;
    while percent(&one).await == 0 {
        n += 1;
        assert!(n < 3 * LEAST, "no credit is due");
        let status = match n % FAILS {
            0 => Outcome::Internal,
            _ => Outcome::Ok,
        };
        run(&one, n, status).await;
        if n < LEAST {
            // Too few tasks for a credit: all that worked is paid in full.
            let [worker, _, backing, credits] = books(&one).await;
            assert_eq!((backing, credits), (0, 0));
            assert!(worker > u128::from(MICRO), "{worker}");
        }
    }
    assert!(n >= LEAST, "{n}");
    // A quarter of the day's tasks failed, which is more than twice what the tier may.
    assert_eq!(percent(&one).await, 25);
    let before = books(&one).await;
    run(&one, n + 1, Outcome::Ok).await;
    let after = books(&one).await;
    let [paid, fee, backing, credits] = [0, 1, 2, 3].map(|at: usize| after[at] - before[at]);
    assert_eq!(backing, credits);
    assert_eq!(credits, (paid + credits) / 4);
    assert!(credits > 0 && paid > 0);
    // A fiftieth of all that the task cost is the fee; the hold had a fee of its own.
    assert_eq!(fee - 100, (fee - 100 + paid + credits) / 50);
    let of_nodes = one.ledger.look(|view| {
        let worker = address(&key(WORKER));
        view.latest.counters(&worker, Asset::Credits).available()
    });
    assert_eq!(of_nodes.await.unwrap(), 0, "nodes get no credits");
    one.stop().await;
}
