//! Each bound of the chapter: the last value inside it is taken, the first outside is refused with its key.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod order;
mod others;
mod task;

use betanet_fog::{Record, Refusal, RefusalCode, Signed, json, to_vec};
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
