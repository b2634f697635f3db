//! Pages of names, vouchers and the network, over sources that answer, fail, and come back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use betanet_panel::Source;
use betanet_runtime::{Admin, serve_admin};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{PASSWORD, World, world};

/// Answers by path; others get 404.
type Answers = Arc<Mutex<Vec<(&'static str, String)>>>;

/// A program that answers like a node's admin address, for which it was asked by its number.
async fn program(answers: Answers) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut ask = [0; 4096];
            let n = tcp.read(&mut ask).await.unwrap_or(0);
            let ask = String::from_utf8_lossy(&ask[..n]).into_owned();
            assert!(ask.contains(&format!("host: {at}")), "{ask}");
            let path = ask.split(' ').nth(1).unwrap().to_owned();
            let found = {
                let all = answers.lock().unwrap();
                let found = all.iter().find(|(p, _)| *p == path);
                found.map(|(_, body)| body.clone())
            };
            let (status, body) = found.map_or((404, String::new()), |b| (200, b));
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = tcp.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    at
}

/// Starts the panel anew, with a source.
async fn with_source(world: &mut World, name: &str, at: SocketAddr) {
    let source = Source::from_text(&format!("{name}=http://{at}")).unwrap();
    world.sources.push(source);
    world.panel.take().unwrap().stop().await;
    world.start().await;
}

fn alias(n: usize, status: &str) -> Value {
    json!({"alias": format!("a{n:03}.example"), "unicode": format!("a{n:03}.example"), "status": status,
           "node": "betanet:node", "seq": 1, "index": n, "expires_ms": 1_800_000_000_000_u64})
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_of_a_ledger_are_listed_filtered_and_proved() {
    let mut world = world().await;
    let (cookie, _) = world.admin().await;
    let fields = [("cookie", cookie.as_str())];
    let empty = world.ask("GET", "/names", &fields, "").await;
    assert!(empty.body.contains("--panel-source"), "{empty:?}");
    let answers = Answers::default();
    let mut all: Vec<Value> = (0..60).map(|n| alias(n, "bound")).collect();
    all.push(alias(60, "conflicted"));
    let hostile = "<script>alert(1)</script>";
    all.push(json!({"alias": hostile, "unicode": hostile, "status": hostile, "node": null, "seq": null, "index": null, "expires_ms": null}));
    let head = json!({"size": 61, "root": "ab", "ts_ms": 1, "signed_by": ["x"], "signers": ["x", "y"], "waiting": 2, "split": false});
    let record = json!({"seq": 1, "index": 7, "node": "betanet:node", "from": null, "retires": false, "status": "bound", "ts_ms": 5,
        "expires_ms": 6, "digest": "cd", "head": {"size": 61, "root": "ab", "ts_ms": 1}, "proof": "AQID"});
    *answers.lock().unwrap() = vec![
        ("/names/1/head", head.to_string()),
        (
            "/names/1/aliases?n=1000",
            json!({"aliases": all, "next": null}).to_string(),
        ),
        (
            "/names/1/history/a007.example",
            json!({"records": [record]}).to_string(),
        ),
    ];
    let at = program(Arc::clone(&answers)).await;
    with_source(&mut world, "ledger", at).await;
    let get = async |path: &str| world.ask("GET", path, &fields, "").await;
    let page = get("/names").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.body
            .contains("data-testid=\"source-ledger\" data-status=\"current\"")
    );
    assert!(page.body.contains("alias-a000.example") && page.body.contains("62 in all"));
    assert!(!page.body.contains("<script>alert") && page.body.contains("1 of 2 signers"));
    assert_eq!(page.body.matches("<tr data-testid=\"alias-").count(), 50);
    let page = get("/names?status=conflicted&source=ledger").await;
    assert!(page.body.contains("alias-a060") && !page.body.contains("alias-a000"));
    assert_eq!(get("/names?status=odd").await.status, 400);
    let csv = get("/names?format=csv&q=a00").await.body;
    assert_eq!(csv.matches("ledger,a00").count(), 10, "{csv}");
    let page = get("/names/a007.example?source=ledger").await;
    assert!(page.body.contains("name-record-1"), "{page:?}");
    let proof = get("/names/a007.example/proof?source=ledger&seq=1").await;
    assert_eq!((proof.status, proof.body.as_bytes()), (200, &[1, 2, 3][..]));
    assert_eq!(get("/names/a007.example/proof?seq=2").await.status, 404);
    assert_eq!(get("/names/none.example/proof").await.status, 404);
    assert_eq!(get("/names/a%2Fb").await.status, 404);
    let (root, _) = world.access("root").await;
    let api = async |path| world.api("GET", path, &root, &Value::Null).await.json();
    let list = api("/api/v1/names?page=2").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 12);
    let one = api("/api/v1/names/a007.example").await;
    assert_eq!(one["records"][0]["proof"], "AQID");

    // A source that fails keeps its last answer, with why, and comes back.
    let good = std::mem::take(&mut *answers.lock().unwrap());
    *answers.lock().unwrap() = vec![("/names/1/head", "not JSON".to_owned())];
    let until = async |what: &str| {
        let waited = async {
            loop {
                let page = world.ask("GET", "/names", &fields, "").await.body;
                if page.contains(what) {
                    return page;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let page = tokio::time::timeout(std::time::Duration::from_secs(20), waited).await;
        page.unwrap_or_else(|_| panic!("{what} did not come"))
    };
    let page = until("data-status=\"degraded\"").await;
    assert!(page.contains("retry-button") && page.contains("alias-a000.example"));
    *answers.lock().unwrap() = good;
    until("data-status=\"current\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keysets_are_listed_with_totals_and_alarms() {
    let mut world = world().await;
    let (cookie, _) = world.admin().await;
    let fields = [("cookie", cookie.as_str())];
    let keyset = |id: &str, alarm: bool, redeemed: u64| {
        json!({"id": id, "unit": "FOG", "phase": "active", "alarm": alarm, "exp": 1_900_000_000_000_u64, "not_before": 0, "t": 2, "n": 3,
            "share": 1, "spends": true, "reported": null, "denominations": [
                {"e": 0, "issued": 3, "most": null, "redeemed": 0, "signed": 3},
                {"e": 10, "issued": 2, "most": null, "redeemed": redeemed, "signed": 2}]})
    };
    let answer = json!({"balances": {"FOG": 4}, "keysets": [keyset("k1", false, 1), keyset("k2", true, 9)], "node": "00"});
    let answers = Answers::default();
    *answers.lock().unwrap() = vec![("/vouchers/1/keysets", answer.to_string())];
    let at = program(answers).await;
    let place = format!("http://{at}");
    with_source(&mut world, "mint", at).await;
    let get = async |path: &str| world.ask("GET", path, &fields, "").await;
    let page = get("/vouchers").await.body;
    assert!(
        page.contains("voucher-alarm") && page.contains("keyset-k1"),
        "{page}"
    );
    assert!(page.contains("worth 2051 FOG") && page.contains("worth 1024 FOG"));
    let page = get("/vouchers?alarm=1").await.body;
    assert!(page.contains("keyset-k2") && !page.contains("keyset-k1"));
    let list = get("/vouchers?format=json&sort=-id").await.body;
    let at = |id: &str| list.find(&format!("\"id\":\"{id}\"")).unwrap();
    assert!(at("k2") < at("k1"), "{list}");
    assert!(list.contains("\"redeemed_value\":\"9216\""), "{list}");
    // It has no ledger, and says so.
    let page = get("/names").await.body;
    assert!(page.contains("This node has no ledger of names"));
    // Figures of whole programs are for roles that hold everywhere.
    let (root, _) = world.access("root").await;
    let new = json!({"name": "eve", "password": PASSWORD, "grants": "viewer@other"});
    assert_eq!(
        world
            .api("POST", "/api/v1/accounts", &root, &new)
            .await
            .status,
        201
    );
    let cookie = world.log_in("eve", "").await;
    for (path, status) in [
        ("/vouchers", 403),
        ("/tokens", 403),
        ("/governance", 403),
        ("/network", 403),
        ("/names", 200),
    ] {
        let page = world.ask("GET", path, &[("cookie", &cookie)], "").await;
        assert_eq!(page.status, status, "{path}");
        for link in ["Vouchers", "Tokens", "Governance", "Network"] {
            assert!(!page.body.contains(&format!(">{link}</a>")), "{path}");
        }
        // Where the operator's programs listen is for those too.
        assert!(!page.body.contains(&place), "{path}");
    }
    assert!(get("/names").await.body.contains(&place));
    // Keysets and balances are for those who read the treasury.
    let new = json!({"name": "vic", "password": PASSWORD, "grants": "viewer"});
    let made = world.api("POST", "/api/v1/accounts", &root, &new).await;
    assert_eq!(made.status, 201);
    let new = json!({"name": "tom", "password": PASSWORD, "grants": "treasurer"});
    let made = world.api("POST", "/api/v1/accounts", &root, &new).await;
    assert_eq!(made.status, 201);
    for (name, status) in [("vic", 403), ("tom", 200)] {
        let cookie = world.log_in(name, "").await;
        for path in ["/vouchers", "/tokens"] {
            let page = world.ask("GET", path, &[("cookie", &cookie)], "").await;
            assert_eq!(page.status, status, "{name} {path}");
        }
        let (bearer, _) = world.access(name).await;
        let list = world
            .api("GET", "/api/v1/keysets", &bearer, &Value::Null)
            .await;
        assert_eq!(list.status, status, "{name}");
        let page = world
            .ask("GET", "/governance", &[("cookie", &cookie)], "")
            .await;
        assert_eq!(page.status, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_drawn_from_metrics_of_this_process_and_of_a_node() {
    let mut world = world().await;
    let (cookie, _) = world.admin().await;
    let fields = [("cookie", cookie.as_str())];
    // The admin address of a real node: that of the coordinator itself.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let _admin: Admin = serve_admin(listener, Arc::clone(&world.gateway)).unwrap();
    with_source(&mut world, "node", at).await;
    // Another one, which is part of a network.
    let peer = |name: &str, role: &str| {
        json!({"name": name, "public_key": "", "addrs": ["/ip4/192.0.2.1"], "roles": [role], "org": "acme", "seq": 1, "expires_ms": 5,
            "reached": null, "linked": role == "mix", "rtt_ms": 2.5})
    };
    let view = json!({"peers": [peer("p1", "mix"), peer("p2", "relay")], "excluded": [], "banned": ["p3"], "control_bytes": {}, "dials": 0, "reached": 0});
    let answers = Answers::default();
    *answers.lock().unwrap() = vec![
        (
            "/metrics",
            "betanet_paths_total{outcome=\"exit\"} 77\nbetanet_mix_packets_total{direction=\"in\"} 5\n# EOF\n".to_owned(),
        ),
        ("/peers", view.to_string()),
    ];
    let at = program(answers).await;
    with_source(&mut world, "relay", at).await;
    let get = async |path: &str| world.ask("GET", path, &fields, "").await;
    let page = get("/network").await;
    assert_eq!(page.status, 200, "{page:?}");
    let page = page.body;
    for what in [
        "source-node\" data-status=\"current\"",
        "source-relay\" data-status=\"current\"",
        "peer-p1",
        "peer-p2",
        "Sessions and traffic of this process",
        "Sessions and traffic of node",
        "betanet_paths_total{outcome=&quot;exit&quot;}",
        "chart-traffic-this-process",
        "chart-sessions-node",
    ] {
        assert!(page.contains(what), "{what}");
    }
    let page = get("/network?role=mix").await.body;
    assert!(page.contains("peer-p1") && !page.contains("peer-p2"));
    let list = get("/network?format=json").await.body;
    assert!(list.contains("\"rtt_ms\":2.5"), "{list}");
    let (root, _) = world.access("root").await;
    let peers = world
        .api("GET", "/api/v1/peers?q=p2", &root, &Value::Null)
        .await;
    assert_eq!(peers.json()["items"][0]["seen_by"], "relay");
}
