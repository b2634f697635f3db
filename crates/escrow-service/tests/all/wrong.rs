//! A node returns another result than those that decided a task: the ledger is told, by whoever can sign for a quorum.

use std::sync::atomic::Ordering;

use betanet_coordinator::{Caller, Change, Item, Rating, Record, Reply, Request};
use betanet_escrow_service::rate;
use betanet_fog::bodies::{Beat, TokenText};
use betanet_fog::{
    Assignment, List, Need, Op as Is, Received, Signed, Task, TaskId, TaskState, Verification,
    Verify,
};
use betanet_fog_client::testkit;
use betanet_journal::{Batch, Journal as _};
use betanet_keys::Peer;
use betanet_tokenomics::Code;
use betanet_tokenomics::account::{BURN, MICRO, STAKE, TREASURY};
use betanet_tokenomics::request::Op;
use betanet_wire::text::hex;

use crate::several::{Place, SECOND, leader, three};
use crate::world::{
    BUDGET, Disk, LIAR, Process, SPARE, WORKER, identity, key, now_ms, receipt_of, task,
};

fn caller(n: u8) -> Caller {
    Caller {
        key: key(n),
        node: identity(n).public().node_id(),
        operator: false,
        namespaces: Vec::new(),
    }
}

async fn ask(process: &Process, n: u8, request: Request) -> Reply {
    let answer = process.running.handle().ask(caller(n), request).await;
    answer.unwrap()
}

/// A node of its own organisation joins, since copies of a task go to different ones.
async fn join(process: &Process, n: u8) {
    let org: betanet_fog::Word = format!("org{n}").parse().unwrap();
    let mut order = testkit::token_request(n.into(), now_ms());
    order.org = org.clone();
    let token = process.local.issue_token(order).await.unwrap();
    let token: betanet_fog::Text = token.parse().unwrap();
    let mut node = testkit::node(&identity(n), 1);
    node.org = org;
    let node = Signed::sign(node, &identity(n)).unwrap();
    let join = Request::Join {
        node: Box::new(Received::read(&node.to_bytes()).unwrap()),
        token: TokenText::from(token),
    };
    ask(process, n, join).await;
    let beat = Beat {
        rtt: List::default(),
        seq: 1,
        gone: List::default(),
        have: List::default(),
        work: true,
    };
    ask(process, n, Request::Beat(caller(n).node, Box::new(beat))).await;
}

async fn assigned(process: &Process, n: u8, id: TaskId) -> Box<Assignment> {
    let node = caller(n).node;
    let found = async {
        loop {
            let Reply::Work(items) = ask(process, n, Request::Work { node, after: 0 }).await else {
                panic!("other than work");
            };
            let mut work = items.into_iter().filter_map(|item| match item {
                Item::Run { work, .. } if work.task == id => Some(work),
                _ => None,
            });
            match work.next() {
                Some(work) => return work,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), found).await;
    found.unwrap()
}

/// Three nodes run a task, and one of them, which has bonded 2 FOG, returns another result.
async fn run(process: &Process) {
    for n in [WORKER, SPARE, LIAR] {
        join(process, n).await;
    }
    let bond = Op::Bond {
        amt: 2 * MICRO,
        comm: 0,
    };
    assert_eq!(process.send(&[LIAR], [0xb0; 16], &bond).await, Code::Ok);
    let mut of = task(1, BUDGET);
    of.verify = Verification {
        rule: Verify::Quorum,
        k: 2,
        n: 3,
    };
    let id = process.local.submit(of).await.unwrap();
    for n in [LIAR, WORKER, SPARE] {
        let work = assigned(process, n, id).await;
        ask(process, n, Request::Start(work.task, work.fence)).await;
        let out = if n == LIAR { [9; 32] } else { [8; 32] };
        let receipt = Box::new(receipt_of(&work, n, out));
        ask(process, n, Request::Done(work.task, receipt)).await;
    }
    process.settled(id).await;
}

/// It is punished for it.
async fn is_punished(process: &Process) {
    run(process).await;
    process.measured("escrow_evidence_sent", 1).await;
    assert_eq!(process.measure("escrow_evidence_failed"), 0);
    // A hundredth of the stake is gone: half of it burnt, the rest to the treasury.
    assert_eq!(process.of(STAKE).await, u128::from(2 * MICRO - 20_000));
    assert_eq!(process.of(TREASURY).await, 10_000);
    assert_eq!(process.of(BURN).await, 10_000);
    // Both others were paid.
    assert!(process.has(WORKER).await > u128::from(MICRO));
    assert!(process.has(SPARE).await > u128::from(MICRO));
    let audited = process.ledger.look(|view| view.latest.audit().is_ok());
    assert!(audited.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_result_is_told_to_the_ledger_before_the_task_is_settled() {
    let disk = Disk::new();
    let one = disk.start(true).await;
    is_punished(&one).await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_waits_for_evidence_that_another_coordinator_cannot_sign_yet() {
    let disk = three();
    let place = Place::new(&disk, SECOND).await;
    let one = leader(&disk, true, vec![place.peer.clone()]).await;
    let second = place.start(&disk, None).await;
    // The evidence comes first, and would be lost if the settlement were signed then.
    place.busy.store(1, Ordering::SeqCst);
    is_punished(&one).await;
    assert_eq!(place.busy.load(Ordering::SeqCst), 0);
    second.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_of_the_same_journal_signs_evidence_and_another_does_not() {
    let disk = three();
    let place = Place::new(&disk, SECOND).await;
    let peers: Vec<Peer> = vec![place.peer.clone()];
    let one = leader(&disk, true, peers).await;
    let second = place.start(&disk, None).await;
    is_punished(&one).await;
    second.stop().await;
    one.stop().await;

    // One that sees only what it is shown does not know which copies were assigned. The pay does not wait for it.
    let disk = three();
    let place = Place::new(&disk, SECOND).await;
    let one = leader(&disk, true, vec![place.peer.clone()]).await;
    let at = one.gateway.as_ref().unwrap().listening().peer();
    let second = place.start(&disk, Some(&at)).await;
    run(&one).await;
    one.measured("escrow_evidence_failed", 1).await;
    assert_eq!(one.measure("escrow_evidence_sent"), 0);
    assert_eq!(one.of(STAKE).await, u128::from(2 * MICRO));
    second.stop().await;
    one.stop().await;
}

/// Waits until the fog's journal says that the ledger has jailed a node.
async fn jailed(disk: &Disk, n: u8) {
    let (journal, id) = (disk.fog.open("reader"), caller(n).node);
    let told = |record: Record| match record.change {
        Change::Rated { nodes } => nodes.iter().any(|(node, rating)| {
            *node == id && matches!(rating, Some(Rating { jailed: true, .. }))
        }),
        _ => false,
    };
    let found = async {
        let mut last = 0;
        loop {
            for entry in journal.read(last, Batch::default()).await.unwrap() {
                last = entry.index;
                let record = Record::read(entry.record.kind.as_str(), &entry.record.body);
                if record.is_ok_and(told) {
                    return;
                }
            }
            journal.wait(last).await.unwrap();
        }
    };
    let found = tokio::time::timeout(std::time::Duration::from_secs(30), found).await;
    found.unwrap();
}

/// A task that only one node may run.
fn only_for(n: u8, nonce: u64) -> Task {
    let mut of = task(nonce, BUDGET);
    let node: betanet_fog::Word = hex(&caller(n).node.0).parse().unwrap();
    let need = Need {
        attribute: "node".parse::<betanet_fog::Word>().unwrap().into(),
        op: Is::In,
        values: List::try_from(vec![node]).unwrap(),
    };
    of.place.need = List::try_from(vec![need]).unwrap();
    of
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_the_ledger_jailed_gets_no_more_tasks() {
    let disk = Disk::new();
    let one = disk.start(true).await;
    let rates = rate(one.ledger.clone(), one.local.clone());
    run(&one).await;
    one.measured("escrow_evidence_sent", 1).await;
    jailed(&disk, LIAR).await;
    let waits = one.local.submit(only_for(LIAR, 2)).await.unwrap();
    let goes = one.local.submit(only_for(WORKER, 3)).await.unwrap();
    assigned(&one, WORKER, goes).await;
    let status = one.local.status(waits).await.unwrap();
    assert_eq!((status.state, status.copies.len()), (TaskState::Queued, 0));
    drop(rates);
    one.stop().await;
}
