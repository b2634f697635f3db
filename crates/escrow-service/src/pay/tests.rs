use std::sync::Arc;
use std::time::Duration;

use betanet_economy_service::{EconomyService, Ledger, Running, Settings as LedgerSettings};
use betanet_fog::{DAY_MS, Tier};
use betanet_journal::MemoryStore;
use betanet_session::Clock;
use betanet_tokenomics::account::{MICRO, NODE, USER};
use betanet_tokenomics::{Asset, GenesisDraft};

use super::*;
use crate::Settings;
use crate::ids::reserve;
use crate::reason::Reason;

const ME: u8 = 10;
const OTHER: u8 = 11;
/// More nodes than fit a settlement.
const NODES: std::ops::Range<u8> = 100..120;
const EACH: u64 = 1_000;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn key(n: u8) -> [u8; 32] {
    *identity(n).public().as_bytes()
}

fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

async fn ledger() -> (Ledger, Running) {
    let mut alloc = vec![(key(ME), USER, 20 * MICRO), (key(OTHER), USER, MICRO)];
    alloc.extend(NODES.map(|n| (key(n), NODE, 0)));
    let mut accounts: Vec<Vec<u8>> = [ME, OTHER].map(|n| address(&key(n)).0.to_vec()).into();
    accounts.sort_unstable();
    let mut signers: Vec<Vec<u8>> = [ME, OTHER].map(|n| key(n).to_vec()).into();
    signers.sort_unstable();
    let genesis = GenesisDraft {
        name: "parts",
        t0: now_ms(),
        epoch_ms: DAY_MS,
        cap: 1_000 * MICRO,
        halving: 365,
        alloc: &alloc,
        roles: &[(Role::Coordinators, accounts), (Role::Signers, signers)],
        ..GenesisDraft::default()
    };
    let mut settings = LedgerSettings::new(genesis.to_bytes());
    settings.signers = vec![identity(ME), identity(OTHER)];
    settings.head_every = Duration::from_millis(20);
    let service = EconomyService::new(identity(ME), settings).unwrap();
    let journal = Arc::new(MemoryStore::new().open("one"));
    let running = service.start(journal).await.unwrap();
    running.leads().await;
    (service.ledger(), running)
}

/// A coordinator that signs its IDs with this key.
fn escrow(ledger: &Ledger, own: u8) -> Arc<LedgerEscrow> {
    let mut settings = Settings::new(identity(own));
    settings.keys = vec![identity(ME), identity(OTHER)];
    LedgerEscrow::new(ledger.clone(), settings)
}

fn claim() -> Claim {
    Claim {
        purpose: Purpose::Bid {
            round: 7,
            tier: Tier::Bronze,
        },
        of: [1; 32],
        owner: key(ME),
        amount: MICRO,
        until_ms: now_ms() + DAY_MS,
    }
}

async fn hold(ledger: &Ledger, claim: &Claim) {
    let by = address(&key(ME));
    let nonce = ledger.look(move |view| view.latest.nonce(&by)).await;
    let nonce = nonce.unwrap().unwrap();
    let op = reserve(claim, now_ms()).unwrap();
    let request = Request::new(&[(by, nonce)], now_ms() + VALID_MS, id_of(claim), &op);
    let envelope = Envelope::sign(request.unwrap(), ledger.genesis().id(), &[&identity(ME)]);
    let body = ledger.submit(envelope.to_bytes()).await.unwrap();
    assert_eq!(body.answer.code, Code::Ok);
}

async fn was_ended(escrow: &LedgerEscrow, claim: &Claim) -> bool {
    let ids = [id_of(claim)].into();
    let ended = escrow.ended_of(ids, now_ms()).await.unwrap();
    ended.contains(&id_of(claim))
}

fn payout() -> Payout {
    let item = |n| Item {
        to: address(&key(n)),
        pay: EACH,
        sla: 0,
        kib: 0,
        mibh: 0,
        record: Vec::new(),
        sig: None,
    };
    Payout {
        items: NODES.map(item).collect(),
        ..Payout::none()
    }
}

async fn has(ledger: &Ledger) -> Vec<u128> {
    let look = ledger.look(|view| {
        let of = |n| {
            let id = address(&key(n));
            view.latest.counters(&id, Asset::Fog).available()
        };
        NODES.map(of).collect()
    });
    look.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bid_that_is_paid_in_parts_is_paid_once_by_whichever_process() {
    let (ledger, running) = ledger().await;
    let (claim, payout) = (claim(), payout());
    hold(&ledger, &claim).await;
    let order = Order {
        claim: &claim,
        payout: &payout,
        proof: None,
        since_ms: now_ms(),
    };
    // One process dies after the first part, and one with another key goes on.
    let (one, two) = (escrow(&ledger, ME), escrow(&ledger, OTHER));
    let (outcome, ends) = one.settle_part(&order, now_ms()).await.unwrap();
    assert!(matches!(outcome, Outcome::Sent(_)) && !ends, "{outcome:?}");
    let paid = u128::from(EACH - EACH * 20_000 / 1_000_000);
    let [first, rest] = [ITEMS_MAX, NODES.len() - ITEMS_MAX];
    let part = [vec![paid; first], vec![0; rest]].concat();
    assert_eq!(has(&ledger).await, part);
    assert!(!was_ended(&two, &claim).await);
    let outcome = two.settle(&order, now_ms()).await.unwrap();
    assert!(matches!(outcome, Outcome::Sent(_)), "{outcome:?}");
    assert_eq!(has(&ledger).await, vec![paid; NODES.len()]);
    assert!(was_ended(&one, &claim).await);
    // Once more, and nothing is left to pay from.
    let outcome = one.settle(&order, now_ms()).await.unwrap();
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    assert_eq!(has(&ledger).await, vec![paid; NODES.len()]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_gone_was_not_settled_because_it_is_gone() {
    let (ledger, running) = ledger().await;
    let (claim, payout) = (claim(), payout());
    let order = Order {
        claim: &claim,
        payout: &payout,
        proof: None,
        since_ms: now_ms(),
    };
    let one = escrow(&ledger, ME);
    assert!(!was_ended(&one, &claim).await);
    // A hold of the same hash in another round is settled, which says nothing of this one.
    let another = Claim {
        purpose: Purpose::Bid {
            round: 8,
            tier: Tier::Bronze,
        },
        ..claim
    };
    hold(&ledger, &another).await;
    let other = Order {
        claim: &another,
        ..order
    };
    let outcome = one.settle(&other, now_ms()).await.unwrap();
    assert!(matches!(outcome, Outcome::Sent(_)), "{outcome:?}");
    assert!(was_ended(&one, &another).await);
    assert!(!was_ended(&one, &claim).await);
    // Lots leave no marks.
    assert!(!one.is_marked(&other).await.unwrap());
    // Both are told by one search.
    let before = one.tally.searched.load(Ordering::Relaxed);
    let ids = [&claim, &another].map(id_of).into();
    let ended = one.ended_of(ids, now_ms()).await.unwrap();
    assert_eq!(ended, [id_of(&another)].into());
    let records = ledger.look(|view| view.records.len() as u64).await;
    let searched = one.tally.searched.load(Ordering::Relaxed);
    assert_eq!(searched - before, records.unwrap());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_signed_for_others_with_the_next_nonce_alone() {
    let (ledger, running) = ledger().await;
    let (claim, payout) = (claim(), payout());
    hold(&ledger, &claim).await;
    let res = id_of(&claim);
    let covered = async || {
        let look = ledger.look(move |view| view.covered.is_some_and(|s| s.has_reservation(&res)));
        look.await.unwrap()
    };
    while !covered().await {
        ledger.changed(Duration::from_millis(20)).await;
    }
    let other = escrow(&ledger, OTHER);
    let signed = MemoryStore::new();
    let cosigning = other.cosign(Arc::new(signed.open("own"))).await.unwrap();
    let keys = [ME, OTHER].map(|n| address(&key(n)));
    let nonces = ledger.look(move |view| keys.map(|id| (id, view.latest.nonce(&id).unwrap())));
    let next = nonces.await.unwrap();
    let part = |later: u64, id: u8| {
        let mut by = next;
        by[1].1 += later;
        let op = Op::Settle {
            status: payout.status.clone(),
            out: payout.out.clone(),
            end: false,
            list: payout.items[..ITEMS_MAX].to_vec(),
            res,
        };
        Request::new(&by, now_ms() + 60_000, [id; 16], &op).unwrap()
    };
    let asked = async |request: &Request| {
        let paid = (claim, payout.clone());
        other.approve(request, paid, now_ms()).await
    };
    // With the next nonce it is signed; the same part with a later nonce could be sent besides.
    let first = part(0, 1);
    let sig = asked(&first).await.unwrap();
    assert_eq!(asked(&part(1, 2)).await, Err(Reason::Nonce));
    let genesis = ledger.genesis().id();
    let mut envelope = Envelope::sign(first, genesis, &[&identity(ME)]);
    envelope.sigs.push(sig);
    let body = ledger.submit(envelope.to_bytes()).await.unwrap();
    assert_eq!(body.answer.code, Code::Ok);
    // Now that nonce is the next one, and the part is paid.
    assert_eq!(asked(&part(1, 3)).await, Err(Reason::Pay));
    assert_eq!(asked(&part(0, 4)).await, Err(Reason::Nonce));
    cosigning.stop().await;
    running.stop().await;
}
