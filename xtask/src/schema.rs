//! `cargo xtask schema`: the API of a panel against its own document, by schemathesis.

use std::fs::{File, metadata};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Args;
use serde_json::{Value, json};

use crate::{measured, target, tools};

/// A public key that is a user of the namespace lab (RFC 8032, section 7.1, test 1). Nobody signs with it here.
const USER: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const PASSWORD: &str = "xK9!rQ2#vB7z";
/// Examples of an operation in CI.
const QUICK: u32 = 20;
/// All rights, so that no operation is refused for want of one.
const SCOPES: &str =
    "own look read-work submit operate read-treasury treasury read-audit read-settings manage";
/// An operation that ends the token with which the others are tried.
const NOT: &str = "endSessions";
/// Seed of the examples, so that a finding comes again.
const SEED: &str = "32";

/// Whether bodies of these are accepted depends on what is stored: accounts and their passwords, modules, budgets, tokens. Job files have a
/// language of their own.
const SETTINGS: &str = r#"
[[operations]]
include-operation-id = ["makeAccount", "patchAccount", "makeToken", "submitTask", "planTask", "runJob", "planJob", "apiLogIn", "apiRefresh"]
checks.positive_data_acceptance.enabled = false

# A file beyond its bound is answered 413, which is not among the statuses that are expected otherwise.
[[operations]]
include-operation-id = ["runJob", "planJob"]
checks.negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
"#;

/// Arguments of `schema`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Number of examples of each operation.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub examples: u32,
    /// Try this operation only, by its ID in the document.
    #[arg(long, value_name = "ID")]
    pub only: Option<String>,
    /// File for the requests and answers, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub report: Option<String>,
}

/// The coordinator, which ends with the chore.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Path, home: &Path) -> Result<(Started, Value), String> {
    let said = |e: &dyn std::fmt::Display| format!("coordinator: {e}");
    let mut child = Command::new(program)
        .args(["--json", "--log", "error", "--listen", "127.0.0.1:0"])
        .args(["--panel", "127.0.0.1:0", "--panel-rate-factor", "10000"])
        .args(["--user", &format!("lab={USER}"), "--state"])
        .arg(home.join("state"))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| said(&e))?;
    let out = child.stdout.take().ok_or("coordinator: no output")?;
    let started = Started(child);
    let mut line = String::new();
    BufReader::new(out)
        .read_line(&mut line)
        .map_err(|e| said(&e))?;
    let facts = serde_json::from_str(&line).map_err(|e| said(&e))?;
    Ok((started, facts))
}

/// Sends a request to the panel; its answer's head and body.
fn ask(authority: &str, head: &str, fields: &str, body: &str) -> Result<(String, String), String> {
    let said = |e: std::io::Error| format!("{authority}: {e}");
    let mut tcp = TcpStream::connect(authority).map_err(said)?;
    let request = format!(
        "{head} HTTP/1.1\r\nhost: {authority}\r\norigin: http://{authority}\r\n{fields}\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(request.as_bytes()).map_err(said)?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).map_err(said)?;
    let parts = answer.split_once("\r\n\r\n");
    let (head, body) = parts.ok_or_else(|| format!("{authority}: no answer"))?;
    Ok((head.to_owned(), body.to_owned()))
}

/// An API token of a first administrator.
fn token(authority: &str, code: &str) -> Result<String, String> {
    const JSON: &str = "content-type: application/json\r\n";
    const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
    let password = PASSWORD.replace('!', "%21").replace('#', "%23");
    let form = format!("code={code}&name=root&password={password}");
    let (head, _) = ask(authority, "POST /login/first", FORM, &form)?;
    if !head.starts_with("HTTP/1.1 303") {
        return Err(format!("the first administrator: {head}"));
    }
    let member = |body: &str, name: &str| -> Result<String, String> {
        let body: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
        let text = body[name].as_str().map(str::to_owned);
        text.ok_or_else(|| format!("no {name} in {body}"))
    };
    let login = json!({"name": "root", "password": PASSWORD}).to_string();
    let (_, body) = ask(authority, "POST /api/v1/login", JSON, &login)?;
    let bearer = member(&body, "access_token")?;
    let fields = format!("{JSON}authorization: Bearer {bearer}\r\n");
    let order = json!({"name": "schema", "scope": SCOPES, "days": 1}).to_string();
    let (_, body) = ask(authority, "POST /api/v1/me/tokens", &fields, &order)?;
    member(&body, "token")
}

/// Starts a coordinator with a panel in a temporary folder, and sends its API what the document allows and what it does not.
///
/// # Errors
///
/// A program is missing, or an answer is not one that the document describes.
pub fn run(args: &Arguments) -> Result<(), String> {
    let program = tools::schemathesis()?;
    measured::programs()?;
    let home = tempfile::tempdir().map_err(|e| e.to_string())?;
    let coordinator = target().join("debug/coordinator");
    let (_coordinator, facts) = start(&coordinator, home.path())?;
    let fact = |name: &str| facts[name].as_str().unwrap_or_default();
    let authority = fact("panel").trim_start_matches("http://");
    let authority = authority.trim_end_matches('/');
    let token = token(authority, fact("panel_code"))?;
    let settings = home.path().join("schemathesis.toml");
    std::fs::write(settings, SETTINGS).map_err(|e| e.to_string())?;
    let (n, document) = (
        args.examples.to_string(),
        format!("http://{authority}/api/v1/openapi.json"),
    );
    let bearer = format!("Authorization: Bearer {token}");
    let mut command = Command::new(program);
    command
        .args(["run", &document, "--header", &bearer])
        .args(["--max-examples", &n, "--seed", SEED, "--workers", "2"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--generation-database", "none", "--no-color"])
        .args(["--request-timeout", "10"]);
    match &args.only {
        Some(id) => command.args(["--include-operation-id", id]),
        None => command.args(["--exclude-operation-id", NOT]),
    };
    let report = args.report.as_deref().map(report).transpose()?;
    if let Some(file) = &report {
        command.args(["--report", "ndjson", "--report-ndjson-path"]);
        command.arg(file);
    }
    let status = command
        .current_dir(home.path())
        .status()
        .map_err(|e| format!("schemathesis: {e}"))?;
    match status.success() {
        true => report.as_deref().map_or(Ok(()), written),
        false => Err(format!("schemathesis: {status}")),
    }
}

/// The report's path from anywhere, since schemathesis runs in a folder of its own. The file is made empty, so that a report is a new one.
fn report(file: &str) -> Result<PathBuf, String> {
    let path = std::path::absolute(file).map_err(|e| format!("--report {file}: {e}"))?;
    File::create(&path).map_err(|e| format!("--report {}: {e}", path.display()))?;
    Ok(path)
}

/// Checks that there is a report.
fn written(path: &Path) -> Result<(), String> {
    match metadata(path).map(|m| m.len()) {
        Ok(1..) => Ok(()),
        _ => Err(format!("schemathesis wrote no report: {}", path.display())),
    }
}

/// The same in its shortest form.
///
/// # Errors
///
/// See [`run`].
pub(crate) fn quick() -> Result<(), String> {
    run(&Arguments {
        examples: QUICK,
        only: None,
        report: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_path_from_anywhere_and_is_a_new_one() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("report.ndjson");
        std::fs::write(&file, "of an earlier run").unwrap();
        let here = std::env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let relative = up.join(file.strip_prefix("/").unwrap());
        assert!(relative.is_relative());
        let path = report(relative.to_str().unwrap()).unwrap();
        assert!(path.is_absolute());
        assert!(written(&path).is_err(), "nothing was written");
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(written(&path), Ok(()));
        std::fs::remove_file(&file).unwrap();
        assert!(written(&path).is_err());
        assert!(report(home.path().to_str().unwrap()).is_err(), "a folder");
    }
}
