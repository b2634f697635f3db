use betanet_economy_service::client;
use betanet_economy_service::rows::{balance_key, table};
use betanet_economy_service::verify;
use betanet_log::verify_consistency;
use betanet_tokenomics::request::{ENVELOPE_MAX, Op};
use betanet_tokenomics::{Asset, Code};

use super::world::{Asker, Books, FOG, account, genesis, identity, payment, signed};

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_signed_final_and_proven() {
    let home = tempfile::tempdir().unwrap();
    let genesis = genesis();
    let books = Books::leader(home.path(), &genesis, &[11, 12]).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    books.running.reaches(1).await;
    let old = asker.head().await;
    assert_eq!(asker.fog(2).await, u128::from(1_000 * FOG));
    let paid = payment(&asker.trust, 1, 0, 2, 5 * FOG);
    let (status, body) = asker.send(&paid).await;
    assert_eq!(
        (status, body.answer.code, body.answer.seq),
        (200, Code::Ok, 1)
    );
    assert_eq!(body.answer.codes, [Code::Ok]);
    // The same again is the same, and moves nothing.
    let (status, again) = asker.send(&paid).await;
    assert_eq!((status, again.to_bytes()), (200, body.to_bytes()));
    books.running.reaches(2).await;
    assert_eq!(asker.fog(2).await, u128::from(1_005 * FOG));
    assert_eq!(asker.nonce(1).await, 1);
    // An account that is not there is proven not to be.
    assert_eq!(asker.row(table::ACCOUNTS, &account(99).0).await, None);

    let head = asker.head().await;
    assert_eq!(head.head().size, 2);
    let bytes = asker.get("record/1?size=2").await.good().unwrap();
    let record = client::record(&bytes, 1, &head).unwrap();
    assert_eq!(record.req, paid.to_bytes());
    assert!(client::record(&bytes, 0, &head).is_err());
    let bytes = asker.get("consistency?from=1&to=2").await.good().unwrap();
    let proof = betanet_economy_service::body::consistency(&bytes).unwrap();
    let (old, new) = (old.head(), head.head());
    assert!(verify_consistency(1, 2, &old.root, &new.root, &proof));
    assert_eq!(asker.get("genesis").await.good().unwrap(), genesis);
    // A proof of another account shows nothing.
    let key = balance_key(&account(1), Asset::Fog);
    let other = balance_key(&account(2), Asset::Fog);
    let target = format!("state/2/{}", betanet_wire::text::hex(&key));
    let bytes = asker.get(&target).await.good().unwrap();
    assert!(client::state(&bytes, (2, &key), &head).is_ok());
    assert!(client::state(&bytes, (2, &other), &head).is_err());
    let mut forged = bytes.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(client::state(&forged, (2, &key), &head).is_err());

    // The journal verifies offline, and nothing else does.
    let journal = asker.get("journal?after=0&n=100").await.good().unwrap();
    let verified = verify(&journal, Some(&genesis), vec![head.clone()]).unwrap();
    assert_eq!((verified.covered, Some(verified.state)), (2, new.state));
    let wrong = (0..journal.len()).filter(|at| {
        let mut flipped = journal.clone();
        flipped[*at] ^= 1;
        verify(&flipped, Some(&genesis), vec![head.clone()]).is_ok()
    });
    assert_eq!(wrong.count(), 0, "every flipped byte is found");
    books.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_their_codes_and_statuses() {
    let home = tempfile::tempdir().unwrap();
    let genesis = genesis();
    let books = Books::leader(home.path(), &genesis, &[11, 12]).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    let trust = &asker.trust;
    let key = *identity(3).public().as_bytes();
    let mut forged = payment(trust, 1, 0, 2, FOG);
    forged.sigs[0][5] ^= 1;
    for (envelope, status, code) in [
        (payment(trust, 3, 0, 2, FOG), 401, Code::UnknownSigner),
        (forged, 401, Code::BadSignature),
        (payment(trust, 1, 7, 2, FOG), 409, Code::BadNonce),
        (payment(trust, 1, 0, 3, FOG), 404, Code::Unknown),
        (payment(trust, 1, 0, 2, 5_000 * FOG), 409, Code::Funds),
        (
            signed(trust, 1, 0, &Op::Brake { pid: None }),
            403,
            Code::NotAllowed,
        ),
        (
            signed(trust, 1, 0, &Op::Open { key, kind: 0 }),
            200,
            Code::Ok,
        ),
    ] {
        let (found, body) = asker.send(&envelope).await;
        assert_eq!((found, body.answer.code), (status, code));
    }
    let malformed = asker.post("request", vec![0xa0]).await;
    assert_eq!(malformed.status, 400);
    let longest = asker.post("request", vec![0; ENVELOPE_MAX]).await;
    assert_eq!(longest.status, 400);
    let long = asker.post("request", vec![0; ENVELOPE_MAX + 1]).await;
    assert_eq!(long.status, 400);
    assert!(long.good().unwrap_err().to_string().contains("too long"));
    let key = "00".repeat(129);
    for (target, status) in [
        ("nothing".to_owned(), 404),
        ("record/9?size=9".to_owned(), 404),
        ("record/x?size=1".to_owned(), 400),
        ("record/0".to_owned(), 400),
        ("consistency?from=2&to=1".to_owned(), 404),
        ("state/20/00".to_owned(), 400),
        (format!("state/1/{key}"), 400),
        ("journal?after=0".to_owned(), 400),
        ("state/0".to_owned(), 200),
    ] {
        books.running.reaches(2).await;
        assert_eq!(asker.get(&target).await.status, status, "{target}");
    }
    let none = asker.get("journal?after=99&n=5").await.good().unwrap();
    assert!(none.is_empty());
    books.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_and_heads_without_a_signature_are_limited_too() {
    let home = tempfile::tempdir().unwrap();
    let genesis = genesis();
    let books = Books::leader(home.path(), &genesis, &[11, 12]).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    books.running.reaches(1).await;
    let head = asker.head().await.to_bytes();
    let paid = payment(&asker.trust, 1, 0, 2, FOG).to_bytes();
    for (path, body) in [("request", paid), ("sign", head)] {
        let mut limited = false;
        for _ in 0..400 {
            limited |= asker.post(path, body.clone()).await.status == 429;
        }
        assert!(limited, "{path}");
    }
    books.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_of_one_address_are_limited() {
    let home = tempfile::tempdir().unwrap();
    let genesis = genesis();
    let books = Books::leader(home.path(), &genesis, &[11, 12]).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    let mut statuses = Vec::new();
    for _ in 0..200 {
        let refused = payment(&asker.trust, 3, 0, 2, FOG).to_bytes();
        statuses.push(asker.post("request", refused).await.status);
    }
    assert_eq!(statuses[..64], [401; 64]);
    assert!(statuses.contains(&429));
    // Whoever is limited still reads, and still signs heads.
    let sign = asker.post("sign", vec![0xa0]).await;
    assert_eq!(sign.status, 400);
    assert_eq!(asker.get("genesis").await.status, 200);
    books.stop().await;
}
