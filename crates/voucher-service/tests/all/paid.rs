use std::sync::Arc;

use betanet_bar::HeaderValue;
use betanet_keys::{Peer, PublicKey};
use betanet_runtime::{
    Call, Gateway, GatewayConfig, Headers, Method, Node, Reply, Service, SessionHandle,
};
use betanet_voucher_service::client::{Direct, VoucherClient};
use betanet_voucher_service::{Paid, Price, RemoteRedeem, Settings, with_vouchers};
use betanet_vouchers::message::{Op, RedeemRequest};
use betanet_vouchers::{VOUCHER, Voucher};
use betanet_wire::Code;
use betanet_wire::text::hex;

use super::world::{Mint, Town, ask, client, forged, identity, inner, session};

/// Status, the code of a refused payment, and the body.
async fn get(session: &SessionHandle, path: &str, v: &[Voucher]) -> (u16, Option<u16>, String) {
    let headers = match v {
        [] => Headers::default(),
        v => with_vouchers(Headers::default(), v),
    };
    let (status, headers, body) = ask(session, Method::Get, path, headers, b"").await;
    let code = headers.text("code").and_then(|c| c.parse().ok());
    assert_eq!(status == 429, headers.text("price").is_some(), "{status}");
    (status, code, String::from_utf8(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_told_its_price_pays_and_is_answered() {
    let mut town = Town::new(1, 1, &[0, 1, 2]).await;
    let v = town.issue(&client(48), &[0, 0, 1, 2, 1]).await;
    let session = session(48, &town.mints[0]).await;
    let (status, headers, why) =
        ask(&session, Method::Get, "/files/a", Headers::default(), b"").await;
    assert_eq!(status, 429);
    let price = Price::parse(headers.text("price").unwrap()).unwrap();
    assert_eq!(
        (price.units, price.unit.as_str(), price.keyset),
        (2, "FOG", town.keyset.id())
    );
    assert_eq!(
        String::from_utf8(why).unwrap(),
        "this request costs vouchers"
    );
    assert_eq!(headers.text("code"), None);

    // Absent resources cost nothing, and too little buys nothing.
    assert_eq!(get(&session, "/files/none", &v[..2]).await.0, 404);
    let little = get(&session, "/files/a", &v[..1]).await;
    assert_eq!(little.1, Some(Code::POLICY_REJECTED.0), "{little:?}");
    let twice = get(&session, "/files/a", &[v[0].clone(), v[0].clone()]).await;
    assert_eq!((twice.0, twice.1), (429, Some(Code::VOUCHER_INVALID.0)));

    // The inner service sees no vouchers.
    let good = get(&session, "/files/a", &v[..2]).await;
    assert_eq!((good.0, good.2.as_str()), (200, "0"));
    let spent = get(&session, "/files/a", &v[..2]).await;
    assert_eq!((spent.0, spent.1), (429, Some(Code::VOUCHER_SPENT.0)));
    // The signature of another voucher under a right checksum is no signature.
    let bad = get(&session, "/files/a", &[v[2].clone(), forged(&v[3], &v[4])]).await;
    assert_eq!((bad.0, bad.1), (429, Some(Code::VOUCHER_INVALID.0)));
    // One of two is spent: the other one stays good.
    let mixed = get(&session, "/files/a", &[v[0].clone(), v[2].clone()]).await;
    assert_eq!((mixed.0, mixed.1), (429, Some(Code::VOUCHER_SPENT.0)));
    // More than the price: all of it is taken.
    let more = get(&session, "/files/a", &[v[2].clone(), v[3].clone()]).await;
    assert_eq!(more.0, 200);
    let view = town.mints[0]
        .running
        .as_ref()
        .unwrap()
        .view()
        .await
        .unwrap();
    assert_eq!(view.balances["FOG"], 2 + 6);

    // What may store something is called after a check: the spent voucher's request does not reach it.
    let headers = with_vouchers(Headers::default(), &v[2..3]);
    let (status, ..) = ask(&session, Method::Put, "/files/none", headers, b"x").await;
    assert_eq!(status, 429);
    let headers = with_vouchers(Headers::default(), &v[4..]);
    let (status, ..) = ask(&session, Method::Put, "/files/none", headers, b"x").await;
    assert_eq!(status, 404, "a good one does, and is not charged");
    assert_eq!(get(&session, "/files/a", &v[4..]).await.0, 200);
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_no_vouchers_are_told_so() {
    let mut town = Town::new(1, 1, &[0, 1]).await;
    let v = town.issue(&client(49), &[1]).await;
    let session = session(49, &town.mints[0]).await;
    let bytes = v[0].as_bytes().to_vec();
    let mut damaged = bytes.clone();
    damaged[3] ^= 1;
    let raw = |bytes: Vec<u8>| Headers::default().with("bn-voucher", HeaderValue::Bytes(bytes));
    for (headers, code) in [
        (raw(Vec::new()), Code::MALFORMED_FRAME),
        (raw(bytes[1..].to_vec()), Code::MALFORMED_FRAME),
        (raw(bytes.repeat(65)), Code::MALFORMED_FRAME),
        (
            Headers::default().with("bn-voucher", "text"),
            Code::MALFORMED_FRAME,
        ),
        (raw(damaged), Code::VOUCHER_INVALID),
    ] {
        let (status, headers, _) = ask(&session, Method::Get, "/files/a", headers, b"").await;
        let said = headers.text("code").and_then(|c| c.parse().ok());
        assert_eq!((status, said), (429, Some(code.0)));
    }
    // A path that costs nothing gets the header as it came.
    let (status, _, seen) = ask(&session, Method::Get, "/free", raw(bytes), b"").await;
    assert_eq!((status, seen), (200, b"128".to_vec()));
    assert_eq!(
        get(&session, "/files/a", &v).await.0,
        200,
        "nothing was charged"
    );
    town.end().await;
}

/// A node without the service, which relays paths to `onward`.
async fn gateway(me: u8, onward: Vec<Peer>, service: impl Service) -> (Gateway, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut config = GatewayConfig::in_state(home.path().join("state"));
    config.relay.onward = onward;
    config.listener.listen = vec!["127.0.0.1:0".into()];
    let builder = Gateway::builder(identity(me), &config).service("/", service);
    (builder.start().await.unwrap(), home)
}

/// A payee without the service: redeems at the mint whatever arrives in the header, and answers those very bytes.
fn payee(me: u8, mint: Peer, spender: PublicKey) -> impl Service {
    let client = client(me);
    move |call: Call| {
        let (client, mint) = (client.clone(), mint.clone());
        async move {
            let Some(HeaderValue::Bytes(bytes)) = call.request.headers.get("bn-voucher") else {
                return Reply::text(400, "no vouchers");
            };
            let (each, rest) = bytes.as_chunks::<VOUCHER>();
            let vouchers: Vec<Voucher> = each
                .iter()
                .map(|v| Voucher::from_bytes(v).unwrap())
                .collect();
            let id = betanet_keys::hash(&[bytes])[..16].try_into().unwrap();
            let to = identity(me).public().node_id();
            let request = RedeemRequest::encode(Op::Redeem, to, id, &vouchers);
            let answer = client.redeem(&mint, &spender, &request).await.unwrap();
            match rest.is_empty() && answer.is_ok() {
                true => Reply::text(200, hex(bytes)),
                false => Reply::text(409, "not good"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_with_and_without_the_service_pass_vouchers_to_their_payee_unchanged() {
    let mut town = Town::dealt(2, 2, &[0, 3]);
    let folders = [town.folder(1), town.folder(2)];
    let [first, second] = folders.map(|f| vec![f]);
    let settings = Settings::default();
    town.mints.push(Mint::start(1, first, settings, None).await);
    let redeems = payee(90, town.mints[0].peer(), *town.keyset.spender());
    let (shop, _home) = gateway(90, Vec::new(), redeems).await;
    let at = shop.listening().peer();
    // Relays to the payee: a mint, which knows what vouchers are, and nodes that do not.
    let relay = Mint::start_before(2, second, settings, None, vec![at.clone()]).await;
    town.mints.push(relay);
    let knows = town.mints[1].peer();
    let (plain, _home) = gateway(91, vec![at.clone()], inner).await;
    let does_not = plain.listening().peer();
    let (before, _home) = gateway(92, vec![knows.clone(), does_not.clone()], inner).await;
    let first = before.listening().peer();

    let mut value = 0;
    for way in [
        vec![],
        vec![knows.clone()],
        vec![does_not.clone()],
        vec![first.clone(), knows],
        vec![first, does_not],
    ] {
        let v = town.issue(&client(51), &[0, 3, 0]).await;
        let node = Node::new(Some(identity(51)), Default::default()).unwrap();
        let session = node.session_over(&way, &at).await.unwrap();
        let sent: Vec<u8> = v.iter().flat_map(|v| *v.as_bytes()).collect();
        let got = get(&session, "/anything", &v).await;
        assert_eq!(got, (200, None, hex(&sent)), "over {} relays", way.len());
        value += 10;
        let running = town.mints[0].running.as_ref().unwrap();
        assert_eq!(running.view().await.unwrap().balances["FOG"], value);
        // They are spent: the payee redeemed the very vouchers that were issued.
        let spent = town.redeem(&client(51), 51, &v).await;
        assert_eq!(spent.codes, [Code::VOUCHER_SPENT; 3]);
    }
    for gateway in [before, plain, shop] {
        gateway.shutdown().await;
    }
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_redeems_at_the_node_that_keeps_the_spent_set() {
    let mut town = Town::new(2, 2, &[1]).await;
    let v = town.issue(&client(52), &[1, 1]).await;
    let dials = Node::new(Some(identity(91)), Default::default()).unwrap();
    let redeem = RemoteRedeem::new(
        VoucherClient::new(Direct::new(Arc::new(dials))),
        town.mints[0].peer(),
        identity(91).public().node_id(),
    );
    let price = Price {
        units: 2,
        unit: "FOG".into(),
        keyset: town.keyset.id(),
    };
    let (gateway, _home) = gateway(
        91,
        Vec::new(),
        Paid::new(inner, redeem, price, ["/".into()]),
    )
    .await;
    let node = Node::new(Some(identity(52)), Default::default()).unwrap();
    let session = node.connect(&gateway.listening().peer()).await.unwrap();
    assert_eq!(get(&session, "/a", &v[..1]).await.0, 200);
    assert_eq!(
        get(&session, "/a", &v[..1]).await.1,
        Some(Code::VOUCHER_SPENT.0)
    );
    let view = town.mints[0]
        .running
        .as_ref()
        .unwrap()
        .view()
        .await
        .unwrap();
    assert_eq!(view.balances["FOG"], 2);
    gateway.shutdown().await;
    town.end().await;
}
