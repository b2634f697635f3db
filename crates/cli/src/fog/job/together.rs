//! `betanet job plan --together`: places for all tasks of a job at once. It proposes; the coordinator places each task by itself.

use std::collections::BTreeMap;

use betanet_fog::bodies::NodeSummary;
use betanet_fog::{Attribute, Need, NodeState, Op, Placement, Resources, Task, Tier, Verify, Word};
use betanet_fog_client::{FogClient, Lists};
use betanet_scheduler::batch::{self, BatchNode, BatchTask, Effort, OBJECTIVES, Objectives, Plan};
use betanet_wire::text::hex;
use serde_json::json;

use crate::Fail;
use crate::fog::spec::Made;
use crate::fog::text::name;

/// Most nodes that are looked at.
const NODES: usize = 10_000;
/// Nodes of one page.
const PAGE: u64 = 1_000;
/// Distances in ms without measurements: same zone, same region, elsewhere (profile chapter 10).
const DISTANCES: [u32; 3] = [5, 30, 200];
/// Names of the objectives, in their order.
const NAMES: [&str; OBJECTIVES] = ["latency", "cost", "load", "trust"];

/// Reads weights, in the order of the objectives.
pub(super) fn weights(given: Option<&str>) -> Result<Objectives, Fail> {
    let Some(given) = given else {
        return Ok([1.0; OBJECTIVES]);
    };
    let one = |text: &str| {
        text.trim()
            .parse::<f64>()
            .ok()
            .filter(|w| (0.0..=1e6).contains(w))
    };
    let all: Option<Vec<f64>> = given.split(',').map(one).collect();
    let read = all.and_then(|all| Objectives::try_from(all).ok());
    let wrong = || {
        Fail::Usage(format!(
            "--weights {given}: four numbers from 0 to 1000000 for latency, cost, load and trust, such as 1,2,0,0.5"
        ))
    };
    read.ok_or_else(wrong)
}

/// The nodes that take work.
async fn active(fog: &FogClient) -> Result<Vec<NodeSummary>, Fail> {
    let mut lists = Lists {
        n: PAGE,
        state: NodeState::Active.as_str().parse().unwrap_or_default(),
        ..Lists::default()
    };
    let mut all = Vec::new();
    loop {
        let found = fog.nodes(&lists).await?;
        all.extend(found.items.into_vec());
        let Some(next) = found.next else {
            return Ok(all);
        };
        if all.len() >= NODES {
            note!("note: only the first {} nodes are looked at", all.len());
            return Ok(all);
        }
        lists.turn(&next.0);
    }
}

/// Whether a node meets a need, as far as lists tell: they have no models and no labels.
fn meets(need: &Need, node: &NodeSummary) -> bool {
    let id = hex(&node.id.0);
    let value = match &need.attribute {
        Attribute::Kind => node.kind.as_str(),
        Attribute::Node => &id,
        Attribute::Org => &node.org,
        Attribute::Region => &node.region,
        Attribute::Zone => &node.zone,
        Attribute::Model | Attribute::Label(_) => return true,
    };
    let listed = need.values.iter().any(|word| **word == *value);
    listed == (need.op == Op::In)
}

fn distance(wishes: &Placement, node: &NodeSummary) -> u32 {
    let near = &wishes.near;
    let [zone, region, elsewhere] = DISTANCES;
    if near.region.is_empty() || near.region != node.region {
        elsewhere
    } else if near.zone == node.zone {
        zone
    } else {
        region
    }
}

fn described(task: &Task, nodes: &[NodeSummary]) -> BatchTask {
    let of_rule = match task.verify.rule {
        Verify::Quorum => task.verify.n,
        Verify::None | Verify::Spot => 1,
    };
    let of_tier = match task.tier {
        Tier::Gold | Tier::Platinum => 3,
        Tier::Bronze | Tier::Silver => 1,
    };
    let takes = |node: &NodeSummary| {
        node.level >= task.level
            && node.rep >= task.place.rep
            && task.place.need.iter().all(|need| meets(need, node))
    };
    let latency = |node: &NodeSummary| match takes(node) {
        true => distance(&task.place, node),
        false => u32::MAX,
    };
    BatchTask {
        resources: task.res,
        replicas: usize::try_from(of_rule.max(of_tier)).unwrap_or(1),
        latency: nodes.iter().map(latency).collect(),
        within: DISTANCES[2],
    }
}

fn batch_nodes(nodes: &[NodeSummary]) -> Result<Vec<BatchNode>, Fail> {
    let resources = |amounts| {
        let read = Resources::new(amounts);
        read.map_err(|why| Fail::Peer(format!("the coordinator lists an impossible node: {why}")))
    };
    let mut orgs: BTreeMap<&Word, u32> = BTreeMap::new();
    let mut all = Vec::new();
    for node in nodes {
        let next = u32::try_from(orgs.len()).unwrap_or(u32::MAX);
        let org = *orgs.entry(&node.org).or_insert(next);
        all.push(BatchNode {
            free: resources(node.free)?,
            capacity: resources(node.cap)?,
            factor: node.price,
            rep: u32::try_from(node.rep).unwrap_or(u32::MAX),
            org,
        });
    }
    Ok(all)
}

/// Proposes places for all tasks, and prints the plan that the weights choose.
pub(super) async fn propose(
    fog: &FogClient,
    made: &[Made],
    (weights, as_json): (&Objectives, bool),
) -> Result<(), Fail> {
    let nodes = active(fog).await?;
    let tasks: Vec<BatchTask> = made.iter().map(|m| described(&m.task, &nodes)).collect();
    let known = batch_nodes(&nodes)?;
    let search = move || batch::plan(&known, &tasks, &Effort::default());
    let front = tokio::task::spawn_blocking(search).await;
    let front = front.map_err(|_| Fail::Local("the search ended early".into()))?;
    let Some(plan) = front.choose(weights) else {
        return Err(Fail::Local("the search found no plan".into()));
    };
    if as_json {
        print_json(plan, front.plans().len(), made, &nodes);
    } else {
        print(plan, front.plans().len(), made, &nodes);
    }
    Ok(())
}

fn print_json(plan: &Plan, plans: usize, made: &[Made], nodes: &[NodeSummary]) {
    let place = |at: &Option<usize>| at.and_then(|at| Some(hex(&nodes.get(at)?.id.0)));
    let tasks = made.iter().zip(plan.places()).map(|(made, places)| {
        json!({ "task": made.name, "nodes": places.iter().map(place).collect::<Vec<_>>() })
    });
    let tasks: Vec<_> = tasks.collect();
    let [latency, cost, load, trust] = plan.objectives();
    let objectives = json!({ "latency": latency, "cost": cost, "load": load, "trust": trust });
    say!(
        "{}",
        json!({ "plans": plans, "objectives": objectives, "tasks": tasks })
    );
}

fn print(plan: &Plan, plans: usize, made: &[Made], nodes: &[NodeSummary]) {
    say!("one of {plans} plans none of which is better than another in everything:");
    for (made, places) in made.iter().zip(plan.places()) {
        let place = |at: &Option<usize>| {
            let node = at.and_then(|at| nodes.get(at));
            node.map_or_else(|| "nowhere".to_owned(), |node| name(node.id))
        };
        let places: Vec<String> = places.iter().map(place).collect();
        say!("  {}: {}", made.name, places.join(", "));
    }
    let [latency, cost, load, trust] = plan.objectives();
    say!("{} {latency:.1} ms on average", NAMES[0]);
    say!(
        "{} {cost:.0} µ an hour at the nodes' lowest prices",
        NAMES[1]
    );
    say!("{} {load:.4}: the variance of the nodes' loads", NAMES[2]);
    say!(
        "{} {trust:.0} ppm short of full reputation on average",
        NAMES[3]
    );
    note!("note: a proposal; the coordinator places each task by its own strategy");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_four_numbers() {
        assert_eq!(weights(None).unwrap(), [1.0; 4]);
        assert_eq!(weights(Some("1, 2,0,0.5")).unwrap(), [1.0, 2.0, 0.0, 0.5]);
        for wrong in ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1,2,3,-1", "1,2,3,NaN"] {
            assert!(weights(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
