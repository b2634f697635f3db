//! How the file writes values: bytes in hex, numbers from 2^53 on as text. The tests of `betanet-scheduler` use this file too.

use betanet_fog::{Affinity, Amounts, Attribute, Digest, Near, Need, Placement, Resources, Word};
use betanet_wire::NodeId;
use serde_json::Value;

pub(crate) type Outcome<T = ()> = Result<T, String>;

/// A section of the file, and what runs one of its cases.
pub(crate) type Section = (&'static str, fn(&Value) -> Outcome);

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
    let amounts = Amounts {
        cpu: number(&v["cpu"])?,
        memory: number(&v["memory"])?,
        storage: number(&v["storage"])?,
        gpu: number(&v["gpu"])?,
        bandwidth: number(&v["bandwidth"])?,
        relay: number(&v["relay"])?,
    };
    Resources::new(amounts).map_err(|e| format!("{e:?}"))
}

fn attribute(v: &Value) -> Outcome<Attribute> {
    word::<Word>(v).map(Attribute::from)
}

pub(crate) fn wishes(v: &Value) -> Outcome<Placement> {
    let (mut need, mut affinity) = (Vec::new(), Vec::new());
    for n in list(&v["need"])? {
        need.push(Need {
            attribute: attribute(&n[0])?,
            op: word(&n[1])?,
            values: words(&n[2])?.try_into().map_err(|_| "too many values")?,
        });
    }
    for p in list(&v["affinity"])? {
        affinity.push(Affinity {
            attribute: attribute(&p[0])?,
            values: words(&p[1])?.try_into().map_err(|_| "too many values")?,
            weight: p[2].as_i64().ok_or("a weight is no number")?,
        });
    }
    let near = &v["near"];
    Ok(Placement {
        affinity: affinity.try_into().map_err(|_| "too many terms")?,
        near: Near {
            node: (near[0] != "").then(|| node(&near[0])).transpose()?,
            region: word(&near[1])?,
            zone: word(&near[2])?,
        },
        need: need.try_into().map_err(|_| "too many conditions")?,
        rep: number(&v["rep"])?,
        spread: (v["spread"] != "")
            .then(|| attribute(&v["spread"]))
            .transpose()?,
    })
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
