use std::sync::Arc;

use betanet_journal::{Faults, Journal, Kind, MemoryStore, Record};
use betanet_machine::{Now, Seed};
use proptest::prelude::*;

use crate::{Durable, Error, Role, Settings, State, Unavailable, Unreadable};

/// A set of numbers. A request adds one, unless it is there already, and is told whether it was.
#[derive(Default)]
struct Set(std::collections::BTreeSet<u16>);

#[derive(Clone, Copy)]
enum Ask {
    Add(u16),
    Count,
}

impl State for Set {
    type Request = Ask;
    type Answer = usize;

    fn apply(&mut self, record: &Record) -> Result<(), Unreadable> {
        let [a, b] = record.body[..] else {
            return Err(Unreadable);
        };
        self.0.insert(u16::from_be_bytes([a, b]));
        Ok(())
    }

    fn decide(&mut self, _: Now, ask: Ask, records: &mut Vec<Record>) -> usize {
        match ask {
            Ask::Add(n) if self.0.insert(n) => {
                let kind = Kind::new("add").unwrap();
                records.push(Record::new(kind, n.to_be_bytes()));
                1
            }
            Ask::Add(_) => 0,
            Ask::Count => self.0.len(),
        }
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = vec![Vec::new()];
        // Small parts, so that there are several.
        for n in &self.0 {
            if parts.last().is_some_and(|p| p.len() >= 8) {
                parts.push(Vec::new());
            }
            parts.last_mut().unwrap().extend(n.to_be_bytes());
        }
        parts
    }

    fn restore(&mut self, parts: Vec<Vec<u8>>) -> Result<(), Unreadable> {
        let bytes = parts.concat();
        self.0 = bytes
            .chunks(2)
            .map(|c| u16::from_be_bytes([c[0], c[1]]))
            .collect();
        Ok(())
    }
}

async fn start(store: &MemoryStore, name: &str, every: u64) -> Durable<Set> {
    let settings = Settings {
        snapshot_every: every,
        snapshots: 1,
    };
    Durable::start(Arc::new(store.open(name)), settings, Set::default)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_second_process_refuses_until_the_lease_of_the_first_ends() {
    let store = MemoryStore::new();
    let first = start(&store, "a", 100).await;
    assert_eq!(first.handle().ask(Ask::Add(1)).await, Ok(1));
    let second = start(&store, "b", 100).await;
    second
        .handle()
        .wait_for(|r| *r == Role::Follows("a".into()))
        .await;
    assert_eq!(second.handle().ask(Ask::Add(2)).await, Err(Unavailable));
    first.stop().await;
    second
        .handle()
        .wait_for(|r| matches!(r, Role::Leads(_)))
        .await;
    assert_eq!(second.handle().ask(Ask::Add(1)).await, Ok(0));
    assert_eq!(second.handle().ask(Ask::Count).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_answers_nothing_more() {
    let store = MemoryStore::new();
    let first = start(&store, "a", 100).await;
    assert_eq!(first.handle().ask(Ask::Add(1)).await, Ok(1));
    store.pass(betanet_journal::LEASE_MS);
    let second = start(&store, "b", 100).await;
    second
        .handle()
        .wait_for(|r| matches!(r, Role::Leads(_)))
        .await;
    assert_eq!(second.handle().ask(Ask::Add(2)).await, Ok(1));
    assert_eq!(first.handle().ask(Ask::Add(3)).await, Err(Unavailable));
    first
        .handle()
        .wait_for(|r| *r == Role::Follows("b".into()))
        .await;
    assert_eq!(second.handle().ask(Ask::Count).await, Ok(2));
}

#[tokio::test]
async fn snapshots_replace_records() {
    let store = MemoryStore::new();
    let durable = start(&store, "a", 4).await;
    for n in 0..21 {
        assert_eq!(durable.handle().ask(Ask::Add(n)).await, Ok(1));
        tokio::task::yield_now().await;
    }
    durable.stop().await;
    let journal = store.open("look");
    let saved = journal.snapshots().await.unwrap();
    assert_eq!(saved.len(), 1);
    assert!(saved[0].parts > 1, "{saved:?}");
    assert!(journal.facts().await.unwrap().base >= 4);
    let again = start(&store, "a", 4).await;
    assert_eq!(again.handle().ask(Ask::Count).await, Ok(21));
}

#[tokio::test]
async fn content_of_another_version_is_named() {
    let store = MemoryStore::new();
    let durable = start(&store, "a", 100).await;
    assert_eq!(durable.handle().ask(Ask::Add(1)).await, Ok(1));
    durable.stop().await;
    let journal = store.open("b");
    let betanet_journal::Lead::Leads(term) = journal.lead().await.unwrap() else {
        panic!("it is free")
    };
    let other = Record::new(Kind::new("other").unwrap(), [1, 2, 3]);
    journal.append(term.epoch, vec![other]).await.unwrap();
    journal.resign(term.epoch).await.unwrap();
    let journal = Arc::new(store.open("a"));
    let started = Durable::start(journal, Settings::default(), Set::default).await;
    assert!(
        matches!(started, Err(Error::Record { index: 2 })),
        "{started:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever fails: what was answered stands, and stands once.
    #[test]
    fn answered_requests_outlast_every_fault(
        seed in any::<[u8; 32]>(),
        unknown in 0..200_u16,
        full in 0..200_u16,
        every in 1..30_u64,
        numbers in prop::collection::vec(0..60_u16, 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            let faults = Faults { unknown, deposed: 0, full };
            let mut durable = start(&store, "a", every).await;
            store.set_faults(faults, &Seed::new(seed));
            let mut stands = std::collections::BTreeSet::new();
            for (i, n) in numbers.iter().enumerate() {
                match durable.handle().ask(Ask::Add(*n)).await {
                    Ok(1) => assert!(stands.insert(*n), "{n} was added twice"),
                    Ok(0) => { stands.insert(*n); }
                    Ok(more) => panic!("{more}"),
                    Err(Unavailable) => {}
                }
                if i % 17 == 16 {
                    // As by a crash.
                    drop(durable);
                    store.pass(betanet_journal::LEASE_MS);
                    durable = start(&store, "a", every).await;
                }
            }
            store.set_faults(Faults::default(), &Seed::new(seed));
            drop(durable);
            store.pass(betanet_journal::LEASE_MS);
            let last = start(&store, "a", every).await;
            last.handle().wait_for(|r| matches!(r, Role::Leads(_))).await;
            for n in stands {
                assert_eq!(last.handle().ask(Ask::Add(n)).await, Ok(0), "{n} is lost");
            }
        });
    }
}
