//! Evidence of offences that anybody may send: two heads of one size, and two receipts of one assignment.

use betanet_economy_service::body::domain;
use betanet_economy_service::rows::{Node, number, stake_key, table};
use betanet_log::SignedHead;
use betanet_tokenomics::account::{NODE, USER};
use betanet_tokenomics::request::{Op, Proof};
use betanet_tokenomics::{Code, GenesisDraft, Role};
use betanet_wire::{cbor, message};

use super::world::{Asker, Books, FOG, account, identity, now_ms, signed};

/// A signer with stake, and one without.
const SIGNER: u8 = 11;
const OTHER: u8 = 12;
/// A worker with stake.
const WORKER: u8 = 21;
const REPORTER: u8 = 2;

fn genesis() -> Vec<u8> {
    let key = |n: u8| *identity(n).public().as_bytes();
    let nodes = [SIGNER, WORKER].map(|n| (key(n), NODE, 2_000 * FOG));
    let users = [OTHER, REPORTER].map(|n| (key(n), USER, FOG));
    let mut signers = [SIGNER, OTHER].map(|n| key(n).to_vec());
    signers.sort_unstable();
    GenesisDraft {
        name: "a town",
        t0: now_ms(),
        epoch_ms: 86_400_000,
        cap: 1_000_000 * FOG,
        halving: 365,
        alloc: &[&nodes[..], &users[..]].concat(),
        roles: &[(Role::Signers, signers.to_vec())],
        ..GenesisDraft::default()
    }
    .to_bytes()
}

fn evidence(kind: u8, list: [Proof; 2]) -> Op {
    Op::Evidence {
        kind,
        list: list.into(),
        task: Vec::new(),
    }
}

/// A ledger on which the signer and the worker have bonded 1 000 FOG each.
async fn town(home: &std::path::Path) -> (Books, Asker) {
    let genesis = genesis();
    let books = Books::leader(home, &genesis, &[SIGNER, OTHER]).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    for n in [SIGNER, WORKER] {
        let bond = Op::Bond {
            amt: 1_000 * FOG,
            comm: 0,
        };
        let (_, body) = asker.send(&signed(&asker.trust, n, 0, &bond)).await;
        assert_eq!(body.answer.code, Code::Ok);
    }
    books.running.reaches(3).await;
    (books, asker)
}

/// Sends evidence as the reporter.
async fn report(asker: &Asker, nonce: u64, op: &Op) -> Code {
    let sent = asker.send(&signed(&asker.trust, REPORTER, nonce, op)).await;
    sent.1.answer.code
}

/// A node's row and stake under the final head.
async fn standing(asker: &Asker, n: u8) -> (Node, u64) {
    let node = asker.row(table::NODES, &account(n).0).await.unwrap();
    let stake = stake_key(&account(n), &account(n));
    let stake = asker.row(table::STAKES, &stake).await.unwrap();
    (Node::read(&node).unwrap(), number(&stake).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_heads_of_one_size_cost_their_signer_its_stake() {
    let home = tempfile::tempdir().unwrap();
    let (books, asker) = town(home.path()).await;
    let genesis = *asker.trust.genesis().id();
    // The head that all see, and another of as many records that only its victim sees.
    let shown = asker.head().await;
    let mut head = *shown.head();
    head.root = [7; 32];
    let hidden = SignedHead::new(head);
    let proof = |head: &SignedHead, n: u8| {
        let signature = head.signature(domain(&genesis), &identity(n));
        Proof {
            record: head.signed_bytes().to_vec(),
            key: signature.signer,
            sig: signature.sig,
        }
    };
    let own = shown.signatures().iter();
    let own = own.filter(|s| s.signer == *identity(SIGNER).public().as_bytes());
    assert_eq!(own.count(), 1, "the ledger has it with this signature");
    let pair = |n: u8| [proof(&shown, n), proof(&hidden, n)];
    let same = [proof(&shown, SIGNER), proof(&shown, SIGNER)];
    assert_eq!(
        report(&asker, 0, &evidence(3, same)).await,
        Code::BadEvidence
    );
    // Somebody without stake has nothing to lose.
    assert_eq!(
        report(&asker, 0, &evidence(3, pair(OTHER))).await,
        Code::Unknown
    );
    let [good, mut forged] = pair(SIGNER);
    forged.sig = proof(&hidden, OTHER).sig;
    assert_eq!(
        report(&asker, 0, &evidence(3, [good, forged])).await,
        Code::BadEvidence
    );
    assert_eq!(
        report(&asker, 0, &evidence(3, pair(SIGNER))).await,
        Code::Ok
    );
    books.running.reaches(4).await;
    let (node, stake) = standing(&asker, SIGNER).await;
    assert!(node.banned);
    assert_eq!((node.reputation, stake), (0, 900 * FOG));
    // A tenth of the hundred FOG is the reporter's.
    assert_eq!(asker.fog(REPORTER).await, u128::from(11 * FOG));
    assert_eq!(
        report(&asker, 1, &evidence(3, pair(SIGNER))).await,
        Code::Once
    );
    let (node, stake) = standing(&asker, WORKER).await;
    assert!(!node.banned);
    assert_eq!(stake, 1_000 * FOG);
    books.stop().await;
}

message! {
    /// What the ledger reads of a receipt.
    struct Receipt<'a> {
        req "key" key: [u8; 32],
        req "out" out: &'a [u8],
        req "copy" copy: u64,
        req "fuel" fuel: u64,
        req "task" task: [u8; 32],
        req "epoch" epoch: u64,
        req "fence" fence: u64,
        req "status" status: &'a str,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_results_of_one_assignment_cost_their_node_its_stake() {
    let home = tempfile::tempdir().unwrap();
    let (books, asker) = town(home.path()).await;
    let receipt = |out: [u8; 32], fence: u64| {
        let record = cbor::to_vec(&Receipt {
            key: *identity(WORKER).public().as_bytes(),
            out: &out,
            copy: 0,
            fuel: 5,
            task: [4; 32],
            epoch: 1,
            fence,
            status: "ok",
        });
        Proof {
            key: *identity(WORKER).public().as_bytes(),
            sig: identity(WORKER).sign("BN-FOG-DONE1", &[&record]),
            record,
        }
    };
    // Another assignment, or the same result, is no offence.
    for bad in [
        [receipt([8; 32], 9), receipt([9; 32], 10)],
        [receipt([8; 32], 9), receipt([8; 32], 9)],
    ] {
        assert_eq!(
            report(&asker, 0, &evidence(1, bad)).await,
            Code::BadEvidence
        );
    }
    let list = [receipt([8; 32], 9), receipt([9; 32], 9)];
    assert_eq!(
        report(&asker, 0, &evidence(1, list.clone())).await,
        Code::Ok
    );
    books.running.reaches(4).await;
    let (node, stake) = standing(&asker, WORKER).await;
    assert!(node.banned);
    assert_eq!((node.reputation, stake), (0, 950 * FOG));
    assert_eq!(asker.fog(REPORTER).await, u128::from(6 * FOG));
    assert_eq!(report(&asker, 1, &evidence(1, list)).await, Code::Once);
    books.stop().await;
}
