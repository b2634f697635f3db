//! A real GPU cluster's tasks, placed by each strategy and by a plain best fit.

use std::collections::BTreeMap;

use betanet_fog::{Amounts, Kind, Level, Placement, Resource, Resources, Strategy, TaskId, Tier};
use betanet_scheduler::{NewCopy, NodeSpec, Placer, Request};
use betanet_wire::NodeId;

/// Nodes and tasks of the trace.
pub(crate) struct Trace {
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) tasks: Vec<Resources>,
}

/// What became of the tasks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) placed: usize,
    /// Refused tasks, by the reason that most nodes gave.
    pub(crate) refused: BTreeMap<&'static str, usize>,
    /// Thousandths of devices that were placed.
    pub(crate) gpu: u64,
    /// Millicores that were placed.
    pub(crate) cpu: u64,
    /// Free thousandths of devices that the trace's tasks cannot use, on average over the tasks.
    pub(crate) unusable: u64,
    /// Free thousandths of devices.
    pub(crate) free: u64,
}

/// Whole devices, and a share of one.
fn split(r: &Resources) -> (u64, u64) {
    (r.gpu() / 1_000, r.gpu() % 1_000)
}

fn amounts(cpu: u64, memory: u64, gpu: u64) -> Result<Resources, String> {
    Resources::new(Amounts {
        cpu,
        memory: memory << 20,
        gpu,
        ..Amounts::default()
    })
    .map_err(|e| format!("{e:?}"))
}

/// Reads the trace.
pub(crate) fn read(text: &str) -> Result<Trace, String> {
    let (mut nodes, mut shapes, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let bad = || format!("line {}: {line}", at + 1);
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let n = |i: usize| -> Result<u64, String> {
            rest.get(i).and_then(|w| w.parse().ok()).ok_or_else(bad)
        };
        match kind {
            "node" => {
                for _ in 0..n(0)? {
                    let capacity = amounts(n(1)?, n(2)?, n(3)? * 1_000)?;
                    let model = rest.get(4).filter(|m| **m != "-").copied().unwrap_or("");
                    nodes.push(node(nodes.len(), capacity, &model.to_lowercase())?);
                }
            }
            "task" => shapes.push(amounts(n(0)?, n(1)?, n(2)? * n(3)?)?),
            "order" => {
                for word in rest {
                    let (shape, times) = word.split_once('x').unwrap_or((word, "1"));
                    let shape: usize = shape.parse().map_err(|_| bad())?;
                    let times: usize = times.parse().map_err(|_| bad())?;
                    let shape: &Resources = shapes.get(shape).ok_or_else(bad)?;
                    tasks.extend(std::iter::repeat_n(*shape, times));
                }
            }
            "#" => {}
            _ => return Err(bad()),
        }
    }
    Ok(Trace { nodes, tasks })
}

fn node(number: usize, capacity: Resources, model: &str) -> Result<NodeSpec, String> {
    let hash = betanet_keys::hash(&[b"openb", &number.to_be_bytes()]);
    let mut id = [0; 20];
    id.copy_from_slice(&hash[..20]);
    let word = |text: &str| text.parse().map_err(|_| format!("{text} is no word"));
    Ok(NodeSpec {
        id: NodeId(id),
        capacity,
        kind: Kind::Compute,
        model: word(model)?,
        org: word("openb")?,
        vouched: true,
        region: word("")?,
        zone: word("")?,
        labels: BTreeMap::new(),
        level: Level::Public,
        price: 1,
    })
}

/// Places all tasks in order by one strategy; none ends.
pub(crate) fn place(trace: &Trace, strategy: Strategy) -> Result<Outcome, String> {
    let mut placer = Placer::new();
    for spec in &trace.nodes {
        placer.put(spec);
        let set = placer.set_active(&spec.id, true, true);
        set.map_err(|e| e.to_string())?;
    }
    let mut out = Outcome::default();
    let mut devices = Devices::new(&trace.nodes);
    for (fence, resources) in (0u64..).zip(&trace.tasks) {
        let task = TaskId(betanet_keys::hash(&[b"task", &fence.to_be_bytes()]));
        let request = Request {
            task: &task,
            ns: "openb",
            group: "",
            tier: Tier::Bronze,
            prio: 0,
            level: Level::Public,
            strategy,
            resources,
            wishes: &Placement::default(),
            blobs: &[],
            seed: &[1; 32],
            factor: 1_000_000,
            apart: &[],
            failed: &[],
            preempted: 0,
            reservation: None,
        };
        let copy = NewCopy { number: 0, fence };
        let placed = placer
            .place(0, &request, &[copy])
            .map_err(|e| e.to_string())?;
        match placed.and_then(|p| p.copies.into_iter().next()) {
            Some(at) => {
                devices.take(&at.node, &at.devices, resources)?;
                out.count(resources);
            }
            None => {
                let why = placer.plan(0, &request, 0, 1).map_err(|e| e.to_string())?;
                let why = why.err().ok_or("refused, and yet it fits")?;
                let all: u64 = why.iter().map(|(_, n)| n).sum();
                if usize::try_from(all) != Ok(trace.nodes.len()) {
                    return Err(format!("{all} nodes gave a reason"));
                }
                let (reason, _) = why.first().ok_or("no reason")?;
                *out.refused.entry(reason.as_str()).or_default() += 1;
            }
        }
    }
    devices.measure(trace, &mut out);
    Ok(out)
}

/// Places all tasks on the node that is left with the least, each resource as a part of the largest node's.
pub(crate) fn best_fit(trace: &Trace) -> Result<Outcome, String> {
    const KINDS: [Resource; 3] = [Resource::Cpu, Resource::Memory, Resource::Gpu];
    let largest = KINDS.map(|r| {
        let all = trace.nodes.iter().map(|n| n.capacity.get(r));
        all.max().unwrap_or(1).max(1)
    });
    let mut out = Outcome::default();
    let mut devices = Devices::new(&trace.nodes);
    for want in &trace.tasks {
        let left = |free: &[u64; 3]| -> u64 {
            let part = |i: usize| (free[i] - want.get(KINDS[i])) * 1_000_000 / largest[i];
            (0..3).map(part).sum()
        };
        let fits = devices.0.iter().filter(|(_, d)| d.fits(want));
        let best = fits.min_by_key(|(id, d)| (left(&d.free), **id));
        match best.map(|(id, d)| (*id, d.pick(want))) {
            Some((id, picked)) => {
                devices.take(&id, &picked, want)?;
                out.count(want);
            }
            None => *out.refused.entry("no fit").or_default() += 1,
        }
    }
    devices.measure(trace, &mut out);
    Ok(out)
}

impl Outcome {
    fn count(&mut self, resources: &Resources) {
        self.placed += 1;
        self.gpu += resources.get(Resource::Gpu);
        self.cpu += resources.get(Resource::Cpu);
    }
}

/// A second book of what is free, which fails where the placer promises too much.
struct Devices(BTreeMap<NodeId, Free>);

struct Free {
    /// CPU, memory, devices.
    free: [u64; 3],
    devices: Vec<u64>,
}

impl Free {
    fn fits(&self, want: &Resources) -> bool {
        let (whole, share) = split(want);
        let [cpu, memory, _] = self.free;
        want.get(Resource::Cpu) <= cpu
            && want.get(Resource::Memory) <= memory
            && (share == 0 || self.devices.iter().any(|d| *d >= share))
            && self.devices.iter().filter(|d| **d == 1_000).count() as u64 >= whole
    }

    /// The fullest device that holds a share, or the first free ones.
    fn pick(&self, want: &Resources) -> Vec<u8> {
        let (whole, share) = split(want);
        let mut at: Vec<(u64, u8)> = self.devices.iter().copied().zip(0..).collect();
        let count = if share > 0 {
            at.retain(|(d, _)| *d >= share);
            at.sort_unstable();
            1
        } else {
            at.retain(|(d, _)| *d == 1_000);
            usize::try_from(whole).unwrap_or(0)
        };
        at.into_iter().take(count).map(|(_, i)| i).collect()
    }
}

impl Devices {
    fn new(nodes: &[NodeSpec]) -> Self {
        let free = |n: &NodeSpec| Free {
            free: [Resource::Cpu, Resource::Memory, Resource::Gpu].map(|r| n.capacity.get(r)),
            devices: (0..split(&n.capacity).0).map(|_| 1_000).collect(),
        };
        Self(nodes.iter().map(|n| (n.id, free(n))).collect())
    }

    fn take(&mut self, id: &NodeId, devices: &[u8], want: &Resources) -> Result<(), String> {
        let node = self.0.get_mut(id).ok_or("unknown node")?;
        let over = || format!("{id} holds more than it has");
        for (free, r) in node
            .free
            .iter_mut()
            .zip([Resource::Cpu, Resource::Memory, Resource::Gpu])
        {
            *free = free.checked_sub(want.get(r)).ok_or_else(over)?;
        }
        let (whole, share) = split(want);
        let count = if share > 0 { 1 } else { whole };
        if devices.len() as u64 != count {
            return Err(format!("{id} gave {} devices", devices.len()));
        }
        for d in devices {
            let free = node.devices.get_mut(usize::from(*d)).ok_or_else(over)?;
            let part = if share > 0 { share } else { 1_000 };
            *free = free.checked_sub(part).ok_or_else(over)?;
        }
        Ok(())
    }

    /// How much of what is free an average task of the trace cannot use.
    fn measure(&self, trace: &Trace, out: &mut Outcome) {
        let mut shapes: BTreeMap<[u64; 3], (Resources, u128)> = BTreeMap::new();
        for t in trace.tasks.iter().filter(|t| t.get(Resource::Gpu) > 0) {
            let key = [Resource::Cpu, Resource::Memory, Resource::Gpu].map(|r| t.get(r));
            shapes.entry(key).or_insert((*t, 0)).1 += 1;
        }
        let (mut sum, mut weight) = (0, 0);
        for (want, times) in shapes.values() {
            let (_, share) = split(want);
            let part = if share > 0 { share } else { 1_000 };
            weight += times;
            for node in self.0.values() {
                let small = |d: &&u64| **d < part;
                let unusable: u64 = if node.fits(want) {
                    node.devices.iter().filter(small).sum()
                } else {
                    node.devices.iter().sum()
                };
                sum += u128::from(unusable) * times;
            }
        }
        out.unusable = u64::try_from(sum / weight.max(1)).unwrap_or(u64::MAX);
        out.free = self.0.values().flat_map(|n| &n.devices).sum();
    }
}

/// The table of all strategies and the plain best fit.
pub(crate) fn table(trace: &Trace) -> Result<String, String> {
    let demand: u64 = trace.tasks.iter().map(|t| t.get(Resource::Gpu)).sum();
    let mut out = String::from(
        "| rule | placed | refused | gpu demand placed | free gpu that an average task cannot use |\n|---|---|---|---|---|\n",
    );
    let percent = |part: u64, whole: u64| {
        let tenths = (part * 1_000).checked_div(whole).unwrap_or(0);
        format!("{}.{} %", tenths / 10, tenths % 10)
    };
    let mut row = |name: &str, o: &Outcome| {
        let refused: Vec<String> = o.refused.iter().map(|(r, n)| format!("{n} {r}")).collect();
        out.push_str(&format!(
            "| {name} | {} | {} | {} | {} |\n",
            o.placed,
            refused.join(", "),
            percent(o.gpu, demand),
            percent(o.unusable, o.free),
        ));
    };
    for strategy in Strategy::ALL {
        row(strategy.as_str(), &place(trace, *strategy)?);
    }
    row("best fit, for comparison", &best_fit(trace)?);
    Ok(out)
}
