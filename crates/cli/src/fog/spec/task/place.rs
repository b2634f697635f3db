//! A task's wishes about nodes.

use betanet_fog::{Affinity, Attribute, Near, Need, Op, Placement, Word};
use betanet_fog_client::node_id;
use serde_json::Value;

use super::{LIST_MAX, word};
use crate::fog::spec::table::Table;
use crate::fog::spec::units::plain;

fn words(value: &Value) -> Option<Vec<Word>> {
    let list = value.as_array().filter(|list| list.len() <= LIST_MAX)?;
    list.iter().map(word).collect()
}

pub(super) fn placement(t: &mut Table<'_>) -> Placement {
    let mut p = t.table("place");
    let near = p.read("near", "{ node = NAME, region = WORD, zone = WORD }", |v| {
        let map = v.as_object()?;
        let known = |k: &String| matches!(k.as_str(), "node" | "region" | "zone");
        let of = |key| map.get(key).map_or(Some(Word::default()), word);
        let node = match map.get("node") {
            Some(node) => Some(node_id(node.as_str()?)?),
            None => None,
        };
        let near = Near {
            node,
            region: of("region")?,
            zone: of("zone")?,
        };
        map.keys().all(known).then_some(near)
    });
    let need = p.read(
        "need",
        "a list of { attribute = WORD, in = [WORD] } or { attribute = WORD, not_in = [WORD] }",
        |v| {
            let list = v.as_array().filter(|list| list.len() <= LIST_MAX)?;
            let one = |v: &Value| {
                let map = v.as_object().filter(|map| map.len() == 2)?;
                let attribute = Attribute::from(word(map.get("attribute")?)?);
                let (op, values) = match (map.get("in"), map.get("not_in")) {
                    (Some(values), None) => (Op::In, values),
                    (None, Some(values)) => (Op::NotIn, values),
                    _ => return None,
                };
                let values = words(values)?.try_into().ok()?;
                Some(Need {
                    attribute,
                    op,
                    values,
                })
            };
            list.iter().map(one).collect::<Option<Vec<Need>>>()
        },
    );
    let affinity = p.read(
        "affinity",
        "a list of { attribute = WORD, in = [WORD], weight = −100 to 100 }",
        |v| {
            let list = v.as_array().filter(|list| list.len() <= LIST_MAX)?;
            let one = |v: &Value| {
                let map = v.as_object().filter(|map| map.len() == 3)?;
                let weight = map
                    .get("weight")?
                    .as_i64()
                    .filter(|w| w.unsigned_abs() <= 100)?;
                Some(Affinity {
                    attribute: word(map.get("attribute")?)?.into(),
                    values: words(map.get("in")?)?.try_into().ok()?,
                    weight,
                })
            };
            list.iter().map(one).collect::<Option<Vec<Affinity>>>()
        },
    );
    let spread = p.read(
        "spread",
        "kind, model, node, org, region, zone, or a label",
        |v| word(v).filter(|w| !w.is_empty()).map(Attribute::from),
    );
    let rep = p.number(
        "reputation",
        (0, 0..=1_000_000),
        "0 to 1000000 millionths",
        plain,
    );
    p.finish();
    Placement {
        affinity: affinity.unwrap_or_default().try_into().unwrap_or_default(),
        near: near.unwrap_or_default(),
        need: need.unwrap_or_default().try_into().unwrap_or_default(),
        rep,
        spread,
    }
}
