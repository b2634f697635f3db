use alloc::vec::Vec;

use super::{NOWHERE, OBJECTIVES, Objectives};

/// A plan: where the replicas of each task go, and what it is measured by.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(super) places: Vec<Vec<Option<usize>>>,
    pub(super) objectives: Objectives,
}

impl Plan {
    /// Node of each replica, by task; `None` where no node has room.
    #[must_use]
    pub fn places(&self) -> &[Vec<Option<usize>>] {
        &self.places
    }

    /// What the plan is measured by.
    #[must_use]
    pub const fn objectives(&self) -> &Objectives {
        &self.objectives
    }

    pub(super) fn new(genes: &[u32], tasks: &[u32], count: usize, objectives: Objectives) -> Self {
        let mut places = alloc::vec![Vec::new(); count];
        for (at, task) in genes.iter().zip(tasks) {
            let node = (*at != NOWHERE).then_some(*at);
            let node = node.and_then(|n| usize::try_from(n).ok());
            let task = usize::try_from(*task).ok().and_then(|t| places.get_mut(t));
            if let Some(of_task) = task {
                of_task.push(node);
            }
        }
        Self { places, objectives }
    }
}

/// Plans none of which is better than another in everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Front {
    pub(super) plans: Vec<Plan>,
}

impl Front {
    /// The plans.
    #[must_use]
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// The plan with the least weighted sum, each objective as a part of its range over the front.
    #[must_use]
    pub fn choose(&self, weights: &Objectives) -> Option<&Plan> {
        let mut low = [f64::INFINITY; OBJECTIVES];
        let mut high = [f64::NEG_INFINITY; OBJECTIVES];
        for plan in &self.plans {
            for ((l, h), x) in low.iter_mut().zip(&mut high).zip(&plan.objectives) {
                *l = l.min(*x);
                *h = h.max(*x);
            }
        }
        let sum = |plan: &Plan| -> f64 {
            let ranges = low.iter().zip(&high);
            let parts = plan.objectives.iter().zip(ranges).zip(weights);
            parts
                .map(|((x, (l, h)), w)| if h > l { w * (x - l) / (h - l) } else { 0.0 })
                .sum()
        };
        self.plans.iter().min_by(|a, b| sum(a).total_cmp(&sum(b)))
    }
}
