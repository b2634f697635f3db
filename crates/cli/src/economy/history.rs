//! `token history`: what changed an account's money, record by record.

use std::collections::BTreeSet;

use betanet_runtime::NodeId;
use betanet_tokenomics::journal::Record;
use betanet_tokenomics::request::{Kind, Op};
use betanet_tokenomics::{ASSETS, Asset, Code, Economy, Envelope};
use serde_json::{Value, json};

use super::amount::{fog, shown};
use super::net::{Ledger, account, with_ledger};
use crate::Fail;
use crate::args::AccountArgs;

/// A payment or hold of an account.
struct Line {
    record: u64,
    ts: u64,
    what: &'static str,
    other: NodeId,
    amt: u64,
    asset: Asset,
    out: bool,
}

/// What a record changed besides payments.
struct Change {
    record: u64,
    ts: u64,
    what: &'static str,
    amt: i128,
    asset: Asset,
}

/// What is known of an account after the records so far.
struct Books {
    account: NodeId,
    lines: Vec<Line>,
    changes: Vec<Change>,
    /// Transfers that were listed: one that was sent twice happened once.
    known: BTreeSet<[u8; 16]>,
    /// What the account has of each asset, held amounts included.
    has: [i128; ASSETS.len()],
}

/// All that an account received less all that it paid.
fn net(economy: &Economy, account: &NodeId, asset: Asset) -> i128 {
    let counters = economy.counters(account, asset);
    // All counters are sums of amounts below 2^63: far below 2^127.
    counters.credits.cast_signed() - counters.debits.cast_signed()
}

impl Books {
    fn of(account: NodeId) -> Self {
        Self {
            account,
            lines: Vec::new(),
            changes: Vec::new(),
            known: BTreeSet::new(),
            has: [0; ASSETS.len()],
        }
    }

    fn note(&mut self, record: &Record, codes: &[Code], economy: &Economy) {
        let envelope = Envelope::from_bytes(&record.req);
        let op = envelope.as_ref().map(|e| &e.request.op);
        let paid = match op {
            Some(Op::Transfers { list }) => {
                let accepted = codes.iter().chain(std::iter::repeat(&Code::Ok));
                let before = self.lines.len();
                for (transfer, code) in list.iter().zip(accepted) {
                    if *code == Code::Ok {
                        self.transfer(record, transfer.id, &transfer.kind);
                    }
                }
                self.lines.get(before..).unwrap_or_default()
            }
            _ => &[],
        };
        // Who pays a record's fee, and ends no hold of its own with it.
        let pays = |e: &Envelope| e.request.payer() == self.account;
        let ends_none = |e: &Envelope| match &e.request.op {
            Op::Transfers { list } => !list.iter().any(|t| matches!(t.kind, Kind::Post { .. })),
            _ => true,
        };
        let fee_alone = envelope.as_ref().is_some_and(|e| pays(e) && ends_none(e));
        for (had, asset) in self.has.iter_mut().zip(ASSETS) {
            let has = net(economy, &self.account, asset);
            let listed = paid.iter().filter(|l| l.asset == asset && l.what == "paid");
            let listed: i128 = listed
                .map(|l| i128::from(l.amt) * if l.out { -1 } else { 1 })
                .sum();
            let amt = has - *had - listed;
            *had = has;
            if amt != 0 {
                self.changes.push(Change {
                    record: record.seq,
                    ts: record.ts,
                    what: match op {
                        None if record.seq == 0 => "genesis",
                        None => "due",
                        Some(Op::Transfers { .. }) if fee_alone && amt < 0 => "fee",
                        Some(op) => op.name(),
                    },
                    amt,
                    asset,
                });
            }
        }
    }

    fn transfer(&mut self, record: &Record, id: [u8; 16], kind: &Kind) {
        let (what, from, to, amt, asset) = match kind {
            Kind::Plain {
                from,
                to,
                asset,
                amt,
            } => ("paid", from, to, amt, asset),
            Kind::Pending {
                from,
                to,
                asset,
                amt,
                ..
            } => ("held", from, to, amt, asset),
            Kind::Post { .. } | Kind::Void { .. } => return,
        };
        let (out, own) = (*from == self.account, *to == self.account);
        if !(out || own) || !self.known.insert(id) {
            return;
        }
        self.lines.push(Line {
            record: record.seq,
            ts: record.ts,
            what,
            other: if out { *to } else { *from },
            amt: *amt,
            asset: *asset,
            out,
        });
    }
}

/// An amount of an asset, and the asset's word.
fn words(amt: u128, asset: Asset) -> (String, &'static str) {
    match asset {
        Asset::Fog => (fog(amt), "FOG"),
        Asset::Units => (amt.to_string(), "units"),
        Asset::Credits => (fog(amt), "FOG of credits"),
    }
}

pub(super) async fn history(args: &AccountArgs) -> Result<(), Fail> {
    let account = account(args.account.as_deref(), &args.books.dial)?;
    let mut books = Books::of(account);
    let verified = with_ledger!(Ledger::open(&args.books), |ledger| {
        super::journal::replay(&mut ledger, &args.books, |record, codes, economy| {
            books.note(record, codes, economy);
        })
        .await
    })?;
    let Books { lines, changes, .. } = books;
    if args.books.json {
        let lines = lines.iter().map(|l| {
            json!({
                "record": l.record,
                "ts_ms": l.ts,
                "what": l.what,
                "out": l.out,
                "other": shown(&l.other),
                "amount": l.amt.to_string(),
                "asset": l.asset.number(),
            })
        });
        let changes = changes.iter().map(|c| {
            json!({
                "record": c.record,
                "ts_ms": c.ts,
                "what": c.what,
                "amount": c.amt.to_string(),
                "asset": c.asset.number(),
            })
        });
        let (lines, changes) = (lines.collect::<Vec<Value>>(), changes.collect::<Vec<_>>());
        say!(
            "{}",
            json!({
                "account": shown(&account),
                "transfers": lines,
                "changes": changes,
                "size": verified.covered,
            })
        );
        return Ok(());
    }
    let mut all = Vec::with_capacity(lines.len() + changes.len());
    for l in &lines {
        let way = if l.out { "to" } else { "from" };
        let (amount, asset) = words(l.amt.into(), l.asset);
        let what = format!("{} {amount} {asset} {way} {}", l.what, shown(&l.other));
        all.push((l.record, what));
    }
    for c in &changes {
        let sign = if c.amt < 0 { '-' } else { '+' };
        let (amount, asset) = words(c.amt.unsigned_abs(), c.asset);
        all.push((c.record, format!("{} {sign}{amount} {asset}", c.what)));
    }
    all.sort_by_key(|(record, _)| *record);
    for (record, what) in &all {
        say!("record {record:>6}  {what}");
    }
    say!(
        "{} transfers and {} other changes in {} records, each verified",
        lines.len(),
        changes.len(),
        verified.covered
    );
    Ok(())
}
