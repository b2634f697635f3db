//! `betanet pay`: vouchers, from the mint's keys to a wallet.

mod flow;
mod mint;
mod net;
mod payer;
mod purse;
mod restore;

use std::io::{BufRead as _, Read as _};

use betanet_keys::Name;
use betanet_store::disk;
use betanet_voucher_service::SignedCoupon;
use betanet_vouchers::wallet::{Phrase, WalletError};
use betanet_vouchers::{Keyset, Phase, Unfit, Voucher};
use serde_json::json;
use zeroize::Zeroizing;

use crate::Fail;
use crate::args::{
    AmountArgs, BackupArgs, IssueArgs, LearnMintArgs, NewArgs, OnlineArgs, PayArgs, PayCommand,
    ReceiveArgs, RedeemArgs, WalletArgs,
};
use crate::fail::interruptible;
use flow::{abandoned, drop_spent, failed, go_on, known, unused};
use net::Net;
pub(crate) use payer::Payer;
use purse::{Purse, now_ms};

/// Most vouchers of one `receive`, and the longest text that is read for them.
const RECEIVE_MAX: usize = 1024;
const TEXT_MAX: u64 = 1 << 20;

pub(crate) async fn pay(args: PayArgs) -> Result<(), Fail> {
    match args.command {
        PayCommand::MintInit(args) => mint::init(&args),
        PayCommand::Coupon(args) => mint::coupon(&args),
        PayCommand::New(args) => new(&args),
        PayCommand::Mint(args) => learn(args).await,
        PayCommand::Issue(args) => issue(args).await,
        PayCommand::Balance(args) => balance(&args),
        PayCommand::Send(args) => send(args).await,
        PayCommand::Receive(args) => receive(args).await,
        PayCommand::Redeem(args) => redeem(args).await,
        PayCommand::Resume(args) => resume(args).await,
        PayCommand::Backup(args) => backup(&args),
        PayCommand::Restore(args) => restore::restore(args).await,
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
        online,
    } = args;
    let mut purse = Purse::open(&online.wallet)?;
    let named = mints
        .iter()
        .map(|t| purse::mint(t))
        .collect::<Result<Vec<_>, _>>()?;
    let mut net = Net::new(&named, &online.dial)?;
    let learned = interruptible(fetch(&mut purse, &mut net, &mints, keyset.as_slice())).await;
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
    if online.wallet.json {
        say!(
            "{}",
            json!({ "issued": value, "unit": keyset.unit(), "keyset": keyset.id().to_string() })
        );
    } else {
        say!("issued {value} {}", keyset.unit());
    }
    Ok(())
}

/// Refuses a keyset that so few may use that it names them. No ledger is asked: its ID has to be compared with the published one.
fn fit<'k>(
    keyset: &Keyset,
    mut known: impl Iterator<Item = &'k Keyset>,
    unix_ms: u64,
) -> Result<(), Fail> {
    let refused = |why: String| {
        Fail::Usage(format!(
            "keyset {}: {why}; --any-keyset issues under it",
            keyset.id()
        ))
    };
    // A retiring keyset takes coupons of before.
    if keyset.fit_for_issue(unix_ms, 0) == Err(Unfit::TooShort) {
        return Err(refused(Unfit::TooShort.to_string()));
    }
    let rival = known.find(|other| {
        other.id() != keyset.id()
            && other.spender() == keyset.spender()
            && other.unit() == keyset.unit()
            && other.phase(unix_ms) == Phase::Active
    });
    match rival {
        Some(other) if keyset.phase(unix_ms) == Phase::Active => Err(refused(format!(
            "its redemption service has another active one of the unit {}, {}",
            keyset.unit(),
            other.id()
        ))),
        _ => Ok(()),
    }
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
        say!("{open} operations are not ended: betanet pay resume");
    }
    Ok(())
}

/// Swaps vouchers if none at hand sum to the amount.
async fn exact(purse: &mut Purse, net: &mut Net, keyset: &Keyset, amount: u64) -> Result<(), Fail> {
    let probe = purse.wallet.clone().give(&keyset.id(), amount, [0; 16]);
    match probe {
        Ok(()) => Ok(()),
        Err(WalletError::NoExact) => {
            let id = purse.number();
            purse.wallet.swap(keyset, &[amount], id).map_err(failed)?;
            go_on(purse, net, &id, keyset).await.map(drop)
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
            let number = purse.number();
            let swapped = match purse.wallet.swap(&keyset, &[], number) {
                Ok(()) => interruptible(go_on(&mut purse, &mut net, &number, &keyset)).await,
                Err(error) => Err(failed(error)),
            };
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
    let value = done?;
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

async fn resume(online: OnlineArgs) -> Result<(), Fail> {
    let mut purse = Purse::open(&online.wallet)?;
    let open: Vec<[u8; 16]> = purse.wallet.open().copied().collect();
    let keysets: Vec<Keyset> = purse.keysets.iter().cloned().collect();
    let (mut ended, mut left) = (0_u32, Vec::new());
    for id in open {
        // An operation has a request for its own keyset alone. One that fails does not keep the others waiting.
        let Some(keyset) = keysets
            .iter()
            .find(|k| purse.wallet.request(&id, k).is_ok())
        else {
            if purse.wallet.given(&id).is_ok() {
                purse.wallet.take_back(&id).map_err(failed)?;
                purse.save()?;
                ended += 1;
            } else if keysets
                .iter()
                .any(|k| purse.wallet.request(&id, k).err() == Some(WalletError::NotPaid))
            {
                // Its coupon was not sent, and is as good as before.
                abandoned(&mut purse, &id)?;
            } else {
                let why = "an operation is of a keyset that the wallet does not know";
                left.push(format!("{why}: betanet pay mint PEER, of one of its mints"));
            }
            continue;
        };
        let done = match way(&purse, keyset, &online) {
            Ok(mut net) => {
                let done = interruptible(go_on(&mut purse, &mut net, &id, keyset)).await;
                net.close().await;
                done
            }
            Err(failed) => Err(failed),
        };
        let is_over = keyset.phase(now_ms()) == Phase::Expired;
        if done.is_err() && is_over && abandoned(&mut purse, &id)? {
            left.push(format!(
                "an issue under keyset {} came to nothing: its time is over",
                keyset.id()
            ));
        } else if kept(done, &mut left)?.is_some() {
            ended += 1;
        }
    }
    let mut spent = 0;
    for keyset in &keysets {
        if !purse.wallet.vouchers().any(|v| v.keyset() == keyset.id()) {
            continue;
        }
        let dropped = match way(&purse, keyset, &online) {
            Ok(mut net) => {
                let dropped = interruptible(drop_spent(&mut purse, &mut net, keyset)).await;
                net.close().await;
                dropped
            }
            Err(failed) => Err(failed),
        };
        spent += kept(dropped, &mut left)?.unwrap_or_default();
    }
    if online.wallet.json {
        say!(
            "{}",
            json!({ "ended": ended, "spent": spent, "left": left })
        );
    } else {
        say!(
            "{ended} operations have ended; {spent} vouchers were spent elsewhere, and are dropped"
        );
    }
    match left.into_iter().next() {
        Some(why) => Err(Fail::Peer(why)),
        None => Ok(()),
    }
}

/// Keeps a failure of one operation, so that the next is tried. Failures of this machine, and signals, end the command.
fn kept<T>(done: Result<T, Fail>, left: &mut Vec<String>) -> Result<Option<T>, Fail> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(Fail::Peer(why) | Fail::Usage(why) | Fail::Coded(_, why)) => {
            left.push(why);
            Ok(None)
        }
        Err(failed @ (Fail::Local(_) | Fail::Stopped(_) | Fail::Unread)) => Err(failed),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_operation_does_not_stop_a_resume() {
        let mut left = Vec::new();
        for failed in [
            Fail::Peer("a".to_owned()),
            Fail::Usage("b".to_owned()),
            Fail::Coded(flow::REFUSED, "c".to_owned()),
        ] {
            assert!(matches!(kept::<u64>(Err(failed), &mut left), Ok(None)));
        }
        assert_eq!(left, ["a", "b", "c"]);
        assert!(matches!(kept(Ok(3), &mut left), Ok(Some(3))));
        let local = kept::<u64>(Err(Fail::Local("d".to_owned())), &mut left);
        assert!(matches!(local, Err(Fail::Local(_))) && left.len() == 3);
    }

    #[test]
    fn a_keyset_that_names_its_users_is_refused() {
        use betanet_voucher_service::{Deal, mint_init};
        const DAY: u64 = 86_400_000;
        let home = tempfile::tempdir().unwrap();
        let mut rng = betanet_machine::Rng::new(&betanet_machine::Seed::from_number(1));
        let spender = *betanet_keys::Identity::from_seed(&[9; 32]).public();
        let mut keyset = |name: &str, begin: u64, days: u64| {
            let deal = Deal {
                t: 1,
                n: 1,
                unit: "credit",
                exponents: &[0],
                not_before: begin * DAY,
                exp: (begin + days) * DAY,
                spender,
            };
            let dealt = mint_init(&home.path().join(name), &deal, &mut rng);
            dealt.unwrap().keyset
        };
        let (one, two) = (keyset("one", 0, 90), keyset("two", 60, 90));
        let short = keyset("short", 0, 29);
        let all = [one.clone(), two.clone()];
        let at = |keyset: &Keyset, day: u64| fit(keyset, all.iter(), day * DAY);
        assert!(at(&short, 1).is_err());
        assert!(at(&one, 1).is_ok(), "the other is not active yet");
        assert!(at(&one, 70).is_err() && at(&two, 70).is_err());
        assert!(at(&one, 91).is_ok(), "it retires");
        assert!(at(&two, 91).is_ok());
    }
}
