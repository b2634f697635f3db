//! Templates and their IDs.

use betanet_traffic::template::Template;
use serde_json::Value;

use super::{Tally, hex, list, same};

pub(super) fn template(file: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, case) in list(file, "cases")?.iter().enumerate() {
        tally.case(format!("template {i}"), one(case));
    }
    Ok(tally)
}

fn one(case: &Value) -> Result<(), String> {
    let map = hex(case, "map")?;
    let template = Template::from_bytes(&map).map_err(|e| e.to_string())?;
    same("map", template.to_bytes(), map)?;
    same("id", template.id().to_vec(), hex(case, "template_id")?)
}
