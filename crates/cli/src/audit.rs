//! `betanet audit`: verifies the audit log of a control panel, saved or read over its API.

mod api;

use std::path::Path;

use betanet_auth::audit::{Head, Record, SignedHead, verify};
use betanet_wire::text::{hex, unbase64url};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::Fail;
use crate::args::{AuditCommand, AuditVerifyArgs, PanelAuditArgs};

/// Longest answer that is read: 1000 records of 4096 bytes, as JSON.
const FILE_MAX: u64 = 32 << 20;

pub(crate) async fn run(args: &PanelAuditArgs) -> Result<(), Fail> {
    match &args.command {
        AuditCommand::Verify(args) => check(args).await,
    }
}

/// The records of one answer, the first of this number.
fn records(path: &Path, from: usize) -> Result<Vec<Vec<u8>>, Fail> {
    let wrong = |why: &str| Fail::Local(format!("{}: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(Fail::file(path))?.len();
    if length > FILE_MAX {
        return Err(wrong("longer than 32 MiB, which no answer is"));
    }
    let text = std::fs::read(path).map_err(Fail::file(path))?;
    of_answer(&text, from).map_err(|unread| match unread {
        Unread::Form(why) => wrong(&why),
        Unread::Changed(_) => Fail::Peer(format!("{}: {unread}", path.display())),
    })
}

/// Why an answer gives no records.
#[derive(Debug)]
enum Unread {
    /// It is no answer of the log.
    Form(String),
    /// The record of this number, from 0, says something else than the text beside it.
    Changed(usize),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form(why) => f.write_str(why),
            Self::Changed(n) => {
                write!(
                    f,
                    "changed: the text of record {n} is not what the record holds"
                )
            }
        }
    }
}

/// An answer of the log. Its other keys are not about records.
#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

/// A record, and the same for people to read; either all of that or none. No key stands twice: readers would choose differently.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    record: String,
    seq: Option<Value>,
    at: Option<Value>,
    at_ms: Option<Value>,
    actor: Option<Value>,
    action: Option<Value>,
    target: Option<Value>,
    verdict: Option<Value>,
    #[serde(default, deserialize_with = "there")]
    before: Option<Value>,
    #[serde(default, deserialize_with = "there")]
    after: Option<Value>,
    request: Option<Value>,
}

/// A value that may be null, which is not the same as none.
fn there<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl Item {
    /// Whether what people read is what the record says.
    fn says(&self, record: &Record) -> bool {
        let mut shown = Map::new();
        for (key, value) in [
            ("seq", &self.seq),
            ("at", &self.at),
            ("at_ms", &self.at_ms),
            ("actor", &self.actor),
            ("action", &self.action),
            ("target", &self.target),
            ("verdict", &self.verdict),
            ("before", &self.before),
            ("after", &self.after),
            ("request", &self.request),
        ] {
            if let Some(value) = value {
                shown.insert(key.to_owned(), value.clone());
            }
        }
        shown.is_empty() || Value::Object(shown) == betanet_panel::shown_record(record)
    }
}

/// The records of the text of one answer, which say the same as the fields beside them. `from` is the number of the first.
fn of_answer(text: &[u8], from: usize) -> Result<Vec<Vec<u8>>, Unread> {
    let answer: Answer = serde_json::from_slice(text).map_err(|e| {
        let why = format!("not an answer of GET /api/v1/audit: {e}");
        Unread::Form(why)
    })?;
    let mut all = Vec::with_capacity(answer.items.len());
    for (n, item) in (from..).zip(&answer.items) {
        let bytes = unbase64url(&item.record);
        let bytes = bytes.ok_or_else(|| Unread::Form("an item has no record".to_owned()))?;
        // One that does not read is found by the hashes.
        if let Ok(record) = Record::from_bytes(&bytes)
            && !item.says(&record)
        {
            return Err(Unread::Changed(n));
        }
        all.push(bytes);
    }
    Ok(all)
}

/// The whole log: of a panel that is named by its address, or of files.
async fn whole(args: &AuditVerifyArgs) -> Result<Vec<Vec<u8>>, Fail> {
    if let [only] = &args.files[..]
        && let Some(url) = only.to_str().filter(|t| t.contains("://"))
    {
        return api::read(url, args.token_file.as_deref()).await;
    }
    if args.token_file.is_some() {
        let why = "--token-file is for one address of a panel, such as http://127.0.0.1:9470";
        return Err(Fail::Usage(why.to_owned()));
    }
    let mut all = Vec::new();
    for path in &args.files {
        all.extend(records(path, all.len())?);
    }
    Ok(all)
}

async fn check(args: &AuditVerifyArgs) -> Result<(), Fail> {
    let heads = args.head.iter().map(|text| {
        let head = SignedHead::from_text(text);
        let head = head.ok_or_else(|| Fail::Usage(format!("--head {text}: not a head, bnah1…")));
        head.map(|h| *h.head())
    });
    let heads: Vec<Head> = heads.collect::<Result<_, Fail>>()?;
    let all = whole(args).await?;
    let verified = verify(&all, &heads).map_err(|fault| Fail::Peer(format!("changed: {fault}")))?;
    let (size, root) = (verified.head.size, hex(&verified.head.root));
    if args.json {
        let vouched = verified.vouched;
        say!(
            "{}",
            json!({"records": size, "vouched": vouched, "root": root})
        );
    } else {
        say!(
            "unchanged: {size} records, the first {} of them vouched for by a kept head; root {root}",
            verified.vouched
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use betanet_auth::audit::{Entry, Trail, Verdict};
    use betanet_keys::Identity;
    use betanet_wire::text::base64url;

    use super::*;

    #[tokio::test]
    async fn an_edit_is_found_and_an_unchanged_log_is_not_accused() {
        let mut trail = Trail::default();
        let all: Vec<Vec<u8>> = (0..5)
            .map(|n| {
                let entry = Entry {
                    actor: "root",
                    action: "logIn",
                    target: "",
                    before: None,
                    after: None,
                    verdict: Verdict::Done,
                    request: [n; 16],
                };
                trail.append(1_000, entry)
            })
            .collect();
        let head = SignedHead::new(trail.head(2_000), &Identity::from_seed(&[1; 32]));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.json");
        let write = |all: &[Vec<u8>]| {
            let items: Vec<Value> = all
                .iter()
                .map(|b| json!({"record": base64url(b)}))
                .collect();
            std::fs::write(&path, json!({"items": items}).to_string()).unwrap();
        };
        let args = AuditVerifyArgs {
            files: vec![path.clone()],
            token_file: None,
            head: vec![head.to_string()],
            json: true,
        };
        write(&all);
        assert!(check(&args).await.is_ok());
        write(&all[..4]);
        assert!(matches!(check(&args).await, Err(Fail::Peer(why)) if why.contains("cut")));
        // Only what people read is edited: a value, a key that goes, one that comes, one that stands twice.
        let record = Record::from_bytes(&all[0]).unwrap();
        let mut whole = betanet_panel::shown_record(&record);
        whole["record"] = base64url(&all[0]).into();
        let read = |item: &str| {
            let text = format!("{{\"items\":[{item}]}}");
            std::fs::write(&path, text).unwrap();
            records(&path, 7).map_err(|e| e.why().to_owned())
        };
        assert!(read(&whole.to_string()).is_ok());
        for key in whole.as_object().unwrap().keys().filter(|k| *k != "record") {
            for value in [Some(json!("eve")), None] {
                let mut item = whole.clone();
                match value {
                    Some(value) => item[key] = value,
                    None => drop(item.as_object_mut().unwrap().remove(key)),
                }
                let why = read(&item.to_string()).unwrap_err();
                assert!(why.contains("record 7"), "{key}: {why}");
            }
        }
        let whole = whole.to_string();
        for more in ["{\"note\":1,", "{\"actor\":\"eve\","] {
            assert!(read(&whole.replacen('{', more, 1)).is_err());
        }
        let mut edited = all;
        edited.swap(1, 2);
        write(&edited);
        assert!(matches!(check(&args).await, Err(Fail::Peer(_))));
        let bad = AuditVerifyArgs {
            head: vec!["x".into()],
            ..args
        };
        assert!(matches!(check(&bad).await, Err(Fail::Usage(_))));
    }
}
