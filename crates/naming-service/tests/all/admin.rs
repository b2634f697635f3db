//! What the node shows of its ledger at the admin address, read over a socket.

use std::sync::Arc;

use betanet_keys::Name;
use betanet_naming::AliasRecord;
use betanet_naming::testkit::{DAY, Network, owner};
use betanet_runtime::{Gateway, serve_admin};
use betanet_wire::text::hex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{Asker, Ledger, alias, now_ms, refusal};

/// One request at the admin address.
async fn get(gateway: &Arc<Gateway>, path: &str) -> (u16, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let _admin = serve_admin(listener, Arc::clone(gateway)).unwrap();
    let mut socket = tokio::net::TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn page(gateway: &Arc<Gateway>, path: &str) -> Value {
    let (status, body) = get(gateway, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// The value of a metric, with its labels if it has any.
async fn metric(gateway: &Arc<Gateway>, name: &str) -> u64 {
    let (status, text) = get(gateway, "/metrics").await;
    assert_eq!(status, 200);
    let line = text
        .lines()
        .find(|l| l.strip_prefix(name).is_some_and(|l| l.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("{name} is not among\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_their_state_their_proofs_and_their_look_are_shown() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let Ledger {
        gateway,
        running,
        peer,
    } = Ledger::alone(home.path(), &network, None).await;
    let gateway = Arc::new(gateway);
    let empty = page(&gateway, "/names/1/head").await;
    assert_eq!((&empty["size"], &empty["root"]), (&json!(0), &Value::Null));

    let asker = Asker::of(&peer, &network).await;
    let ts = now_ms();
    let mut ledger = network.ledger();
    // A Cyrillic `а` among Latin letters, and an alias that is Cyrillic and can be taken for Latin.
    let (mixed, whole) = ("p\u{430}ypal", "\u{440}\u{430}\u{443}");
    let text = |unicode: &str| {
        unicode
            .parse::<betanet_naming::Alias>()
            .unwrap()
            .to_string()
    };
    let retires = AliasRecord::retire(alias("gone"), &owner(4), 2, ts);
    let records = [
        network.bound("files.example", &owner(1), 1, ts),
        network.bound(&text(mixed), &owner(2), 1, ts),
        network.bound(&text(whole), &owner(3), 1, ts),
        network.bound("gone", &owner(4), 1, ts),
        network.finalized(retires, owner(4).public(), &[0, 1]),
    ];
    for record in &records {
        ledger.apply(ts, record.clone()).unwrap();
        let head = network.head(&ledger, ts, &[0, 1]);
        ledger.accept(head.clone()).unwrap();
        asker.make_final(record, &head).await;
    }
    running.reaches(5).await;

    let all = page(&gateway, "/names/1/aliases").await;
    let all = all["aliases"].as_array().unwrap();
    assert_eq!(all.len(), 4);
    let of = |name: &str| all.iter().find(|a| a["alias"] == name).unwrap();
    let plain = of("files.example");
    let node = Name::from(owner(1).public().node_id()).to_string();
    for (key, value) in [
        ("status", json!("bound")),
        ("node", json!(node)),
        ("seq", json!(1)),
        ("index", json!(0)),
        ("expires_ms", json!(ts + 365 * DAY)),
        ("look", Value::Null),
    ] {
        assert_eq!(plain[key], value, "{key}");
    }
    let look = |scripts: &[&str], mixed: bool, like: &str| json!({ "scripts": scripts, "mixed_scripts": mixed, "looks_like": like });
    let shown = of(&text(mixed));
    assert_eq!(shown["unicode"], mixed);
    assert_eq!(shown["look"], look(&["Cyrillic", "Latin"], true, "paypal"));
    assert_eq!(of(&text(whole))["look"], look(&["Cyrillic"], false, "pay"));
    assert_eq!(of("gone")["status"], "retired");
    // Pages of two.
    let first = page(&gateway, "/names/1/aliases?n=2").await;
    assert_eq!(first["aliases"].as_array().unwrap().len(), 2);
    let after = first["next"].as_str().unwrap();
    let rest = page(&gateway, &format!("/names/1/aliases?n=2&after={after}")).await;
    let joined = [&first, &rest].map(|p| p["aliases"].as_array().unwrap().clone());
    assert_eq!(&joined.concat(), all);

    let history = page(&gateway, &format!("/names/1/history/{}", text(mixed))).await;
    assert_eq!(history["look"]["looks_like"], "paypal");
    let history = page(&gateway, "/names/1/history/gone").await;
    let records = history["records"].as_array().unwrap();
    let retires = |r: &Value| (r["seq"].as_u64(), r["retires"].as_bool());
    assert_eq!(retires(&records[0]), (Some(2), Some(true)));
    assert_eq!(retires(&records[1]), (Some(1), Some(false)));

    let head = page(&gateway, "/names/1/head").await;
    for (key, value) in [
        ("size", json!(5)),
        ("root", json!(hex(&ledger.log().root()))),
        ("ts_ms", json!(ts)),
        ("waiting", json!(0)),
        ("split", json!(false)),
    ] {
        assert_eq!(head[key], value, "{key}");
    }
    let mut signed = [0, 1].map(|n: usize| hex(network.signers[n].public().as_bytes()));
    signed.sort_unstable();
    assert_eq!(head["signed_by"], json!(signed));
    assert_eq!(head["signers"].as_array().unwrap().len(), 3);
    assert_eq!(
        page(&gateway, "/names/1/split").await,
        json!({ "evidence": null })
    );
    for (path, status) in [
        ("/names/1/other", 404),
        ("/names/1/aliases?n=0", 400),
        ("/names/1/aliases?n=1001", 400),
    ] {
        let (got, body) = get(&gateway, path).await;
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains("\"why\""), "{body}");
    }
    running.stop().await;
    gateway.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_records_and_refusals_by_their_code() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let Ledger {
        gateway,
        running,
        peer,
    } = Ledger::alone(home.path(), &network, None).await;
    let gateway = Arc::new(gateway);
    let asker = Asker::of(&peer, &network).await;
    let ts = now_ms();
    let mut ledger = network.ledger();
    for n in 0..3_u16 {
        let record = network.bound(&format!("n{n}"), &owner(n), 1, ts);
        ledger.apply(ts, record.clone()).unwrap();
        let head = network.head(&ledger, ts, &[0, 1]);
        ledger.accept(head.clone()).unwrap();
        asker.make_final(&record, &head).await;
    }
    running.reaches(3).await;
    // One that waits for a head, a replay and what is no record.
    let waits = network.bound("n0", &owner(0), 2, ts);
    asker.post("records", &waits).await.unwrap();
    let replay = network.bound("n1", &owner(1), 1, ts);
    for body in [replay.as_ref(), replay.as_ref(), b"garbage"] {
        refusal(asker.post("records", body).await);
    }
    for (name, value) in [
        ("betanet_names_records", 3),
        ("betanet_names_aliases", 3),
        ("betanet_names_waiting", 1),
        ("betanet_names_rivals", 0),
        ("betanet_names_split", 0),
        ("betanet_names_proposed_total", 0),
        ("betanet_names_signed_total", 0),
        ("betanet_names_gossip_faults_total", 0),
        ("betanet_names_unproven_total", 0),
        // Three records with their heads, one that waits, three that are refused.
        ("betanet_names_requests_total", 10),
        ("betanet_names_refused_total{code=\"ALIAS_SEQ_REPLAY\"}", 2),
        ("betanet_names_refused_total{code=\"MALFORMED_FRAME\"}", 1),
        ("betanet_names_refused_total{code=\"AUTH_FAILED\"}", 0),
    ] {
        assert_eq!(metric(&gateway, name).await, value, "{name}");
    }
    assert!(metric(&gateway, "betanet_names_head_age_seconds").await < 600);
    running.stop().await;
    gateway.shutdown().await;
}
