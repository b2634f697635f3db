//! Envelopes of signed registries.

use betanet_keys::{Envelope, Maintainers, PublicKey};
use serde_json::Value;

use super::{Tally, hex, list, same};

pub(super) fn registry(file: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, case) in list(&file["registry"], "registry")?.iter().enumerate() {
        tally.case(format!("envelope {i}"), one(case));
    }
    Ok(tally)
}

fn one(case: &Value) -> Result<(), String> {
    let key = |v: &Value| {
        let text = v.as_str().ok_or("maintainers: not text")?;
        let bytes: Option<[u8; 32]> = betanet_wire::text::unhex_array(text);
        PublicKey::from_bytes(&bytes.ok_or("maintainers: not hex")?).map_err(|e| e.to_string())
    };
    let keys: Vec<PublicKey> = list(&case["maintainers"], "maintainers")?
        .iter()
        .map(key)
        .collect::<Result<_, String>>()?;
    let bytes = hex(case, "envelope")?;
    let envelope = Envelope::from_bytes(&bytes).map_err(|e| e.to_string())?;
    same("envelope", envelope.to_bytes(), bytes)?;
    let counts = envelope.check(&Maintainers::new(&keys));
    same("accept", counts.is_ok(), case["accept"] == true)
}
