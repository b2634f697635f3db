//! Signed records, tokens, calls, receipts and the intervals that follow from them. The tests of `betanet-fog` run this file too.

use betanet_fog::{
    Assignment, Call, Commitment, Interval, Job, Joining, Node, Order, Output, Policy, Receipt,
    Received, Record, Refusal, Retry, Signed, Task, TaskId, Token, amnesty, bodies::Topology,
    from_slice, json, seed_hash, to_vec,
};
use betanet_keys::{Identity, PublicKey};
use betanet_wire::{NodeId, text as form};
use serde_json::{Value, json};

type Outcome = Result<(), String>;
type Case = fn(&Value) -> Outcome;

/// The sections, and what runs a case of each.
pub(crate) const SECTIONS: &[(&str, Case)] = &[
    ("beat", beat),
    ("call", call),
    ("join", join),
    ("kept", kept),
    ("lease", lease),
    ("receipt", receipt),
    ("refused", refused),
    ("retry", retry),
    ("reveal", reveal),
    ("signed", signed),
    ("token", token),
    ("topology", topology),
];

fn text<'a>(v: &'a Value, key: &str) -> Result<&'a str, String> {
    v[key].as_str().ok_or_else(|| format!("{key}: not text"))
}

fn hex(v: &Value, key: &str) -> Result<Vec<u8>, String> {
    form::unhex(text(v, key)?).ok_or_else(|| format!("{key}: not hex"))
}

fn array<const N: usize>(v: &Value, key: &str) -> Result<[u8; N], String> {
    let bytes = hex(v, key)?;
    bytes
        .try_into()
        .map_err(|_| format!("{key}: not {N} bytes"))
}

fn number(v: &Value, key: &str) -> Result<u64, String> {
    v[key]
        .as_u64()
        .or_else(|| v[key].as_str()?.parse().ok())
        .ok_or_else(|| format!("{key}: not a number"))
}

fn items<'a>(v: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    v[key]
        .as_array()
        .ok_or_else(|| format!("{key}: not a list"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Outcome {
    if got == want {
        Ok(())
    } else {
        Err(format!("{what}: got {got:02x?}, want {want:02x?}"))
    }
}

fn said(e: impl std::fmt::Display) -> String {
    e.to_string()
}

fn key(bytes: [u8; 32]) -> Result<PublicKey, String> {
    PublicKey::from_bytes(&bytes).map_err(said)
}

/// A record from the file's JSON form.
fn of_json<T: betanet_fog::Item>(v: &Value) -> Result<T, String> {
    json::from_str(&v.to_string()).map_err(said)
}

/// Compares a decision with an expected status alone, or with status, code and key of a refusal.
fn decided(got: Result<u16, Refusal>, want: &Value) -> Outcome {
    let got = match got {
        Ok(status) => json!({ "status": status }),
        Err(Refusal { code, key }) => {
            json!({ "status": code.status(), "code": code.as_str(), "key": key })
        }
    };
    same("answer", &got, want)
}

/// Calls a generic function for the record type that a case names.
macro_rules! by_type {
    ($case:expr, $run:ident($($argument:expr),*)) => {
        match text(&$case["in"], "type")? {
            "node" => $run::<Node>($($argument),*),
            "task" => $run::<Task>($($argument),*),
            "job" => $run::<Job>($($argument),*),
            "token" => $run::<Token>($($argument),*),
            "assignment" => $run::<Assignment>($($argument),*),
            "receipt" => $run::<Receipt>($($argument),*),
            "commitment" => $run::<Commitment>($($argument),*),
            other => Err(format!("no record type {other}")),
        }
    };
}

fn signed(case: &Value) -> Outcome {
    by_type!(case, sign(case))?;
    if text(&case["in"], "type")? == "task" {
        let envelope = hex(&case["out"], "envelope")?;
        let task = Signed::<Task>::restore(&envelope).map_err(said)?;
        same("id", task.id(), TaskId(array(&case["out"], "id")?))?;
        same("id of the record", task.value().id(), task.id())?;
    }
    Ok(())
}

fn sign<T: Record + Clone + PartialEq + std::fmt::Debug>(case: &Value) -> Outcome {
    let (input, out) = (&case["in"], &case["out"]);
    let value: T = of_json(&input["map"])?;
    let back: Value =
        serde_json::from_str(&json::to_string(&value).map_err(said)?).map_err(said)?;
    same("JSON", &back, &input["map"])?;
    let signer = Identity::from_seed(&array(input, "ed25519_seed")?);
    let made = Signed::sign(value.clone(), &signer).map_err(said)?;
    same("rec", made.rec().to_vec(), hex(out, "rec")?)?;
    same("envelope", made.to_bytes(), hex(out, "envelope")?)?;
    let read = Signed::<T>::open(&hex(out, "envelope")?, number(input, "now")?).map_err(said)?;
    same("record read", read.value(), &value)
}

fn kept(case: &Value) -> Outcome {
    by_type!(case, keep(case))
}

fn keep<T: Record>(case: &Value) -> Outcome {
    let read = Signed::<T>::open(&hex(&case["in"], "envelope")?, 0).map_err(said)?;
    same("rec", read.rec().to_vec(), hex(&case["out"], "rec")?)?;
    same("envelope", read.to_bytes(), hex(&case["out"], "envelope")?)
}

fn refused(case: &Value) -> Outcome {
    by_type!(case, refuse(case))
}

fn refuse<T: Record>(case: &Value) -> Outcome {
    let envelope = hex(&case["in"], "envelope")?;
    let read = Signed::<T>::open(&envelope, number(&case["in"], "now")?);
    decided(read.map(|_| 201), &case["out"])
}

fn call(case: &Value) -> Outcome {
    let (input, out) = (&case["in"], &case["out"]);
    let coordinator = key(array(input, "coordinator")?)?;
    let body = hex(input, "body")?;
    let call = Call {
        coordinator: &coordinator,
        method: text(input, "method")?,
        target: text(input, "path")?,
        body: &body,
    };
    if input["authorization"].is_string() {
        let verified = call.verify(&hex(input, "authorization")?, number(input, "now")?);
        return decided(verified.map(|_| 200), out);
    }
    let caller = Identity::from_seed(&array(input, "ed25519_seed")?);
    let ms = number(input, "ms")?;
    let made = call.sign(&caller, ms);
    same("authorization", made.to_vec(), hex(out, "authorization")?)?;
    let verified = call.verify(&made, ms).map_err(said)?;
    same("node", verified.node_id(), NodeId(array(out, "node")?))
}

fn receipt(case: &Value) -> Outcome {
    let (input, out) = (&case["in"], &case["out"]);
    if input["output"].is_object() {
        let output: Output = of_json(&input["output"])?;
        same("blob", to_vec(&output), hex(out, "blob")?)?;
        same("out", output.digest(), array(out, "out")?)?;
        let read = Output::from_slice(&hex(out, "blob")?).map_err(said)?;
        same("output read", &read, &output)?;
        let assigned = json!({ "copy": 0, "devs": [], "end": 0, "epoch": 0, "fence": 0, "in": input["in"],
            "key": "00".repeat(32), "node": "00".repeat(20), "task": "00".repeat(32) });
        let assigned: Assignment = of_json(&assigned)?;
        return same("in", assigned.inputs_digest(), array(out, "in")?);
    }
    let task: Task = of_json(&input["task"])?;
    let assignment: Assignment = of_json(&input["assignment"])?;
    let receipt: Receipt = of_json(&input["receipt"])?;
    let answer = receipt
        .check()
        .and_then(|()| receipt.answers(&task, &assignment));
    decided(answer.map(|()| 204), out)
}

fn token(case: &Value) -> Outcome {
    let (input, out) = (&case["in"], &case["out"]);
    if input["map"].is_object() {
        let signer = Identity::from_seed(&array(input, "ed25519_seed")?);
        let made = Signed::sign(of_json::<Token>(&input["map"])?, &signer).map_err(said)?;
        return same(
            "text",
            made.to_text().map_err(said)?.as_str(),
            text(out, "text")?,
        );
    }
    let read = Signed::<Token>::from_text(text(input, "text")?);
    if out["map"].is_object() {
        let read = json::to_string(read.map_err(said)?.value()).map_err(said)?;
        let read: Value = serde_json::from_str(&read).map_err(said)?;
        return same("token read", &read, &out["map"]);
    }
    decided(read.map(|_| 200), out)
}

fn join(case: &Value) -> Outcome {
    let input = &case["in"];
    let coordinators = items(input, "coordinators")?
        .iter()
        .map(|k| key(array(&json!({ "key": k }), "key")?))
        .collect::<Result<Vec<PublicKey>, String>>()?;
    let used = |id: &[u8; 16]| array(&input["used"], &form::hex(id)).ok().map(NodeId);
    let revoked = |id: &[u8; 16]| {
        let id = form::hex(id);
        input["revoked"]
            .as_array()
            .is_some_and(|all| all.iter().any(|r| *r == id))
    };
    let joining = Joining {
        session: NodeId(array(input, "session")?),
        now_ms: number(input, "now")?,
        coordinators: &coordinators,
        used: &used,
        revoked: &revoked,
    };
    let admitted = Received::<Node>::read(&hex(input, "node")?)
        .and_then(|node| joining.admit(node, text(input, "token").unwrap_or_default()));
    decided(
        admitted.map(|a| if a.again { 200 } else { 201 }),
        &case["out"],
    )
}

/// Compares each row's answer.
fn rows(case: &Value, answer: impl Fn(&Value) -> Result<Value, String>) -> Outcome {
    let got: Vec<Value> = items(&case["in"], "rows")?
        .iter()
        .map(answer)
        .collect::<Result<_, _>>()?;
    same("rows", &got, items(&case["out"], "rows")?)
}

fn retry(case: &Value) -> Outcome {
    rows(case, |row| {
        let retry = Retry {
            most: 20,
            base: number(row, "base")?,
            cap: number(row, "cap")?,
        };
        let delay = retry.delay(&TaskId(array(row, "task")?), number(row, "fault")?);
        Ok(json!(number(row, "now")? + delay))
    })
}

fn beat(case: &Value) -> Outcome {
    rows(case, |row| {
        let node = NodeId(array(row, "node")?);
        let Interval { ttl, down } =
            Interval::after(node, number(row, "seq")?, number(row, "known")?);
        Ok(json!({ "ttl": ttl, "down": down }))
    })
}

fn lease(case: &Value) -> Outcome {
    rows(case, |row| {
        let down = number(row, "down")?;
        if row["at"].is_u64() {
            return Ok(json!(amnesty(number(row, "at")?, down)));
        }
        let rule = text(row, "policy")?.parse().map_err(said)?;
        let ms = number(row, "ms")?;
        Ok(json!(
            Policy { rule, ms }.fence_dies(number(row, "last")?, down)
        ))
    })
}

fn reveal(case: &Value) -> Outcome {
    let input = &case["in"];
    let commitment: Commitment = of_json(&input["commitment"])?;
    let order = Order::from_slice(&hex(input, "order")?);
    let revealed = order.and_then(|o| o.reveals(&commitment, number(input, "now").unwrap_or(0)));
    decided(revealed.map(|()| 204), &case["out"])
}

fn topology(case: &Value) -> Outcome {
    let topology: Topology = of_json(&case["in"]["map"])?;
    let bytes = to_vec(&topology);
    same("hex", bytes.clone(), hex(&case["out"], "hex")?)?;
    same(
        "read",
        &from_slice::<Topology>(&bytes).map_err(said)?,
        &topology,
    )?;
    same("seed", topology.seed, seed_hash(&array(&case["in"], "S")?))
}
