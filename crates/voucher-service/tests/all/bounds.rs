use betanet_runtime::{Headers, Method, Node};
use betanet_voucher_service::{Error, Settings, VoucherService};
use betanet_vouchers::Allowance;
use betanet_vouchers::message::{Op, RedeemRequest, RestoreRequest, SwapRequest};
use betanet_wire::Code;

use super::world::{Mint, Town, ask, client, code, identity, post, session};

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_told_when_to_ask_again() {
    let settings = Settings {
        allowance: Allowance {
            window: 3_600_000_000,
            requests: 6,
            ..Allowance::default()
        },
        ..Settings::default()
    };
    let mut town = Town::with(1, 1, &[0], settings).await;
    let session = session(54, &town.mints[0]).await;
    let restore = RestoreRequest {
        keyset: town.keyset.id(),
        blinded: town.blind(&[0]).1,
    };
    let mut told = Vec::new();
    for _ in 0..8 {
        let body = restore.to_bytes();
        let path = "/vouchers/restore";
        let (status, headers, body) =
            ask(&session, Method::Post, path, Headers::default(), &body).await;
        if status == 429 {
            assert_eq!(code(&body), Code::POLICY_REJECTED);
            assert_eq!(headers.text("retry-after"), Some("5"));
        }
        told.push(status);
    }
    assert_eq!(told, [200, 200, 200, 200, 200, 200, 429, 429]);
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_vouchers_use_the_allowance_up() {
    let settings = Settings {
        allowance: Allowance {
            window: 3_600_000_000,
            vouchers: 40,
            forged: 16,
            ..Allowance::default()
        },
        ..Settings::default()
    };
    let town = Town::with(1, 1, &[0], settings).await;
    let session = session(55, &town.mints[0]).await;
    let point = betanet_bls::G1Affine::generator();
    let e = betanet_vouchers::Denomination::LEAST;
    let to = identity(55).public().node_id();
    let mut told = Vec::new();
    for n in 0..4_u8 {
        let forged = betanet_vouchers::Voucher::new(&town.keyset.id(), e, &[n; 32], &point);
        let body = RedeemRequest::encode(Op::Redeem, to, [n; 16], &[forged]);
        told.push(post(&session, "redeem", &body).await.0);
    }
    // 17 each: the third one passes the bound, the fourth finds it passed.
    assert_eq!(told, [200, 200, 200, 429]);
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_swaps_too_much_stops_nobody_else() {
    let settings = Settings {
        swaps: Allowance {
            vouchers: 4,
            ..Settings::default().swaps
        },
        ..Settings::default()
    };
    let mut town = Town::with(1, 1, &[0], settings).await;
    let vouchers = town.issue(&client(57), &[0, 0, 0]).await;
    let mut swap = |n: u8| {
        let points = town.blind(&[0]).1;
        let one = std::slice::from_ref(&vouchers[usize::from(n)]);
        SwapRequest::encode([n; 16], &town.keyset.id(), one, &points)
    };
    let bodies = [swap(0), swap(1), swap(2)];
    let greedy = session(57, &town.mints[0]).await;
    assert_eq!(post(&greedy, "swap", &bodies[0]).await.0, 200);
    assert_eq!(post(&greedy, "swap", &bodies[1]).await.0, 200);
    let path = "/vouchers/swap";
    let (status, headers, body) =
        ask(&greedy, Method::Post, path, Headers::default(), &bodies[2]).await;
    assert_eq!((status, code(&body)), (429, Code::POLICY_REJECTED));
    assert_eq!(headers.text("retry-after"), Some("3600"));
    // A holder at another address has its swap, and nobody's redemptions are refused.
    let node = Node::new(Some(identity(58)), Default::default()).unwrap();
    let node = node.with_source_address(Some([127, 0, 0, 2].into()));
    let other = node.session(&town.mints[0].peer()).await.unwrap();
    assert_eq!(post(&other, "swap", &bodies[2]).await.0, 200);
    let to = identity(57).public().node_id();
    let check = RedeemRequest::encode(Op::Check, to, [9; 16], &vouchers);
    assert_eq!(post(&greedy, "redeem", &check).await.0, 200);
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_for_its_roles_only() {
    let mut town = Town::new(2, 2, &[0]).await;
    let to = identity(56).public().node_id();
    let vouchers = town.issue(&client(56), &[0]).await;
    let redeem = RedeemRequest::encode(Op::Redeem, to, [1; 16], &vouchers);
    // The second mint is not the spender.
    let second = session(56, &town.mints[1]).await;
    for path in ["redeem", "swap", "nothing"] {
        let (status, body) = post(&second, path, &redeem).await;
        assert_eq!(
            (status, code(&body)),
            (404, Code::UNSUPPORTED_FEATURE),
            "{path}"
        );
    }
    let wrong = ask(
        &second,
        Method::Put,
        "/vouchers/issue",
        Headers::default(),
        b"x",
    )
    .await;
    assert_eq!(wrong.0, 400);
    // A spender without a share redeems, and signs nothing.
    let mut folder = town.folder(1);
    folder.shares.clear();
    let spender = Mint::start(1, vec![folder], Settings::default(), None).await;
    let session = session(56, &spender).await;
    assert_eq!(post(&session, "redeem", &redeem).await.0, 200);
    assert_eq!(post(&session, "issue", b"").await.0, 404);
    let offered = client(56).keysets(&spender.peer()).await.unwrap();
    assert_eq!(offered[0].share, None);
    spender.end().await;
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_does_not_lead_answers_503() {
    let mut town = Town::new(1, 1, &[0]).await;
    let vouchers = town.issue(&client(57), &[0]).await;
    let mint = &mut town.mints[0];
    mint.running.take().unwrap().stop().await;
    let session = session(57, mint).await;
    let to = identity(57).public().node_id();
    let redeem = RedeemRequest::encode(Op::Redeem, to, [1; 16], &vouchers);
    let path = "/vouchers/redeem";
    let (status, headers, body) =
        ask(&session, Method::Post, path, Headers::default(), &redeem).await;
    assert_eq!((status, headers.text("retry-after")), (503, Some("1")));
    assert_eq!(code(&body), Code::INTERNAL_ERROR);
    let listed = ask(
        &session,
        Method::Get,
        "/vouchers/keysets",
        Headers::default(),
        b"",
    )
    .await;
    assert_eq!(listed.0, 200, "the list needs no state");
    town.end().await;
}

#[tokio::test]
async fn folders_that_cannot_stand_together_are_named() {
    let mut town = Town::dealt(2, 3, &[0]);
    let service = |me: u8, folders| VoucherService::new(identity(me), folders, Settings::default());
    let mut none = town.folder(2);
    none.shares.clear();
    assert!(matches!(service(2, vec![none]), Err(Error::NoRole(id)) if id == town.keyset.id()));
    let mut mixed = town.folder(1);
    mixed.shares = town.folder(2).shares;
    assert!(
        service(1, vec![mixed]).is_ok(),
        "a mint has the share that its file says"
    );
    let mut other = Town::dealt(1, 1, &[0]);
    let folders = vec![town.folder(1), other.folder(1)];
    // Both were dealt from one seed, so their points are equal.
    assert!(matches!(
        service(1, folders),
        Err(Error::Overlap(..) | Error::Keyset { .. })
    ));
    let mut fewer = town.folder(1);
    fewer.shares.clear();
    fewer.shares.extend(town.folder(1).shares);
    fewer.shares.extend(town.folder(2).shares);
    assert!(matches!(service(1, vec![fewer]), Err(Error::Shares(_))));
}
