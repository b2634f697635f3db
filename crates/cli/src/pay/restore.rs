//! A wallet from its phrase.

use std::io::Read as _;

use betanet_bar::Method;
use betanet_store::disk;
use betanet_vouchers::Keyset;
use betanet_vouchers::message::RestoreAnswer;
use betanet_vouchers::wallet::{Phrase, Restore};
use serde_json::json;
use zeroize::Zeroizing;

use crate::Fail;
use crate::args::RestoreWalletArgs;
use crate::fail::interruptible;

use super::flow::{drop_spent, failed};
use super::net::Net;
use super::purse::{self, Purse};

/// Longest phrase that is read, in bytes.
const PHRASE_MAX: u64 = 4096;

fn read(args: &RestoreWalletArgs) -> Result<Phrase, Fail> {
    let bytes = if args.phrase.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin()
            .lock()
            .take(PHRASE_MAX)
            .read_to_end(&mut bytes);
        read.map_err(|e| Fail::Local(format!("standard input: {e}")))?;
        Zeroizing::new(bytes)
    } else {
        let bytes = disk::read_bounded(&args.phrase, PHRASE_MAX);
        Zeroizing::new(bytes.map_err(Fail::file(&args.phrase))?)
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Fail::Usage("the phrase is not text".to_owned()))?;
    text.parse()
        .map_err(|e| Fail::Usage(format!("the phrase: {e}")))
}

pub(super) async fn restore(args: RestoreWalletArgs) -> Result<(), Fail> {
    let phrase = read(&args)?;
    let named = args
        .mints
        .iter()
        .map(|t| purse::mint(t))
        .collect::<Result<Vec<_>, _>>()?;
    let mut net = Net::new(&named, &args.online.dial)?;
    // Stored once it is whole: a wallet with half of its counters would use secrets again that the mints have signed.
    let mut purse = Purse::begin(&args.online.wallet, &phrase)?;
    let work = async {
        let keysets = super::fetch(&mut purse, &mut net, &args.mints, None).await?;
        let mut found = Vec::new();
        for keyset in &keysets {
            found.push(search(&mut purse, &mut net, keyset).await?);
        }
        purse.save()?;
        let mut sums = Vec::new();
        for (keyset, found) in keysets.into_iter().zip(found) {
            let spent = drop_spent(&mut purse, &mut net, &keyset).await?;
            sums.push((keyset, found, spent));
        }
        Ok(sums)
    };
    let done = interruptible(work).await;
    net.close().await;
    for (keyset, found, spent) in done? {
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
    Ok(())
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
        if answers.len() < need {
            let why = reasons.join("; ");
            return Err(Fail::Peer(format!(
                "{} of {need} mints of keyset {} answer: {why}",
                answers.len(),
                keyset.id()
            )));
        }
        let joined = restore.answered(&mut purse.wallet, keyset, &answers, &mut purse.rng);
        found += joined.map_err(failed)?;
    }
    Ok(found)
}
