//! `pay buy`: vouchers for units of a ledger, from the purchase to the wallet.

use betanet_keys::{Identity, Name};
use betanet_runtime::NodeId;
use betanet_tokenomics::Hash;
use betanet_tokenomics::request::Op;
use betanet_voucher_service::LEDGER_UNIT;
use betanet_voucher_service::bridge::purchase_pay;
use betanet_vouchers::message::blinded_hash;
use betanet_vouchers::wallet::WalletError;
use betanet_vouchers::{Keyset, MIN_AGE, MIN_LIFE, Phase};
use betanet_wire::text::hex;
use serde_json::json;

use super::fit;
use super::flow::{abandoned, failed, go_on, unused};
use super::net::{Net, Offer};
use super::purse::{self, Purse, now_ms};
use crate::Fail;
use crate::args::BuyArgs;
use crate::economy::net::{Ledger, genesis, identity};
use crate::economy::purchase::{Outcome, Proof, Purchase};
use crate::fail::interruptible;

/// Signatures of one purchase, the first included, where another request took its nonce.
const SIGNATURES: u32 = 3;
/// Hours and minutes in ms.
const HOUR: u64 = 3_600_000;
const MINUTE: u64 = 60_000;

pub(super) async fn buy(args: BuyArgs) -> Result<(), Fail> {
    let dial = &args.online.dial;
    let me = identity(dial)?;
    let mut purse = Purse::open(&args.online.wallet)?;
    let named = args.mint.iter().map(|text| purse::mint(text));
    let named = named.collect::<Result<Vec<_>, _>>()?;
    // The key signs the purchase. Sessions with mints show a fresh one.
    let mut fresh = dial.clone();
    fresh.key = None;
    let mut net = Net::new(&named, &fresh)?;
    let genesis = genesis(&args.genesis)?;
    let mut ledger = match Ledger::at(&args.ledger, "--ledger", &genesis, dial).await {
        Ok(ledger) => ledger,
        Err(failed) => {
            net.close().await;
            return Err(failed);
        }
    };
    let work = bought(&mut purse, &mut net, &mut ledger, &args, &me);
    let done = interruptible(work).await;
    net.close().await;
    ledger.close().await;
    let (keyset, value) = done?;
    if args.online.wallet.json {
        say!(
            "{}",
            json!({ "bought": value, "unit": keyset.unit(), "keyset": keyset.id().to_string() })
        );
    } else {
        say!("bought {value} {} in vouchers", keyset.unit());
    }
    Ok(())
}

async fn bought(
    purse: &mut Purse,
    net: &mut Net,
    ledger: &mut Ledger,
    args: &BuyArgs,
    me: &Identity,
) -> Result<(Keyset, u64), Fail> {
    let mut offers = Vec::new();
    for text in &args.mint {
        let mint = purse::mint(text)?;
        offers.push((mint.0, net.offers(&mint, &mut purse.rng).await?));
    }
    let keyset = choose(&offers, ledger.id(), now_ms())?;
    let proof = ledger.keyset(&keyset.id().0).await?;
    proven(&keyset, &proof)?;
    let since = purse.proven(ledger.id(), &keyset.id(), proof.ts)?;
    aged(&keyset, since, now_ms(), args.new_keyset)?;
    // A mint could show each user an active keyset of their own.
    if let Some(why) =
        fit::rival(&keyset, purse.keysets.iter(), now_ms()).filter(|_| !args.new_keyset)
    {
        let id = keyset.id();
        return Err(Fail::Usage(format!(
            "keyset {id}: {why}; --new-keyset buys under it"
        )));
    }
    ledger.can_buy(&me.public().node_id(), args.amount).await?;
    purse.learn(keyset.clone(), &args.mint)?;
    let id = purse.number();
    let begun = purse.wallet.buy(&keyset, args.amount, id);
    begun.map_err(failed)?;
    purse.save()?;
    // Nothing is bought before the points are known to be new, and the signed purchase is on disk.
    let ready = match unused(purse, net, &id, &keyset).await {
        Ok(_) => order(purse, ledger, &id, &keyset, (me, false)).await,
        Err(failed) => Err(failed),
    };
    if let Err(failed) = ready {
        abandoned(purse, &id)?;
        return Err(failed);
    }
    pay(purse, ledger, &id, &keyset, Some(me)).await?;
    let value = go_on(purse, net, &id, &keyset).await?;
    Ok((keyset, value))
}

/// The keyset to buy under: the one active keyset of this ledger that each of the mints offers, which enough of them sign.
fn choose(offers: &[(Name, Vec<Offer>)], ledger: &Hash, now_ms: u64) -> Result<Keyset, Fail> {
    let mut chosen: Option<&Keyset> = None;
    for (mint, offered) in offers {
        let fog = |o: &&Offer| o.keyset.unit() == LEDGER_UNIT;
        let mut sold = offered.iter().filter(fog).filter_map(|o| o.ledger);
        let Some(first) = sold.next() else {
            return Err(Fail::Peer(format!(
                "{mint}: it sells no vouchers of a ledger: its gateway needs --mint-ledger, and a keyset of the unit {LEDGER_UNIT}"
            )));
        };
        if first != *ledger {
            return Err(Fail::Usage(format!(
                "{mint}: it sells for the ledger {}…, and --genesis is of the ledger {}…",
                hex(&first[..8]),
                hex(&ledger[..8])
            )));
        }
        let own = offered
            .iter()
            .filter(fog)
            .filter(|o| o.ledger == Some(*ledger));
        let active = |o: &&Offer| o.keyset.phase(now_ms) == Phase::Active;
        let mut active = own.filter(active).map(|o| &o.keyset);
        let keyset = active.next().ok_or_else(|| {
            Fail::Peer(format!(
                "{mint}: none of its keysets of this ledger is active: they have expired, or begin later"
            ))
        })?;
        if let Some(other) = active.next() {
            return Err(Fail::Peer(format!(
                "{mint}: it has two active keysets, {} and {}: each could name its users",
                keyset.id(),
                other.id()
            )));
        }
        match chosen {
            Some(other) if other.id() != keyset.id() => {
                return Err(Fail::Peer(format!(
                    "{mint}: its keyset is {}, and that of the other mints {}",
                    keyset.id(),
                    other.id()
                )));
            }
            _ => chosen = Some(keyset),
        }
    }
    let keyset = chosen.ok_or_else(|| Fail::Usage("--mint: no mint is named".into()))?;
    let need = usize::from(keyset.threshold());
    match offers.len() < need {
        true => Err(Fail::Usage(format!(
            "{} of {need} mints of keyset {} are named: they sign together",
            offers.len(),
            keyset.id()
        ))),
        false => Ok(keyset.clone()),
    }
}

/// Refuses a keyset that the ledger does not list as it is.
fn proven(keyset: &Keyset, proof: &Proof) -> Result<(), Fail> {
    let id = keyset.id();
    let row = proof.row.ok_or_else(|| {
        let why = "the ledger does not list it: its genesis or a vote adds keysets";
        Fail::Peer(format!("keyset {id}: {why}"))
    })?;
    let same = row.spender == keyset.spender().node_id() && row.exp == keyset.exp() && !row.swept;
    match same {
        true => Ok(()),
        false => Err(Fail::Peer(format!(
            "keyset {id}: the ledger lists it with another spender or end"
        ))),
    }
}

/// Refuses a keyset that was proven too lately, or that ends soon: so few may use it that it names them.
fn aged(keyset: &Keyset, since: u64, now_ms: u64, new_keyset: bool) -> Result<(), Fail> {
    let id = keyset.id();
    if keyset.exp().saturating_sub(now_ms) < MIN_LIFE {
        return Err(Fail::Usage(format!(
            "keyset {id}: it issues for less than 30 days more, and few would share it"
        )));
    }
    let age = now_ms.saturating_sub(since);
    if age >= MIN_AGE {
        return Ok(());
    }
    let (h, m) = (age / HOUR, age % HOUR / MINUTE);
    if new_keyset {
        note!(
            "note: keyset {id} was proven {h} h {m} min ago. A keyset that was made for few names them when they spend; waiting 24 h shows it to everybody first"
        );
        return Ok(());
    }
    Err(Fail::Usage(format!(
        "keyset {id}: this wallet knows a final head that proves it since {h} h {m} min, and 24 h are needed. Buy again then; --new-keyset buys now, under a keyset that may have been made to name you"
    )))
}

/// Signs a purchase for an issue, and stores it.
async fn order(
    purse: &mut Purse,
    ledger: &mut Ledger,
    id: &[u8; 16],
    keyset: &Keyset,
    (me, fresh): (&Identity, bool),
) -> Result<(), Fail> {
    let points = purse.wallet.points(id, keyset).map_err(failed)?;
    let value = betanet_vouchers::message::blinded_value(&points);
    let op = Op::Buy {
        bh: blinded_hash(&points),
        keyset: keyset.id().0,
        vu: value.ok_or_else(|| failed(WalletError::Amount))?,
    };
    let purchase = ledger.sign_purchase(me, &op, *id, fresh).await?;
    let kept = purse.wallet.ordered(id, &purchase.to_bytes());
    kept.map_err(failed)?;
    purse.save()
}

/// Sends the stored purchase of an issue until a final head covers it, and stores what pays for the issue then. With a key it may be
/// signed again; without one, what has expired is given up.
pub(super) async fn pay(
    purse: &mut Purse,
    ledger: &mut Ledger,
    id: &[u8; 16],
    keyset: &Keyset,
    me: Option<&Identity>,
) -> Result<(), Fail> {
    for at in 1.. {
        let (_, bytes) = purse.wallet.order(id).map_err(failed)?;
        let purchase = Purchase::from_bytes(bytes)
            .ok_or_else(|| Fail::Local("a purchase in the wallet does not read".into()))?;
        if purchase.ledger() != ledger.id() {
            let (of, own) = (hex(&purchase.ledger()[..8]), hex(&ledger.id()[..8]));
            return Err(Fail::Usage(format!(
                "the purchase is of the ledger {of}…, and --genesis is of the ledger {own}…"
            )));
        }
        let outcome = match ledger.buy(&purchase).await {
            Ok(outcome) => outcome,
            Err(Fail::Peer(why)) => {
                return Err(Fail::Peer(format!(
                    "{why}; the purchase is kept: betanet pay resume goes on with it"
                )));
            }
            Err(other) => return Err(other),
        };
        match outcome {
            Outcome::Bought(n) => {
                let paid = purse.wallet.paid(id, &purchase_pay(n));
                paid.map_err(failed)?;
                return purse.save();
            }
            Outcome::Ended(why) => {
                abandoned(purse, id)?;
                return Err(Fail::Peer(format!("nothing was bought: {why}")));
            }
            Outcome::Nonce if at < SIGNATURES && me.is_some() => {
                if let Some(me) = me {
                    order(purse, ledger, id, keyset, (me, true)).await?;
                }
            }
            Outcome::Nonce => {
                return Err(Fail::Peer(
                    "BAD_NONCE: another request of this account is under no final head yet; betanet pay resume goes on with the purchase".into(),
                ));
            }
            Outcome::Open(why) => {
                return Err(Fail::Peer(format!(
                    "{why}. Nothing was bought so far. The ledger may take the signed request until its validity of 15 minutes ends: betanet pay resume tries it, or gives it up then"
                )));
            }
        }
    }
    Ok(())
}

/// The account of a node, for the help of a refused redemption.
pub(super) fn needs_account(to: &NodeId) -> String {
    format!(
        "the redemption service refuses it: has {} an account on the ledger? betanet token open makes one",
        Name::from(*to)
    )
}

#[cfg(test)]
mod tests {
    use betanet_economy_service::rows::KeysetRow;
    use betanet_voucher_service::{Deal, mint_init};

    use super::*;

    const DAY: u64 = 24 * HOUR;

    fn keyset(seed: u64, unit: &str, begin: u64, days: u64) -> Keyset {
        let home = tempfile::tempdir().unwrap();
        let mut rng = betanet_machine::Rng::new(&betanet_machine::Seed::from_number(seed));
        let deal = Deal {
            t: 2,
            n: 2,
            unit,
            exponents: &[0],
            not_before: begin * DAY,
            exp: (begin + days) * DAY,
            spender: *Identity::from_seed(&[9; 32]).public(),
        };
        mint_init(&home.path().join("k"), &deal, &mut rng)
            .unwrap()
            .keyset
    }

    fn why<T: std::fmt::Debug>(refused: Result<T, Fail>) -> String {
        refused.unwrap_err().why().to_owned()
    }

    #[test]
    fn the_one_active_keyset_of_the_ledger_is_chosen() {
        let name = |n: u8| Name::from(NodeId([n; 20]));
        let (one, later) = (keyset(1, "FOG", 10, 90), keyset(2, "FOG", 100, 90));
        let credit = keyset(3, "credit", 10, 90);
        let of = |keyset: &Keyset, ledger: Option<u8>| Offer {
            keyset: keyset.clone(),
            ledger: ledger.map(|n| [n; 32]),
        };
        let good = || vec![of(&credit, None), of(&one, Some(7)), of(&later, Some(7))];
        let pick = |a: Vec<Offer>, b: Vec<Offer>, day: u64| {
            choose(&[(name(1), a), (name(2), b)], &[7; 32], day * DAY)
        };
        assert_eq!(pick(good(), good(), 20).unwrap().id(), one.id());
        assert_eq!(pick(good(), good(), 110).unwrap().id(), later.id());
        assert!(why(pick(good(), good(), 5)).contains("none of its keysets"));
        assert!(why(pick(good(), good(), 200)).contains("have expired"));
        let foreign = vec![of(&one, Some(8))];
        assert!(why(pick(foreign, good(), 20)).contains("--genesis is of the ledger 0707"));
        let without = vec![of(&one, None), of(&credit, None)];
        assert!(why(pick(good(), without, 20)).contains("--mint-ledger"));
        let rival = keyset(4, "FOG", 15, 90);
        let two = vec![of(&one, Some(7)), of(&rival, Some(7))];
        assert!(why(pick(two, good(), 20)).contains("two active"));
        assert!(why(pick(vec![of(&rival, Some(7))], good(), 20)).contains("other mints"));
        let alone = choose(&[(name(1), good())], &[7; 32], 20 * DAY);
        assert!(why(alone).contains("1 of 2 mints"));
    }

    #[test]
    fn a_keyset_has_to_be_listed_old_and_long() {
        let keyset = keyset(1, "FOG", 10, 90);
        let row = KeysetRow {
            spender: keyset.spender().node_id(),
            exp: keyset.exp(),
            issued: 0,
            redeemed: 0,
            swept: false,
        };
        let of = |row| proven(&keyset, &Proof { row, ts: 0 });
        assert!(of(Some(row)).is_ok());
        assert!(why(of(None)).contains("does not list it"));
        assert!(of(Some(KeysetRow { exp: 1, ..row })).is_err());
        let spender = NodeId([1; 20]);
        assert!(of(Some(KeysetRow { spender, ..row })).is_err());

        let at = |since: u64, day: u64, new| aged(&keyset, since * HOUR, day * DAY, new);
        assert!(at(19 * 24, 20, false).is_ok());
        assert!(why(at(20 * 24 - 2, 20, false)).contains("since 2 h 0 min"));
        assert!(at(20 * 24 - 2, 20, true).is_ok());
        assert!(at(0, 70, false).is_ok());
        assert!(why(at(0, 71, true)).contains("less than 30 days"));
    }
}
