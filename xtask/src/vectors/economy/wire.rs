//! Bytes: requests, transfers, answers, signatures, and what is refused as malformed.

use betanet_keys::{Identity, PublicKey};
use betanet_tokenomics::journal::AnswerBody;
use betanet_tokenomics::request::{Transfer, request_digest};
use betanet_tokenomics::{Code, Envelope, Request, records};
use betanet_wire::cbor;
use serde_json::Value;

use super::read::{Run, array, code, hex, list, machine, named, same, text};

pub(crate) const KINDS: &[(&str, Run)] = &[
    ("wire", wire),
    ("malformed", malformed),
    ("signature", signature),
];

/// Encodes a value as the file writes it.
fn encode(v: &Value, w: &mut cbor::Writer) -> Result<(), String> {
    let (kind, v) = v
        .as_object()
        .and_then(|v| v.iter().next())
        .ok_or("value: not an item")?;
    match kind.as_str() {
        "int" => w.unsigned(super::read::number(v, "int")?),
        "text" => w.text(text(v, "text")?),
        "bytes" => w.bytes(&hex(v, "bytes")?),
        "simple" => w.boolean(*v == true),
        "array" => {
            let items = list(v, "array")?;
            w.array(items.len());
            for item in items {
                encode(item, w)?;
            }
        }
        "map" => {
            // The file writes keys in the order of their names.
            let mut entries = Vec::new();
            for entry in list(v, "map")? {
                let (mut key, mut value) = (cbor::Writer::default(), cbor::Writer::default());
                encode(&entry[0], &mut key)?;
                encode(&entry[1], &mut value)?;
                entries.push((key.into_vec(), value.into_vec()));
            }
            entries.sort();
            w.map(entries.len());
            for (key, value) in entries {
                w.raw(&key);
                w.raw(&value);
            }
        }
        kind => return Err(format!("no item is {kind}")),
    }
    Ok(())
}

fn wire(case: &Value, cases: &Value) -> Result<(), String> {
    let bytes = hex(&case["bytes"], "bytes")?;
    let mut w = cbor::Writer::default();
    encode(&case["value"], &mut w)?;
    same("bytes", w.into_vec(), bytes.clone())?;
    let digest = array(&case["digest"], "digest")?;
    match text(&case["what"], "what")? {
        "transfer" => {
            let transfer = Transfer::from_bytes(&bytes).ok_or("it is malformed")?;
            same("digest", transfer.digest, digest)
        }
        "request" => request(case, cases, &bytes, digest),
        "answer" => {
            let body = AnswerBody::from_bytes(&bytes).ok_or("it is malformed")?;
            same("bytes", body.to_bytes(), bytes)?;
            same("digest", body.digest(), digest)?;
            let key = array(&case["signer"], "signer")?;
            let key = PublicKey::from_bytes(&key).map_err(|e| e.to_string())?;
            let sig = array(&case["sig"], "sig")?;
            body.verify(&key, &sig).map_err(|e| e.to_string())
        }
        what => Err(format!("no runner knows {what}")),
    }
}

fn request(case: &Value, cases: &Value, bytes: &[u8], digest: [u8; 32]) -> Result<(), String> {
    let request = Request::from_bytes(bytes).ok_or("it is malformed")?;
    let economy = machine(case, cases)?;
    let genesis = economy.genesis().id();
    same("digest", request_digest(genesis, bytes), digest)?;
    let people = &named(cases, &case["genesis"])?["people"];
    let people = people.as_object().ok_or("people")?;
    let mut signers = Vec::new();
    for (id, _) in &request.by {
        for person in people.values() {
            if array(&person["account"], "account")? == id.0 {
                signers.push(Identity::from_seed(&array(&person["seed"], "seed")?));
            }
        }
    }
    let signers: Vec<&Identity> = signers.iter().collect();
    let signed = Envelope::sign(request, genesis, &signers).to_bytes();
    same("envelope", signed, hex(&case["envelope"], "envelope")?)?;
    match case.get("pid") {
        Some(pid) if !pid.is_null() => same("pid", records::proposal_id(bytes), array(pid, "pid")?),
        _ => Ok(()),
    }
}

fn malformed(case: &Value, _: &Value) -> Result<(), String> {
    for body in list(&case["bodies"], "bodies")? {
        same("code", Code::Malformed, code(&body["code"], "code")?)?;
        let read = Request::from_bytes(&hex(&body["bytes"], "bytes")?);
        same(text(&body["why"], "why")?, read.is_none(), true)?;
    }
    Ok(())
}

fn signature(case: &Value, cases: &Value) -> Result<(), String> {
    let mut economy = machine(case, cases)?;
    let envelope = hex(&case["envelope"], "envelope")?;
    let want = code(&case["code"], "code")?;
    let checked = match Envelope::from_bytes(&envelope) {
        None => Code::Malformed,
        Some(envelope) => economy.verify(envelope).err().unwrap_or(Code::Ok),
    };
    same("checked", checked, want)?;
    let now = economy.time();
    let answer = economy.apply(now, &envelope).map_err(|e| e.to_string())?;
    same("applied", answer.code, want)
}
