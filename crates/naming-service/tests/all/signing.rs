use std::sync::Arc;

use betanet_log::SignedHead;
use betanet_naming::testkit::{Network, owner};
use betanet_naming::{Proof, Status, Verified};
use betanet_naming_service::body::SignatureBody;
use betanet_naming_service::{Proposal, client};
use betanet_runtime::AdminRequest;
use betanet_wire::text::unbase64url;
use betanet_wire::{Code, cbor};
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::world::{Asker, Idle, Ledger, alias, now_ms, refusal, signer_at, signers};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_final_on_all_three_nodes_and_resolves_verified() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let all = signers(home.path(), &network, &[0, 1, 2]).await;
    // To one that is not the first in turn.
    let asker = Asker::of(&all[2].peer, &network).await;
    let record = network.bound("files.example", &owner(1), 1, now_ms());
    let index = client::waits(&asker.post("records", &record).await.unwrap()).unwrap();
    assert_eq!(index, 0);
    for node in &all {
        node.running.reaches(1).await;
        let mut asker = Asker::of(&node.peer, &network).await;
        let found = asker.resolve("files.example").await;
        assert_eq!(found.status, Status::Bound);
        assert_eq!(found.node(), Some(owner(1).public().node_id()));
        let (_, proof) = found.latest.unwrap();
        // The proof needs nothing but the signers' keys.
        let saved = Proof::from_bytes(&proof.to_bytes()).unwrap();
        assert!(saved.verify(&[network.genesis().signers]).is_ok());
        let strangers = Network::new(4, 0).genesis().signers;
        assert!(saved.verify(&[strangers]).is_err());
        assert_eq!(asker.resolve("other").await.status, Status::Unknown);
    }
    // Further ones, in turn, many at once.
    let mut posts = tokio::task::JoinSet::new();
    for n in 2..40_u16 {
        let record = network.bound(&format!("n{n}"), &owner(n), 1, now_ms());
        let asker = Asker::of(&all[usize::from(n) % 3].peer, &network).await;
        posts.spawn(async move { asker.post("records", &record).await.map(drop) });
    }
    for done in posts.join_all().await {
        done.unwrap();
    }
    let mut roots = Vec::new();
    for node in &all {
        node.running.reaches(39).await;
        let mut asker = Asker::of(&node.peer, &network).await;
        roots.push(asker.newest().await.head.unwrap().head().root);
    }
    assert_eq!((roots[0], roots[1]), (roots[1], roots[2]));
    for node in all {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_in_turn_is_away_the_next_proposes_after_ten_seconds() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let two = signers(home.path(), &network, &[1, 2]).await;
    let asker = Asker::of(&two[0].peer, &network).await;
    let began = tokio::time::Instant::now();
    let record = network.bound("a", &owner(1), 1, now_ms());
    asker.post("records", &record).await.unwrap();
    for node in &two {
        node.running.reaches(1).await;
    }
    assert!(
        began.elapsed().as_millis() >= 9_900,
        "{:?}",
        began.elapsed()
    );
}

/// A proposal of one record by a signer, for an empty ledger.
fn proposal(network: &Network, record: &Bytes, by: usize, ts: u64) -> Proposal {
    let mut ledger = network.ledger();
    let verified = Verified::new(record.clone(), &network.genesis().signers);
    ledger.apply_verified(ts, &verified).unwrap();
    let head = SignedHead::new(ledger.next_head(ts).unwrap());
    Proposal::new(head, vec![record.clone()], signer_at(network, by))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_signs_no_two_heads_of_one_size_however_often_it_restarts() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let me = signer_at(&network, 1);
    let ts = now_ms();
    let first = proposal(&network, &network.bound("a", &owner(1), 1, ts), 0, ts);
    let second = proposal(&network, &network.bound("b", &owner(2), 1, ts), 0, ts);
    for round in 0..3 {
        let node = Ledger::alone(home.path(), &network, Some(me)).await;
        let asker = Asker::of(&node.peer, &network).await;
        let signed = asker.post("sign", &first.to_bytes()).await.unwrap();
        let signature = cbor::from_slice::<SignatureBody>(&signed)
            .unwrap()
            .signature;
        assert_eq!(&signature.signer, me.public().as_bytes());
        let refused = refusal(asker.post("sign", &second.to_bytes()).await);
        assert_eq!(
            (refused.status, refused.code),
            (409, Code::POLICY_REJECTED),
            "{round}"
        );
        // It tells what it holds to, so that the proposer can take that.
        assert_eq!(refused.held, first.records());
        // A signer out of turn, a stranger, and one that pretends to be another.
        let late = proposal(&network, &network.bound("a", &owner(1), 1, ts), 2, ts);
        let refused = refusal(asker.post("sign", &late.to_bytes()).await);
        assert!(refused.why.contains("turn"), "{refused:?}");
        let mut forged = first.to_bytes();
        let at = forged.windows(32).position(|w| w == first.by()).unwrap();
        forged[at..at + 32].copy_from_slice(signer_at(&network, 2).public().as_bytes());
        let refused = refusal(asker.post("sign", &forged).await);
        assert_eq!(refused.code, Code::ALIAS_SIG_INVALID);
        // As by a crash, once.
        if round == 0 {
            drop(node.running);
            node.gateway.shutdown().await;
        } else {
            node.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_entries_are_served_with_proofs() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let idle = Idle::new(home.path(), &network, None).await;
    let face = idle.names.extension();
    let node = idle.start(home.path()).await;
    let mut asker = Asker::of(&node.peer, &network).await;
    let mut ledger = network.ledger();
    for seq in 1..=8 {
        let ts = now_ms();
        let record = network.bound("a", &owner(1), seq, ts);
        ledger.apply(ts, record.clone()).unwrap();
        let head = network.head(&ledger, ts, &[0, 1]);
        ledger.accept(head.clone()).unwrap();
        asker.make_final(&record, &head).await;
    }
    let bytes = asker
        .get(client::history_request(&alias("a")))
        .await
        .unwrap();
    let list = client::history(&bytes, &alias("a"), &mut asker.trust).unwrap();
    let seqs: Vec<u64> = list.iter().map(|(f, _)| f.record().seq).collect();
    assert_eq!(seqs, [8, 7, 6, 5, 4, 3]);
    // The admin address tells the same, with proofs that verify.
    let asked = async |path: &str| {
        let request = AdminRequest {
            method: "GET".parse().unwrap(),
            uri: path.parse().unwrap(),
            headers: Default::default(),
            body: Box::pin(futures_util::stream::empty()),
        };
        let mut reply = Arc::clone(&face).answer(request).await;
        let body = reply.body.next().await.unwrap().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        (reply.status, body)
    };
    let (status, told) = asked("/names/1/history/a").await;
    assert_eq!((status, &told["records"][0]["seq"]), (200, &8.into()));
    assert_eq!(told["records"].as_array().unwrap().len(), 6);
    assert_eq!(told["records"][0]["status"], "bound");
    let proof = told["records"][5]["proof"].as_str().unwrap();
    let proof = Proof::from_bytes(&unbase64url(proof).unwrap()).unwrap();
    let proven = asker.trust.verify(&proof, Some(&alias("a"))).unwrap();
    assert_eq!(proven.record().seq, 3);
    assert_eq!(
        asked("/names/1/history/b").await.1["records"],
        serde_json::json!([])
    );
    assert_eq!(asked("/names/1/history/A").await.0, 400);
    let bytes = asker.get(client::entries_request(2, 3)).await.unwrap();
    let (records, size) = client::entries(&bytes).unwrap();
    assert_eq!((records.len(), size), (3, 8));
    let bytes = asker.get(client::consistency_request(3)).await.unwrap();
    let (head, link) = client::consistency(&bytes, &asker.trust).unwrap();
    let root = ledger.log().root_at(3).unwrap();
    assert_eq!((head.head().size, link.root), (8, root));
    for (path, status) in [
        ("entries?from=9&n=1", 404),
        ("entries?from=0&n=257", 400),
        ("entries", 400),
    ] {
        let target = format!("{}/{path}", betanet_naming_service::PREFIX);
        let request = betanet_bar::Request::new(
            betanet_bar::Method::Get,
            &target,
            betanet_bar::Headers::default(),
        );
        assert_eq!(refusal(asker.get(request).await).status, status, "{path}");
    }
    node.stop().await;
}
