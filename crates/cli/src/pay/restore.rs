//! A wallet from its phrase, or from a copy of it.

use std::io::Read as _;

use betanet_bar::Method;
use betanet_store::disk;
use betanet_vouchers::Keyset;
use betanet_vouchers::message::RestoreAnswer;
use betanet_vouchers::wallet::{FILE_MAX, Phrase, Restore, Wallet};
use serde_json::json;
use zeroize::Zeroizing;

use crate::Fail;
use crate::args::RestoreWalletArgs;
use crate::fail::interruptible;

use super::flow::drop_spent;
use super::net::Net;
use super::purse::{self, Purse};
use super::resume::kept;

fn read(args: &RestoreWalletArgs) -> Result<Zeroizing<Vec<u8>>, Fail> {
    let most = FILE_MAX as u64;
    if args.phrase.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(most).read_to_end(&mut bytes);
        read.map_err(|e| Fail::Local(format!("standard input: {e}")))?;
        Ok(Zeroizing::new(bytes))
    } else {
        let bytes = disk::read_bounded(&args.phrase, most);
        Ok(Zeroizing::new(bytes.map_err(Fail::file(&args.phrase))?))
    }
}

fn phrase(bytes: &[u8]) -> Result<Phrase, Fail> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Fail::Usage("neither the words of a phrase nor a copy of a wallet".to_owned())
    })?;
    text.parse()
        .map_err(|e| Fail::Usage(format!("the phrase: {e}")))
}

pub(super) async fn restore(args: RestoreWalletArgs) -> Result<(), Fail> {
    let given = read(&args)?;
    let named = args
        .mints
        .iter()
        .map(|t| purse::mint(t))
        .collect::<Result<Vec<_>, _>>()?;
    let mut net = Net::new(&named, &args.online.dial)?;
    // Stored once it is whole: a wallet with half of its counters would use secrets again that the mints have signed.
    let mut purse = match Wallet::is_file(&given) {
        true => Purse::adopt(&args.online.wallet, &args.phrase, &given)?,
        false => Purse::begin(&args.online.wallet, &phrase(&given)?)?,
    };
    let work = async {
        let fetched = super::fetch(&mut purse, &mut net, &args.mints, &args.keyset).await;
        let (keysets, mut left) = fetched?;
        let mut found = Vec::new();
        let known = left.len();
        for keyset in keysets {
            // All keysets are searched, so that one report names all that is wrong.
            let done = search(&mut purse, &mut net, &keyset).await;
            if let Some(n) = kept(done, &mut left)? {
                found.push((keyset, n));
            }
        }
        if left.len() > known {
            let why = left.join("; ");
            return Err(Fail::Peer(format!(
                "no wallet was made: {why}. Ask again when its mints answer, or take other keysets with --keyset HEX"
            )));
        }
        purse.save()?;
        let mut sums = Vec::new();
        for (keyset, found) in found {
            let dropped = drop_spent(&mut purse, &mut net, &keyset).await;
            if let Some(spent) = kept(dropped, &mut left)? {
                sums.push((keyset, found, spent));
            }
        }
        Ok((sums, left))
    };
    let done = interruptible(work).await;
    net.close().await;
    let (sums, left) = done?;
    for (keyset, found, spent) in sums {
        let own = purse
            .wallet
            .vouchers()
            .filter(|v| v.keyset() == keyset.id());
        let units: u64 = own.map(betanet_vouchers::Voucher::value).sum();
        if args.online.wallet.json {
            say!(
                "{}",
                json!({
                    "keyset": keyset.id().to_string(), "unit": keyset.unit(),
                    "found": found, "spent": spent, "units": units,
                })
            );
        } else {
            say!(
                "keyset {}: {found} vouchers found, {spent} of them spent; {units} {} at hand",
                keyset.id(),
                keyset.unit()
            );
        }
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(Fail::Peer(left.join("; "))),
    }
}

/// Finds what mints have signed under a keyset. Returns the number of vouchers, some of which may be spent.
async fn search(purse: &mut Purse, net: &mut Net, keyset: &Keyset) -> Result<usize, Fail> {
    let (mints, _) = purse.mints_of(keyset)?;
    let need = usize::from(keyset.threshold());
    let mut restore = Restore::new(keyset);
    let mut found = 0;
    while let Some(request) = restore.request(&purse.wallet, keyset) {
        let bytes = request.to_bytes();
        let (mut answers, mut reasons) = (Vec::new(), Vec::new());
        // All mints are asked: each knows only what it signed itself.
        for mint in &mints {
            let answer = net
                .ask(mint, Method::Post, "/vouchers/restore", &bytes)
                .await;
            let read = answer.and_then(|bytes| {
                RestoreAnswer::from_bytes(&bytes)
                    .map_err(|e| Fail::Peer(format!("{}: {e}", mint.0)))
            });
            match read {
                Ok(answer) => answers.push(answer),
                Err(failed) => reasons.push(failed.why().to_owned()),
            }
        }
        let joined = restore.answered(&mut purse.wallet, keyset, &answers, &mut purse.rng);
        found += joined.map_err(|error| {
            let wrong: Vec<u8> = restore.liars().collect();
            if !wrong.is_empty() {
                reasons.push(format!("wrong answers in the name of shares {wrong:?}"));
            }
            let why = reasons.join("; ");
            Fail::Peer(format!(
                "keyset {}: {} of {need} mints answer: {error}; {why}",
                keyset.id(),
                answers.len()
            ))
        })?;
    }
    for share in restore.liars() {
        note!(
            "note: keyset {}: a mint gave wrong answers in the name of share {share}",
            keyset.id()
        );
    }
    if restore.is_cut_off() {
        note!(
            "note: keyset {}: the mints have signed more than is searched for",
            keyset.id()
        );
    }
    Ok(found)
}
