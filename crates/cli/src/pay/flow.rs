//! Operations of a wallet, from the request to their end.

use betanet_bar::Method;
use betanet_vouchers::message::{IssueAnswer, RestoreAnswer, RestoreRequest, VOUCHERS_MAX};
use betanet_vouchers::wallet::{Receiver, WalletError};
use betanet_vouchers::{Denomination, IssueError, Keyset, KeysetId};

use crate::Fail;

use super::net::Net;
use super::purse::Purse;

/// Exit code where every mint refused to sign.
pub(super) const REFUSED: u8 = 1;

/// Attempts to find secrets that no other wallet of the phrase has used. Each passes over 64 of a denomination.
const SECRETS: u32 = 8;

pub(super) fn failed(error: WalletError) -> Fail {
    match error {
        WalletError::NoExact
        | WalletError::NotEnough
        | WalletError::Amount
        | WalletError::Full
        | WalletError::Exhausted => Fail::Usage(error.to_string()),
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
            Ok(answer) if answer.id == *id => answers.push(answer.partials),
            Ok(_) => reasons.push(format!("{}: the answer to another request", mint.0)),
            Err(failed @ (Fail::Peer(_) | Fail::Usage(_))) => reasons.push(failed.why().to_owned()),
            Err(failed) => return Err(failed),
        }
        if answers.len() == need {
            let joined = purse.wallet.issued(id, keyset, &answers, &mut purse.rng);
            match joined {
                Ok(value) => {
                    purse.save()?;
                    return Ok(value);
                }
                Err(WalletError::Issue(IssueError::BadShares(bad))) => {
                    reasons.push(format!(
                        "{}: the signatures of shares {bad:?} are wrong",
                        mint.0
                    ));
                    answers.retain(|a| !bad.contains(&a.share));
                }
                Err(error) => return Err(failed(error)),
            }
        }
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

/// Begins a swap with secrets that no other wallet of the same phrase has used: its vouchers would be spent for nothing.
pub(super) async fn swap(
    purse: &mut Purse,
    net: &mut Net,
    keyset: &Keyset,
    give: &[u64],
) -> Result<[u8; 16], Fail> {
    for _ in 0..SECRETS {
        let id = purse.number();
        purse.wallet.swap(keyset, give, id).map_err(failed)?;
        purse.save()?;
        let used = used(purse, net, &id, keyset).await;
        match used {
            Ok(used) if used.is_empty() => return Ok(id),
            _ => purse.wallet.forgo(&id, used.as_deref().unwrap_or_default()),
        }
        .map_err(failed)?;
        purse.save()?;
        used?;
    }
    let why = "another wallet of this phrase uses the same secrets; use one of the two";
    Err(Fail::Peer(why.to_owned()))
}

/// Denominations of a swap's points that mints have signed before.
async fn used(
    purse: &Purse,
    net: &mut Net,
    id: &[u8; 16],
    keyset: &Keyset,
) -> Result<Vec<Denomination>, Fail> {
    let blinded = purse.wallet.points(id, keyset).map_err(failed)?;
    let of: Vec<Denomination> = blinded.iter().map(|b| b.denomination).collect();
    let keyset_id = keyset.id();
    let request = RestoreRequest {
        keyset: keyset_id,
        blinded,
    };
    let bytes = request.to_bytes();
    let (mints, _) = purse.mints_of(keyset)?;
    let (mut used, mut told, mut last) = (Vec::new(), false, None);
    for mint in &mints {
        let answer = net
            .ask(mint, Method::Post, "/vouchers/restore", &bytes)
            .await;
        let answer = answer.and_then(|bytes| {
            RestoreAnswer::from_bytes(&bytes).map_err(|e| Fail::Peer(format!("{}: {e}", mint.0)))
        });
        match answer {
            Ok(answer) => {
                told = true;
                let signed = of.iter().zip(&answer.signatures);
                used.extend(signed.filter(|(_, s)| s.is_some()).map(|(e, _)| *e));
            }
            Err(failed @ (Fail::Peer(_) | Fail::Usage(_))) => last = Some(failed),
            Err(failed) => return Err(failed),
        }
    }
    match last {
        Some(failed) if !told => Err(failed),
        _ => Ok(used),
    }
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
