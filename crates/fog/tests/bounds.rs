//! Each bound of the chapter: the last value inside it is taken, the first outside is refused with its key.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use betanet_fog::bodies::{StateRequest, TokenRequest};
use betanet_fog::{
    Assignment, Item, Job, Node, Order, Output, Receipt, Received, Record, Refusal, RefusalCode,
    SIGNED_MAX, Signed, Task, Token, from_slice, json, to_vec,
};
use betanet_keys::Identity;
use serde_json::{Value, json};

const NOW: u64 = 1_790_000_000_000;
const DAY: u64 = 86_400_000;

fn owner() -> Identity {
    Identity::from_seed(&[1; 32])
}

fn hex(id: &Identity) -> String {
    betanet_wire::text::hex(id.public().as_bytes())
}

fn task() -> Value {
    let digest = "11".repeat(32);
    json!({
        "after": [digest], "args": [], "budget": 1, "deadline": NOW + 1, "env": {}, "fuel": 1, "grants": [], "group": "",
        "inputs": [["in/a", digest, 1], ["in/b", digest, "out"]], "level": "public", "module": [digest, 1],
        "nonce": "22".repeat(16), "ns": "lab", "offline": ["stop", 0], "out_max": 0, "owner": hex(&owner()),
        "place": { "affinity": [["zone", ["a"], 1]], "near": ["", "", ""], "need": [], "rep": 0, "spread": "" }, "prio": 0,
        "res": { "cpu": 1, "memory": 1, "storage": 0, "gpu": 0, "bandwidth": 0, "relay": 0 }, "retry": [0, 100, 100],
        "rsv": "", "run_ms": 1, "start": 0, "strategy": "least_loaded", "tier": "bronze", "verify": ["none", 0, 0],
    })
}

fn node() -> Value {
    json!({
        "cap": { "cpu": 1, "memory": 1, "storage": 0, "gpu": 0, "bandwidth": 0, "relay": 0 }, "engine": "e",
        "key": hex(&owner()), "kind": "compute", "labels": {}, "level": "public", "model": "", "org": "acme", "price": 1,
        "region": "", "seq": 0, "zone": "",
    })
}

/// Changes one value, given by its path.
fn with(mut base: Value, path: &str, value: Value) -> Value {
    *base.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
    base
}

/// Reads a record with all its checks but the signature's.
fn read<T: Record>(value: &Value, now: u64) -> Result<T, Refusal> {
    let record: T = json::from_str(&value.to_string()).map_err(json::JsonError::refusal)?;
    record.check()?;
    record.check_time(now)?;
    Ok(record)
}

fn taken<T: Record>(value: &Value) {
    let read = read::<T>(value, NOW);
    assert!(read.is_ok(), "{value}: {:?}", read.err());
}

/// The same refusal for the JSON and, where the value can be encoded and signed by hand, for the signed bytes.
fn refused<T: Record>(value: &Value, code: RefusalCode, key: &str) {
    let refusal = read::<T>(value, NOW)
        .err()
        .unwrap_or_else(|| panic!("taken: {value}"));
    assert_eq!((refusal.code, refusal.key), (code, key), "{value}");
    if let Ok(rec) = json::to_cbor(&value.to_string(), &T::SHAPE) {
        let sig = owner().sign(T::LABEL, &[&rec]);
        let envelope = to_vec(&betanet_fog::Envelope { rec, sig });
        assert_eq!(Signed::<T>::open(&envelope, NOW).err(), Some(refusal));
    }
}

#[test]
fn a_task_has_its_bounds() {
    use RefusalCode::{BadValue, Malformed};
    taken::<Task>(&task());
    let far = 30 * DAY;
    let digest = "11".repeat(32);
    // Path, the last good value, the first bad one, the key that is blamed.
    for (path, good, bad, key) in [
        ("/ns", json!("a"), json!(""), "ns"),
        ("/prio", json!(9), json!(10), "prio"),
        ("/budget", json!(1), json!(0), "budget"),
        ("/fuel", json!(1), json!(0), "fuel"),
        (
            "/fuel",
            json!((1_u64 << 60).to_string()),
            json!(((1_u64 << 60) + 1).to_string()),
            "fuel",
        ),
        ("/run_ms", json!(far), json!(far + 1), "run_ms"),
        ("/run_ms", json!(1), json!(0), "run_ms"),
        (
            "/deadline",
            json!(NOW + far),
            json!(NOW + far + 1),
            "deadline",
        ),
        ("/deadline", json!(NOW + 1), json!(NOW), "deadline"),
        ("/out_max", json!(1 << 30), json!((1 << 30) + 1), "out_max"),
        ("/module/1", json!(1 << 26), json!((1 << 26) + 1), "module"),
        ("/module/1", json!(1), json!(0), "module"),
        (
            "/offline",
            json!(["keep", far]),
            json!(["keep", far + 1]),
            "offline",
        ),
        (
            "/offline",
            json!(["replace", 0]),
            json!(["replace", 1]),
            "offline",
        ),
        ("/offline/0", json!("keep"), json!("move"), "offline"),
        (
            "/retry",
            json!([20, 100, DAY]),
            json!([21, 100, DAY]),
            "retry",
        ),
        (
            "/retry",
            json!([0, 100, DAY]),
            json!([0, 100, DAY + 1]),
            "retry",
        ),
        ("/retry", json!([0, 100, 100]), json!([0, 99, 100]), "retry"),
        (
            "/retry",
            json!([0, 200, 200]),
            json!([0, 201, 200]),
            "retry",
        ),
        (
            "/rsv",
            json!("33".repeat(16)),
            json!("33".repeat(15)),
            "rsv",
        ),
        (
            "/grants",
            json!(["clock", "random"]),
            json!(["random", "clock"]),
            "grants",
        ),
        (
            "/grants",
            json!(["clock"]),
            json!(["clock", "clock"]),
            "grants",
        ),
        ("/grants", json!(["network"]), json!(["disk"]), "grants"),
        ("/place/rep", json!(1_000_000), json!(1_000_001), "rep"),
        (
            "/place/near/0",
            json!("44".repeat(20)),
            json!("44".repeat(21)),
            "near",
        ),
        ("/place/affinity/0/2", json!(100), json!(101), "affinity"),
        ("/place/affinity/0/2", json!(-100), json!(-101), "affinity"),
        (
            "/place/need",
            json!([["rack", "in", ["a"]]]),
            json!([["rack", "like", ["a"]]]),
            "need",
        ),
        ("/res/cpu", json!(1 << 22), json!((1 << 22) + 1), "cpu"),
        ("/res/cpu", json!(1), json!(0), "cpu"),
        (
            "/res/memory",
            json!(1_u64 << 50),
            json!((1_u64 << 50) + 1),
            "memory",
        ),
        ("/res/memory", json!(1), json!(0), "memory"),
        (
            "/res/storage",
            json!(1_u64 << 50),
            json!((1_u64 << 50) + 1),
            "storage",
        ),
        ("/res/gpu", json!(64_000), json!(65_000), "gpu"),
        ("/res/gpu", json!(999), json!(1001), "gpu"),
        (
            "/res/bandwidth",
            json!(1_u64 << 40),
            json!((1_u64 << 40) + 1),
            "bandwidth",
        ),
        (
            "/res/relay",
            json!(1_u64 << 40),
            json!((1_u64 << 40) + 1),
            "relay",
        ),
        ("/tier", json!("gold"), json!("tin"), "tier"),
        ("/level", json!("public"), json!("open"), "level"),
        ("/strategy", json!("affinity"), json!("random"), "strategy"),
        (
            "/verify",
            json!(["quorum", 2, 2]),
            json!(["quorum", 1, 1]),
            "verify",
        ),
        (
            "/verify",
            json!(["quorum", 8, 15]),
            json!(["quorum", 9, 16]),
            "verify",
        ),
        (
            "/verify",
            json!(["quorum", 3, 5]),
            json!(["quorum", 2, 4]),
            "verify",
        ),
        (
            "/verify",
            json!(["quorum", 3, 3]),
            json!(["quorum", 4, 3]),
            "verify",
        ),
        (
            "/verify",
            json!(["spot", 0, 0]),
            json!(["spot", 0, 1]),
            "verify",
        ),
        (
            "/inputs/0/2",
            json!(1_u64 << 32),
            json!((1_u64 << 32) + 1),
            "inputs",
        ),
        (
            "/inputs/1/1",
            json!(digest),
            json!("12".repeat(32)),
            "inputs",
        ),
        ("/inputs/0/0", json!("in/c"), json!("in/b"), "inputs"),
        ("/inputs/0/0", json!("in/b.c"), json!("in/b/c"), "inputs"),
        ("/inputs/0/0", json!("..a/.b"), json!("../a"), "inputs"),
        ("/inputs/0/0", json!("a..b"), json!("a/.."), "inputs"),
        ("/inputs/0/0", json!("a/b"), json!("/a/b"), "inputs"),
        ("/inputs/0/0", json!("a/b"), json!("a//b"), "inputs"),
        ("/inputs/0/0", json!("a/b"), json!("a/./b"), "inputs"),
        ("/inputs/0/0", json!("a"), json!(""), "inputs"),
        ("/inputs/0/0", json!("a b"), json!("a\u{0}b"), "inputs"),
        ("/inputs/0/0", json!("a b"), json!("a\\b"), "inputs"),
        ("/inputs/1/2", json!("stdout"), json!("../stdout"), "inputs"),
    ] {
        taken::<Task>(&with(task(), path, good));
        refused::<Task>(&with(task(), path, bad), BadValue, key);
    }
    for (path, good, bad, key) in [
        ("/ns", json!("a".repeat(63)), json!("a".repeat(64)), "ns"),
        ("/ns", json!("a-_.9"), json!("A"), "ns"),
        (
            "/args",
            json!(vec!["é".repeat(512); 64]),
            json!(["a".repeat(1025)]),
            "args",
        ),
        ("/args", json!(vec!["a"; 64]), json!(vec!["a"; 65]), "args"),
        (
            "/nonce",
            json!("22".repeat(16)),
            json!("22".repeat(17)),
            "nonce",
        ),
        (
            "/start",
            json!((u64::MAX >> 1).to_string()),
            json!((1_u64 << 63).to_string()),
            "start",
        ),
        ("/start", json!(0), json!(-1), "start"),
        ("/start", json!(0), json!("later"), "start"),
        ("/start", json!(1), json!(1.0), "start"),
        ("/place/spread", json!("rack"), json!(1), "spread"),
        ("/res/cpu", json!(1), json!(-1), "cpu"),
        ("/env", json!({ "A": "B" }), json!({ "A": 1 }), "env"),
        ("/retry", json!([0, 100, 100]), json!([0, 100]), "retry"),
    ] {
        taken::<Task>(&with(task(), path, good));
        refused::<Task>(&with(task(), path, bad), Malformed, key);
    }
}

#[test]
fn bounds_of_a_task_that_span_two_keys() {
    let platinum = with(task(), "/tier", json!("platinum"));
    for (verify, good) in [
        (json!(["none", 0, 0]), false),
        (json!(["spot", 0, 0]), false),
        (json!(["quorum", 2, 2]), false),
        (json!(["quorum", 2, 3]), true),
    ] {
        let value = with(platinum.clone(), "/verify", verify);
        if good {
            taken::<Task>(&value);
            let granted = with(value, "/grants", json!(["clock"]));
            refused::<Task>(&granted, RefusalCode::BadValue, "verify");
        } else {
            refused::<Task>(&value, RefusalCode::BadValue, "verify");
        }
    }
    for level in ["private", "confidential", "secret"] {
        let value = with(task(), "/level", json!(level));
        let least = |relay| with(value.clone(), "/res/relay", json!(relay));
        taken::<Task>(&least(1_000_000));
        refused::<Task>(&least(999_999), RefusalCode::BadValue, "relay");
    }
}

#[test]
fn every_key_is_required_and_a_second_spelling_is_refused() {
    for key in task().as_object().unwrap().keys() {
        let mut value = task();
        value.as_object_mut().unwrap().remove(key);
        let refusal = read::<Task>(&value, NOW).err().unwrap();
        assert_eq!(
            (refusal.code, refusal.key),
            (RefusalCode::Malformed, &**key)
        );
    }
    let mut more = task();
    more["zzz"] = json!(1);
    let error = json::from_str::<Task>(&more.to_string()).err().unwrap();
    assert!(matches!(error, json::JsonError::UnknownKey(_)), "{error}");
    let twice = task().to_string().replacen('{', "{\"ns\":\"lab\",", 1);
    let error = json::from_str::<Task>(&twice).err().unwrap();
    assert!(matches!(error, json::JsonError::DuplicateKey(_)), "{error}");
}

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

#[test]
fn size_is_checked_first_and_a_long_token_has_no_text() {
    let long = vec![0xff; SIGNED_MAX + 1];
    let large = RefusalCode::TooLarge.bare();
    assert_eq!(Received::<Task>::read(&long).err(), Some(large));
    assert_eq!(
        Received::<Task>::read(&long[1..]).err().map(|e| e.code),
        Some(RefusalCode::Malformed)
    );
    assert_eq!(
        from_slice::<StateRequest>(&vec![0; betanet_fog::BODY_MAX + 1]).err(),
        Some(large)
    );

    let args = vec!["a".repeat(1024); 64];
    let whole: Task = json::from_str(&with(task(), "/args", json!(args)).to_string()).unwrap();
    assert_eq!(Signed::sign(whole, &owner()).err(), Some(large));

    let token = |addrs: usize| {
        let addrs = vec!["192.0.2.7:443"; addrs];
        let value = json!({ "addrs": addrs, "exp": 1, "id": "11".repeat(16), "key": hex(&owner()), "kinds": [], "node": "", "org": "", "pin": "" });
        let token: Token = json::from_str(&value.to_string()).unwrap();
        Signed::sign(token, &owner()).unwrap().to_text()
    };
    assert!(token(1).is_ok());
    assert_eq!(token(64).err(), Some(RefusalCode::BadValue.of("addrs")));
}

#[test]
fn the_checks_come_in_the_chapters_order() {
    // Wrong in its types, its signature and its bounds at once: each is told only when those before it are right.
    let encode = |value: &Value, sig: [u8; 64]| {
        let rec = json::to_cbor(&value.to_string(), &Task::SHAPE).unwrap();
        to_vec(&betanet_fog::Envelope { rec, sig })
    };
    let value = with(task(), "/prio", json!(10));
    let mut bytes = encode(&value, [0; 64]);
    assert_eq!(
        Signed::<Task>::open(&bytes, NOW).err(),
        Some(RefusalCode::SigInvalid.bare())
    );
    // A wrong type behind the bad value: `verify` no longer starts with text.
    let at = bytes.windows(5).position(|w| w == b"\x64none").unwrap();
    bytes[at] = 0x44;
    assert_eq!(
        Signed::<Task>::open(&bytes, NOW).err(),
        Some(RefusalCode::Malformed.of("verify"))
    );
    let rec = json::to_cbor(&value.to_string(), &Task::SHAPE).unwrap();
    let sig = owner().sign(Task::LABEL, &[&rec]);
    let authentic = Received::<Task>::read(&encode(&value, sig))
        .unwrap()
        .verify()
        .unwrap();
    // Here the caller looks at the role.
    assert_eq!(authentic.namespace().unwrap(), "lab");
    assert_eq!(authentic.signer(), owner().public());
    assert_eq!(
        authentic.check(NOW).err(),
        Some(RefusalCode::BadValue.of("prio"))
    );
}

#[test]
fn a_record_is_signed_by_the_key_it_names() {
    let other = Identity::from_seed(&[2; 32]);
    let node: Node = json::from_str(&node().to_string()).unwrap();
    assert_eq!(
        Signed::sign(node.clone(), &other).err(),
        Some(RefusalCode::SigInvalid.of("key"))
    );
    let signed = Signed::sign(node, &owner()).unwrap();
    let received = || Received::<Node>::read(&signed.to_bytes()).unwrap();
    assert!(received().verify_with(owner().public()).is_ok());
    let invalid = Some(RefusalCode::SigInvalid.bare());
    assert_eq!(received().verify_with(other.public()).err(), invalid);
    // The label of another kind of record.
    let mut envelope = signed.envelope().clone();
    envelope.sig = owner().sign("BN-FOG-TASK1", &[&envelope.rec]);
    assert_eq!(Signed::<Node>::open(&to_vec(&envelope), NOW).err(), invalid);
    // A key that is no point of the right group.
    let zero = with(self::node(), "/key", json!("00".repeat(32)));
    let rec = json::to_cbor(&zero.to_string(), &Node::SHAPE).unwrap();
    let envelope = betanet_fog::Envelope { rec, sig: [0; 64] };
    assert_eq!(Signed::<Node>::open(&to_vec(&envelope), NOW).err(), invalid);
}
