//! Operations of a wallet, from the request to their end.

use std::collections::BTreeSet;

use betanet_bar::Method;
use betanet_vouchers::message::{AnswerError, IssueAnswer, RestoreAnswer, VOUCHERS_MAX};
use betanet_vouchers::wallet::{Receiver, WalletError};
use betanet_vouchers::{Keyset, KeysetId, Partials};
use betanet_wire::Code;

use crate::Fail;

use super::net::Net;
use super::purse::Purse;

/// Most times that an operation gets other points because somebody else has used its own.
const RENEWALS: u32 = 64;

/// Exit code where every mint refused to sign.
pub(super) const REFUSED: u8 = 1;

pub(super) fn failed(error: WalletError) -> Fail {
    match error {
        WalletError::NoExact
        | WalletError::NotEnough
        | WalletError::Amount
        | WalletError::Full
        | WalletError::Exhausted => Fail::Usage(error.to_string()),
        WalletError::Answer(AnswerError::Refused(code)) if code == Code::VOUCHER_SPENT => {
            Fail::Peer(format!("vouchers among them were spent before: {code}"))
        }
        _ => Fail::Peer(error.to_string()),
    }
}

/// Sends the requests of an operation until it has ended. Gives its value.
pub(super) async fn go_on(
    purse: &mut Purse,
    net: &mut Net,
    id: &[u8; 16],
    keyset: &Keyset,
) -> Result<u64, Fail> {
    let done = ask_until_done(purse, net, id, keyset).await;
    let open = purse.wallet.open().any(|kept| kept == id);
    done.map_err(|failed| match failed {
        Fail::Peer(why) if open => Fail::Peer(format!("{why}; betanet pay resume goes on with it")),
        failed => failed,
    })
}

async fn ask_until_done(
    purse: &mut Purse,
    net: &mut Net,
    id: &[u8; 16],
    keyset: &Keyset,
) -> Result<u64, Fail> {
    purse.save()?;
    loop {
        let request = purse.wallet.request(id, keyset).map_err(failed)?;
        match request.receiver {
            Receiver::Mints => return issued(purse, net, id, keyset, &request.bytes).await,
            Receiver::Redeem | Receiver::Swap => {
                let is_swap = request.receiver == Receiver::Swap;
                let path = if is_swap {
                    "/vouchers/swap"
                } else {
                    "/vouchers/redeem"
                };
                let (_, spender) = purse.mints_of(keyset)?;
                if is_swap && unused(purse, net, id, keyset).await? == Points::Renewed {
                    continue;
                }
                let answer = net
                    .ask(&spender, Method::Post, path, &request.bytes)
                    .await?;
                let taken = purse.wallet.answered(id, keyset, &answer);
                purse.save()?;
                let value = taken.map_err(failed)?;
                if !is_swap {
                    return Ok(value);
                }
            }
        }
    }
}

/// The points of an operation that is to be paid for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Points {
    /// As they were.
    Kept,
    /// Others, as somebody else had used them.
    Renewed,
}

/// Asks t mints whether they have signed points of an operation before, and gives it others then: another device of the phrase, or a
/// copy of the wallet, has used them, and what is paid for them again is lost.
pub(super) async fn unused(
    purse: &mut Purse,
    net: &mut Net,
    id: &[u8; 16],
    keyset: &Keyset,
) -> Result<Points, Fail> {
    for round in 0..RENEWALS {
        if !is_used(purse, net, id, keyset).await? {
            return Ok(if round == 0 {
                Points::Kept
            } else {
                Points::Renewed
            });
        }
        if round == 0 && is_committed(purse, net, id, keyset).await? {
            // The signatures are those of this operation, which a copy of the wallet has ended.
            return Ok(Points::Kept);
        }
        purse.wallet.renew(id, keyset).map_err(failed)?;
        purse.save()?;
    }
    Err(Fail::Peer(format!(
        "the mints of keyset {} have signed everything that this wallet asks for; betanet pay restore rebuilds the wallet from its phrase",
        keyset.id()
    )))
}

async fn is_used(
    purse: &mut Purse,
    net: &mut Net,
    id: &[u8; 16],
    keyset: &Keyset,
) -> Result<bool, Fail> {
    let (mints, _) = purse.mints_of(keyset)?;
    let need = usize::from(keyset.threshold());
    let probe = purse.wallet.probe(id, keyset).map_err(failed)?.to_bytes();
    let (mut shares, mut reasons) = (BTreeSet::new(), Vec::new());
    for mint in &mints {
        // Two sets of t mints have one in common, which has signed what t mints have signed.
        if shares.len() == need {
            break;
        }
        let answer = net
            .ask(mint, Method::Post, "/vouchers/restore", &probe)
            .await;
        let read = answer.and_then(|bytes| {
            RestoreAnswer::from_bytes(&bytes).map_err(|e| Fail::Peer(format!("{}: {e}", mint.0)))
        });
        let answer = match read {
            Ok(answer) => answer,
            Err(failed @ (Fail::Peer(_) | Fail::Usage(_))) => {
                reasons.push(failed.why().to_owned());
                continue;
            }
            Err(failed) => return Err(failed),
        };
        let used = purse
            .wallet
            .is_used(id, keyset, &answer, &mut purse.rng)
            .map_err(failed)?;
        match used {
            Some(true) => return Ok(true),
            Some(false) => drop(shares.insert(answer.share)),
            None => reasons.push(format!("{}: its signatures are wrong", mint.0)),
        }
    }
    if shares.len() < need {
        return Err(Fail::Peer(format!(
            "{} of {need} mints of keyset {} answer: {}. Nothing was spent; betanet pay resume goes on with the operation",
            shares.len(),
            keyset.id(),
            reasons.join("; ")
        )));
    }
    Ok(false)
}

/// Whether a swap's vouchers are spent, so that it may have been committed.
async fn is_committed(
    purse: &mut Purse,
    net: &mut Net,
    id: &[u8; 16],
    keyset: &Keyset,
) -> Result<bool, Fail> {
    let number = purse.number();
    let check = match purse.wallet.check_held(id, keyset, number) {
        Ok(check) => check,
        // An issue holds no vouchers.
        Err(WalletError::Id) => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let (_, spender) = purse.mints_of(keyset)?;
    let answer = net
        .ask(&spender, Method::Post, "/vouchers/redeem", &check)
        .await?;
    let spent = purse.wallet.is_spent(id, keyset, number, &answer);
    spent.map_err(failed)
}

/// Asks mints until as many have signed as the keyset needs.
async fn issued(
    purse: &mut Purse,
    net: &mut Net,
    id: &[u8; 16],
    keyset: &Keyset,
    request: &[u8],
) -> Result<u64, Fail> {
    let (mints, _) = purse.mints_of(keyset)?;
    let need = usize::from(keyset.threshold());
    let (mut answers, mut reasons) = (Vec::new(), Vec::new());
    let mut refused = 0;
    for mint in &mints {
        if answers.len() == need {
            break;
        }
        let answer = net
            .ask(mint, Method::Post, "/vouchers/issue", request)
            .await;
        refused += usize::from(answer.is_err() && net.is_refused());
        let read = answer.and_then(|bytes| {
            IssueAnswer::from_bytes(&bytes).map_err(|e| Fail::Peer(format!("{}: {e}", mint.0)))
        });
        match read {
            Ok(answer) if answer.id == *id => {
                // A wrong answer counts against whoever gave it, not against the share that it names.
                let good = purse
                    .wallet
                    .is_answer(id, keyset, &answer.partials, &mut purse.rng);
                let is_new = answers
                    .iter()
                    .all(|a: &Partials| a.share != answer.partials.share);
                match good.map_err(failed)? && is_new {
                    true => answers.push(answer.partials),
                    false => reasons.push(format!(
                        "{}: its signatures are not of share {}, or of one at hand",
                        mint.0, answer.partials.share
                    )),
                }
            }
            Ok(_) => reasons.push(format!("{}: the answer to another request", mint.0)),
            Err(failed @ (Fail::Peer(_) | Fail::Usage(_))) => reasons.push(failed.why().to_owned()),
            Err(failed) => return Err(failed),
        }
    }
    if answers.len() == need {
        let joined = purse.wallet.issued(id, keyset, &answers, &mut purse.rng);
        let value = joined.map_err(failed)?;
        purse.save()?;
        return Ok(value);
    }
    let why = reasons.join("; ");
    if refused == mints.len() && refused > 0 {
        // No mint has signed, and none will.
        return Err(Fail::Coded(REFUSED, format!("no mint signs for it: {why}")));
    }
    Err(Fail::Peer(format!(
        "{} of {need} mints of keyset {} have signed: {why}. The operation is kept: betanet pay resume goes on with it, with further mints after betanet pay mint PEER",
        answers.len(),
        keyset.id()
    )))
}

/// Begins a swap. Before it is sent, [`go_on`] gives it points that no other wallet of the phrase has used.
pub(super) fn swap(purse: &mut Purse, keyset: &Keyset, give: &[u64]) -> Result<[u8; 16], Fail> {
    let id = purse.number();
    purse.wallet.swap(keyset, give, id).map_err(failed)?;
    Ok(id)
}

/// Gives an issue up that no mint can sign any more. Returns whether the number was of one.
pub(super) fn abandoned(purse: &mut Purse, id: &[u8; 16]) -> Result<bool, Fail> {
    let is_issue = purse.wallet.abandon(id).is_ok();
    if is_issue {
        purse.save()?;
    }
    Ok(is_issue)
}

/// A keyset that the wallet knows.
pub(super) fn known(purse: &Purse, id: &KeysetId) -> Result<Keyset, Fail> {
    purse.keysets.get(id).cloned().ok_or_else(|| {
        Fail::Usage(format!(
            "the wallet does not know keyset {id}: betanet pay mint PEER, of one of its mints"
        ))
    })
}

/// Asks the redemption service which vouchers of a keyset are spent, and drops those. Returns their number.
pub(super) async fn drop_spent(
    purse: &mut Purse,
    net: &mut Net,
    keyset: &Keyset,
) -> Result<usize, Fail> {
    let (_, spender) = purse.mints_of(keyset)?;
    let (mut spent, mut from) = (0, 0);
    loop {
        let id = purse.number();
        let Some(check) = purse.wallet.check(&keyset.id(), from, id) else {
            break;
        };
        let answer = net
            .ask(&spender, Method::Post, "/vouchers/redeem", &check)
            .await?;
        let before = purse.wallet.len();
        let dropped = purse
            .wallet
            .checked(keyset, from, id, &answer)
            .map_err(failed)?;
        purse.save()?;
        spent += dropped;
        let asked = before.saturating_sub(from).min(VOUCHERS_MAX);
        from += asked - dropped.min(asked);
    }
    Ok(spent)
}
