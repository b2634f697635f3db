//! Path headers and their signatures.

use betanet_keys::PublicKey;
use betanet_path::{Control, segment_hash, segment_stands};
use serde_json::Value;

use super::{Tally, array, hex, list, number, same};

pub(super) fn path(file: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, case) in list(file, "cases")?.iter().enumerate() {
        tally.case(format!("case {i}"), one(case));
    }
    Ok(tally)
}

fn one(case: &Value) -> Result<(), String> {
    let payload = hex(case, "payload")?;
    let control = Control::from_bytes(&payload).map_err(|e| e.to_string())?;
    same("payload written back", control.to_bytes(), payload)?;
    same("type", control.ty(), byte(case, "type")?)?;
    same("flags", control.flags(), byte(case, "flags")?)?;
    let (Control::Single { segments, .. } | Control::Multi { segments, .. }) = &control else {
        return Err("the payload is no path".into());
    };
    let count = u64::try_from(segments.len()).unwrap_or(u64::MAX);
    let first = segments.first().ok_or("no segment")?;
    if count != number(case, "segments")?
        || u64::from(first.expiry) != number(case, "expiry_s")?
        || first.timestamp != number(case, "timestamp_ms")?
    {
        return Err("segments, expiry_s or timestamp_ms are others".into());
    }
    same("next", first.next.0, array(case, "next")?)?;
    same("sig", first.sig, Some(array(case, "sig")?))?;
    let sender =
        PublicKey::from_bytes(&array(case, "sender_public")?).map_err(|e| e.to_string())?;
    let node = sender.node_id();
    same("sender_node", node.0, array(case, "sender_node")?)?;
    let hash = segment_hash(&control, 0, node).ok_or("no hash")?;
    same("hash", hash, array(case, "hash")?)?;
    if !segment_stands(&control, 0, &sender) {
        return Err("the signature does not stand".into());
    }
    Ok(())
}

fn byte(case: &Value, key: &str) -> Result<u8, String> {
    u8::try_from(number(case, key)?).map_err(|_| format!("{key} is no byte"))
}
