//! Bounds of tasks.

use betanet_fog::{RefusalCode, Task, json};
use serde_json::json;

use super::{DAY, NOW, read, refused, taken, task, with};

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
