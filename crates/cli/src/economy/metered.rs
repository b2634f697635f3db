//! Holds for relays, and the counters that end them.

use betanet_economy_service::rows::{Hold, table};
use betanet_runtime::NodeId;
use betanet_store::disk;
use betanet_tokenomics::request::{Kind, Op, Transfer};
use betanet_tokenomics::{Asset, metered_mark};
use betanet_voucher_service::accounts::{EVIDENCE_MAX, Evidence};
use betanet_vouchers::account::{Account, Countersigned, PERIOD};
use betanet_wire::text::hex;
use serde_json::json;

use super::amount::{fog, id, micro, shown};
use super::net::{Ledger, fresh_id, identity, now_ms, signs_for, with_ledger};
use super::tokens::told;
use crate::Fail;
use crate::args::{HoldArgs, MeterArgs};

/// Seconds of an hour.
const HOUR_S: u64 = 3_600;
/// Bytes that a price is for.
const MIB: u128 = 1 << 20;

pub(super) async fn hold(args: &HoldArgs) -> Result<(), Fail> {
    let (amt, price) = (micro(&args.amount)?, micro(&args.price)?);
    let to = super::amount::account(&args.to)?;
    if price == 0 {
        return Err(Fail::Usage("--price 0: a relay is paid for bytes".into()));
    }
    let me = identity(&args.ask.books.dial)?;
    let hold = match &args.id {
        Some(text) => id(text)?,
        None => fresh_id()?,
    };
    let kind = Kind::Pending {
        from: signs_for(&args.ask, &me)?,
        to,
        asset: Asset::Fog,
        amt,
        ttl: args.hours * HOUR_S,
        arb: None,
        price,
    };
    let transfer = Transfer::new(hold, false, &kind);
    let list =
        vec![transfer.ok_or_else(|| {
            Fail::Usage("an amount is above 0, and payer and payee differ".into())
        })?];
    let request = fresh_id()?;
    let accepted = with_ledger!(Ledger::open(&args.ask.books), |ledger| {
        let op = Op::Transfers { list };
        ledger.submit(&args.ask, &[&me], &op, request).await
    })?;
    let (id, held) = (hex(&hold), fog(amt.into()));
    let what = format!("{held} FOG held for {} as {id}", shown(&to));
    let more = json!({
        "hold": id,
        "fog_micro": amt.to_string(),
        "price_micro": price.to_string(),
        "to": shown(&to),
    });
    told(&accepted, args.ask.books.json, &what, more);
    Ok(())
}

/// The last counter of each day that a relay signed with a peer, the oldest day first.
fn days<'a>(
    all: &'a [(Countersigned, Account)],
    relay: &NodeId,
    from: &NodeId,
) -> Vec<&'a (Countersigned, Account)> {
    let of = all
        .iter()
        .filter(|(_, a)| a.relay == *relay && a.from == *from);
    let mut days: Vec<&(Countersigned, Account)> = of.collect();
    // Of one day the highest number counts.
    days.sort_by_key(|(_, a)| (a.period, std::cmp::Reverse(a.seq)));
    days.dedup_by_key(|(_, a)| a.period);
    days
}

pub(super) async fn meter(args: &MeterArgs) -> Result<(), Fail> {
    let path = &args.file;
    let bytes = disk::read_bounded(path, EVIDENCE_MAX as u64).map_err(Fail::file(path))?;
    let (evidence, accounts) = Evidence::from_bytes(&bytes)
        .map_err(|e| Fail::Local(format!("{}: {e}", path.display())))?;
    let all: Vec<(Countersigned, Account)> = evidence.0.into_iter().zip(accounts).collect();
    let (hold, me) = (id(&args.hold)?, identity(&args.ask.books.dial)?);
    let relay = signs_for(&args.ask, &me)?;
    let request = fresh_id()?;
    let (accepted, account, amt) = with_ledger!(Ledger::open(&args.ask.books), |ledger| {
        let (_, rows) = ledger.rows(&[(table::HOLDS, hold.to_vec())]).await?;
        let row = rows.first().and_then(Option::as_deref);
        let row = row.map(Hold::read).transpose();
        let row = row.map_err(|e| Fail::Peer(format!("a row of the ledger does not read: {e}")))?;
        let row = row.ok_or_else(|| {
            let why = "there is no such hold under the final head: it ended, or is not final yet";
            Fail::Peer(format!("--hold {}: {why}", args.hold))
        })?;
        if row.to != relay {
            let why = format!(
                "it is for {}, and the key is of {}",
                shown(&row.to),
                shown(&relay)
            );
            return Err(Fail::Usage(format!("--hold {}: {why}", args.hold)));
        }
        let days = days(&all, &relay, &row.from);
        let marks = days.iter().map(|(_, a)| {
            let mark = metered_mark(&a.from, &a.relay, a.period);
            (table::MARKS, mark.to_vec())
        });
        let marks: Vec<(u8, Vec<u8>)> = marks.collect();
        let (_, paid) = ledger.rows(&marks).await?;
        let today = now_ms() / PERIOD;
        let mut open = days.iter().zip(&paid).filter(|(_, paid)| paid.is_none());
        let found = open.find(|((_, a), _)| match args.day {
            Some(day) => a.period == day,
            None => a.period < today,
        });
        let ((signed, account), _) = found.ok_or_else(|| {
            let (from, which) = (
                shown(&row.from),
                match args.day {
                    Some(day) => format!("of day {day}"),
                    None => "of a day that has ended".into(),
                },
            );
            let why = format!("no counter {which} for {from} that is not paid yet");
            Fail::Local(format!("{}: {why}", path.display()))
        })?;
        let due = u128::from(account.bytes) * u128::from(row.price) / MIB;
        if due > u128::from(row.amt) {
            let (due, held) = (fog(due), fog(row.amt.into()));
            note!(
                "note: the bytes cost {due} FOG, and {held} are held: no more is paid for that day"
            );
        }
        let op = Op::Meter {
            ckey: *signed.from.0.as_bytes(),
            csig: signed.from.1,
            hold,
            rec: signed.record.clone(),
            rkey: *signed.relay.0.as_bytes(),
            rsig: signed.relay.1,
        };
        let accepted = ledger.submit(&args.ask, &[&me], &op, request).await?;
        Ok::<_, Fail>((accepted, *account, due.min(row.amt.into())))
    })?;
    let (from, day, bytes) = (shown(&account.from), account.period, account.bytes);
    let what = format!("{} FOG collected of {from} for day {day}", fog(amt));
    let more = json!({
        "from": from,
        "day": day,
        "bytes": bytes,
        "fog_micro": amt.to_string(),
    });
    told(&accepted, args.ask.books.json, &what, more);
    Ok(())
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;

    use super::*;

    #[test]
    fn of_each_day_the_highest_counter_of_the_right_pair_is_taken() {
        let [relay, peer, other] = [1, 2, 3].map(|n| Identity::from_seed(&[n; 32]));
        let one = |from: &Identity, period, seq| {
            let account = Account {
                bytes: seq * 100,
                from: from.public().node_id(),
                period,
                relay: relay.public().node_id(),
                seq,
            };
            let signed = Countersigned {
                record: account.to_bytes(),
                relay: (*relay.public(), account.sign(&relay)),
                from: (*from.public(), account.sign(from)),
            };
            (signed, account)
        };
        let all = [
            one(&peer, 8, 1),
            one(&peer, 7, 2),
            one(&other, 7, 9),
            one(&peer, 7, 4),
            one(&peer, 7, 3),
        ];
        let ids = [&relay, &peer].map(|i| i.public().node_id());
        let found = days(&all, &ids[0], &ids[1]);
        let found: Vec<_> = found.iter().map(|(_, a)| (a.period, a.seq)).collect();
        assert_eq!(found, [(7, 4), (8, 1)]);
        assert!(days(&all, &ids[1], &ids[0]).is_empty());
    }
}
