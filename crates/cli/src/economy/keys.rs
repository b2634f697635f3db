//! `token rekey` and `close`: another key for an account, and its end.

use betanet_runtime::{Error, load_identity};
use betanet_tokenomics::request::Op;
use betanet_wire::text::hex;
use serde_json::json;

use super::amount::shown;
use super::net::{Ledger, fresh_id, identity, signs_for, with_ledger};
use super::tokens::told;
use crate::Fail;
use crate::args::{AskArgs, RekeyArgs};

pub(super) async fn rekey(args: &RekeyArgs) -> Result<(), Fail> {
    let me = identity(&args.ask.books.dial)?;
    let account = signs_for(&args.ask, &me)?;
    // A key that nobody has would close the account for ever: its secret part is read here.
    let new = load_identity(&args.new).map_err(Error::from)?;
    let key = *new.public().as_bytes();
    if new.public() == me.public() {
        let why = "it is the key that signs now";
        return Err(Fail::Usage(format!("{}: {why}", args.new.display())));
    }
    let id = fresh_id()?;
    let accepted = with_ledger!(Ledger::open(&args.ask.books), |ledger| {
        ledger
            .submit(&args.ask, &[&me], &Op::Rekey { key }, id)
            .await
    })?;
    let name = shown(&account);
    let what = format!("{name} has the key {}", hex(&key));
    let more = json!({ "account": name, "public_key": hex(&key) });
    told(&accepted, args.ask.books.json, &what, more);
    Ok(())
}

pub(super) async fn close(args: &AskArgs) -> Result<(), Fail> {
    let me = identity(&args.books.dial)?;
    let name = shown(&signs_for(args, &me)?);
    let id = fresh_id()?;
    let accepted = with_ledger!(Ledger::open(&args.books), |ledger| {
        ledger.submit(args, &[&me], &Op::Close, id).await
    })?;
    let more = json!({ "account": name });
    told(&accepted, args.books.json, &format!("{name} closed"), more);
    Ok(())
}
