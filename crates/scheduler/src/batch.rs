//! Batch planning: many tasks at once, as a set of plans none of which is better than another in everything.
//!
//! A plan is a proposal. The placer decides, task by task, and keeps no promise that a plan made.
//!
//! A deadline of a batch is a bound on latency, [`BatchTask::within`]: no plan has a replica where its latency is larger. A batch
//! knows no times of day, so the deadline of a fog's task, by which it must have ended, is the coordinator's to keep.
//!
//! Beside pymoo 0.6.2 on 200 tasks and 50 nodes of the trace `openb`, population 100, 200 generations, medians of 11 seeds,
//! by `examples/compare.py` on one core of an Intel Xeon, 2026-11-29:
//!
//! | method | volume here | of pymoo | seconds of processor here | of pymoo |
//! |---|---|---|---|---|
//! | NSGA-II | 7.04e15 | 6.75e15 | 0.18 | 18.5 |
//! | NSGA-III | 7.29e15 | 6.74e15 | 0.19 | 16.7 |
//!
//! Both use the same operators and repair, which the script writes in Python. Here, three plans of the first generation are the
//! best in one objective; there, all are random.
//!
//! The crate `moors` 0.2.11 was measured on the same problem, with the same operators, repair, population and generations, on one
//! core of an AMD EPYC, 2026-11-29. Plans that break a bound do not count.
//!
//! | method | volume here | of moors | seconds of processor here | of moors |
//! |---|---|---|---|---|
//! | NSGA-II | 7.04e15 | 7.00e15 | 0.14 | 0.43 |
//! | NSGA-III | 7.29e15 | 6.96e15 | 0.16 | 0.49 |

mod front;
mod nsga;
mod reference;
mod volume;

use alloc::vec::Vec;

use betanet_fog::{Resource, Resources};

pub use front::{Front, Plan};
pub use nsga::plan;
pub use volume::hypervolume;

/// Number of objectives.
pub const OBJECTIVES: usize = 4;

/// What a plan is measured by; less is better: mean latency in ms, cost in µ an hour, spread of load, and mistrust in ppm.
pub type Objectives = [f64; OBJECTIVES];

/// A node of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BatchNode {
    /// What is free.
    pub free: Resources,
    /// What it has.
    pub capacity: Resources,
    /// Price factor, in ppm.
    pub factor: u64,
    /// Reputation, in ppm.
    pub rep: u32,
    /// Number of its organisation: replicas of a task are on different ones.
    pub org: u32,
}

/// A task of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BatchTask {
    /// Resources of one replica.
    pub resources: Resources,
    /// Number of replicas, at least one.
    pub replicas: usize,
    /// Latency on each node, in ms.
    pub latency: Vec<u32>,
    /// Largest latency that is allowed, in ms.
    pub within: u32,
}

/// How a search keeps its plans apart.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Method {
    /// By the distance to their neighbours.
    #[default]
    Nsga2,
    /// By directions that are spread evenly.
    Nsga3,
}

/// How long and how widely a search goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Effort {
    /// Plans that live at once, at least 4.
    pub population: usize,
    /// Plans that are measured in all: the bound of the search.
    pub evaluations: usize,
    /// The same seed gives the same front.
    pub seed: u64,
    /// How the search keeps its plans apart.
    pub method: Method,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            population: 100,
            evaluations: 20_000,
            seed: 1,
            method: Method::default(),
        }
    }
}

/// Replica without a node.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Random numbers of a seeded search.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (SplitMix64).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, or 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.next()) * n as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

/// Tasks and nodes, with the fixed part of every test and measure done.
pub(crate) struct Problem<'p> {
    pub(crate) nodes: &'p [BatchNode],
    /// Task of each replica.
    pub(crate) replicas: Vec<u32>,
    pub(crate) tasks: &'p [BatchTask],
    /// Nodes whose latency and free resources allow the task at all.
    pub(crate) allowed: Vec<Vec<u32>>,
    /// Price of a task on a node of factor 1, in µ an hour.
    price: Vec<f64>,
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl<'p> Problem<'p> {
    pub(crate) fn new(nodes: &'p [BatchNode], tasks: &'p [BatchTask]) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut replicas = Vec::new();
        for (i, task) in tasks.iter().enumerate() {
            replicas.extend((0..task.replicas).map(|_| number(i)));
        }
        let allows = |task: &BatchTask, at: usize, node: &BatchNode| {
            let late = task.latency.get(at).is_none_or(|ms| *ms > task.within);
            !late && task.resources.fits(&node.free)
        };
        let allowed = |task: &BatchTask| {
            let all = nodes.iter().enumerate();
            let fit = all.filter(|(at, node)| allows(task, *at, node));
            fit.map(|(at, _)| number(at)).collect()
        };
        Self {
            nodes,
            replicas,
            tasks,
            allowed: tasks.iter().map(allowed).collect(),
            price: tasks
                .iter()
                .map(|t| crate::money::hourly(&t.resources) as f64)
                .collect(),
        }
    }

    pub(crate) fn task(&self, replica: usize) -> usize {
        self.replicas.get(replica).map_or(0, |t| index(*t))
    }

    /// Makes a plan keep every bound: a replica that does not fit moves to another node, or nowhere.
    pub(crate) fn repair(&self, plan: &mut [u32], dice: &mut Dice) {
        let mut free: Vec<Resources> = self.nodes.iter().map(|n| n.free).collect();
        let first = dice.below(plan.len());
        let mut homeless = Vec::new();
        // Another replica comes first each time, so that no task is always the one that must move.
        for step in 0..plan.len() {
            let replica = (first + step) % plan.len();
            let at = plan[replica];
            let taken = self.take(plan, replica, at, step, first, &mut free);
            if !taken {
                plan[replica] = NOWHERE;
                homeless.push(replica);
            }
        }
        for replica in homeless {
            let Some(allowed) = self.allowed.get(self.task(replica)) else {
                continue;
            };
            let start = dice.below(allowed.len());
            let (front, back) = allowed.split_at(start.min(allowed.len()));
            for at in back.iter().chain(front) {
                if self.take(plan, replica, *at, plan.len(), first, &mut free) {
                    plan[replica] = *at;
                    break;
                }
            }
        }
    }

    /// Takes a replica's resources from a node where the plan's first `done` steps leave room for it.
    fn take(
        &self,
        plan: &[u32],
        replica: usize,
        at: u32,
        done: usize,
        first: usize,
        free: &mut [Resources],
    ) -> bool {
        let task = self.task(replica);
        let (Some(shape), Some(node)) = (self.tasks.get(task), self.nodes.get(index(at))) else {
            return false;
        };
        let allowed = self.allowed.get(task).map_or(&[][..], |a| a);
        if allowed.binary_search(&at).is_err() {
            return false;
        }
        // Replicas of a task stand side by side.
        let mut others = (replica.saturating_sub(shape.replicas)..replica + shape.replicas)
            .filter(|o| *o != replica && *o < plan.len() && self.task(*o) == task)
            .filter(|o| (o + plan.len() - first) % plan.len() < done);
        let same_org = |o: usize| {
            let other = plan.get(o).and_then(|n| self.nodes.get(index(*n)));
            other.is_some_and(|n| n.org == node.org)
        };
        if others.any(same_org) {
            return false;
        }
        let Some(room) = free.get_mut(index(at)) else {
            return false;
        };
        match room.checked_sub(&shape.resources) {
            Some(rest) => {
                *room = rest;
                true
            }
            None => false,
        }
    }

    /// Replicas without a node, and the objectives of the others.
    pub(crate) fn measure(&self, plan: &[u32]) -> (usize, Objectives) {
        let mut used: Vec<[u64; 2]> = alloc::vec![[0; 2]; self.nodes.len()];
        let (mut latency, mut cost, mut mistrust, mut placed) = (0.0, 0.0, 0.0, 0usize);
        for (replica, at) in plan.iter().enumerate() {
            let task = self.task(replica);
            let (Some(node), Some(shape)) = (self.nodes.get(index(*at)), self.tasks.get(task))
            else {
                continue;
            };
            placed += 1;
            latency += f64::from(shape.latency.get(index(*at)).copied().unwrap_or(0));
            cost += self.price.get(task).copied().unwrap_or(0.0) * node.factor as f64 / 1e6;
            mistrust += 1e6 - f64::from(node.rep);
            if let Some([cpu, memory]) = used.get_mut(index(*at)) {
                *cpu += shape.resources.cpu();
                *memory += shape.resources.memory();
            }
        }
        let count = placed.max(1) as f64;
        let balance = self.imbalance(&used);
        let missing = plan.len() - placed;
        (missing, [latency / count, cost, balance, mistrust / count])
    }

    /// Variance of the nodes' loads, in squared parts of their capacity.
    fn imbalance(&self, used: &[[u64; 2]]) -> f64 {
        let load = |node: &BatchNode, [cpu, memory]: [u64; 2]| {
            let part = |r: Resource, more: u64| {
                let cap = node.capacity.get(r).max(1);
                let taken = node.capacity.get(r).saturating_sub(node.free.get(r)) + more;
                taken as f64 / cap as f64
            };
            let (c, m) = (part(Resource::Cpu, cpu), part(Resource::Memory, memory));
            if c > m { c } else { m }
        };
        let (mut sum, mut squares) = (0.0, 0.0);
        for (node, used) in self.nodes.iter().zip(used) {
            let l = load(node, *used);
            sum += l;
            squares += l * l;
        }
        let n = self.nodes.len().max(1) as f64;
        let mean = sum / n;
        squares / n - mean * mean
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use betanet_fog::Amounts;
    use proptest::prelude::*;

    use super::*;

    fn amounts(cpu: u64, memory: u64) -> Resources {
        Resources::new(Amounts {
            cpu,
            memory,
            ..Amounts::default()
        })
        .unwrap()
    }

    /// A small batch: nodes that are near are dear, and trusted ones are far.
    fn batch(nodes: usize, tasks: usize, seed: u64) -> (Vec<BatchNode>, Vec<BatchTask>) {
        let mut dice = Dice::new(seed);
        let node = |i: usize, dice: &mut Dice| BatchNode {
            free: amounts(4_000 + 1_000 * dice.below(8) as u64, 16 << 30),
            capacity: amounts(16_000, 64 << 30),
            factor: 500_000 + 50_000 * (i % 10) as u64,
            rep: u32::try_from(dice.below(1_000_000)).unwrap(),
            org: u32::try_from(i % 7).unwrap(),
        };
        let all: Vec<BatchNode> = (0..nodes).map(|i| node(i, &mut dice)).collect();
        let task = |i: usize, dice: &mut Dice| BatchTask {
            resources: amounts(250 + 250 * dice.below(6) as u64, 1 << 30),
            replicas: 1 + usize::from(i.is_multiple_of(5)) * 2,
            latency: (0..nodes)
                .map(|n| u32::try_from(200 - 15 * (n % 10) + dice.below(30)).unwrap())
                .collect(),
            within: 210,
        };
        let tasks = (0..tasks).map(|i| task(i, &mut dice)).collect();
        (all, tasks)
    }

    /// Panics unless the plans keep every bound and none beats another.
    fn check(nodes: &[BatchNode], tasks: &[BatchTask], front: &Front) {
        for p in front.plans() {
            let mut free: Vec<Resources> = nodes.iter().map(|n| n.free).collect();
            for (task, places) in tasks.iter().zip(p.places()) {
                assert_eq!(places.len(), task.replicas);
                let mut orgs = BTreeSet::new();
                for at in places.iter().flatten() {
                    free[*at] = free[*at].checked_sub(&task.resources).unwrap();
                    assert!(task.latency[*at] <= task.within);
                    assert!(
                        orgs.insert(nodes[*at].org),
                        "two replicas with one organisation"
                    );
                }
            }
            for q in front.plans() {
                let mut both = q.objectives().iter().zip(p.objectives());
                let better = both.all(|(a, b)| *a <= *b);
                assert!(!better || q.objectives() == p.objectives());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn every_plan_of_a_front_keeps_the_bounds_and_none_beats_another(
            sizes in (1..24usize, 1..50usize),
            (shape, seed, within) in (any::<u64>(), any::<u64>(), 40..260u32),
            (population, rounds, third) in (0..40usize, 0..12usize, any::<bool>()),
        ) {
            let (nodes, mut tasks) = batch(sizes.0, sizes.1, shape);
            tasks.iter_mut().step_by(3).for_each(|t| t.within = within);
            let effort = Effort {
                population,
                evaluations: population * rounds,
                seed,
                method: if third { Method::Nsga3 } else { Method::Nsga2 },
            };
            let front = plan(&nodes, &tasks, &effort);
            assert!(!front.plans().is_empty());
            check(&nodes, &tasks, &front);
            assert_eq!(front, plan(&nodes, &tasks, &effort), "the seed decides");
        }
    }

    #[test]
    fn both_methods_find_many_plans_and_weights_choose_among_them() {
        let (nodes, tasks) = batch(20, 40, 3);
        for method in [Method::Nsga2, Method::Nsga3] {
            let effort = Effort {
                population: 40,
                evaluations: 4_000,
                seed: 5,
                method,
            };
            let front = plan(&nodes, &tasks, &effort);
            assert!(front.plans().len() > 5, "{}", front.plans().len());
            check(&nodes, &tasks, &front);
            let fast = front.choose(&[1.0, 0.0, 0.0, 0.0]).unwrap().objectives()[0];
            let cheap = front.choose(&[0.0, 1.0, 0.0, 0.0]).unwrap().objectives()[0];
            assert!(fast < cheap, "{fast} {cheap}");
        }
    }

    #[test]
    fn a_longer_search_covers_more_and_beats_a_random_one() {
        let (nodes, tasks) = batch(20, 40, 9);
        let reference = [250.0, 1e7, 0.5, 1e6];
        let volume = |evaluations, method| {
            let effort = Effort {
                population: 40,
                evaluations,
                seed: 2,
                method,
            };
            let front = plan(&nodes, &tasks, &effort);
            let points: Vec<Objectives> = front.plans().iter().map(|p| *p.objectives()).collect();
            hypervolume(&points, &reference)
        };
        for method in [Method::Nsga2, Method::Nsga3] {
            // The first generation is random.
            let volumes = [40, 2_000, 8_000].map(|n| volume(n, method));
            assert!(volumes[0] > 0.0 && volumes.is_sorted(), "{volumes:?}");
        }
    }

    #[test]
    fn what_fits_nowhere_is_left_out() {
        let (nodes, mut tasks) = batch(4, 3, 1);
        tasks[1].within = 0;
        let front = plan(
            &nodes,
            &tasks,
            &Effort {
                population: 8,
                evaluations: 80,
                ..Effort::default()
            },
        );
        assert!(!front.plans().is_empty());
        for p in front.plans() {
            let places = p.places();
            assert!(places[1].iter().all(Option::is_none));
            assert!(places[2].iter().all(Option::is_some));
        }
        assert!(plan(&[], &tasks, &Effort::default()).plans()[0].places()[0][0].is_none());
    }
}
