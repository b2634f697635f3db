//! Bounds of the other records and of requests.

use betanet_fog::bodies::{StateRequest, TokenRequest};
use betanet_fog::{Assignment, Item, Job, Node, Order, Output, Receipt, RefusalCode, json};
use serde_json::{Value, json};

use super::{NOW, hex, node, owner, refused, taken, with};

#[test]
fn a_node_has_its_bounds() {
    use RefusalCode::{BadValue, Malformed};
    taken::<Node>(&node());
    for (path, good, bad, key) in [
        ("/org", json!("a"), json!(""), "org"),
        ("/price", json!(1), json!(0), "price"),
        ("/price", json!(100_000_000), json!(100_000_001), "price"),
        ("/cap/gpu", json!(64_000), json!(500), "gpu"),
        ("/cap/memory", json!(0), json!((1_u64 << 50) + 1), "memory"),
        ("/kind", json!("edge_device"), json!("phone"), "kind"),
        (
            "/labels",
            json!({ "zones": "a" }),
            json!({ "zone": "a" }),
            "labels",
        ),
        (
            "/labels",
            json!({ "": "" }),
            json!({ "node": "a" }),
            "labels",
        ),
    ] {
        taken::<Node>(&with(node(), path, good));
        refused::<Node>(&with(node(), path, bad), BadValue, key);
    }
    let labels = |n: usize| -> Value { (0..n).map(|i| (format!("l{i}"), json!("v"))).collect() };
    taken::<Node>(&with(node(), "/labels", labels(64)));
    refused::<Node>(&with(node(), "/labels", labels(65)), Malformed, "labels");
}

#[test]
fn jobs_receipts_assignments_and_outputs_have_their_bounds() {
    let job = |n: usize, name: &str| {
        let tasks = vec!["11".repeat(32); n];
        json!({ "name": name, "ns": "lab", "owner": hex(&owner()), "tasks": tasks, "ver": 1 })
    };
    taken::<Job>(&job(1024, "a"));
    refused::<Job>(&job(1025, "a"), RefusalCode::Malformed, "tasks");
    refused::<Job>(&job(1, ""), RefusalCode::BadValue, "name");

    let receipt = |status: &str, out: String| {
        json!({ "copy": 0, "end": 1, "engine": "", "epoch": 1, "fence": 1, "fuel": 1, "in": "11".repeat(32), "key": hex(&owner()),
            "module": "11".repeat(32), "out": out, "start": 0, "status": status, "task": "11".repeat(32) })
    };
    for status in betanet_fog::Outcome::ALL {
        let named = matches!(status.as_str(), "ok" | "exit");
        for (out, given) in [(String::new(), false), ("22".repeat(32), true)] {
            let value = receipt(status.as_str(), out);
            if named == given {
                taken::<Receipt>(&value);
            } else {
                refused::<Receipt>(&value, RefusalCode::BadValue, "out");
            }
        }
    }
    refused::<Receipt>(
        &receipt("ok", "22".repeat(31)),
        RefusalCode::BadValue,
        "out",
    );
    refused::<Receipt>(
        &receipt("fine", String::new()),
        RefusalCode::BadValue,
        "status",
    );

    let assignment = |path: &str| {
        json!({ "copy": 0, "devs": [], "end": 1, "epoch": 1, "fence": 1, "in": [["a", "11".repeat(32), 1], [path, "11".repeat(32), 1]],
            "key": hex(&owner()), "node": "11".repeat(20), "task": "11".repeat(32) })
    };
    taken::<Assignment>(&assignment("b"));
    refused::<Assignment>(&assignment("../b"), RefusalCode::BadValue, "in");

    let output = |paths: [&str; 2]| {
        let files = paths.map(|p| json!([p, "11".repeat(32), 1]));
        let bytes = json::to_cbor(
            &json!({ "exit": -1, "files": files }).to_string(),
            &Output::SHAPE,
        );
        Output::from_slice(&bytes.unwrap()).map(drop)
    };
    assert_eq!(output(["a", "stdout"]), Ok(()));
    for bad in [["b", "a"], ["a", "a"], ["a", "a/b"], ["../a", "b"]] {
        assert_eq!(
            output(bad),
            Err(RefusalCode::BadValue.of("files")),
            "{bad:?}"
        );
    }
}

#[test]
fn orders_and_requests_have_their_bounds() {
    let order = |qty: u64| {
        let value = json!({ "by": "11".repeat(32), "price": 1, "qty": qty, "round": 1, "salt": "11".repeat(16), "side": "bid", "tier": "gold" });
        let cbor = json::to_cbor(&value.to_string(), &Order::SHAPE).unwrap();
        Order::from_slice(&cbor).map(drop)
    };
    assert_eq!(order(1_000_000), Ok(()));
    assert_eq!(order(1_000_001), Err(RefusalCode::BadValue.of("qty")));

    for (to, good) in [
        ("active", true),
        ("draining", true),
        ("maintenance", true),
        ("joining", false),
        ("offline", false),
    ] {
        let request: StateRequest =
            json::from_str(&json!({ "to": to, "until": 0 }).to_string()).unwrap();
        let want = if good {
            Ok(())
        } else {
            Err(RefusalCode::BadValue.of("to"))
        };
        assert_eq!(request.check(), want, "{to}");
    }

    let token = |kinds: Value, exp: u64| {
        let value =
            json!({ "exp": exp, "id": "11".repeat(16), "kinds": kinds, "node": "", "org": "" });
        let request: TokenRequest = json::from_str(&value.to_string()).unwrap();
        request.check(NOW)
    };
    assert_eq!(token(json!(["relay"]), NOW + 1), Ok(()));
    assert_eq!(
        token(json!(["relay"]), NOW),
        Err(RefusalCode::BadValue.of("exp"))
    );
    assert_eq!(
        token(json!([]), NOW + 1),
        Err(RefusalCode::BadValue.of("kinds"))
    );
}
