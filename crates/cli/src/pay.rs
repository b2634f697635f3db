//! `betanet pay`: vouchers, from the mint's keys to a wallet.

mod accounts;
mod buy;
mod fit;
mod flow;
mod keygen;
mod mint;
mod named;
mod net;
mod payer;
mod purse;
mod registry;
mod restore;
mod resume;

use std::io::{BufRead as _, Read as _};

use betanet_keys::Name;
use betanet_store::disk;
use betanet_voucher_service::{LEDGER_UNIT, SignedCoupon};
use betanet_vouchers::wallet::{Phrase, Wallet, WalletError};
use betanet_vouchers::{Keyset, Phase, Voucher};
use serde_json::json;
use zeroize::Zeroizing;

use crate::Fail;
use crate::args::{
    AmountArgs, BackupArgs, IssueArgs, LearnMintArgs, NewArgs, OnlineArgs, PayArgs, PayCommand,
    ReceiveArgs, RedeemArgs, WalletArgs,
};
use crate::fail::interruptible;
use fit::fit;
use flow::{abandoned, failed, go_on, known, swap, unused};
use net::Net;
pub(crate) use payer::Payer;
use purse::{Purse, now_ms};
use resume::kept;

/// Most vouchers of one `receive`, and the longest text that is read for them.
const RECEIVE_MAX: usize = 1024;
const TEXT_MAX: u64 = 1 << 20;

pub(crate) async fn pay(mut args: PayArgs) -> Result<(), Fail> {
    named::aliases(&mut args.command).await?;
    match args.command {
        PayCommand::MintInit(args) => mint::init(&args),
        PayCommand::MintRefresh(args) => keygen::refresh(&args),
        PayCommand::MintRound(args) => keygen::round(&args),
        PayCommand::Coupon(args) => mint::coupon(&args),
        PayCommand::Publish(args) => interruptible(registry::publish(&args)).await,
        PayCommand::New(args) => new(&args),
        PayCommand::Mint(args) => learn(args).await,
        PayCommand::Issue(args) => issue(args).await,
        PayCommand::Buy(args) => buy::buy(*args).await,
        PayCommand::Balance(args) => balance(&args),
        PayCommand::Send(args) => send(args).await,
        PayCommand::Receive(args) => receive(args).await,
        PayCommand::Redeem(args) => redeem(args).await,
        PayCommand::Resume(args) => resume::resume(args).await,
        PayCommand::Backup(args) => backup(&args),
        PayCommand::Restore(args) => restore::restore(args).await,
        PayCommand::Accounts(args) => accounts::show(&args).await,
        PayCommand::Evidence(args) => accounts::verify(&args),
    }
}

fn new(args: &NewArgs) -> Result<(), Fail> {
    let seed = betanet_runtime::seed().map_err(|e| Fail::Local(e.to_string()))?;
    let mut rng = betanet_machine::Rng::new(&seed);
    let phrase = match args.words.as_str() {
        "12" => Phrase::short(&Zeroizing::new(rng.array())),
        _ => Phrase::long(&Zeroizing::new(rng.array())),
    };
    Purse::create(&args.wallet, &phrase)?;
    if args.wallet.json {
        say!(
            "{}",
            json!({ "wallet": args.wallet.wallet, "phrase": phrase.words() })
        );
    } else {
        note!(
            "write these words down: they are shown once, and whoever reads them owns the wallet"
        );
        say!("{}", phrase.words());
    }
    Ok(())
}

/// Fetches the keysets of mints into a wallet, those in `only` if it names any. Gives them, and why mints gave none.
async fn fetch(
    purse: &mut Purse,
    net: &mut Net,
    mints: &[String],
    only: &[String],
) -> Result<(Vec<Keyset>, Vec<String>), Fail> {
    let (mut learned, mut left): (Vec<Keyset>, _) = (Vec::new(), Vec::new());
    for text in mints {
        let mint = purse::mint(text)?;
        let offered = net.keysets(&mint, &mut purse.rng).await;
        for keyset in kept(offered, &mut left)?.unwrap_or_default() {
            let id = keyset.id().to_string();
            let is_named = |only: &String| id.eq_ignore_ascii_case(only.trim());
            if !only.is_empty() && !only.iter().any(is_named) {
                continue;
            }
            let known = purse.learn(keyset.clone(), std::slice::from_ref(text));
            let is_known = kept(known, &mut left)?.is_some();
            if is_known && learned.iter().all(|k| k.id() != keyset.id()) {
                learned.push(keyset);
            }
        }
    }
    if learned.is_empty() && !left.is_empty() {
        return Err(Fail::Peer(left.join("; ")));
    }
    if learned.is_empty() {
        let which = only.join(" or ");
        return Err(Fail::Peer(format!("no mint named has the keyset {which}")));
    }
    Ok((learned, left))
}

async fn learn(args: LearnMintArgs) -> Result<(), Fail> {
    let LearnMintArgs {
        mints,
        keyset,
        registered,
        online,
    } = args;
    let mut purse = Purse::open(&online.wallet)?;
    let named = mints
        .iter()
        .map(|t| purse::mint(t))
        .collect::<Result<Vec<_>, _>>()?;
    let mut net = Net::new(&named, &online.dial)?;
    let work = async {
        let mut only: Vec<String> = keyset.into_iter().collect();
        if registered {
            let mut offered = registry::offered(&mut net, &mints, &mut purse.rng).await?;
            let id = only.pop();
            let named = |k: &Keyset| {
                let id = id.as_ref();
                id.is_none_or(|id| k.id().to_string().eq_ignore_ascii_case(id.trim()))
            };
            offered.retain(named);
            only = registry::proven(&offered, &online.dial).await?;
        }
        fetch(&mut purse, &mut net, &mints, &only).await
    };
    let learned = interruptible(work).await;
    net.close().await;
    let (learned, left) = learned?;
    for keyset in learned {
        let (mints, spender) = purse.mints_of(&keyset)?;
        let json = json!({
            "keyset": keyset.id().to_string(),
            "unit": keyset.unit(),
            "phase": phase(&keyset),
            "exp": keyset.exp(),
            "threshold": keyset.threshold(),
            "shares": keyset.shares(),
            "spender": spender.0.to_string(),
            "mints": mints.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(),
        });
        if online.wallet.json {
            say!("{json}");
        } else {
            say!("keyset      {}", keyset.id());
            say!("unit        {}, {}", keyset.unit(), phase(&keyset));
            say!(
                "mints       {} known, {} of {} issue together",
                mints.len(),
                keyset.threshold(),
                keyset.shares()
            );
            say!("redeems at  {}", spender.0);
        }
        if mints.len() < usize::from(keyset.threshold()) {
            note!(
                "note: {} more mints are needed to issue",
                usize::from(keyset.threshold()) - mints.len()
            );
        }
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(Fail::Peer(left.join("; "))),
    }
}

fn phase(keyset: &Keyset) -> &'static str {
    match keyset.phase(now_ms()) {
        Phase::Announced => "announced",
        Phase::Active => "active",
        Phase::Retiring => "retiring",
        Phase::Expired => "expired",
    }
}

/// Opens the wallet and the way to the mints of a keyset.
fn open(
    online: &OnlineArgs,
    keyset: impl FnOnce(&Purse) -> Result<Keyset, Fail>,
) -> Result<(Purse, Net, Keyset), Fail> {
    let purse = Purse::open(&online.wallet)?;
    let keyset = keyset(&purse)?;
    let net = way(&purse, &keyset, online)?;
    Ok((purse, net, keyset))
}

fn way(purse: &Purse, keyset: &Keyset, online: &OnlineArgs) -> Result<Net, Fail> {
    let (mut mints, spender) = purse.mints_of(keyset)?;
    if mints.is_empty() {
        mints.push(spender);
    }
    Net::new(&mints, &online.dial)
}

async fn issue(args: IssueArgs) -> Result<(), Fail> {
    let IssueArgs {
        coupon,
        any_keyset,
        online,
    } = args;
    let coupon: SignedCoupon = coupon
        .trim()
        .parse()
        .map_err(|e| Fail::Usage(format!("the coupon: {e}")))?;
    let promise = *coupon.unverified();
    let (mut purse, mut net, keyset) = open(&online, |purse| {
        let keyset = known(purse, &promise.keyset)?;
        if !any_keyset {
            fit(&keyset, purse.keysets.iter(), now_ms())?;
        }
        Ok(keyset)
    })?;
    // The coupon's own number: an issue that was cut off and one that is typed again are the same.
    let id = promise.id;
    let work = async {
        // A purchase on a ledger waits under its request's number, which is public: a coupon of that number is no payment for it.
        if purse.wallet.order(&id).is_ok() {
            let why =
                "a purchase on the ledger has this number; betanet pay resume goes on with it";
            return Err(Fail::Usage(format!("the coupon: {why}")));
        }
        match purse.wallet.buy(&keyset, promise.value, id) {
            Ok(()) | Err(WalletError::Id) => {}
            Err(error) => return Err(failed(error)),
        }
        purse.save()?;
        // Not if it was paid for already: then mints may have signed for this very coupon.
        if purse.wallet.probe(&id, &keyset).is_ok() {
            let points = unused(&mut purse, &mut net, &id, &keyset).await;
            if points.is_err() {
                // Nothing was sent: the coupon is as good as before.
                abandoned(&mut purse, &id)?;
            }
            points?;
        }
        let paid = purse.wallet.paid(&id, &coupon.to_bytes());
        paid.map_err(failed)?;
        go_on(&mut purse, &mut net, &id, &keyset).await
    };
    let done = interruptible(work).await;
    net.close().await;
    if let Err(Fail::Coded(_, why)) = &done {
        purse.wallet.abandon(&id).map_err(failed)?;
        purse.save()?;
        let why = format!("the coupon was used before, or its time is over: {why}");
        return Err(Fail::Peer(why));
    }
    let value = done?;
    let wait = Wallet::suggested_wait(&mut purse.rng).as_secs();
    if online.wallet.json {
        say!(
            "{}",
            json!({
                "issued": value, "unit": keyset.unit(), "keyset": keyset.id().to_string(),
                "suggested_wait_s": wait,
            })
        );
    } else {
        say!("issued {value} {}", keyset.unit());
        note!(
            "note: a buyer who spends at once can be told by the time; wait some {} minutes, a random time",
            wait / 60
        );
    }
    Ok(())
}

fn balance(args: &WalletArgs) -> Result<(), Fail> {
    let purse = Purse::open(args)?;
    let mut rows = Vec::new();
    for keyset in purse.keysets.iter() {
        let own = |v: &&Voucher| v.keyset() == keyset.id();
        let free = purse.wallet.vouchers().filter(own);
        let foreign = purse.wallet.foreign().filter(own);
        let (n, units) = free.fold((0_u64, 0_u64), |(n, units), v| {
            (n + 1, units.saturating_add(v.value()))
        });
        let sent: u64 = foreign.map(Voucher::value).sum();
        rows.push((keyset, n, units, sent));
    }
    let open = purse.wallet.open().count();
    if args.json {
        let keysets: Vec<_> = rows
            .iter()
            .map(|(keyset, n, units, sent)| {
                json!({
                    "keyset": keyset.id().to_string(), "unit": keyset.unit(), "phase": phase(keyset),
                    "vouchers": n, "units": units, "not_swapped": sent,
                })
            })
            .collect();
        say!("{}", json!({ "keysets": keysets, "open_operations": open }));
        return Ok(());
    }
    if rows.is_empty() {
        say!("the wallet knows no keyset yet: betanet pay mint PEER");
    }
    for (keyset, n, units, sent) in rows {
        say!(
            "{units} {} in {n} vouchers, keyset {} ({})",
            keyset.unit(),
            keyset.id(),
            phase(keyset)
        );
        if sent > 0 {
            say!(
                "  {sent} of them were received and not swapped: their sender can still spend them"
            );
        }
    }
    if open > 0 {
        say!("operations that are not ended: {open}; betanet pay resume goes on with them");
    }
    Ok(())
}

/// Swaps vouchers if none at hand sum to the amount.
async fn exact(purse: &mut Purse, net: &mut Net, keyset: &Keyset, amount: u64) -> Result<(), Fail> {
    let probe = purse.wallet.clone().give(&keyset.id(), amount, [0; 16]);
    match probe {
        Ok(()) => Ok(()),
        Err(WalletError::NoExact) => {
            let id = swap(purse, keyset, &[amount])?;
            go_on(purse, net, &id, keyset).await.map(drop)
        }
        Err(WalletError::NotEnough) => {
            let (free, unit) = (
                purse.wallet.free(&purse.keysets, keyset.unit()),
                keyset.unit(),
            );
            Err(Fail::Usage(format!(
                "not enough: {amount} {unit} are more than the {free} {unit} at hand"
            )))
        }
        Err(error) => Err(failed(error)),
    }
}

async fn send(args: AmountArgs) -> Result<(), Fail> {
    let AmountArgs { amount, online } = args;
    let (mut purse, mut net, keyset) = open(&online, |purse| purse.spendable().cloned())?;
    let done = interruptible(exact(&mut purse, &mut net, &keyset, amount)).await;
    net.close().await;
    done?;
    let id = purse.number();
    purse
        .wallet
        .give(&keyset.id(), amount, id)
        .map_err(failed)?;
    purse.save()?;
    let given = purse.wallet.given(&id).map_err(failed)?;
    let texts: Vec<Zeroizing<String>> = given
        .iter()
        .map(|v| Zeroizing::new(v.to_string()))
        .collect();
    if online.wallet.json {
        let plain: Vec<&str> = texts.iter().map(|t| t.as_str()).collect();
        say!(
            "{}",
            json!({ "amount": amount, "unit": keyset.unit(), "vouchers": plain })
        );
    } else {
        for text in &texts {
            say!("{}", text.as_str());
        }
    }
    crate::output::check()?;
    // Only what was printed is gone; a failure before leaves it in the wallet, held.
    purse.wallet.gone(&id).map_err(failed)?;
    purse.save()
}

/// Reads vouchers from arguments, or from standard input for `-`.
fn given(texts: &[String]) -> Result<Vec<Voucher>, Fail> {
    let mut all: Vec<Zeroizing<String>> = Vec::new();
    for text in texts {
        if text != "-" {
            all.push(Zeroizing::new(text.clone()));
            continue;
        }
        for line in std::io::stdin().lock().take(TEXT_MAX).lines() {
            let line = line.map_err(|e| Fail::Local(format!("standard input: {e}")))?;
            if !line.trim().is_empty() {
                all.push(Zeroizing::new(line));
            }
        }
    }
    if all.is_empty() || all.len() > RECEIVE_MAX {
        return Err(Fail::Usage(format!(
            "{} vouchers; 1 to {RECEIVE_MAX} are taken",
            all.len()
        )));
    }
    let read = |(n, text): (usize, &Zeroizing<String>)| {
        text.trim()
            .parse()
            .map_err(|e| Fail::Usage(format!("voucher {}: {e}", n + 1)))
    };
    all.iter().enumerate().map(read).collect()
}

/// Swaps all vouchers of a keyset that others made. If some are spent, they are dropped, and the others are swapped without them.
async fn renew(purse: &mut Purse, net: &mut Net, keyset: &Keyset) -> Result<(), Fail> {
    let number = swap(purse, keyset, &[])?;
    let Err(refused) = go_on(purse, net, &number, keyset).await else {
        return Ok(());
    };
    // An operation that has no answer yet holds its vouchers.
    if purse.wallet.foreign().any(|v| v.keyset() == keyset.id()) {
        let number = swap(purse, keyset, &[])?;
        go_on(purse, net, &number, keyset).await?;
    }
    Err(refused)
}

async fn receive(args: ReceiveArgs) -> Result<(), Fail> {
    let ReceiveArgs {
        vouchers,
        offline,
        online,
    } = args;
    let vouchers = given(&vouchers)?;
    let mut purse = Purse::open(&online.wallet)?;
    let mut ids = Vec::new();
    let mut value = 0_u64;
    for (n, voucher) in vouchers.into_iter().enumerate() {
        let id = voucher.keyset();
        known(&purse, &id)?;
        value = value.saturating_add(voucher.value());
        let accepted = purse.wallet.accept(voucher, &purse.keysets);
        accepted.map_err(|e| Fail::Usage(format!("voucher {}: {e}", n + 1)))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    purse.save()?;
    if !offline {
        for id in ids {
            let keyset = known(&purse, &id)?;
            let mut net = way(&purse, &keyset, &online)?;
            let swapped = interruptible(renew(&mut purse, &mut net, &keyset)).await;
            net.close().await;
            swapped?;
        }
    }
    if online.wallet.json {
        say!("{}", json!({ "received": value, "swapped": !offline }));
    } else if offline {
        say!("received {value}; not swapped: the sender can still spend them");
    } else {
        say!("received {value}");
    }
    Ok(())
}

async fn redeem(args: RedeemArgs) -> Result<(), Fail> {
    let RedeemArgs { amount, to, online } = args;
    let to: Name = to
        .parse()
        .map_err(|e| Fail::Usage(format!("--to {to}: {e}")))?;
    let (mut purse, mut net, keyset) = open(&online, |purse| purse.spendable().cloned())?;
    let id = purse.number();
    let work = async {
        exact(&mut purse, &mut net, &keyset, amount).await?;
        let begun = purse.wallet.redeem(&keyset.id(), amount, to.node_id(), id);
        begun.map_err(failed)?;
        go_on(&mut purse, &mut net, &id, &keyset).await
    };
    let done = interruptible(work).await;
    net.close().await;
    let on_ledger = keyset.unit() == LEDGER_UNIT;
    let value = done.map_err(|failed| match failed {
        Fail::Peer(why) if on_ledger && why.contains("POLICY_REJECTED") => {
            Fail::Peer(format!("{why}; {}", buy::needs_account(&to.node_id())))
        }
        failed => failed,
    })?;
    if online.wallet.json {
        say!(
            "{}",
            json!({ "redeemed": value, "unit": keyset.unit(), "to": to.to_string() })
        );
    } else {
        say!("redeemed {value} {} to {to}", keyset.unit());
    }
    Ok(())
}

fn backup(args: &BackupArgs) -> Result<(), Fail> {
    let mut purse = Purse::open(&args.wallet)?;
    let sealed = purse.sealed()?;
    disk::write_new(&args.file, &sealed).map_err(Fail::file(&args.file))?;
    if args.wallet.json {
        say!("{}", json!({ "file": args.file, "bytes": sealed.len() }));
    } else {
        say!(
            "{}: {} bytes; its password is the wallet's",
            args.file.display(),
            sealed.len()
        );
    }
    Ok(())
}
