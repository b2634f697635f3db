//! Merkle logs: roots, inclusion and consistency proofs.

use betanet_log::{Hash, Log, Memory, empty_root, leaf_hash, verify_consistency, verify_inclusion};
use serde_json::Value;

use super::{Tally, list, number, same};

pub(super) fn log(file: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut log = Log::new(Memory::default());
    let empty: Hash = super::array(file, "empty")?;
    tally.case("no records", same("root", empty_root(), empty));
    let roots = hashes(&file["roots"], "roots")?;
    let records = list(&file["records"], "records")?;
    same("roots", roots.len(), records.len())?;
    let mut leaves = Vec::new();
    for (record, root) in records.iter().zip(&roots) {
        let text = record.as_str().ok_or("records: not text")?;
        let bytes = betanet_wire::text::unhex(text).ok_or("records: not hex")?;
        leaves.push(leaf_hash(&bytes));
        let index = log.append(&bytes).map_err(|e| e.to_string())?;
        tally.case(format!("root {index}"), same("root", log.root(), *root));
    }
    let root = |size: u64| -> Result<Hash, String> { log.root_at(size).map_err(|e| e.to_string()) };
    let inclusion = |case: &Value| {
        let (index, size) = (number(case, "index")?, number(case, "size")?);
        let want = hashes(&case["proof"], "proof")?;
        let made = log.inclusion(index, size).map_err(|e| e.to_string())?;
        same("proof", made.to_vec(), want)?;
        let at = usize::try_from(index).map_err(|e| e.to_string())?;
        let leaf = leaves.get(at).ok_or("index: not in the log")?;
        let verified = verify_inclusion(leaf, index, size, &made, &root(size)?);
        same("verified", verified, true)
    };
    for (i, case) in list(&file["inclusion"], "inclusion")?.iter().enumerate() {
        tally.case(format!("inclusion {i}"), inclusion(case));
    }
    let consistency = |case: &Value| {
        let (from, to) = (number(case, "from")?, number(case, "to")?);
        let want = hashes(&case["proof"], "proof")?;
        let made = log.consistency(from, to).map_err(|e| e.to_string())?;
        same("proof", made.to_vec(), want)?;
        let verified = verify_consistency(from, to, &root(from)?, &root(to)?, &made);
        same("verified", verified, true)
    };
    let cases = list(&file["consistency"], "consistency")?;
    for (i, case) in cases.iter().enumerate() {
        tally.case(format!("consistency {i}"), consistency(case));
    }
    Ok(tally)
}

fn hashes(v: &Value, what: &str) -> Result<Vec<Hash>, String> {
    let one = |v: &Value| {
        let hash = v.as_str().and_then(betanet_wire::text::unhex_array);
        hash.ok_or_else(|| format!("{what}: not hashes"))
    };
    list(v, what)?.iter().map(one).collect()
}
