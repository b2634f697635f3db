//! The search: NSGA-II (Deb et al., 2002), fronts by domination, then the less crowded; or NSGA-III.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::front::{Front, Plan};
use super::reference::{directions, survivors};
use super::{BatchNode, BatchTask, Dice, Effort, Method, NOWHERE, OBJECTIVES, Objectives, Problem};

/// A plan in the search.
#[derive(Clone)]
pub(super) struct Member {
    genes: Vec<u32>,
    missing: usize,
    pub(super) objectives: Objectives,
    /// Number of its front, from 0.
    pub(super) front: usize,
    /// How far its neighbours on the front are: more is better.
    space: f64,
}

impl Member {
    fn new(problem: &Problem<'_>, mut genes: Vec<u32>, dice: &mut Dice) -> Self {
        problem.repair(&mut genes, dice);
        let (missing, objectives) = problem.measure(&genes);
        Self {
            genes,
            missing,
            objectives,
            front: 0,
            space: 0.0,
        }
    }

    /// Whether it is at least as good in everything, and better in something. Fewer missing replicas come before all else.
    fn dominates(&self, other: &Self) -> bool {
        match self.missing.cmp(&other.missing) {
            Ordering::Less => return true,
            Ordering::Greater => return false,
            Ordering::Equal => {}
        }
        let mut better = false;
        for (a, b) in self.objectives.iter().zip(&other.objectives) {
            if a > b {
                return false;
            }
            better |= a < b;
        }
        better
    }

    /// Lower fronts first, then more space.
    fn order(&self, other: &Self) -> Ordering {
        let space = || other.space.total_cmp(&self.space);
        self.front.cmp(&other.front).then_with(space)
    }
}

/// Plans a batch: the plans of the best front that the search found. The number of measured plans is bounded.
#[must_use]
pub fn plan(nodes: &[BatchNode], tasks: &[BatchTask], effort: &Effort) -> Front {
    let problem = Problem::new(nodes, tasks);
    let mut dice = Dice::new(effort.seed);
    let size = effort.population.max(4);
    let mut members: Vec<Member> = (0..size)
        .map(|i| {
            let genes = first(&problem, i, &mut dice);
            Member::new(&problem, genes, &mut dice)
        })
        .collect();
    rank(&mut members);
    let directions = match effort.method {
        Method::Nsga2 => Vec::new(),
        Method::Nsga3 => directions(size),
    };
    let mut left = effort.evaluations.saturating_sub(size);
    while left > 0 {
        let count = left.min(size);
        left -= count;
        let children: Vec<Member> = (0..count)
            .map(|_| {
                let (a, b) = (parent(&members, &mut dice), parent(&members, &mut dice));
                let genes = cross(&problem, a, b, &mut dice);
                Member::new(&problem, genes, &mut dice)
            })
            .collect();
        members.extend(children);
        rank(&mut members);
        match effort.method {
            Method::Nsga2 => {
                members.sort_by(Member::order);
                members.truncate(size);
            }
            Method::Nsga3 => {
                members = survivors(members, size, &directions, &mut dice);
                // Parents differ by their fronts alone.
                members.iter_mut().for_each(|m| m.space = 0.0);
            }
        }
    }
    let mut plans: Vec<Plan> = Vec::new();
    for m in members.iter().filter(|m| m.front == 0) {
        if plans.iter().all(|p| p.objectives != m.objectives) {
            plans.push(Plan::new(
                &m.genes,
                &problem.replicas,
                tasks.len(),
                m.objectives,
            ));
        }
    }
    Front { plans }
}

/// A plan of the first generation: each of the first ones is best in one objective for each replica alone; others are random.
fn first(problem: &Problem<'_>, number: usize, dice: &mut Dice) -> Vec<u32> {
    let best = |task: usize, allowed: &[u32]| {
        let of = |at: u32| {
            let node = usize::try_from(at).ok();
            let spec = node.and_then(|n| problem.nodes.get(n));
            let latency = node.and_then(|n| problem.tasks.get(task)?.latency.get(n));
            match number {
                0 => latency.copied().map_or(u64::MAX, u64::from),
                1 => spec.map_or(u64::MAX, |n| n.factor),
                _ => spec.map_or(u64::MAX, |n| 1_000_000 - u64::from(n.rep.min(1_000_000))),
            }
        };
        allowed.iter().copied().min_by_key(|at| of(*at))
    };
    (0..problem.replicas.len())
        .map(|replica| {
            let task = problem.task(replica);
            let allowed = problem.allowed.get(task).map_or(&[][..], |a| a);
            let chosen = if number < 3 {
                best(task, allowed)
            } else {
                allowed.get(dice.below(allowed.len())).copied()
            };
            chosen.unwrap_or(NOWHERE)
        })
        .collect()
}

/// The better of two random members.
fn parent<'m>(members: &'m [Member], dice: &mut Dice) -> &'m [u32] {
    let (a, b) = (dice.below(members.len()), dice.below(members.len()));
    let better = match (members.get(a), members.get(b)) {
        (Some(a), Some(b)) if a.order(b) != Ordering::Greater => Some(a),
        (_, b) => b,
    };
    better.map_or(&[], |m| &m.genes)
}

/// A child: each gene of one parent or the other, and about one gene new.
fn cross(problem: &Problem<'_>, a: &[u32], b: &[u32], dice: &mut Dice) -> Vec<u32> {
    let mut bits = 0;
    let mut genes: Vec<u32> = Vec::with_capacity(a.len());
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        if i % 64 == 0 {
            bits = dice.next();
        }
        genes.push(if bits & 1 == 0 { *x } else { *y });
        bits >>= 1;
    }
    for _ in 0..=dice.below(2) {
        let at = dice.below(genes.len());
        let allowed = problem.allowed.get(problem.task(at)).map_or(&[][..], |a| a);
        let new = allowed.get(dice.below(allowed.len())).copied();
        if let (Some(gene), Some(new)) = (genes.get_mut(at), new) {
            *gene = new;
        }
    }
    genes
}

/// Gives each member its front and its space.
fn rank(members: &mut [Member]) {
    let n = members.len();
    let mut beats: Vec<Vec<usize>> = alloc::vec![Vec::new(); n];
    let mut beaten = alloc::vec![0usize; n];
    for i in 0..n {
        for j in i + 1..n {
            if members[i].dominates(&members[j]) {
                beats[i].push(j);
                beaten[j] += 1;
            } else if members[j].dominates(&members[i]) {
                beats[j].push(i);
                beaten[i] += 1;
            }
        }
    }
    let mut front: Vec<usize> = (0..n).filter(|i| beaten[*i] == 0).collect();
    let mut number = 0;
    while !front.is_empty() {
        spread(members, &front, number);
        let mut next = Vec::new();
        for i in &front {
            for j in &beats[*i] {
                beaten[*j] -= 1;
                if beaten[*j] == 0 {
                    next.push(*j);
                }
            }
        }
        front = next;
        number += 1;
    }
}

/// Sets the front of its members, and the distance of each to its neighbours.
fn spread(members: &mut [Member], front: &[usize], number: usize) {
    for i in front {
        members[*i].front = number;
        members[*i].space = 0.0;
    }
    let mut sorted = front.to_vec();
    for k in 0..OBJECTIVES {
        sorted.sort_by(|a, b| members[*a].objectives[k].total_cmp(&members[*b].objectives[k]));
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
            return;
        };
        let range = members[*last].objectives[k] - members[*first].objectives[k];
        members[*first].space = f64::INFINITY;
        members[*last].space = f64::INFINITY;
        if range <= 0.0 {
            continue;
        }
        for three in sorted.windows(3) {
            if let [before, at, after] = three {
                let gap = members[*after].objectives[k] - members[*before].objectives[k];
                members[*at].space += gap / range;
            }
        }
    }
}
