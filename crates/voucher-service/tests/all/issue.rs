use betanet_machine::{Rng, Seed};
use betanet_runtime::{Headers, Method};
use betanet_voucher_service::client::ClientError;
use betanet_voucher_service::{MintFolder, Settings, mint_init};
use betanet_vouchers::message::{Blinded, IssueAnswer, IssueRequest, RestoreRequest, SwapRequest};
use betanet_vouchers::{Denomination, GRACE, KeysetId, MIN_LIFE, Partials, Phase, finish, verify};
use betanet_wire::Code;

use super::world::{HOUR, Mint, Town, ask, client, code, deal_at, identity, now_ms, post, session};

#[tokio::test(flavor = "multi_thread")]
async fn vouchers_of_three_of_five_mints_are_redeemed_once_and_the_connection_lives_on() {
    let mut town = Town::new(3, 5, &[0, 1, 4]).await;
    let client = client(40);
    let offered = client.keysets(&town.mints[3].peer()).await.unwrap();
    assert_eq!(offered.len(), 1);
    assert_eq!(
        (offered[0].phase, offered[0].share),
        (Phase::Active, Some(4))
    );
    assert_eq!(offered[0].keyset, town.keyset.as_bytes());

    let vouchers = town.issue(&client, &[0, 1, 4, 4]).await;
    let first = town.redeem(&client, 40, &vouchers).await;
    assert!(first.is_ok(), "{:?}", first.codes);
    assert_eq!((first.total, first.balance), (35, 35));
    let again = town.redeem(&client, 40, &vouchers[1..]).await;
    assert_eq!(again.codes, [Code::VOUCHER_SPENT; 3]);
    assert_eq!((again.total, again.balance), (0, 0));
    // Two of five mints are gone: three are enough, whichever they are.
    town.mints.remove(1).end().await;
    town.mints.remove(1).end().await;
    let more = town.issue(&client, &[1]).await;
    assert!(town.redeem(&client, 40, &more).await.is_ok());
    client.close().await;
    town.end().await;
}

/// Answers in the name of the second mint, with signatures that are none.
async fn liar(mut call: betanet_runtime::Call) -> betanet_runtime::Reply {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = call.body.chunk().await {
        body.extend_from_slice(&piece);
    }
    let request = IssueRequest::from_bytes(&body).unwrap();
    let answer = IssueAnswer {
        id: request.id,
        partials: Partials {
            share: 2,
            signatures: vec![betanet_bls::G1Affine::generator(); request.blinded.len()],
        },
    };
    betanet_runtime::Reply::new(200).with_body(answer.to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mint_that_answers_in_the_name_of_another_does_not_keep_that_one_out() {
    let mut town = Town::new(2, 3, &[0, 1]).await;
    town.mints.remove(2).end().await;
    let home = tempfile::tempdir().unwrap();
    let mut config = betanet_runtime::GatewayConfig::in_state(home.path().join("state"));
    config.listener.listen = vec!["127.0.0.1:0".into()];
    let gateway = betanet_runtime::Gateway::builder(identity(9), &config)
        .service(betanet_voucher_service::PREFIX, liar)
        .start()
        .await
        .unwrap();
    let client = client(42);
    let (blindings, points) = town.blind(&[0, 1]);
    let pay = town.coupon(3).to_bytes();
    let request = IssueRequest::encode([7; 16], &town.keyset.id(), &points, &pay);
    let mut peers = town.peers();
    peers.insert(0, gateway.listening().peer());
    let issued = client.issue_vouchers(&peers, &town.keyset, &request, &blindings);
    let vouchers = issued.await.unwrap();
    assert!(town.redeem(&client, 42, &vouchers).await.is_ok());
    // Where it is one of two, one is missing.
    peers.truncate(2);
    let issued = client.issue_vouchers(&peers, &town.keyset, &request, &blindings);
    let few = issued.await.unwrap_err();
    assert!(
        matches!(
            few,
            ClientError::TooFew {
                have: 1,
                need: 2,
                ..
            }
        ),
        "{few}"
    );
    client.close().await;
    gateway.shutdown().await;
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_pays_once_and_its_request_has_one_answer() {
    let mut town = Town::new(1, 1, &[0, 1]).await;
    let session = session(41, &town.mints[0]).await;
    let (blindings, b) = town.blind(&[0, 1, 1]);
    let coupon = town.coupon(3);
    let keyset_id = town.keyset.id();
    let issue = |id: u8, points: &[Blinded], pay: &[u8]| {
        IssueRequest::encode([id; 16], &keyset_id, points, pay)
    };
    let good = coupon.to_bytes();
    let refused = (403, Code::POLICY_REJECTED);
    let told = |(status, body): (u16, Vec<u8>)| (status, code(&body));
    // Nothing, too little, too much, forged.
    let forged = {
        let other = betanet_keys::Identity::from_seed(&[200; 32]);
        coupon.unverified().sign(&other).to_bytes()
    };
    for (points, pay) in [
        (&b[..2], &b""[..]),
        (&b[..1], &good[..]),
        (&b[..], &good[..]),
        (&b[..2], &forged[..]),
    ] {
        assert_eq!(
            told(post(&session, "issue", &issue(1, points, pay)).await),
            refused
        );
    }
    let request = issue(1, &b[..2], &coupon.to_bytes());
    let (status, answer) = post(&session, "issue", &request).await;
    assert_eq!(status, 200, "{:?}", code(&answer));
    assert_eq!(
        post(&session, "issue", &request).await,
        (200, answer.clone())
    );
    let other = issue(2, &b[1..2], &coupon.to_bytes());
    assert_eq!(told(post(&session, "issue", &other).await), refused);
    let other = issue(2, &[b[0], b[2]], &coupon.to_bytes());
    assert_eq!(told(post(&session, "issue", &other).await), refused);
    let same_number = issue(1, &[b[0], b[2]], &coupon.to_bytes());
    assert_eq!(told(post(&session, "issue", &same_number).await), refused);
    // Somebody else who pays under that number takes nothing from it.
    let (_, others) = town.blind(&[0, 1]);
    let other = issue(1, &others, &town.coupon(3).to_bytes());
    assert_eq!(post(&session, "issue", &other).await.0, 200);
    assert_eq!(
        post(&session, "issue", &request).await,
        (200, answer.clone())
    );

    let answer = IssueAnswer::from_bytes(&answer).unwrap();
    let vouchers = finish(
        &town.keyset,
        &blindings[..2],
        std::slice::from_ref(&answer.partials),
        &mut town.rng,
    )
    .unwrap();
    let mut keysets = betanet_vouchers::Keysets::default();
    keysets.add((*town.keyset).clone()).unwrap();
    assert!(vouchers.iter().all(|v| verify(v, &keysets).is_ok()));

    // A wallet that lost the answer finds it again; what was not signed, it does not.
    let restore = RestoreRequest {
        keyset: town.keyset.id(),
        blinded: b.clone(),
    };
    let (status, restored) = post(&session, "restore", &restore.to_bytes()).await;
    assert_eq!(status, 200);
    let restored = betanet_vouchers::message::RestoreAnswer::from_bytes(&restored).unwrap();
    let [first, second] = answer.partials.signatures[..] else {
        panic!()
    };
    assert_eq!(restored.signatures, [Some(first), Some(second), None]);
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_gives_change_and_spends_what_was_given() {
    let mut town = Town::new(2, 3, &[0, 1]).await;
    let client = client(42);
    let old = town.issue(&client, &[1]).await;
    let (blindings, b) = town.blind(&[0, 0]);
    let (id, keyset) = (town.rng.array(), town.keyset.clone());
    let request = SwapRequest::encode(id, &keyset.id(), &old, &b);
    let at = town.mints[0].peer();
    let (answer, proof) = client.swap(&at, keyset.spender(), &request).await.unwrap();
    assert!(
        answer.is_ok() && answer.swapped.is_some(),
        "{:?}",
        answer.codes
    );
    let issue = IssueRequest::encode(id, &keyset.id(), &b, &proof.0);
    let new = client
        .issue_vouchers(&town.peers(), &keyset, &issue, &blindings)
        .await
        .unwrap();
    assert_eq!(
        town.redeem(&client, 42, &old).await.codes,
        [Code::VOUCHER_SPENT]
    );
    assert_eq!(town.redeem(&client, 42, &new).await.balance, 2);
    // The proof pays for these points under this number only.
    let (_, others) = town.blind(&[0, 0]);
    let session = session(42, &town.mints[1]).await;
    for (id, points) in [(id, &others), ([9; 16], &b)] {
        let wrong = IssueRequest::encode(id, &keyset.id(), points, &proof.0);
        let (status, body) = post(&session, "issue", &wrong).await;
        assert_eq!((status, code(&body)), (403, Code::POLICY_REJECTED));
    }
    town.end().await;
}

/// Points that are no good points, with what is wrong.
fn bad_points() -> Vec<[u8; 48]> {
    let mut kinds = [false; 2];
    let mut identity = [0; 48];
    identity[0] = 0xc0;
    let mut out = vec![identity];
    for x in 1..60_u8 {
        let mut point = [0; 48];
        (point[0], point[47]) = (0x80, x);
        let kind = match betanet_bls::G1Affine::from_bytes(&point) {
            Err(betanet_bls::Error::NotOnCurve) => 0,
            Err(betanet_bls::Error::WrongSubgroup) => 1,
            _ => continue,
        };
        if !std::mem::replace(&mut kinds[kind], true) {
            out.push(point);
        }
    }
    assert_eq!(kinds, [true; 2]);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_issue_sees_its_code_and_the_connection_lives_on() {
    let mut town = Town::dealt(1, 1, &[0, 3]);
    let now = now_ms();
    let mut folders = vec![town.folder(1)];
    // A keyset of next month, and one that is past its grace.
    for (name, begin) in [
        ("next", now + MIN_LIFE),
        ("last", now - MIN_LIFE - GRACE - HOUR),
    ] {
        let dir = town.dir.path().join(name);
        let mut rng = Rng::new(&Seed::from_number(begin));
        let deal = deal_at(1, 1, &[0], begin, begin + MIN_LIFE);
        mint_init(&dir, &deal, &mut rng).unwrap();
        folders.push(MintFolder::open(&dir.join("mint-1"), &mut rng).unwrap());
    }
    let (next, last) = (folders[1].keyset.id(), folders[2].keyset.id());
    town.mints
        .push(Mint::start(1, folders, Settings::default(), None).await);
    let session = session(43, &town.mints[0]).await;
    let own = town.keyset.id();
    let (_, b) = town.blind(&[0, 0]);
    let coupon = town.coupon(1).to_bytes();
    let issue = |keyset: &KeysetId, points: &[Blinded]| {
        IssueRequest::encode([1; 16], keyset, points, &coupon)
    };
    let mut wrong = vec![
        (403, Code::POLICY_REJECTED, issue(&next, &b[..1])),
        (403, Code::POLICY_REJECTED, issue(&last, &b[..1])),
        (
            404,
            Code::POLICY_REJECTED,
            issue(&KeysetId([7; 32]), &b[..1]),
        ),
        (403, Code::POLICY_REJECTED, issue(&own, &[b[0], b[0]])),
        (400, Code::MALFORMED_FRAME, issue(&own, &[b[0]; 1_025])),
        (400, Code::MALFORMED_FRAME, issue(&own, &[])),
        (400, Code::MALFORMED_FRAME, b"garbage".to_vec()),
        (400, Code::MALFORMED_FRAME, Vec::new()),
        (400, Code::MALFORMED_FRAME, vec![0xff; (256 << 10) + 1]),
    ];
    let none = Denomination::new(2).unwrap();
    let without_key = Blinded {
        denomination: none,
        ..b[0]
    };
    wrong.push((403, Code::POLICY_REJECTED, issue(&own, &[without_key])));
    for point in bad_points() {
        let bad = Blinded {
            denomination: Denomination::LEAST,
            point,
        };
        wrong.push((400, Code::MALFORMED_FRAME, issue(&own, &[bad])));
    }
    for (n, (status, said, body)) in wrong.into_iter().enumerate() {
        let (got, answer) = post(&session, "issue", &body).await;
        assert_eq!((got, code(&answer)), (status, said), "case {n}");
        let listed = ask(
            &session,
            Method::Get,
            "/vouchers/keysets",
            Headers::default(),
            b"",
        )
        .await;
        assert_eq!(listed.0, 200, "case {n}");
    }
    assert!(!session.is_closed());
    assert_eq!(post(&session, "issue", &issue(&own, &b[..1])).await.0, 200);
    town.end().await;
}
