//! Heads and proofs of balances, kept in files.

use std::path::Path;

use betanet_economy_service::client::{self, Trust};
use betanet_economy_service::rows::{balance_key, table};
use betanet_log::SignedHead;
use betanet_store::disk;
use betanet_tokenomics::Asset;
use betanet_wire::text::hex;
use betanet_wire::{cbor, message};
use serde_json::json;

use super::amount::{fog, shown};
use super::journal::WRONG;
use super::net::{Ledger, account, under, with_ledger};
use super::tokens::balance_of;
use crate::Fail;
use crate::args::{HeadArgs, ProofArgs};

/// Longest file of a proof that is read.
const PROOF_MAX: u64 = 64 << 10;

message! {
    /// A proof of a balance in a file.
    struct Form<'a> {
        req "v" version: u64,
        req "head" head: &'a [u8],
        req "proof" proof: &'a [u8],
        req "account" account: betanet_runtime::NodeId,
    }
}

pub(super) async fn head(args: &HeadArgs) -> Result<(), Fail> {
    let (head, bytes) = with_ledger!(Ledger::open(&args.books), |ledger| ledger.head().await)?;
    if let Some(file) = &args.output {
        disk::write_private(file, &bytes).map_err(Fail::file(file))?;
    }
    let proven = under(&head);
    let signed = head.signatures().iter().map(|s| hex(&s.signer));
    let signed: Vec<String> = signed.collect();
    let head = head.head();
    let state = hex(&head.state.unwrap_or_default());
    if args.books.json {
        say!(
            "{}",
            json!({
                "size": head.size,
                "root": hex(&head.root),
                "state": state,
                "ts_ms": head.ts,
                "signed_by": signed,
            })
        );
        return Ok(());
    }
    say!("shown   {proven}");
    say!("log     {}", hex(&head.root));
    say!("state   {state}");
    for key in signed {
        say!("signer  {key}");
    }
    Ok(())
}

pub(super) async fn proof(args: &ProofArgs) -> Result<(), Fail> {
    let account = account(args.account.as_deref(), &args.books.dial)?;
    let keys = [(table::BALANCES, balance_key(&account, Asset::Fog))];
    let (head, rows) = with_ledger!(Ledger::open(&args.books), |ledger| {
        ledger.proofs(&keys).await
    })?;
    let Some((value, proof)) = rows.into_iter().next() else {
        return Err(Fail::Peer("the ledger's node gave no proof".into()));
    };
    let file = cbor::to_vec(&Form {
        version: 1,
        head: &head.to_bytes(),
        proof: &proof,
        account,
    });
    disk::write_private(&args.output, &file).map_err(Fail::file(&args.output))?;
    let balance = balance_of(value.as_deref())?;
    tell(&account, balance.available(), &head, args.books.json);
    Ok(())
}

fn tell(account: &betanet_runtime::NodeId, micro: u128, head: &SignedHead, as_json: bool) {
    if as_json {
        let size = head.head().size;
        say!(
            "{}",
            json!({
                "account": shown(account),
                "fog_micro": micro.to_string(),
                "size": size,
                "ts_ms": head.head().ts,
            })
        );
    } else {
        say!("{} has {} FOG {}", shown(account), fog(micro), under(head));
    }
}

/// Verifies a file of a proof. `None`: the file is none.
pub(super) fn verified(path: &Path, trust: &Trust, as_json: bool) -> Result<Option<()>, Fail> {
    let length = std::fs::metadata(path).map_err(Fail::file(path))?.len();
    if length > PROOF_MAX {
        return Ok(None);
    }
    let bytes = disk::read_bounded(path, PROOF_MAX).map_err(Fail::file(path))?;
    let Ok(form) = cbor::from_slice::<Form<'_>>(&bytes) else {
        return Ok(None);
    };
    let checked = || {
        let head = trust.head(form.head)?;
        let key = balance_key(&form.account, Asset::Fog);
        let value = client::state(form.proof, (table::BALANCES, &key), &head)?;
        Ok::<_, client::ClientError>((head, value))
    };
    let place = path.display();
    let (head, value) = checked().map_err(|e| Fail::Coded(WRONG, format!("{place}: {e}")))?;
    let balance = balance_of(value.as_deref())?;
    tell(&form.account, balance.available(), &head, as_json);
    Ok(Some(()))
}
