use betanet_tokenomics::Code;

use super::world::{Asker, Books, FOG, genesis, journal, payment, settings};

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_final_once_a_follower_replayed_and_signed_them() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let genesis = genesis();
    let leader = Books::leader(home.path(), &genesis, &[11]).await;
    let asker = Asker::of(&leader.peer, &genesis).await;
    let (_, body) = asker.send(&payment(&asker.trust, 1, 0, 2, FOG)).await;
    assert_eq!(body.answer.code, Code::Ok);
    // One of two signers makes nothing final, and nothing is proven by a head that is not.
    let waits = async {
        while asker.get("proposal").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    waits.await;
    assert_eq!(asker.get("head").await.status, 404);
    assert_eq!(asker.get("state/0").await.status, 404);

    let mut following = settings(&genesis, &[12]);
    following.leaders = vec![leader.peer.clone()];
    let start = async |settings| Books::start(other.path(), settings, journal(other.path())).await;
    let follower = start(following.clone()).await;
    leader.running.reaches(2).await;
    follower.running.reaches(2).await;
    let reader = Asker::of(&follower.peer, &genesis).await;
    assert_eq!(reader.fog(2).await, u128::from(1_001 * FOG));
    // Requests go to the leader, whom the follower names.
    let refused = payment(&asker.trust, 1, 1, 2, FOG).to_bytes();
    let refused = reader.post("request", refused).await;
    assert_eq!(refused.status, 503);
    assert_eq!(
        refused.location.as_deref(),
        Some(leader.peer.to_string().as_str())
    );

    // A follower that was away catches up, by its own journal and the leader's.
    follower.stop().await;
    for nonce in 1..20 {
        let (_, body) = asker.send(&payment(&asker.trust, 1, nonce, 2, FOG)).await;
        assert_eq!(body.answer.code, Code::Ok);
    }
    let follower = start(following).await;
    leader.running.reaches(21).await;
    follower.running.reaches(21).await;
    let reader = Asker::of(&follower.peer, &genesis).await;
    assert_eq!(reader.fog(2).await, u128::from(1_020 * FOG));
    assert_eq!(reader.head().await.head(), asker.head().await.head());
    leader.stop().await;
    follower.stop().await;
    // It goes on as the leader from what it has.
    let leader = Books::leader(other.path(), &genesis, &[11, 12]).await;
    let asker = Asker::of(&leader.peer, &genesis).await;
    let (_, body) = asker.send(&payment(&asker.trust, 1, 20, 2, FOG)).await;
    assert_eq!((body.answer.code, body.answer.seq), (Code::Ok, 21));
    leader.running.reaches(22).await;
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_drops_records_that_a_new_leader_does_not_have() {
    let (home, other, fresh) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let genesis = genesis();
    let pay = async |asker: &Asker, nonces: std::ops::Range<u64>, amount| {
        for nonce in nonces {
            let (_, body) = asker
                .send(&payment(&asker.trust, 1, nonce, 2, amount))
                .await;
            assert_eq!(body.answer.code, Code::Ok);
        }
    };
    // One of two signers makes nothing final, and the follower's key is not listed, so it signs nothing.
    let lost = Books::leader(home.path(), &genesis, &[11]).await;
    let asker = Asker::of(&lost.peer, &genesis).await;
    pay(&asker, 0..5, FOG).await;
    let mut following = settings(&genesis, &[13]);
    following.leaders = vec![lost.peer.clone()];
    let follower = Books::start(other.path(), following.clone(), journal(other.path())).await;
    let reader = Asker::of(&follower.peer, &genesis).await;
    while reader.get("record/5?size=6").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let dead = lost.peer.clone();
    follower.stop().await;
    lost.stop().await;
    // The next leader has other records, and fewer.
    let leader = Books::leader(fresh.path(), &genesis, &[11, 12]).await;
    let asker = Asker::of(&leader.peer, &genesis).await;
    pay(&asker, 0..2, 3 * FOG).await;
    leader.running.reaches(3).await;
    // The follower finds it after one that is gone.
    following.leaders = vec![dead, leader.peer.clone()];
    let follower = Books::start(other.path(), following, journal(other.path())).await;
    follower.running.reaches(3).await;
    let reader = Asker::of(&follower.peer, &genesis).await;
    assert_eq!(reader.fog(2).await, u128::from(1_006 * FOG));
    pay(&asker, 2..9, FOG).await;
    leader.running.reaches(10).await;
    follower.running.reaches(10).await;
    follower.stop().await;
    // Its journal, with the drop in it, reads again.
    let again = Books::leader(other.path(), &genesis, &[13]).await;
    again.running.reaches(10).await;
    let reader = Asker::of(&again.peer, &genesis).await;
    assert_eq!(reader.fog(2).await, u128::from(1_013 * FOG));
    again.stop().await;
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_others_make_nothing_final() {
    let home = tempfile::tempdir().unwrap();
    let genesis = genesis();
    // The key 13 is not listed.
    let leader = Books::leader(home.path(), &genesis, &[11, 13]).await;
    let asker = Asker::of(&leader.peer, &genesis).await;
    let proposed = async {
        loop {
            let proposal = asker.get("proposal").await;
            if proposal.status == 200 {
                return proposal.good().unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let proposed = proposed.await;
    let head = betanet_log::SignedHead::from_bytes(&proposed).unwrap();
    assert_eq!(head.signatures().len(), 1);
    let domain = betanet_economy_service::body::domain(asker.trust.genesis().id());
    let mut signed = head.clone();
    signed.add(head.signature(domain, &super::world::identity(13)));
    let mut forged = head.signature(domain, &super::world::identity(12));
    forged.sig[7] ^= 1;
    signed.add(forged);
    let taken = asker.post("sign", signed.to_bytes()).await;
    assert_eq!((taken.status, taken.body), (200, vec![0xf4]));
    assert_eq!(asker.get("head").await.status, 404);
    // Another head than the one that waits is not taken.
    let mut other = *head.head();
    other.ts += 1;
    let other = betanet_log::SignedHead::new(other);
    assert_eq!(asker.post("sign", other.to_bytes()).await.status, 409);
    let good = head.signature(domain, &super::world::identity(12));
    let mut signed = head;
    signed.add(good);
    let taken = asker.post("sign", signed.to_bytes()).await;
    assert_eq!((taken.status, taken.body), (200, vec![0xf5]));
    assert_eq!(asker.head().await.head().size, 1);
    leader.stop().await;
}
