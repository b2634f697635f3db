//! Operations that were cut off.

use betanet_voucher_service::SignedCoupon;
use betanet_vouchers::message::IssueRequest;
use betanet_vouchers::wallet::WalletError;
use betanet_vouchers::{Keyset, Phase};
use serde_json::json;

use crate::Fail;
use crate::args::ResumeArgs;
use crate::economy::net::{Ledger, genesis};
use crate::fail::interruptible;

use super::buy;
use super::flow::{abandoned, drop_spent, failed, go_on, known};
use super::purse::{Purse, now_ms};
use super::{renew, way};

/// Whether an issue is paid with a coupon. One that is paid with vouchers is never given up: they are spent.
fn is_coupon(purse: &Purse, id: &[u8; 16], keyset: &Keyset) -> bool {
    let request = purse.wallet.request(id, keyset).ok();
    let request = request.and_then(|r| IssueRequest::from_bytes(&r.bytes).ok());
    request.is_some_and(|r| SignedCoupon::from_bytes(&r.pay).is_ok())
}

/// Goes on with a purchase whose record no final head covered yet, if it is one. Its vouchers are issued afterwards.
async fn purchased(
    purse: &mut Purse,
    ledger: &mut Option<Ledger>,
    id: &[u8; 16],
    args: &ResumeArgs,
) -> Result<(), Fail> {
    let Ok((keyset, _)) = purse.wallet.order(id) else {
        return Ok(());
    };
    let keyset = known(purse, &keyset)?;
    let (Some(text), Some(file)) = (&args.ledger, &args.genesis) else {
        let why = "a purchase waits for its ledger: name it with --ledger PEER --genesis FILE";
        return Err(Fail::Usage(why.to_owned()));
    };
    let open = match ledger {
        Some(open) => open,
        None => {
            let opened = Ledger::at(text, "--ledger", &genesis(file)?, &args.online.dial).await?;
            ledger.insert(opened)
        }
    };
    interruptible(buy::pay(purse, open, id, &keyset, None)).await
}

pub(super) async fn resume(args: ResumeArgs) -> Result<(), Fail> {
    let mut ledger = None;
    let done = resume_all(&args, &mut ledger).await;
    if let Some(ledger) = ledger {
        ledger.close().await;
    }
    done
}

async fn resume_all(args: &ResumeArgs, ledger: &mut Option<Ledger>) -> Result<(), Fail> {
    let online = args.online.clone();
    let mut purse = Purse::open(&online.wallet)?;
    let open: Vec<[u8; 16]> = purse.wallet.open().copied().collect();
    let keysets: Vec<Keyset> = purse.keysets.iter().cloned().collect();
    let (mut ended, mut left) = (0_u32, Vec::new());
    for id in open {
        let paid = purchased(&mut purse, ledger, &id, args).await;
        if kept(paid, &mut left)?.is_none() {
            continue;
        }
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
        // A coupon that was used before: by an operation that had ended, when its command was cut off.
        let is_used = matches!(done, Err(Fail::Coded(..))) && is_coupon(&purse, &id, keyset);
        if is_used && abandoned(&mut purse, &id)? {
            ended += 1;
        } else if done.is_err() && is_over && abandoned(&mut purse, &id)? {
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
                let work = async {
                    let dropped = drop_spent(&mut purse, &mut net, keyset).await?;
                    // Such as those beside which one was spent when they were received.
                    if purse.wallet.foreign().any(|v| v.keyset() == keyset.id()) {
                        renew(&mut purse, &mut net, keyset).await?;
                    }
                    Ok(dropped)
                };
                let dropped = interruptible(work).await;
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
pub(super) fn kept<T>(done: Result<T, Fail>, left: &mut Vec<String>) -> Result<Option<T>, Fail> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(Fail::Peer(why) | Fail::Usage(why) | Fail::Coded(_, why)) => {
            left.push(why);
            Ok(None)
        }
        Err(failed @ (Fail::Local(_) | Fail::Stopped(_) | Fail::Unread)) => Err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::REFUSED;
    use super::*;

    #[test]
    fn one_failed_operation_does_not_stop_a_resume() {
        let mut left = Vec::new();
        for failed in [
            Fail::Peer("a".to_owned()),
            Fail::Usage("b".to_owned()),
            Fail::Coded(REFUSED, "c".to_owned()),
        ] {
            assert!(matches!(kept::<u64>(Err(failed), &mut left), Ok(None)));
        }
        assert_eq!(left, ["a", "b", "c"]);
        assert!(matches!(kept(Ok(3), &mut left), Ok(Some(3))));
        let local = kept::<u64>(Err(Fail::Local("d".to_owned())), &mut left);
        assert!(matches!(local, Err(Fail::Local(_))) && left.len() == 3);
    }
}
