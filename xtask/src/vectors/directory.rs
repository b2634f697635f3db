//! Directories of the mix: signatures, beacon, layers.

use betanet_keys::{Envelope, Maintainers, PublicKey};
use betanet_mix::{BeaconKey, Directory};
use serde_json::Value;

use super::{Tally, array, hex, list, same, text};

pub(super) fn directory(file: &Value) -> Result<Tally, String> {
    let key = |v: &Value| {
        let bytes: Option<[u8; 32]> = v.as_str().and_then(betanet_wire::text::unhex_array);
        PublicKey::from_bytes(&bytes.ok_or("maintainers: not hex")?).map_err(|e| e.to_string())
    };
    let keys: Vec<PublicKey> = list(&file["maintainers"], "maintainers")?
        .iter()
        .map(key)
        .collect::<Result<_, String>>()?;
    let beacon_key = BeaconKey::from_bytes(&array(file, "beacon_key")?);
    let beacon_key = beacon_key.ok_or("beacon_key: not a key")?;
    let maintainers = Maintainers::new(&keys);
    let mut tally = Tally::default();
    for case in list(&file["directories"], "directories")? {
        let label = text(case, "what")?.to_owned();
        tally.case(label, one(case, &maintainers, &beacon_key));
    }
    Ok(tally)
}

fn one(case: &Value, maintainers: &Maintainers, beacon_key: &BeaconKey) -> Result<(), String> {
    let bytes = hex(case, "envelope")?;
    let envelope = Envelope::from_bytes(&bytes).map_err(|e| e.to_string())?;
    same("envelope", envelope.to_bytes(), bytes)?;
    let directory = Directory::from_record(envelope.record()).map_err(|e| e.to_string())?;
    same("record", directory.to_record(), envelope.record().to_vec())?;
    let counts = envelope.check(maintainers).map_err(|e| e.to_string());
    let counts = counts.and_then(|()| directory.check(beacon_key).map_err(|e| e.to_string()));
    let want = match case["why"].as_str() {
        Some(why) => Err(why.to_owned()),
        None => Ok(()),
    };
    same("accept", counts, want)
}
