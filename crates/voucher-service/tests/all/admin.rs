use std::sync::Arc;

use betanet_runtime::{AdminRequest, Extension, serve_admin};
use betanet_vouchers::Denomination;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{Mint, Town, client};

/// One request at the admin address, over a socket.
async fn get(mint: &Mint, path: &str) -> (u16, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let _admin = serve_admin(listener, Arc::clone(&mint.gateway)).unwrap();
    let mut socket = tokio::net::TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

async fn keysets(mint: &Mint) -> Value {
    let face = mint.service.extension();
    let request = AdminRequest {
        method: "GET".parse().unwrap(),
        uri: "/vouchers/1/keysets".parse().unwrap(),
        headers: Default::default(),
        body: Box::pin(futures_util::stream::empty()),
    };
    let mut reply = Extension::answer(face, request).await;
    assert_eq!(reply.status, 200);
    let body = reply.body.next().await.unwrap().unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_shown_and_more_redeemed_than_issued_raises_the_alarm() {
    let mut town = Town::new(2, 3, &[0, 1]).await;
    let client = client(58);
    let v = town.issue(&client, &[0, 1, 1]).await;
    assert!(town.redeem(&client, 58, &v[1..]).await.is_ok());
    let all = keysets(&town.mints[0]).await;
    let one = &all["keysets"][0];
    let id = town.keyset.id().to_string();
    for (key, value) in [
        ("id", Value::from(id)),
        ("unit", "FOG".into()),
        ("phase", "active".into()),
        ("t", 2.into()),
        ("n", 3.into()),
        ("share", 1.into()),
        ("alarm", false.into()),
        ("spends", true.into()),
        ("exp", town.keyset.exp().into()),
        ("not_before", town.keyset.not_before().into()),
    ] {
        assert_eq!(one[key], value, "{key}");
    }
    assert_eq!(one["denominations"][1]["redeemed"], 2);
    assert_eq!(one["denominations"][1]["signed"], 2);
    assert_eq!(all["balances"]["FOG"], 4);
    let faults = town.mints[0].service.extension().faults();
    assert!(faults.is_empty(), "{faults:?}");

    // Mints report less than was redeemed: somebody else signs.
    let running = town.mints[0].running.as_ref().unwrap();
    let counts = vec![(Denomination::new(1).unwrap(), 1)];
    assert_eq!(running.issued(town.keyset.id(), counts).await, Ok(true));
    assert_eq!(keysets(&town.mints[0]).await["keysets"][0]["alarm"], true);
    let faults = town.mints[0].service.extension().faults();
    assert!(faults[0].why.contains("redeemed than issued"), "{faults:?}");
    let (status, metrics) = get(&town.mints[0], "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "betanet_voucher_alarm 1",
        "betanet_vouchers_redeemed 2",
        "betanet_vouchers_spent 2",
        "betanet_voucher_points_signed 3",
        "betanet_voucher_balances 4",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let (status, page) = get(&town.mints[0], "/vouchers/1/keysets").await;
    assert!(status == 200 && page.contains("\"alarm\":true"), "{page}");
    assert_eq!(get(&town.mints[0], "/vouchers/1/other").await.0, 404);
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_share_every_voucher_needs_counts_by_itself() {
    let mut town = Town::new(2, 2, &[0]).await;
    let client = client(59);
    let v = town.issue(&client, &[0, 0]).await;
    assert!(town.redeem(&client, 59, &v[..1]).await.is_ok());
    let counts = &keysets(&town.mints[0]).await["keysets"][0]["denominations"][0];
    assert_eq!(
        (&counts["issued"], &counts["redeemed"]),
        (&2.into(), &1.into())
    );
    town.end().await;
}
