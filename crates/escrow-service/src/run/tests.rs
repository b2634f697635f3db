use betanet_coordinator::Change;
use betanet_economy_service::{EconomyService, Settings as LedgerSettings};
use betanet_fog::{Reason as Why, Signed, Task, TaskState};
use betanet_fog_client::testkit;
use betanet_fog_service::{Coordinator, Settings as FogSettings, Stores};
use betanet_journal::{Kind, Lead, MemoryStore, Record as Journaled};
use betanet_keys::Identity;
use betanet_store::State;
use betanet_tokenomics::account::{USER, address};
use betanet_tokenomics::{GenesisDraft, Role};

use super::*;
use crate::Settings;
use crate::cosign::Of;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn genesis() -> Vec<u8> {
    let keys = [10, 11].map(|n| *identity(n).public().as_bytes());
    let mut accounts: Vec<Vec<u8>> = keys.iter().map(|k| address(k).0.to_vec()).collect();
    accounts.sort_unstable();
    let mut signers: Vec<Vec<u8>> = keys.iter().map(|k| k.to_vec()).collect();
    signers.sort_unstable();
    GenesisDraft {
        name: "rounds",
        t0: Clock::start().now().unix_ms,
        epoch_ms: DAY_MS,
        cap: 1 << 50,
        halving: 365,
        alloc: &keys.map(|key| (key, USER, 1 << 40)),
        roles: &[(Role::Coordinators, accounts), (Role::Signers, signers)],
        ..GenesisDraft::default()
    }
    .to_bytes()
}

/// A journal in which so many tasks were accepted, and ended without pay.
async fn journal(tasks: &[Signed<Task>]) -> Arc<dyn Journal> {
    let journal = MemoryStore::new().open("one");
    let Ok(Lead::Leads(term)) = journal.lead().await else {
        panic!("the journal is led elsewhere");
    };
    let note = |change| {
        let entry = Record { ts: 1, change }.to_entry();
        Journaled::new(Kind::new(entry.kind).unwrap(), entry.body)
    };
    for task in tasks {
        let accepted = note(Change::Accepted {
            task: task.to_bytes().into(),
            cost: 1,
        });
        let ended = note(Change::Ended {
            task: task.id(),
            state: TaskState::Cancelled,
            reason: Why::Cancel,
            deciding: Vec::new(),
            cost: 0,
            elsewhere: false,
        });
        let both = vec![accepted, ended];
        journal.append(term.epoch, both).await.unwrap();
    }
    Arc::new(journal)
}

#[tokio::test]
async fn who_asks_waits_for_one_settlement_and_for_no_round() {
    let mut settings = LedgerSettings::new(genesis());
    settings.signers = vec![identity(10), identity(11)];
    settings.head_every = Duration::from_millis(20);
    let service = EconomyService::new(identity(10), settings).unwrap();
    let books = Arc::new(MemoryStore::new().open("one"));
    let books = service.start(books).await.unwrap();
    books.leads().await;
    books.reaches(1).await;
    let home = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(home.path()).unwrap());
    let stores = Stores::open(&state, 1 << 20).await.unwrap();
    let fog = Coordinator::new(identity(10), FogSettings::default(), stores);

    // Three rounds of tasks whose holds are gone: each is settled at a look, and forgotten.
    let owner = identity(10);
    let of = |nonce| Signed::sign(testkit::task(&owner, nonce, 1), &owner).unwrap();
    let tasks: Vec<_> = (0..3 * ROUND as u64).map(of).collect();
    let escrow = LedgerEscrow::new(service.ledger(), Settings::new(identity(10)));
    let _paying = escrow.start(fog.handle(), journal(&tasks).await);
    // The one that is settled last is not forgotten yet when the question is answered.
    let last = tasks.iter().map(|task| task.id()).max().unwrap();
    let found = escrow.cosigner.looked_up(Of::Task(last)).await;
    assert!(found.is_ok(), "{found:?}");
    let settled = async {
        while escrow.tally.len() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .unwrap();
    let found = escrow.cosigner.looked_up(Of::Task(last)).await;
    assert!(matches!(found, Err(crate::reason::Reason::Unknown)));
    books.stop().await;
}
