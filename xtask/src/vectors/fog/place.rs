//! Decisions of the placer, one after the other.

use std::collections::{BTreeMap, BTreeSet};

use betanet_fog::{Digest, TaskId, Tier};
use betanet_keys::PublicKey;
use betanet_scheduler::{Ended, NewCopy, NodeSpec, Placement, Placer, Request, Why};
use betanet_wire::NodeId;
use serde_json::{Value, json};

use super::read::{
    Outcome, Section, blobs, fixed, list, node, number, resources, same, text, wishes, word,
};

/// What a coordinator remembers of tasks and copies.
#[derive(Default)]
struct World {
    placer: Placer,
    seed: [u8; 32],
    factor: u64,
    orgs: BTreeMap<NodeId, String>,
    active: BTreeMap<NodeId, (bool, bool)>,
    live: BTreeMap<u64, Live>,
    /// Organisations of copies with a result, nodes that failed, preemptions.
    history: BTreeMap<TaskId, (Vec<String>, BTreeSet<NodeId>, u8)>,
}

struct Live {
    task: TaskId,
    node: NodeId,
    blobs: Vec<Digest>,
}

/// The section, and what runs a case of it.
pub(crate) const SECTIONS: &[Section] = &[("place", run)];

fn run(case: &Value) -> Outcome {
    let mut world = World {
        seed: fixed(&case["in"]["S"])?,
        factor: number(&case["in"]["f"])?,
        ..World::default()
    };
    let mut answers = list(&case["out"]["placed"])?.iter();
    for (i, op) in list(&case["in"]["ops"])?.iter().enumerate() {
        let done = match text(&op["op"])? {
            "place" => {
                let want = answers.next().ok_or("too few answers")?;
                world.place(op).and_then(|got| same("placed", &got, want))
            }
            "join" => world.join(&op["node"]),
            "state" => {
                let (active, _) = world.state(op)?;
                *active = op["to"] == "active";
                world.activate(op)
            }
            "beat" => world.beat(op),
            "trust" => {
                let v = number(&op["v"])?;
                let rep = u32::try_from(1_000_000 * v / (v + 10)).map_err(|e| e.to_string())?;
                let set = world.placer.set_reputation(&node(&op["node"])?, rep);
                set.map_err(|e| e.to_string())
            }
            "end" => world.end(op),
            other => Err(format!("unknown op {other}")),
        };
        done.map_err(|why| format!("op {i}: {why}"))?;
    }
    same("answers left", answers.count(), 0)
}

impl World {
    fn join(&mut self, record: &Value) -> Outcome {
        let key = PublicKey::from_bytes(&fixed(&record["key"])?).map_err(|e| e.to_string())?;
        let id = key.node_id();
        let labels = record["labels"].as_object().ok_or("labels are no map")?;
        let spec = NodeSpec {
            id,
            capacity: resources(&record["cap"])?,
            kind: word(&record["kind"])?,
            model: word(&record["model"])?,
            org: word(&record["org"])?,
            vouched: true,
            region: word(&record["region"])?,
            zone: word(&record["zone"])?,
            labels: labels
                .iter()
                .map(|(k, v)| Ok((word(&json!(k))?, word(v)?)))
                .collect::<Outcome<_>>()?,
            level: word(&record["level"])?,
            price: u32::try_from(number(&record["price"])?).map_err(|e| e.to_string())?,
        };
        self.placer.put(&spec);
        self.orgs.insert(id, spec.org.to_string());
        self.active.insert(id, (true, true));
        let set = self.placer.set_active(&id, true, true);
        set.map_err(|e| e.to_string())
    }

    fn state(&mut self, op: &Value) -> Outcome<&mut (bool, bool)> {
        let id = node(&op["node"])?;
        Ok(self.active.entry(id).or_default())
    }

    fn activate(&mut self, op: &Value) -> Outcome {
        let (active, work) = *self.state(op)?;
        let set = self.placer.set_active(&node(&op["node"])?, active, work);
        set.map_err(|e| e.to_string())
    }

    fn beat(&mut self, op: &Value) -> Outcome {
        let id = node(&op["node"])?;
        if let Some(work) = op["work"].as_bool() {
            self.state(op)?.1 = work;
            self.activate(op)?;
        }
        if let Some(gone) = op["gone"].as_array() {
            let gone: Vec<Digest> = gone.iter().map(fixed).collect::<Outcome<_>>()?;
            self.placer.gone(&id, &gone).map_err(|e| e.to_string())?;
        }
        if let Some(trips) = op["rtt"].as_array() {
            let trips = trips.iter().map(|t| Ok((node(&t[0])?, number(&t[1])?)));
            let trips: Vec<_> = trips.collect::<Outcome<_>>()?;
            let now = number(&op["at"])?;
            let told = self.placer.measured(now, &id, &trips);
            told.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn end(&mut self, op: &Value) -> Outcome {
        let fence = number(&op["fence"])?;
        let live = self.live.remove(&fence).ok_or("no such copy")?;
        let (results, failed, _) = self.history.entry(live.task).or_default();
        let how = match text(&op["by"])? {
            "result" => {
                results.extend(self.orgs.get(&live.node).cloned());
                Ended::Result(&live.blobs)
            }
            "fault" | "loss" => {
                failed.insert(live.node);
                Ended::Failed
            }
            "drop" => Ended::Dropped,
            other => return Err(format!("ended by {other}")),
        };
        let ended = self.placer.end(number(&op["at"])?, fence, how);
        same("node of the copy", ended, Some(live.node))
    }

    fn place(&mut self, op: &Value) -> Outcome<Value> {
        let task = &op["task"];
        let id = TaskId(fixed(&task["id"])?);
        let now = number(&op["at"])?;
        let first = number(&op["first_copy"])?;
        let fences = list(&op["fences"])?.iter().map(number);
        let copies: Vec<NewCopy> = (first..)
            .zip(fences)
            .map(|(number, fence)| {
                Ok(NewCopy {
                    number,
                    fence: fence?,
                })
            })
            .collect::<Outcome<_>>()?;
        let (results, failed, preempted) = self.history.get(&id).cloned().unwrap_or_default();
        let mut apart: Vec<Option<&str>> = results.iter().map(|o| Some(&**o)).collect();
        for other in self.live.values().filter(|l| l.task == id) {
            apart.push(self.orgs.get(&other.node).map(|o| &**o));
        }
        let failed: Vec<NodeId> = failed.into_iter().collect();
        let blobs = blobs(task)?;
        let tier: Tier = word(&task["tier"])?;
        let request = Request {
            task: &id,
            ns: text(&task["ns"])?,
            group: text(&task["group"])?,
            tier,
            prio: u8::try_from(number(&task["prio"])?).map_err(|e| e.to_string())?,
            level: word(&task["level"])?,
            strategy: word(&task["strategy"])?,
            resources: &resources(&task["res"])?,
            wishes: &wishes(&task["place"])?,
            blobs: &blobs,
            seed: &self.seed,
            factor: self.factor,
            apart: &apart,
            failed: &failed,
            preempted,
            reservation: None,
        };
        let plan = self.placer.plan(now, &request, first, copies.len());
        let plan = plan.map_err(|e| e.to_string())?;
        let placed = self.placer.place(now, &request, &copies);
        match (plan, placed.map_err(|e| e.to_string())?) {
            (Ok(plan), Some(placed)) => {
                same("plan", &plan, &placed)?;
                self.remember(id, &blobs, &copies, &placed);
                Ok(answer(&placed))
            }
            (Err(why), None) => Ok(json!({ "why": reasons(&why) })),
            _ => Err("plan and placement differ".into()),
        }
    }

    fn remember(
        &mut self,
        task: TaskId,
        blobs: &[(Digest, u64)],
        copies: &[NewCopy],
        placed: &Placement,
    ) {
        for fence in &placed.dropped {
            if let Some(gone) = self.live.remove(fence) {
                self.history.entry(gone.task).or_default().2 += 1;
            }
        }
        for (copy, at) in copies.iter().zip(&placed.copies) {
            let live = Live {
                task,
                node: at.node,
                blobs: blobs.iter().map(|(b, _)| *b).collect(),
            };
            self.live.insert(copy.fence, live);
        }
    }
}

fn answer(placed: &Placement) -> Value {
    let nodes = placed.copies.iter();
    let nodes: Vec<Value> = nodes
        .map(|p| json!([p.node.to_string(), p.devices]))
        .collect();
    json!({ "nodes": nodes, "drop": placed.dropped })
}

fn reasons(why: &Why) -> Vec<Value> {
    why.iter().map(|(r, n)| json!([r.as_str(), n])).collect()
}
