//! Peer records, a seed's list, and GOSSIP messages.

use std::collections::BTreeMap;

use betanet_keys::Identity;
use betanet_mesh::{Draft, Record, Roles, message};
use betanet_wire::{NodeId, msg};
use serde_json::Value;

use super::{Tally, array, hex, list, number, same};

pub(super) fn mesh(file: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let cases = list(&file["records"], "records")?;
    let records: Vec<Record> = cases
        .iter()
        .map(|c| Record::from_envelope(&hex(c, "envelope")?).map_err(|e| e.to_string()))
        .collect::<Result<_, String>>()?;
    for (i, (case, record)) in cases.iter().zip(&records).enumerate() {
        tally.case(format!("record {i}"), written(case, record));
    }
    for case in list(&file["refused"], "refused")? {
        let why = case["why"].as_str().unwrap_or("refused");
        let read = Record::from_envelope(&hex(case, "envelope")?);
        tally.case(why, read.map_or(Ok(()), |_| Err("it is taken".into())));
    }
    for (i, case) in list(&file["lists"], "lists")?.iter().enumerate() {
        tally.case(format!("list {i}"), one_list(case, &records));
    }
    let messages = &file["messages"];
    tally.case("discover", discover(&messages["discover"]));
    tally.case("ask", ask(&messages["ask"]));
    tally.case("answer", answer(&messages["answer"], &records));
    tally.case("last", last(&messages["last"], &records));
    Ok(tally)
}

fn texts(case: &Value, key: &str) -> Result<Vec<String>, String> {
    let text = |v: &Value| {
        v.as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("{key} is no list of texts"))
    };
    list(&case[key], key)?.iter().map(text).collect()
}

/// What was read is what was said, and signed anew it is the same bytes.
fn written(case: &Value, record: &Record) -> Result<(), String> {
    let (seq, exp) = (number(case, "seq")?, number(case, "exp")?);
    same("node", record.node().0, array(case, "node")?)?;
    if (record.seq(), record.exp()) != (seq, exp) {
        return Err("seq or exp are others".into());
    }
    let names = texts(case, "roles")?;
    let addrs = texts(case, "addrs")?
        .iter()
        .map(|a| a.parse().map_err(|e| format!("{a}: {e}")))
        .collect::<Result<_, _>>()?;
    let price: BTreeMap<String, u64> =
        serde_json::from_value(case["price"].clone()).map_err(|e| format!("price: {e}"))?;
    let draft = Draft {
        addrs,
        roles: Roles::of_names(names.iter().map(String::as_str)).0,
        feat: texts(case, "feat")?,
        org: case["org"].as_str().unwrap_or_default().to_owned(),
        pin: hex(case, "pin")?.try_into().ok(),
        mix: hex(case, "mix")?,
        price,
    };
    let again = draft.sign(&Identity::from_seed(&array(case, "seed")?), seq, exp - seq);
    same(
        "envelope",
        again.envelope().to_vec(),
        hex(case, "envelope")?,
    )
}

fn chosen(case: &Value, records: &[Record]) -> Result<Vec<Record>, String> {
    let one = |v: &Value| {
        let i = v.as_u64().and_then(|i| usize::try_from(i).ok());
        i.and_then(|i| records.get(i))
            .cloned()
            .ok_or_else(|| "no such record".to_owned())
    };
    list(&case["records"], "records")?.iter().map(one).collect()
}

fn body(case: &Value) -> Result<Vec<u8>, String> {
    let message = hex(case, "message")?;
    match msg::split(&message, msg::MAX) {
        Ok(Some((cbor, []))) => Ok(cbor.to_vec()),
        _ => Err("it is no single message".into()),
    }
}

fn one_list(case: &Value, records: &[Record]) -> Result<(), String> {
    let seed = Identity::from_seed(&array(case, "seed")?);
    let ts = number(case, "ts")?;
    let chosen = chosen(case, records)?;
    same(
        "message",
        message::list(&seed, ts, &chosen).to_vec(),
        hex(case, "message")?,
    )?;
    let read = message::read_list(&body(case)?, seed.public(), ts).map_err(|e| e.to_string())?;
    same("records", read.len(), chosen.len())
}

fn discover(case: &Value) -> Result<(), String> {
    let names = texts(case, "roles")?;
    let roles = Roles::of_names(names.iter().map(String::as_str)).0;
    let n = u32::try_from(number(case, "n")?).map_err(|_| "n")?;
    let read = message::read_discover(&body(case)?).map_err(|e| e.to_string())?;
    if read != (n, roles) {
        return Err("n or roles are others".into());
    }
    // The profile gives role names an order; a request in it is the same bytes.
    same(
        "message",
        message::discover(n, roles).to_vec(),
        hex(case, "message")?,
    )
}

fn ask(case: &Value) -> Result<(), String> {
    let entry = |v: &Value| {
        let node: [u8; 20] = betanet_wire::text::unhex_array(v[0].as_str()?)?;
        Some(message::Have {
            node: NodeId(node),
            seq: v[1].as_u64()?,
        })
    };
    let have: Vec<_> = list(&case["have"], "have")?
        .iter()
        .map(entry)
        .collect::<Option<_>>()
        .ok_or("have")?;
    if message::read_ask(&body(case)?).map_err(|e| e.to_string())? != have {
        return Err("have is another".into());
    }
    same(
        "message",
        message::ask(have).to_vec(),
        hex(case, "message")?,
    )
}

fn answer(case: &Value, records: &[Record]) -> Result<(), String> {
    let node = |t: &String| betanet_wire::text::unhex_array(t).map(NodeId);
    let want: Vec<NodeId> = texts(case, "want")?
        .iter()
        .map(node)
        .collect::<Option<_>>()
        .ok_or("want")?;
    let (recs, wanted) = message::read_answer(&body(case)?).map_err(|e| e.to_string())?;
    let chosen = chosen(case, records)?;
    if wanted != want || recs.len() != chosen.len() {
        return Err("records or want are others".into());
    }
    same(
        "message",
        message::answer(&chosen, want).to_vec(),
        hex(case, "message")?,
    )
}

fn last(case: &Value, records: &[Record]) -> Result<(), String> {
    let chosen = chosen(case, records)?;
    let read = message::read_last(&body(case)?).map_err(|e| e.to_string())?;
    same("records", read.len(), chosen.len())?;
    same(
        "message",
        message::last(&chosen).to_vec(),
        hex(case, "message")?,
    )
}
