//! How the file writes values: bytes in hex, numbers from 2^53 on as text.

use betanet_fog::{Digest, Need, Op, Preference, Resource, Resources, Wishes, Word};
use betanet_wire::NodeId;
use serde_json::Value;

pub(crate) type Outcome<T = ()> = Result<T, String>;

pub(crate) fn list(v: &Value) -> Outcome<&Vec<Value>> {
    v.as_array().ok_or_else(|| format!("{v} is no list"))
}

pub(crate) fn text(v: &Value) -> Outcome<&str> {
    v.as_str().ok_or_else(|| format!("{v} is no text"))
}

pub(crate) fn number(v: &Value) -> Outcome<u64> {
    v.as_u64()
        .or_else(|| v.as_str()?.parse().ok())
        .ok_or_else(|| format!("{v} is no number"))
}

pub(crate) fn bytes(v: &Value) -> Outcome<Vec<u8>> {
    betanet_wire::text::unhex(text(v)?).ok_or_else(|| format!("{v} is not hex"))
}

pub(crate) fn fixed<const N: usize>(v: &Value) -> Outcome<[u8; N]> {
    let bytes = bytes(v)?;
    bytes
        .try_into()
        .map_err(|_| format!("{v} has not {N} bytes"))
}

pub(crate) fn node(v: &Value) -> Outcome<NodeId> {
    fixed(v).map(NodeId)
}

/// A word, or one of a fixed set.
pub(crate) fn word<W: std::str::FromStr>(v: &Value) -> Outcome<W> {
    text(v)?.parse().map_err(|_| format!("{v} is another word"))
}

pub(crate) fn words(v: &Value) -> Outcome<Vec<Word>> {
    list(v)?.iter().map(word).collect()
}

pub(crate) fn resources(v: &Value) -> Outcome<Resources> {
    let mut amounts = Vec::new();
    for r in Resource::ALL {
        amounts.push((r, number(&v[r.as_str()])?));
    }
    Resources::new(amounts).map_err(|e| e.to_string())
}

pub(crate) fn wishes(v: &Value) -> Outcome<Wishes> {
    let mut wishes = Wishes {
        region: word(&v["near"][1])?,
        zone: word(&v["near"][2])?,
        rep: u32::try_from(number(&v["rep"])?).map_err(|e| e.to_string())?,
        spread: word(&v["spread"])?,
        ..Wishes::default()
    };
    if v["near"][0] != "" {
        wishes.near = Some(node(&v["near"][0])?);
    }
    for n in list(&v["need"])? {
        wishes.need.push(Need {
            attr: word(&n[0])?,
            op: match text(&n[1])? {
                "in" => Op::In,
                "not_in" => Op::NotIn,
                other => return Err(format!("{other} is no op")),
            },
            values: words(&n[2])?,
        });
    }
    for p in list(&v["affinity"])? {
        let weight = p[2].as_i64().and_then(|w| i8::try_from(w).ok());
        wishes.affinity.push(Preference {
            attr: word(&p[0])?,
            values: words(&p[1])?,
            weight: weight.ok_or("a weight is out of range")?,
        });
    }
    Ok(wishes)
}

/// Module and inputs that are blobs, with their sizes.
pub(crate) fn blobs(task: &Value) -> Outcome<Vec<(Digest, u64)>> {
    let mut out = vec![(fixed(&task["module"][0])?, number(&task["module"][1])?)];
    for input in list(&task["inputs"])? {
        if input[2].is_u64() {
            out.push((fixed(&input[1])?, number(&input[2])?));
        }
    }
    Ok(out)
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Outcome {
    if got == want {
        Ok(())
    } else {
        Err(format!("{what}: {got:?} instead of {want:?}"))
    }
}
