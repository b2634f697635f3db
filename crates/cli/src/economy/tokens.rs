//! `token`: accounts, balances and payments.

use betanet_economy_service::rows::{Balance, KeysetRow, Meta, balance_key, table};
use betanet_runtime::NodeId;
use betanet_tokenomics::account::{BURN, ISSUANCE, NODE, RESERVE, SYSTEM, USER, address};
use betanet_tokenomics::request::{Kind, Op, Transfer};
use betanet_tokenomics::{ASSETS, Asset};
use betanet_wire::cbor::Error as Cbor;
use betanet_wire::text::{hex, unhex_array};
use serde_json::{Value, json};

use super::amount::{fog, id, key, micro, shown};
use super::net::{
    Accepted, Ledger, account, fresh_id, genesis, identity, signs_for, trust, under, with_ledger,
};
use crate::Fail;
use crate::args::{AccountArgs, BooksArgs, KeysetArgs, OpenArgs, SendArgs, SwapArgs};

/// Tells what was accepted.
pub(super) fn told(accepted: &Accepted, as_json: bool, what: &str, more: Value) {
    let seq = accepted.body.answer.seq;
    if as_json {
        let mut facts = json!({
            "record": seq,
            "id": hex(&accepted.request.id),
            "final": accepted.is_final,
        });
        if let (Some(facts), Value::Object(more)) = (facts.as_object_mut(), more) {
            facts.extend(more);
        }
        say!("{facts}");
        return;
    }
    say!("{what}: record {seq}");
    if !accepted.is_final {
        note!("note: a final head covers it within a minute; --wait waits for it");
    }
}

pub(super) async fn open(args: &OpenArgs) -> Result<(), Fail> {
    let owner = key(&args.owner)?;
    let kind = if args.node { NODE } else { USER };
    let me = identity(&args.ask.books.dial)?;
    let op = Op::Open { key: owner, kind };
    let id = fresh_id()?;
    let accepted = with_ledger!(Ledger::open(&args.ask.books), |ledger| {
        ledger.submit(&args.ask, &[&me], &op, id).await
    })?;
    let name = shown(&address(&owner));
    let more = json!({ "account": name });
    told(
        &accepted,
        args.ask.books.json,
        &format!("{name} opened"),
        more,
    );
    Ok(())
}

fn unread(error: Cbor) -> Fail {
    Fail::Peer(format!("a row of the ledger does not read: {error}"))
}

/// A balance of a row that may not be there.
pub(super) fn balance_of(row: Option<&[u8]>) -> Result<Balance, Fail> {
    let read = row.map(Balance::read).transpose().map_err(unread)?;
    Ok(read.unwrap_or_default())
}

pub(super) async fn balance(args: &AccountArgs) -> Result<(), Fail> {
    let account = account(args.account.as_deref(), &args.books.dial)?;
    let mut keys = vec![(table::ACCOUNTS, account.0.to_vec())];
    keys.extend(ASSETS.map(|asset| (table::BALANCES, balance_key(&account, asset))));
    let (head, rows) = with_ledger!(Ledger::open(&args.books), |ledger| ledger.rows(&keys).await)?;
    let mut rows = rows.into_iter();
    let is_open = rows.next().flatten().is_some();
    let mut all = Vec::new();
    for row in rows {
        all.push(balance_of(row.as_deref())?);
    }
    let [coins, units, credits] = all[..] else {
        return Err(Fail::Peer("the ledger's node left out a balance".into()));
    };
    let is_system = SYSTEM.iter().any(|(_, id)| *id == account);
    if !is_open && !is_system {
        let why = "it has no account under the final head";
        return Err(Fail::Peer(format!("{}: {why}", shown(&account))));
    }
    let proven = under(&head);
    let head = head.head();
    if args.books.json {
        let asset = |b: &Balance| {
            json!({
                "available": b.available().to_string(),
                "held": b.held.to_string(),
                "owed": b.owed.to_string(),
            })
        };
        say!(
            "{}",
            json!({
                "account": shown(&account),
                "fog_micro": asset(&coins),
                "units": asset(&units),
                "credits_micro": asset(&credits),
                "size": head.size,
                "ts_ms": head.ts,
            })
        );
        return Ok(());
    }
    say!("account    {}", shown(&account));
    say!("available  {} FOG", fog(coins.available()));
    if coins.held > 0 || coins.owed > 0 {
        say!(
            "held       {} FOG for others, {} FOG by others",
            fog(coins.held),
            fog(coins.owed)
        );
    }
    if units.received > 0 {
        say!("units      {} for vouchers", units.available());
    }
    if credits.received > 0 {
        say!("credits    {} FOG", fog(credits.available()));
    }
    say!("proven     {proven}");
    Ok(())
}

pub(super) async fn send(args: &SendArgs) -> Result<(), Fail> {
    let (amt, to) = (micro(&args.amount)?, super::amount::account(&args.to)?);
    let me = identity(&args.ask.books.dial)?;
    let from = signs_for(&args.ask, &me)?;
    let payment = match &args.id {
        Some(text) => id(text)?,
        None => fresh_id()?,
    };
    let kind = Kind::Plain {
        from,
        to,
        asset: Asset::Fog,
        amt,
    };
    let transfer = Transfer::new(payment, false, &kind);
    let list =
        vec![transfer.ok_or_else(|| {
            Fail::Usage("an amount is above 0, and payer and payee differ".into())
        })?];
    let op = Op::Transfers { list };
    let request = fresh_id()?;
    if args.id.is_none() {
        note!(
            "payment {}: repeat it with --id if no answer comes",
            hex(&payment)
        );
    }
    let accepted = with_ledger!(Ledger::open(&args.ask.books), |ledger| {
        ledger.submit(&args.ask, &[&me], &op, request).await
    })?;
    let what = format!("{} FOG sent to {}", fog(amt.into()), shown(&to));
    let more = json!({
        "payment": hex(&payment),
        "fog_micro": amt.to_string(),
        "to": shown(&to),
    });
    told(&accepted, args.ask.books.json, &what, more);
    Ok(())
}

pub(super) async fn swap(args: &SwapArgs) -> Result<(), Fail> {
    let (vu, back) = (args.amount, args.back);
    let me = identity(&args.ask.books.dial)?;
    let id = fresh_id()?;
    let op = Op::Swap { back, vu };
    let accepted = with_ledger!(Ledger::open(&args.ask.books), |ledger| {
        ledger.submit(&args.ask, &[&me], &op, id).await
    })?;
    let what = match back {
        true => format!("{vu} units swapped for {vu} FOG"),
        false => format!("{vu} FOG swapped for {vu} units"),
    };
    let more = json!({ "units": vu, "back": back });
    told(&accepted, args.ask.books.json, &what, more);
    Ok(())
}

pub(super) async fn keyset(args: &KeysetArgs) -> Result<(), Fail> {
    let id = unhex_array::<32>(&args.keyset).ok_or_else(|| {
        let why = "the ID of a keyset has 64 hex digits: pay mint-init prints it";
        Fail::Usage(format!("{}: {why}", args.keyset))
    })?;
    let keys = [(table::KEYSETS, id.to_vec())];
    let (head, rows) = with_ledger!(Ledger::open(&args.books), |ledger| ledger.rows(&keys).await)?;
    let row = rows.first().and_then(|row| row.as_deref());
    let row = row.map(KeysetRow::read).transpose().map_err(unread)?;
    let row = row.ok_or_else(|| {
        let why = "the ledger does not list it under the final head";
        Fail::Peer(format!("keyset {}: {why}", args.keyset))
    })?;
    if args.books.json {
        say!(
            "{}",
            json!({
                "keyset": hex(&id),
                "spender": shown(&row.spender),
                "exp_ms": row.exp,
                "bought": row.issued,
                "redeemed": row.redeemed,
                "swept": row.swept,
                "size": head.head().size,
            })
        );
        return Ok(());
    }
    say!("keyset     {}", hex(&id));
    say!("spender    {}", shown(&row.spender));
    say!("bought     {} units", row.issued);
    say!("redeemed   {} units", row.redeemed);
    if row.swept {
        say!("over       what was not redeemed went to the treasury");
    }
    say!("proven     {}", under(&head));
    Ok(())
}

pub(super) async fn supply(args: &BooksArgs) -> Result<(), Fail> {
    let mut keys = vec![(table::META, Vec::new())];
    let system = SYSTEM.iter();
    keys.extend(system.map(|(_, id)| (table::BALANCES, balance_key(id, Asset::Fog))));
    keys.extend([ISSUANCE, RESERVE].map(|id| (table::BALANCES, balance_key(&id, Asset::Units))));
    let (head, mut rows) = with_ledger!(Ledger::open(args), |ledger| ledger.rows(&keys).await)?;
    let (trust, _) = trust(&genesis(&args.genesis)?, &args.dial)?;
    let cap = trust.genesis().cap;
    let reserve = balance_of(rows.pop().flatten().as_deref())?;
    let units = balance_of(rows.pop().flatten().as_deref())?;
    // Units come from issuance, and go back there.
    let in_being = units.paid.saturating_sub(units.received);
    let for_vouchers = reserve.available();
    let mut rows = rows.into_iter();
    let meta = rows.next().flatten().unwrap_or_default();
    let meta = Meta::read(&meta).map_err(unread)?;
    let mut all = Vec::new();
    for ((name, id), row) in SYSTEM.iter().zip(rows) {
        all.push((*name, *id, balance_of(row.as_deref())?));
    }
    let of = |id: NodeId| all.iter().find(|(_, other, _)| *other == id);
    let issued = of(ISSUANCE).map_or(0, |(_, _, b)| b.paid);
    let burned = of(BURN).map_or(0, |(_, _, b)| b.received);
    let size = head.head().size;
    if args.json {
        let accounts = all.iter().filter(|(_, id, _)| *id != ISSUANCE);
        let accounts = accounts
            .map(|(name, _, b)| ((*name).to_owned(), Value::from(b.available().to_string())));
        say!(
            "{}",
            json!({
                "issued_micro": issued.to_string(),
                "cap_micro": cap.to_string(),
                "burned_micro": burned.to_string(),
                "system_micro": accounts.collect::<serde_json::Map<_, _>>(),
                "units": in_being.to_string(),
                "units_in_vouchers": for_vouchers.to_string(),
                "epoch": meta.epoch,
                "size": size,
            })
        );
        return Ok(());
    }
    say!(
        "issued     {} FOG of at most {}, of which {} burned",
        fog(issued),
        fog(cap.into()),
        fog(burned)
    );
    for (name, _, b) in all
        .iter()
        .filter(|(_, id, b)| *id != ISSUANCE && b.available() > 0)
    {
        say!("{name:<9}  {} FOG", fog(b.available()));
    }
    if in_being > 0 {
        say!("units      {in_being}, of which {for_vouchers} paid for vouchers");
    }
    say!("epoch      {}", meta.epoch);
    say!("proven     {}", under(&head));
    Ok(())
}
