//! Leading, following, and what happens to requests in between.

use std::sync::{Arc, OnceLock};

use betanet_coordinator::{Reply, Request};
use betanet_fog::RefusalCode;
use betanet_fog_service::{Role, Settings};
use betanet_journal::{Batch, Faults, Journal, MemoryStore};
use betanet_machine::Seed;

use betanet_fog_client::testkit::token_request;

use super::world::{Alone, OPERATOR, alone, caller, settings};

/// The same at each call, so that the same order is.
fn now_ms() -> u64 {
    static NOW: OnceLock<u64> = OnceLock::new();
    *NOW.get_or_init(|| betanet_session::Clock::start().now().unix_ms)
}

async fn order_token(alone: &Alone, id: u8) -> Result<Reply, RefusalCode> {
    let request = Request::IssueToken(token_request(u64::from(id), now_ms()));
    let asked = alone.handle.ask(caller(OPERATOR), request).await;
    asked.map_err(|refusal| refusal.code)
}

async fn kinds(journal: &dyn Journal) -> Vec<String> {
    let entries = journal.read(0, Batch::default()).await.unwrap();
    entries.iter().map(|e| e.record.kind.to_string()).collect()
}

#[tokio::test]
async fn an_answer_stands_in_the_journal_before_it_leaves() {
    let store = MemoryStore::new();
    let one = alone(10, Arc::new(store.open("one")), settings()).await;
    one.leads().await;
    for id in 0..20 {
        let answer = order_token(&one, id).await;
        assert!(matches!(answer, Ok(Reply::Token(_))), "{answer:?}");
        let tokens = kinds(&store.open("reader")).await;
        let n = tokens.iter().filter(|k| *k == "issued").count();
        assert_eq!(n, usize::from(id) + 1, "{tokens:?}");
    }
    let refused = one
        .handle
        .ask(caller(9), Request::IssueToken(token_request(99, now_ms())))
        .await;
    assert_eq!(refused.unwrap_err().code, RefusalCode::Role);
}

#[tokio::test]
async fn a_follower_refuses_names_the_leader_and_takes_over_what_it_committed() {
    let store = MemoryStore::new();
    let one = alone(10, Arc::new(store.open("one")), settings()).await;
    one.leads().await;
    let two = alone(11, Arc::new(store.open("two")), settings()).await;
    let follows = Role::Follows("one".into());
    two.handle.wait_for(|role| *role == follows).await;
    let token = order_token(&one, 1).await.unwrap();
    assert_eq!(order_token(&two, 1).await, Err(RefusalCode::NotLeader));
    one.running.stop().await;
    two.leads().await;
    assert!(matches!(two.handle.role(), Role::Leads(2)));
    // The same order gives the same token: the second knows what the first committed.
    let Reply::Token(first) = token else { panic!() };
    let Ok(Reply::Token(second)) = order_token(&two, 1).await else {
        panic!()
    };
    assert_eq!((first.id, first.exp), (second.id, second.exp));
    let tokens = kinds(&store.open("reader")).await;
    assert_eq!(tokens.iter().filter(|k| *k == "issued").count(), 1);
}

#[tokio::test]
async fn a_leader_whose_commits_fail_leads_again_and_loses_nothing_that_it_answered() {
    let store = MemoryStore::new();
    let faults = Faults {
        unknown: 150,
        deposed: 80,
        full: 20,
    };
    let one = alone(10, Arc::new(store.open("one")), settings()).await;
    one.leads().await;
    store.set_faults(faults, &Seed::new([7; 32]));
    let mut answered = Vec::new();
    let mut refused = 0;
    while answered.len() < 12 {
        let id = u8::try_from(answered.len()).unwrap();
        match order_token(&one, id).await {
            Ok(_) => answered.push(id),
            Err(RefusalCode::NotLeader | RefusalCode::DiskFloor) => {
                refused += 1;
                // The lease of the term that failed ends.
                store.pass(10_000);
                one.leads().await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0, "no commit failed");
    store.set_faults(Faults::default(), &Seed::new([7; 32]));
    let kinds = kinds(&store.open("reader")).await;
    assert!(kinds.iter().filter(|k| *k == "issued").count() >= answered.len());
    // Each is known to the coordinator.
    for id in answered {
        let again = order_token(&one, id).await;
        assert!(matches!(again, Ok(Reply::Token(_))), "{again:?}");
    }
}

#[tokio::test]
async fn snapshots_bound_the_replay_and_a_coordinator_begins_at_one() {
    let store = MemoryStore::new();
    let every = Settings {
        snapshot_every: 10,
        snapshots: 1,
        ..settings()
    };
    let one = alone(10, Arc::new(store.open("one")), every.clone()).await;
    one.leads().await;
    for id in 0..60 {
        order_token(&one, id).await.unwrap();
    }
    let saved = one.handle.snapshot().await.unwrap();
    let reader = store.open("reader");
    let snapshots = reader.snapshots().await.unwrap();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0].at.index, saved.at);
    assert_eq!(reader.facts().await.unwrap().base, saved.at);
    one.running.stop().await;
    let again = alone(10, Arc::new(store.open("again")), every).await;
    again.leads().await;
    let known = order_token(&again, 5).await;
    assert!(matches!(known, Ok(Reply::Token(_))), "{known:?}");
    let revoked = again
        .handle
        .ask(
            caller(OPERATOR),
            Request::RevokeToken(token_request(5, 0).id),
        )
        .await;
    assert_eq!(revoked, Ok(Reply::Done));
}

#[tokio::test]
async fn a_flipped_record_is_named_at_the_start() {
    let store = MemoryStore::new();
    let one = alone(10, Arc::new(store.open("one")), settings()).await;
    one.leads().await;
    order_token(&one, 1).await.unwrap();
    one.running.stop().await;
    assert!(store.flip(2, 400));
    let home = tempfile::tempdir().unwrap();
    let state = Arc::new(betanet_store::State::open(&home.path().join("state")).unwrap());
    let stores = betanet_fog_service::Stores::open(&state, 1 << 20)
        .await
        .unwrap();
    let coordinator =
        betanet_fog_service::Coordinator::new(super::world::identity(10), settings(), stores);
    let peer = betanet_keys::Peer {
        key: *super::world::identity(10).public(),
        addrs: Vec::new(),
        pin: None,
    };
    let journal = Arc::new(store.open("one"));
    let why = coordinator.start(&peer, journal).await.unwrap_err();
    assert!(why.to_string().contains("record 2"), "{why}");
}
