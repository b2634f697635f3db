//! Alias records, rotations of the signers, and envelopes as records of the ledger.

use betanet_keys::{Maintainers, PublicKey};
use betanet_log::Signers;
use betanet_naming::{Alias, Entry, Finalized, RotateMaintainers};
use betanet_wire::cbor;
use serde_json::Value;

use super::{Tally, array, hex, list, number, same, text};

pub(super) fn naming(file: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, case) in list(&file["alias"], "alias")?.iter().enumerate() {
        tally.case(format!("alias {i}"), alias(case));
    }
    for (i, case) in list(&file["rotation"], "rotation")?.iter().enumerate() {
        tally.case(format!("rotation {i}"), rotation(case));
    }
    for (i, case) in list(&file["registry"], "registry")?.iter().enumerate() {
        tally.case(format!("registry {i}"), registry(case));
    }
    Ok(tally)
}

fn keys(v: &Value, what: &str) -> Result<Vec<PublicKey>, String> {
    let key = |v: &Value| {
        let bytes = v.as_str().and_then(betanet_wire::text::unhex_array);
        let bytes: [u8; 32] = bytes.ok_or_else(|| format!("{what}: not keys"))?;
        PublicKey::from_bytes(&bytes).map_err(|e| e.to_string())
    };
    list(v, what)?.iter().map(key).collect()
}

fn alias(case: &Value) -> Result<(), String> {
    let bytes = hex(case, "finalized")?;
    let finalized = Finalized::from_bytes(&bytes).map_err(|e| e.to_string())?;
    same("finalized", finalized.to_bytes(), bytes.clone())?;
    same(
        "record",
        finalized.signed_bytes(),
        &hex(case, "record")?[..],
    )?;
    let record = finalized.record();
    let name = Alias::parse(text(case, "alias")?).map_err(|e| e.to_string())?;
    same("alias", &record.alias, &name)?;
    same("seq", record.seq, number(case, "seq")?)?;
    same("ts", record.ts, number(case, "ts")?)?;
    let key = PublicKey::from_bytes(&array(case, "key")?).map_err(|e| e.to_string())?;
    same("node", record.node, key.node_id())?;
    let signers = keys(&case["signers"], "signers")?;
    let signers = Signers::new(&signers).map_err(|e| e.to_string())?;
    finalized.check(&signers).map_err(|e| e.to_string())?;
    // No bit may change.
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        if Finalized::from_bytes(&bent).is_ok_and(|f| f.check(&signers).is_ok()) {
            return Err(format!("it counts with byte {at} changed"));
        }
    }
    Ok(())
}

fn rotation(case: &Value) -> Result<(), String> {
    let bytes = hex(case, "map")?;
    let rotation = RotateMaintainers::from_bytes(&bytes).map_err(|e| e.to_string())?;
    same("map", rotation.to_bytes(), bytes.clone())?;
    same("hash", rotation.hash(), array(case, "hash")?)?;
    let value: cbor::Value<'_> = cbor::from_slice(&bytes).map_err(|e| e.to_string())?;
    let cbor::Value::Map(entries) = value else {
        return Err("it is no map".into());
    };
    let prev = entries.iter().find_map(|entry| match entry {
        (cbor::Value::Text("prev"), cbor::Value::Array(keys)) => Some(keys),
        _ => None,
    });
    let key = |v: &cbor::Value<'_>| match v {
        cbor::Value::Bytes(bytes) => (*bytes).try_into().ok(),
        _ => None,
    };
    let prev: Option<Vec<[u8; 32]>> = prev.ok_or("prev")?.iter().map(key).collect();
    let signers = Signers::from_bytes(&prev.ok_or("prev")?).map_err(|e| e.to_string())?;
    same("prev", rotation.is_from(&signers), true)?;
    let signed = rotation.signed_by(&signers).map_err(|e| e.to_string())?;
    same("signed", signed.len() >= signers.threshold(), true)
}

fn registry(case: &Value) -> Result<(), String> {
    let entry = Entry::from_bytes(&hex(case, "envelope")?).map_err(|e| e.to_string())?;
    let Entry::Registry(envelope) = entry else {
        return Err("it is no envelope".into());
    };
    let list = Maintainers::new(&keys(&case["maintainers"], "maintainers")?);
    same(
        "accept",
        envelope.check(&list).is_ok(),
        case["accept"] == true,
    )
}
