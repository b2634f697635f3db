//! What is held, for what, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use betanet_coordinator::Request;
use betanet_economy_service::{EconomyService, Settings as LedgerSettings};
use betanet_escrow_service::{LedgerEscrow, Settings as EscrowSettings, reservation_id, reserve};
use betanet_fog::{RefusalCode, Signed, Task, TaskId, Tier};
use betanet_fog_client::testkit;
use betanet_fog_service::{Claim, Escrow, Purpose, Untold};
use betanet_tokenomics::account::{ESCROW, MICRO};
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{Asset, Code};

use crate::world::{BUDGET, Disk, How, ME, OTHER, WORKER, identity, key, now_ms, own, task};

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_not_settled_are_bounded() {
    let disk = Disk::new();
    let one = disk.start_with(How {
        open_max: 1,
        ..How::default()
    });
    let one = one.await;
    let first_task = task(1, BUDGET);
    let first = one.local.submit(first_task.clone()).await.unwrap();
    let full = one.local.submit(task(2, BUDGET)).await.unwrap_err();
    assert_eq!((full.code, full.key), (RefusalCode::Rate, "reservation"));
    // Nothing was held for it, and a repeat of the first is no other one.
    assert_eq!(one.of(ESCROW).await, u128::from(BUDGET));
    assert_eq!(one.local.submit(first_task).await, Ok(first));
    one.measured("escrow_open", 1).await;
    one.local.ask(Request::Cancel(first)).await.unwrap();
    one.measured("escrow_open", 0).await;
    assert!(!one.held(first).await);
    let third = one.local.submit(task(3, BUDGET)).await.unwrap();
    assert!(one.held(third).await);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_that_a_client_adds_do_not_hide_the_budget() {
    let disk = Disk::new();
    let one = disk.start(true).await;
    one.join().await;
    let id = one.local.submit(task(1, BUDGET)).await.unwrap();
    // Smaller ones for the same task, with IDs below and above.
    for n in 0..40_u8 {
        let mut own = [if n % 2 == 0 { 0 } else { 0xff }; 16];
        own[15] = n;
        let op = Op::Reserve {
            amt: 1,
            credit: 0,
            of: id.0,
            kind: 0,
            ttl: 600,
        };
        assert_eq!(one.send(&[ME], own, &op).await, Code::Ok);
    }
    one.work(id).await;
    one.settled(id).await;
    assert!(one.has(WORKER).await > u128::from(MICRO));
    // They return at their end.
    assert_eq!(one.of(ESCROW).await, 40);
    assert_eq!(one.measure("escrow_refused"), 0);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_covers_one_bid_of_one_round_and_tier() {
    let disk = Disk::new();
    let one = disk.start(false).await;
    let bid = |owner: u8, round, tier| Claim {
        owner: key(owner),
        ..own(Purpose::Bid { round, tier }, 1, MICRO / 2)
    };
    let held = bid(OTHER, 7, Tier::Bronze);
    let op = reserve(&held, now_ms()).unwrap();
    let id = reservation_id(&held.owner, held.purpose, &held.of);
    assert_eq!(one.send(&[OTHER], id, &op).await, Code::Ok);
    one.ledger.propose().await.unwrap();
    while one.escrow.covers(held).await != Ok(true) {
        one.ledger.changed(Duration::from_millis(50)).await;
    }
    let decoys = [
        bid(OTHER, 7, Tier::Gold),
        bid(OTHER, 8, Tier::Bronze),
        bid(WORKER, 7, Tier::Bronze),
    ];
    for decoy in decoys {
        let decoy = Claim { amount: 1, ..decoy };
        assert_eq!(one.escrow.covers(decoy).await, Ok(false), "{decoy:?}");
    }
    // Another reservation of the same client for the same hash is not the one that is paid from.
    let least = bid(OTHER, 7, Tier::Silver);
    let op = reserve(&Claim { amount: 1, ..least }, now_ms()).unwrap();
    assert_eq!(one.send(&[OTHER], [9; 16], &op).await, Code::Ok);
    let covered = async || {
        let records = one.ledger.look(|view| {
            let covered = view.covered.map_or(0, |s| s.records());
            covered == view.latest.records()
        });
        records.await.unwrap()
    };
    while !covered().await {
        one.ledger.changed(Duration::from_millis(50)).await;
    }
    let least = Claim { amount: 1, ..least };
    assert_eq!(one.escrow.covers(least).await, Ok(false));
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_job_are_held_together_and_returned_together() {
    let disk = Disk::new();
    // No head comes by itself.
    let one = disk.start_with(How {
        head_every: Duration::from_secs(3_600),
        ..How::default()
    });
    let one = one.await;
    let signed = |task: Task| Signed::sign(task, &identity(ME)).unwrap();
    let job = vec![signed(task(1, BUDGET)), signed(task(2, BUDGET))];
    let ids: Vec<TaskId> = job.iter().map(Signed::id).collect();
    let sent = tokio::time::timeout(Duration::from_secs(20), one.local.submit_all(job.clone()));
    assert_eq!(sent.await.unwrap(), Ok(ids.clone()));
    assert!(one.held(ids[0]).await && one.held(ids[1]).await);
    // A repeat is no other job.
    assert_eq!(one.local.submit_all(job).await, Ok(ids));
    assert_eq!(one.of(ESCROW).await, 2 * u128::from(BUDGET));

    // One that cannot be held holds nothing of the job, and one that is refused after its hold neither.
    let latest = async || {
        let look = one.ledger.look(|view| {
            let escrow = view.latest.counters(&ESCROW, Asset::Fog);
            escrow.available()
        });
        look.await.unwrap()
    };
    let dear = [task(3, BUDGET), task(4, 21 * MICRO)].map(signed);
    let refused = one.local.submit_all(dear.into()).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.key),
        (RefusalCode::Budget, "reservation")
    );
    assert_eq!(latest().await, 2 * u128::from(BUDGET));
    let mut late = task(5, BUDGET / 2);
    late.after = vec![TaskId([9; 32])].try_into().unwrap();
    let late = [signed(late), signed(task(6, BUDGET / 2))];
    let refused = one.local.submit_all(late.into()).await.unwrap_err();
    assert_eq!((refused.code, refused.key), (RefusalCode::Unknown, "after"));
    assert_eq!(latest().await, 2 * u128::from(BUDGET));
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_or_a_pause_of_the_ledger_is_no_want_of_money() {
    let disk = Disk::new();
    let one = disk.start(false).await;
    let claim = |n: u8| own(Purpose::Task, n, 1_000);
    // All of them use nonces of one account.
    let mut covers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let escrow = Arc::clone(&one.escrow);
        covers.spawn(async move { escrow.covers(claim(n)).await });
    }
    assert_eq!(covers.join_all().await, vec![Ok(true); 8]);
    // Others use them too.
    let rival = async {
        for n in 0..20 {
            let op = reserve(&claim(100 + n), now_ms()).unwrap();
            let code = one.send(&[ME], [200 + n; 16], &op).await;
            assert!(matches!(code, Code::Ok | Code::BadNonce), "{code:?}");
        }
    };
    let covers = async {
        for n in 10..20 {
            let covered = one.escrow.covers(claim(n)).await;
            assert_ne!(covered, Ok(false));
        }
    };
    tokio::join!(rival, covers);
    // The pause passes.
    let brake = Op::Brake { pid: None };
    assert_eq!(one.send(&[ME, OTHER], [1; 16], &brake).await, Code::Ok);
    assert_eq!(one.escrow.covers(claim(30)).await, Err(Untold));
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_gone_unpaid_is_counted_and_an_end_is_a_fault() {
    let disk = Disk::new();
    // A fog that took a task without a hold, as one whose hold has ended.
    let one = disk.start_with(How {
        asks: false,
        ..How::default()
    });
    let mut one = one.await;
    one.join().await;
    let id = one.local.submit(task(1, BUDGET)).await.unwrap();
    one.measured("escrow_open", 1).await;
    one.work(id).await;
    one.measured("escrow_expired", 1).await;
    one.measured("escrow_open", 0).await;
    assert_eq!(one.measure("escrow_sent"), 0);
    // Without pay, there is nothing to lose.
    let id = one.local.submit(task(2, BUDGET)).await.unwrap();
    one.measured("escrow_open", 1).await;
    one.local.ask(Request::Cancel(id)).await.unwrap();
    one.measured("escrow_open", 0).await;
    assert_eq!(one.measure("escrow_expired"), 1);
    assert!(one.escrow.extension().faults().is_empty());
    one.paying = None;
    let ended = async {
        while one.escrow.extension().faults().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .unwrap();
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_searches_the_ledger_once_for_all_that_is_gone() {
    let disk = Disk::new();
    let asks = false;
    let one = disk.start_with(How {
        asks,
        pays: false,
        ..How::default()
    });
    let one = one.await;
    one.join().await;
    for n in 1..=5 {
        let id = one.local.submit(task(n, BUDGET)).await.unwrap();
        one.work(id).await;
    }
    let brake = Op::Brake { pid: None };
    assert_eq!(one.send(&[ME, OTHER], [1; 16], &brake).await, Code::Ok);
    disk.crash(one);
    let two = disk.start_with(How {
        asks,
        ..How::default()
    });
    let two = two.await;
    two.measured("escrow_expired", 5).await;
    let records = two.ledger.look(|view| view.records.len() as u64).await;
    assert_eq!(two.measure("escrow_records_searched"), records.unwrap());
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_outlives_its_records_and_what_cannot_be_paid_is_counted() {
    let disk = Disk::new();
    // A fog without escrow keeps no records for it, and one key settles nothing.
    let one = disk.start_with(How {
        asks: false,
        keys: vec![ME],
        ..How::default()
    });
    let one = one.await;
    one.join().await;
    let [paid, cancelled, waiting] = [1, 2, 3].map(|n| task(n, BUDGET));
    let mut ids = Vec::new();
    for task in [&paid, &cancelled, &waiting] {
        let claim = Claim::of_task(&Signed::sign(task.clone(), &identity(ME)).unwrap());
        assert_eq!(one.escrow.hold(vec![claim]).await, Ok(true));
        ids.push(one.local.submit(task.clone()).await.unwrap());
        if ids.len() == 1 {
            one.work(ids[0]).await;
        }
    }
    one.local.ask(Request::Cancel(ids[1])).await.unwrap();
    // Open are also those that were held and not read yet.
    let accepted = one.local.position();
    one.measured_from("escrow_journal_read", accepted).await;
    assert_eq!(one.measure("escrow_open"), 3);
    // The records are removed once as many snapshots stand as are kept.
    for n in 2..4 {
        let order = testkit::token_request(n, now_ms());
        one.local.issue_token(order).await.unwrap();
        one.running.handle().snapshot().await.unwrap();
    }
    one.measured("escrow_expired", 1).await;
    one.measured("escrow_open", 2).await;
    assert!(one.held(ids[0]).await && one.held(ids[1]).await);
    // What others settle meanwhile is forgotten, as is one that did not end here.
    for (n, id) in [(1, ids[1]), (2, ids[2])] {
        let op = Op::Settle {
            status: "drop".to_owned(),
            out: Vec::new(),
            end: true,
            list: Vec::new(),
            res: reservation_id(&key(ME), Purpose::Task, &id.0),
        };
        assert_eq!(one.send(&[ME, OTHER], [n; 16], &op).await, Code::Ok);
    }
    one.measured("escrow_open", 0).await;
    assert_eq!(one.measure("escrow_expired"), 1);
    one.stop().await;
}

#[tokio::test]
async fn without_a_final_head_nothing_can_be_told() {
    let disk = Disk::new();
    let mut settings = LedgerSettings::new(disk.genesis.clone());
    settings.signers = vec![identity(ME)];
    let service = EconomyService::new(identity(ME), settings).unwrap();
    let books = service
        .start(Arc::new(disk.books.open("one")))
        .await
        .unwrap();
    books.leads().await;
    let escrow = LedgerEscrow::new(service.ledger(), EscrowSettings::new(identity(OTHER)));
    let claim = Claim {
        purpose: Purpose::Bid {
            round: 7,
            tier: Tier::Bronze,
        },
        of: [1; 32],
        owner: key(ME),
        amount: 1,
        until_ms: now_ms(),
    };
    assert_eq!(escrow.covers(claim).await, Err(Untold));
    assert_eq!(escrow.needs_from(), 0);
    books.stop().await;
}
