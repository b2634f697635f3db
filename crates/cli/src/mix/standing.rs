//! Files of ratings: a table of each relay, by its name.

use std::collections::BTreeMap;
use std::path::Path;

use betanet_carrier::disk::write_shared;
use betanet_runtime::{LotteryWeight, Name, NodeId};
use serde::{Deserialize, Serialize};

use super::{read, wrong};
use crate::Fail;

/// Name of the table for relays that have none.
const OTHERS: &str = "others";
/// Millionths of one.
const PPM: f64 = 1e6;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rating {
    reputation: Option<f64>,
    performance: Option<f64>,
    stake: Option<u64>,
}

/// Ratings by relay, and that of all others.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Standing {
    pub(crate) relays: BTreeMap<NodeId, LotteryWeight>,
    pub(crate) others: LotteryWeight,
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is checked to lie between 0 and 1"
)]
fn rated(name: &str, table: &Rating) -> Result<LotteryWeight, String> {
    let part = |key: &str, value: Option<f64>| match value.unwrap_or(1.0) {
        v if (0.0..=1.0).contains(&v) => Ok((v * PPM).round() as u32),
        v => Err(format!("{name}: {key} = {v}: from 0 to 1")),
    };
    Ok(LotteryWeight {
        reputation: part("reputation", table.reputation)?,
        performance: part("performance", table.performance)?,
        stake: table.stake.unwrap_or(0),
    })
}

impl Standing {
    pub(crate) fn read(path: &Path) -> Result<Self, Fail> {
        let text = String::from_utf8(read(path)?).map_err(|e| wrong(path, e))?;
        Self::of(&text).map_err(|why| wrong(path, why))
    }

    fn of(text: &str) -> Result<Self, String> {
        let tables: BTreeMap<String, Rating> = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut all = Self::default();
        for (name, table) in tables {
            let rating = rated(&name, &table)?;
            if name == OTHERS {
                all.others = rating;
                continue;
            }
            let node: Name = name.parse().map_err(|e| format!("{name}: {e}"))?;
            all.relays.insert(node.node_id(), rating);
        }
        Ok(all)
    }

    fn text(&self) -> Result<String, toml::ser::Error> {
        let of = |rating: &LotteryWeight| Rating {
            reputation: Some(f64::from(rating.reputation) / PPM),
            performance: Some(f64::from(rating.performance) / PPM),
            stake: Some(rating.stake),
        };
        let named = self.relays.iter();
        let named = named.map(|(node, rating)| (Name::from(*node).to_string(), of(rating)));
        let mut tables: BTreeMap<String, Rating> = named.collect();
        tables.insert(OTHERS.into(), of(&self.others));
        toml::to_string(&tables)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Fail> {
        let text = self.text().map_err(|e| wrong(path, e))?;
        write_shared(path, text).map_err(Fail::file(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_are_read_as_they_were_written_to_the_last_millionth() {
        let rating = |n: u32| LotteryWeight {
            reputation: n,
            performance: 1_000_000 - n,
            stake: u64::from(n) * 1_000,
        };
        let ppm = [
            0, 1, 3, 99_999, 100_000, 333_333, 654_321, 999_999, 1_000_000,
        ];
        let nodes = ppm.iter().zip(1..);
        let relays = nodes.map(|(n, id)| (NodeId([id; 20]), rating(*n)));
        let all = Standing {
            relays: relays.collect(),
            others: LotteryWeight {
                reputation: 0,
                performance: 0,
                stake: 0,
            },
        };
        assert_eq!(Standing::of(&all.text().unwrap()).unwrap(), all);
    }

    #[test]
    fn relays_without_a_table_have_full_marks_unless_the_file_says_otherwise() {
        let name = Name::from(NodeId([7; 20])).to_string();
        let of = |text: &str| Standing::of(text);
        let one = of(&format!("[\"{name}\"]\nreputation = 0.25\n")).unwrap();
        assert_eq!(one.others, LotteryWeight::default());
        assert_eq!(one.relays[&NodeId([7; 20])].reputation, 250_000);
        assert_eq!(one.relays[&NodeId([7; 20])].performance, 1_000_000);
        let low = of("[others]\nperformance = 0.0\n").unwrap();
        assert_eq!((low.relays.len(), low.others.performance), (0, 0));
        for bad in [
            "[others]\nreputation = 1.5\n",
            "[others]\nreputation = nan\n",
            "[nobody]\nstake = 1\n",
            "[others]\nweight = 1\n",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
