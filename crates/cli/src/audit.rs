//! `betanet audit`: verifies the audit log of a control panel, saved or read over its API.

mod api;

use std::path::Path;

use betanet_auth::audit::{Head, Record, SignedHead, verify};
use betanet_wire::text::{hex, unbase64url};
use serde_json::{Value, json};

use crate::Fail;
use crate::args::{AuditCommand, AuditVerifyArgs, PanelAuditArgs};

/// Longest answer that is read: 1000 records of 4096 bytes, as JSON.
const FILE_MAX: u64 = 32 << 20;

pub(crate) async fn run(args: &PanelAuditArgs) -> Result<(), Fail> {
    match &args.command {
        AuditCommand::Verify(args) => check(args).await,
    }
}

/// The records of one answer.
fn records(path: &Path) -> Result<Vec<Vec<u8>>, Fail> {
    let wrong = |why: &str| Fail::Local(format!("{}: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(Fail::file(path))?.len();
    if length > FILE_MAX {
        return Err(wrong("longer than 32 MiB, which no answer is"));
    }
    let text = std::fs::read(path).map_err(Fail::file(path))?;
    of_answer(&text).map_err(|unread| match unread {
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

/// The records of the text of one answer, which say the same as the fields beside them.
fn of_answer(text: &[u8]) -> Result<Vec<Vec<u8>>, Unread> {
    let answer: Value = serde_json::from_slice(text).map_err(|e| Unread::Form(e.to_string()))?;
    let form = |why: &str| Unread::Form(why.to_owned());
    let items = answer["items"].as_array();
    let items = items.ok_or_else(|| form("not an answer of GET /api/v1/audit"))?;
    let mut all = Vec::with_capacity(items.len());
    for (n, item) in items.iter().enumerate() {
        let bytes = item["record"].as_str().and_then(unbase64url);
        let bytes = bytes.ok_or_else(|| form("an item has no record"))?;
        // One that does not read is found by the hashes.
        if let Ok(record) = Record::from_bytes(&bytes)
            && !says(item, &record)
        {
            return Err(Unread::Changed(n));
        }
        all.push(bytes);
    }
    Ok(all)
}

/// Whether the fields of an item that are there are those of its record.
fn says(item: &Value, record: &Record) -> bool {
    let digest = |d: Option<[u8; 32]>| d.map_or(Value::Null, |d| hex(&d).into());
    [
        ("seq", record.seq.into()),
        ("at_ms", record.at.into()),
        ("actor", record.actor.as_str().into()),
        ("action", record.action.as_str().into()),
        ("target", record.target.as_str().into()),
        ("verdict", record.verdict.as_str().into()),
        ("before", digest(record.before)),
        ("after", digest(record.after)),
        ("request", hex(&record.request).into()),
    ]
    .into_iter()
    .all(|(key, value): (_, Value)| item.get(key).is_none_or(|shown| *shown == value))
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
        all.extend(records(path)?);
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
        // Only what people read is edited.
        let item = |actor: &str| json!({"record": base64url(&all[0]), "actor": actor, "seq": 0});
        for (actor, good) in [("root", true), ("eve", false)] {
            std::fs::write(&path, json!({"items": [item(actor)]}).to_string()).unwrap();
            let read = records(&path);
            assert_eq!(read.is_ok(), good);
            assert!(good || matches!(read, Err(Fail::Peer(why)) if why.contains("record 0")));
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
