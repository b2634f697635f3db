//! The journal, its log and its heads, and proofs of the state.

use betanet_keys::PublicKey;
use betanet_log::{
    Domain, Hash, Log, Memory, Proof, SignedHead, Signers, leaf_hash, verify_consistency,
    verify_inclusion,
};
use betanet_tokenomics::records::HEAD_LABEL;
use betanet_tokenomics::{Economy, Error, Tree, verify_state};
use serde_json::Value;

use super::read::{Run, array, hashes, hex, list, machine, named, number, same};

pub(crate) const KINDS: &[(&str, Run)] = &[
    ("checkpoint", checkpoint),
    ("head", head),
    ("log_proof", log_proof),
    ("state_proof", state_proof),
    ("tree", tree),
];

fn checkpoint(case: &Value, cases: &Value) -> Result<(), String> {
    let records = list(&case["records"], "records")?.iter();
    let records: Result<Vec<Vec<u8>>, _> = records.map(|r| hex(r, "record")).collect();
    let records = records?;
    let leaves = hashes(&case["leaves"], "leaves")?;
    let states = hashes(&case["state_roots"], "state_roots")?;
    let roots = hashes(&case["log_roots"], "log_roots")?;
    let mut log = Log::new(Memory::default());
    let (first, rest) = records.split_first().ok_or("no records")?;
    let mut economy = Economy::from_first(first).map_err(|e| e.to_string())?;
    let genesis = named(cases, &case["genesis"])?;
    same(
        "genesis",
        economy.genesis().as_bytes(),
        &hex(&genesis["bytes"], "bytes")?,
    )?;
    same("first", &economy.first_record().to_bytes(), first)?;
    for (i, record) in records.iter().enumerate() {
        if i > 0 {
            // No other record may stand in its place.
            let mut bent = record.clone();
            for at in 0..bent.len() {
                bent[at] ^= 1;
                let replayed = economy.clone().replay(&bent);
                if replayed.is_ok() && !only_time(record, at) {
                    return Err(format!("record {i} is accepted with byte {at} changed"));
                }
                bent[at] ^= 1;
            }
            economy.replay(record).map_err(|e| e.to_string())?;
        }
        same("leaf", leaf_hash(record), leaves[i])?;
        same("state", economy.root(), states[i])?;
        log.append(record).map_err(|e| e.to_string())?;
        same("log", log.root(), roots[i])?;
    }
    economy.audit().map_err(|e| e.to_string())?;
    let again = economy.replay(&rest[0]).err();
    let place = economy.records();
    same("again", again, Some(Error::Place { found: 1, place }))?;
    // A snapshot goes on as the machine that it is of.
    let mut rows = Vec::new();
    economy.dump(&mut |table, key, value| rows.push((table, key, value)));
    let loaded = Economy::load(economy.genesis().as_bytes(), rows);
    let mut loaded = loaded.map_err(|e| e.to_string())?;
    same("snapshot", loaded.root(), economy.root())
}

/// Whether a byte is one of the record's own time: the log covers it, the replay need not refuse it.
fn only_time(record: &[u8], at: usize) -> bool {
    let ts = 1 + 3;
    record.starts_with(&[0xa3, 0x62, b't', b's', 0x1b]) && (ts..ts + 9).contains(&at)
}

fn head(case: &Value, cases: &Value) -> Result<(), String> {
    let economy = machine(case, cases)?;
    let signers: Result<Vec<PublicKey>, String> = hashes(&case["signers"], "signers")?
        .iter()
        .map(|key| PublicKey::from_bytes(key).map_err(|e| e.to_string()))
        .collect();
    let signers = Signers::new(&signers?).map_err(|e| e.to_string())?;
    same(
        "set",
        economy.genesis().signers().len(),
        signers.keys().len(),
    )?;
    let carried = SignedHead::from_bytes(&hex(&case["carried"], "carried")?);
    let carried = carried.map_err(|e| e.to_string())?;
    same("head", carried.signed_bytes(), &hex(&case["head"], "head")?)?;
    let genesis = economy.genesis().id();
    let text = [HEAD_LABEL.as_bytes(), genesis, carried.signed_bytes()];
    let digest = betanet_keys::hash(&text);
    same("digest", digest, array(&case["digest"], "digest")?)?;
    let domain = Domain::within(HEAD_LABEL, genesis);
    let is_final = carried.check(domain, &signers).is_ok();
    same("final", is_final, case["final"] == true)
}

fn log_proof(case: &Value, cases: &Value) -> Result<(), String> {
    let journal = named(cases, &case["journal"])?;
    let leaves = hashes(&journal["leaves"], "leaves")?;
    let roots = hashes(&journal["log_roots"], "log_roots")?;
    let size = number(&case["size"], "size")?;
    let root: Hash = *roots.last().ok_or("no roots")?;
    for (i, proof) in list(&case["proofs"], "proofs")?.iter().enumerate() {
        let path = Proof::new(hashes(&proof["path"], "path")?);
        let verified = match (path, proof.get("index"), proof.get("from")) {
            (Some(path), Some(index), _) => {
                let index = number(index, "index")?;
                let at = usize::try_from(index).map_err(|e| e.to_string())?;
                let leaf = leaves.get(at).ok_or("index: not in the log")?;
                verify_inclusion(leaf, index, size, &path, &root)
            }
            (Some(path), None, Some(from)) => {
                let from = number(from, "from")?;
                let old = array(&proof["root"], "root")?;
                verify_consistency(from, size, &old, &root, &path)
            }
            _ => false,
        };
        same(&format!("proof {i}"), verified, proof["accept"] == true)?;
    }
    Ok(())
}

fn state_proof(case: &Value, cases: &Value) -> Result<(), String> {
    let root = array(&case["root"], "root")?;
    let table = u8::try_from(number(&case["table"], "table")?).map_err(|e| e.to_string())?;
    let key = hex(&case["key"], "key")?;
    let value = match &case["value"] {
        Value::Null => None,
        value => Some(hex(value, "value")?),
    };
    let path = hashes(&case["path"], "path")?;
    let other: Option<(Hash, Vec<u8>)> = match &case["other"] {
        Value::Null => None,
        other => Some((array(&other[0], "other")?, hex(&other[1], "other")?)),
    };
    let standing = other.as_ref().map(|(key, value)| (key, &value[..]));
    let name = (table, &key[..]);
    let verified = verify_state(&root, name, value.as_deref(), &path, standing);
    let accept = case["accept"] == true;
    same("accept", verified, accept)?;
    if accept {
        let journal = named(cases, &Value::from("checkpoint/journal"))?;
        let mut records = list(&journal["records"], "records")?.iter();
        let first = hex(records.next().ok_or("no records")?, "record")?;
        let mut economy = Economy::from_first(&first).map_err(|e| e.to_string())?;
        for record in records {
            let replayed = economy.replay(&hex(record, "record")?);
            replayed.map_err(|e| e.to_string())?;
        }
        let made = economy.prove(table, &key);
        same("value", made.value, value)?;
        same("path", made.path, path)?;
        same("other", made.other, other)?;
    }
    Ok(())
}

fn tree(case: &Value, _: &Value) -> Result<(), String> {
    for case in list(&case["trees"], "trees")? {
        let mut tree = Tree::default();
        for leaf in list(&case["leaves"], "leaves")? {
            tree.put_key(array(&leaf[0], "key")?, &hex(&leaf[1], "value")?);
        }
        same("root", tree.root(), array(&case["root"], "root")?)?;
    }
    Ok(())
}
