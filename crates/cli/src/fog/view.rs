//! The cluster as a whole: topology and prices.

use betanet_fog::bodies::{Price, Topology, TopologyList};
use betanet_fog::{Amounts, Map, Word};

use super::lists::cores;
use super::spec::in_bytes;
use super::text::table;
use super::{print_json, with};
use crate::Fail;
use crate::args::{FogArgs, TopologyArgs};

pub(super) async fn topology(args: &TopologyArgs) -> Result<(), Fail> {
    with(&args.fog, async |fog| {
        let mut items = fog.topology().await?.items.into_vec();
        items.retain(|one| one.at > args.after);
        let most = args.n.unwrap_or(if args.fog.json { 100 } else { 1 });
        let older = items
            .len()
            .saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
        items.drain(..older);
        if args.fog.json {
            let items = items.try_into().unwrap_or_default();
            return print_json(&TopologyList { items });
        }
        if items.is_empty() {
            note!("note: there is no such snapshot yet; one is made every 60 s");
        }
        for (at, one) in items.iter().enumerate() {
            if at > 0 {
                say!("");
            }
            for line in lines(one) {
                say!("{line}");
            }
        }
        Ok(())
    })
    .await
}

/// Counts that are not zero.
fn counts(map: &Map<Word, u64>) -> String {
    let shown = map.iter().filter(|(_, n)| **n > 0);
    let all: Vec<String> = shown.map(|(word, n)| format!("{n} {word}")).collect();
    if all.is_empty() {
        "none".to_owned()
    } else {
        all.join(", ")
    }
}

fn amount(name: &str, cap: u64, free: u64, of: impl Fn(u64) -> String) -> Vec<String> {
    let used = cap.saturating_sub(free);
    let percent = if cap == 0 {
        0
    } else {
        u128::from(used) * 100 / u128::from(cap)
    };
    vec![
        name.to_owned(),
        of(used),
        "of".to_owned(),
        of(cap),
        format!("{percent}%"),
    ]
}

fn rate(bits: u64) -> String {
    format!("{} Mbit/s", bits / 1_000_000)
}

/// Reserved and total amounts of each resource.
pub(super) fn amounts(cap: &Amounts, free: &Amounts) -> Vec<String> {
    table(&[
        amount("cpu", cap.cpu, free.cpu, cores),
        amount("memory", cap.memory, free.memory, in_bytes),
        amount("storage", cap.storage, free.storage, in_bytes),
        amount("gpu", cap.gpu, free.gpu, cores),
        amount("bandwidth", cap.bandwidth, free.bandwidth, rate),
        amount("relay", cap.relay, free.relay, rate),
    ])
}

/// A snapshot in lines.
pub(super) fn lines(t: &Topology) -> Vec<String> {
    let mut lines = vec![
        format!("epoch   {}, position {}", t.epoch, t.at),
        format!("nodes   {}", counts(&t.nodes)),
        format!("kinds   {}", counts(&t.kinds)),
        format!("tasks   {}", counts(&t.tasks)),
        "reserved of the active nodes' capacity:".to_owned(),
    ];
    let rows = amounts(&t.cap, &t.free);
    lines.extend(rows.iter().map(|line| format!("  {line}")));
    lines
}

pub(super) async fn price(args: &FogArgs) -> Result<(), Fail> {
    with(args, async |fog| {
        let price = fog.price().await?;
        if args.json {
            return print_json(&price);
        }
        for line in prices(&price) {
            say!("{line}");
        }
        Ok(())
    })
    .await
}

fn factor(ppm: u64) -> String {
    format!("{}.{:03}", ppm / 1_000_000, ppm / 1000 % 1000)
}

/// Demand factors in lines.
pub(super) fn prices(price: &Price) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = price
        .factor
        .iter()
        .map(|(word, ppm)| vec![word.to_string(), factor(*ppm)])
        .collect();
    rows.push(vec!["lowest".to_owned(), factor(price.floor)]);
    table(&rows)
}
