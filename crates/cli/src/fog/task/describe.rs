//! A task from flags over a file.

use betanet_fog::{Refusal, Word};
use betanet_fog_client::{allowed, meaning};
use betanet_fog_worker::{HOSTS, host};
use serde_json::{Map, Value};

use crate::Fail;
use crate::args::TaskSpecArgs;
use crate::fog::spec::{self, TaskSpec};

/// Splits NAME=VALUE.
fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Fail> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.ok_or_else(|| Fail::Usage(format!("{flag} {text}: two parts with = between them")))
}

/// A flag's value: JSON for numbers, lists and tables; otherwise its text.
fn value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Array(_) | Value::Object(_) | Value::Number(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// Describes the task of a command line.
pub(super) fn task(args: &TaskSpecArgs) -> Result<(Word, TaskSpec), Fail> {
    let mut map = Map::new();
    for text in &args.set {
        let (key, given) = pair("--set", text)?;
        spec::set(&mut map, key, value(given))?;
    }
    let here = std::path::absolute(".").map_err(Fail::file(std::path::Path::new(".")))?;
    let file = |path: &std::path::Path| {
        // Paths of flags are relative to the working folder, those in a file to the file's.
        Value::String(here.join(path).to_string_lossy().into_owned())
    };
    if let Some(module) = &args.module {
        map.insert("module".into(), file(module));
    }
    if !args.args.is_empty() {
        map.insert("args".into(), args.args.clone().into());
    }
    for (key, given) in [
        ("ns", &args.ns),
        ("resources.cpu", &args.cpu),
        ("resources.memory", &args.memory),
    ] {
        if let Some(given) = given {
            spec::set(&mut map, key, Value::String(given.clone()))?;
        }
    }
    for text in &args.input {
        let (place, path) = match text.split_once('=') {
            Some(_) => pair("--input", text)?,
            None => (own_name(text)?, text.as_str()),
        };
        entry(&mut map, "inputs", place, file(path.as_ref()))?;
    }
    for text in &args.env {
        let (name, given) = pair("--env", text)?;
        entry(&mut map, "env", name, Value::String(given.to_owned()))?;
    }
    hosts(&mut map, &args.host)?;
    spec::alone(args.file.as_deref(), map)
}

/// Adds the grant of the network, and the variable in which a task names hosts.
fn hosts(map: &mut Map<String, Value>, given: &[String]) -> Result<(), Fail> {
    if given.is_empty() {
        return Ok(());
    }
    if let Some(wrong) = given.iter().find(|text| host(text).is_none()) {
        let allowed = "HOST:PORT, such as api.example:443 or [2001:db8::1]:443";
        return Err(Fail::Usage(format!("--host {wrong}: {allowed}")));
    }
    let named = map.get("env").and_then(|env| env.get(HOSTS));
    if named.is_some() {
        return Err(Fail::Usage(format!(
            "--host: --env {HOSTS} names hosts too; use one of them"
        )));
    }
    entry(map, "env", HOSTS, Value::String(given.join(" ")))?;
    let grants = map
        .entry("grants")
        .or_insert_with(|| Value::Array(Vec::new()));
    let wrong = || Fail::Usage("--set grants: it is a list".to_owned());
    let grants = grants.as_array_mut().ok_or_else(wrong)?;
    let network = Value::from(betanet_fog::Grant::Network.as_str());
    if !grants.contains(&network) {
        grants.push(network);
    }
    Ok(())
}

/// The name of a file, under which the program finds it.
fn own_name(path: &str) -> Result<&str, Fail> {
    let name = std::path::Path::new(path).file_name();
    name.and_then(|name| name.to_str())
        .ok_or_else(|| Fail::Usage(format!("--input {path}: the name of a file")))
}

/// Sets an entry of a table, whose name may have points.
fn entry(map: &mut Map<String, Value>, table: &str, key: &str, value: Value) -> Result<(), Fail> {
    let table_value = map
        .entry(table)
        .or_insert_with(|| Value::Object(Map::new()));
    let wrong = || Fail::Usage(format!("--set {table}: it is a table"));
    let table = table_value.as_object_mut().ok_or_else(wrong)?;
    table.insert(key.to_owned(), value);
    Ok(())
}

/// The failure for a task that cannot be signed.
pub(in crate::fog) fn refused(refusal: Refusal) -> Fail {
    let (code, key) = (refusal.code, refusal.key);
    Fail::Usage(format!(
        "the task cannot be made: {refusal}: {}; {}",
        meaning(code),
        allowed(code, key)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> TaskSpecArgs {
        TaskSpecArgs {
            module: None,
            args: vec!["--fast".into()],
            file: None,
            ns: Some("acme".into()),
            cpu: Some("500m".into()),
            memory: None,
            input: Vec::new(),
            env: vec!["A.B=1=2".into()],
            host: Vec::new(),
            set: vec!["tier=gold".into(), "resources.gpu=0.5".into()],
        }
    }

    #[test]
    fn flags_describe_a_task() {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("m.wasm");
        std::fs::write(&module, b"\0asm").unwrap();
        let args = TaskSpecArgs {
            module: Some(module),
            ..args()
        };
        let (ns, spec) = task(&args).unwrap();
        assert_eq!(
            (&*ns, spec.amounts.cpu, spec.amounts.gpu),
            ("acme", 500, 500)
        );
        assert_eq!(spec.tier, betanet_fog::Tier::Gold);
        let env: Vec<_> = spec.env.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(env, [("A.B", "1=2")]);
        assert_eq!(&*spec.args[0], "--fast");
    }

    #[test]
    fn hosts_of_a_program_are_a_grant_and_a_variable() {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("m.wasm");
        std::fs::write(&module, b"\0asm").unwrap();
        let with = |hosts: &[&str], set: &str| TaskSpecArgs {
            module: Some(module.clone()),
            host: hosts.iter().map(|host| (*host).to_owned()).collect(),
            set: vec![set.into()],
            ..args()
        };
        let hosts = ["api.example:443", "[2001:db8::1]:80"];
        let (_, spec) = task(&with(&hosts, "grants=[\"clock\"]")).unwrap();
        let grants = [betanet_fog::Grant::Clock, betanet_fog::Grant::Network];
        assert_eq!(spec.grants, grants);
        let env: Vec<_> = spec.env.iter().map(|(k, v)| (&**k, &**v)).collect();
        let named = ("BETANET_HOSTS", "api.example:443 [2001:db8::1]:80");
        assert_eq!(env, [("A.B", "1=2"), named]);
        for wrong in [
            "api.example",
            "api.example:0",
            ":80",
            "a b:80",
            "::1:80",
            "[::1:80",
            "[a]:80",
            "a:65536",
        ] {
            let Err(Fail::Usage(why)) = task(&with(&[wrong], "tier=gold")) else {
                panic!("{wrong}");
            };
            assert!(
                why.starts_with("--host") && why.contains("HOST:PORT"),
                "{why}"
            );
        }
        let mut twice = with(&hosts, "tier=gold");
        twice.env.push("BETANET_HOSTS=a:1".into());
        assert!(matches!(task(&twice), Err(Fail::Usage(_))));
    }

    #[test]
    fn wrong_flags_are_all_told() {
        let mut args = args();
        args.cpu = Some("-1".into());
        args.ns = None;
        args.set.push("speed=9".into());
        let Err(Fail::Usage(why)) = task(&args) else {
            panic!("a usage error");
        };
        for part in [
            "ns: name the namespace",
            "module: missing",
            "resources.cpu = \"-1\": 1m to 4194 cores",
            "speed = 9: unknown key; keys are ",
        ] {
            assert!(why.contains(part), "{part} in {why}");
        }
    }
}
