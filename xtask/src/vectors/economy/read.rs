//! Values of the vectors.

use std::fmt::Debug;

use betanet_tokenomics::{Code, Economy};
use betanet_wire::text::unhex;
use serde_json::Value;

/// Runs a case; the second argument is all cases.
pub(crate) type Run = fn(&Value, &Value) -> Result<(), String>;

pub(crate) fn text<'a>(v: &'a Value, what: &str) -> Result<&'a str, String> {
    v.as_str().ok_or_else(|| format!("{what}: not text"))
}

pub(crate) fn list<'a>(v: &'a Value, what: &str) -> Result<&'a Vec<Value>, String> {
    v.as_array().ok_or_else(|| format!("{what}: not a list"))
}

pub(crate) fn hex(v: &Value, what: &str) -> Result<Vec<u8>, String> {
    unhex(text(v, what)?).ok_or_else(|| format!("{what}: not hex"))
}

pub(crate) fn array<const N: usize>(v: &Value, what: &str) -> Result<[u8; N], String> {
    hex(v, what)?
        .try_into()
        .map_err(|_| format!("{what}: not {N} bytes"))
}

pub(crate) fn hashes(v: &Value, what: &str) -> Result<Vec<[u8; 32]>, String> {
    list(v, what)?.iter().map(|h| array(h, what)).collect()
}

pub(crate) fn wide(v: &Value, what: &str) -> Result<u128, String> {
    let number = v.as_u64().map(u128::from);
    let number = number.or_else(|| v.as_str()?.parse().ok());
    number.ok_or_else(|| format!("{what}: not a number"))
}

pub(crate) fn number(v: &Value, what: &str) -> Result<u64, String> {
    u64::try_from(wide(v, what)?).map_err(|e| e.to_string())
}

pub(crate) fn code(v: &Value, what: &str) -> Result<Code, String> {
    let name = text(v, what)?;
    let code = Code::all().find(|code| code.name() == name);
    code.ok_or_else(|| format!("{what}: no code is {name}"))
}

pub(crate) fn same<T: PartialEq + Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    match got == want {
        true => Ok(()),
        false => Err(format!("{what}: got {got:02x?}, want {want:02x?}")),
    }
}

/// The case of this name.
pub(crate) fn named<'a>(cases: &'a Value, name: &Value) -> Result<&'a Value, String> {
    let found = list(cases, "cases")?.iter().find(|c| c["name"] == *name);
    found.ok_or_else(|| format!("{name}: no such case"))
}

/// The machine after the genesis that a case names.
pub(crate) fn machine(case: &Value, cases: &Value) -> Result<Economy, String> {
    let genesis = named(cases, &case["genesis"])?;
    Economy::new(&hex(&genesis["bytes"], "genesis")?).map_err(|e| e.to_string())
}
