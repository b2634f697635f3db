//! A node's accounts with its peers, and the evidence that they give.

use betanet_keys::Name;
use betanet_store::disk;
use betanet_voucher_service::accounts::{EVIDENCE_MAX, Evidence};
use betanet_vouchers::account::Account;
use serde_json::{Value, json};

use crate::Fail;
use crate::args::{AccountsArgs, EvidenceArgs};

pub(super) async fn show(args: &AccountsArgs) -> Result<(), Fail> {
    let list = crate::admin::ask(&args.admin, "/accounts/1/list").await?;
    let mut written = None;
    if let Some(out) = &args.out {
        let bytes = crate::admin::bytes(&args.admin, "/accounts/1/evidence").await?;
        let (_, accounts) =
            Evidence::from_bytes(&bytes).map_err(|e| Fail::Peer(format!("{}: {e}", args.admin)))?;
        disk::write_private(out, &bytes).map_err(Fail::file(out))?;
        written = Some((accounts.len(), out.display().to_string()));
    }
    if args.json {
        let evidence = written.as_ref().map(|(n, _)| n);
        say!("{}", json!({ "accounts": list, "evidence": evidence }));
        return Ok(());
    }
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    for row in list["given"].as_array().into_iter().flatten() {
        let refused = match row["refused"].as_str() {
            Some(code) => format!(", refused: {code}"),
            None => String::new(),
        };
        let (bytes, settled) = (&row["bytes"], &row["settled"]);
        say!(
            "{} forwarded for {}: {bytes} bytes, {settled} settled{refused}",
            day(row),
            text(row, "peer")
        );
    }
    for row in list["taken"].as_array().into_iter().flatten() {
        let disputed = match row["disputed"].as_u64() {
            Some(claimed) => format!(", it claims {claimed}"),
            None => String::new(),
        };
        let (bytes, signed) = (&row["bytes"], &row["signed"]);
        say!(
            "{} forwarded by {}: {bytes} bytes, {signed} signed{disputed}",
            day(row),
            text(row, "relay")
        );
    }
    if let Some((n, out)) = written {
        note!("{out}: {n} records with both signatures");
    }
    Ok(())
}

fn day(row: &Value) -> String {
    format!("day {}", row["period"])
}

pub(super) fn verify(args: &EvidenceArgs) -> Result<(), Fail> {
    let path = &args.file;
    let bytes = disk::read_bounded(path, EVIDENCE_MAX as u64).map_err(Fail::file(path))?;
    let (_, accounts) = Evidence::from_bytes(&bytes)
        .map_err(|e| Fail::Local(format!("{}: {e}", path.display())))?;
    let one = |a: &Account| {
        json!({
            "bytes": a.bytes,
            "from": Name::from(a.from).to_string(),
            "period": a.period,
            "relay": Name::from(a.relay).to_string(),
            "seq": a.seq,
        })
    };
    if args.json {
        let all: Vec<Value> = accounts.iter().map(one).collect();
        say!("{}", json!({ "accounts": all }));
        return Ok(());
    }
    for account in &accounts {
        let (relay, from) = (Name::from(account.relay), Name::from(account.from));
        say!(
            "day {}: {relay} forwarded {} bytes for {from}",
            account.period,
            account.bytes
        );
    }
    say!(
        "{} records, both signatures of each are good",
        accounts.len()
    );
    Ok(())
}
