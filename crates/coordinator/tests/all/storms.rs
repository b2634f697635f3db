//! Seeds of simulated fleets in bad weather. `cargo xtask sim scenarios/fog/*.toml --seeds N` runs many.

use std::panic::{AssertUnwindSafe, catch_unwind};

use betanet_coordinator::placer::Placer;
use betanet_fog::Reason;

use crate::world::{Outcome, Scenario, Storm};

/// Runs seeds and adds up what was counted.
fn storms<P: Placer + Default>(scenario: &Scenario, seeds: u64) -> Outcome {
    let mut sum = Outcome::default();
    for seed in 0..seeds {
        let run = AssertUnwindSafe(|| Storm::<P>::new(seed, scenario).run());
        sum.add(&catch_unwind(run).unwrap_or_else(|_| panic!("seed {seed}")));
    }
    println!("{seeds} seeds: {sum:?}");
    sum
}

#[test]
fn nothing_is_lost_and_nothing_counts_twice_in_rough_weather() {
    let sum = storms::<betanet_scheduler::Placer>(&Scenario::default(), 12);
    assert!(sum.lost > 0 && sum.lies > 0 && sum.elections > 0 && sum.unheard > 0);
    assert!(sum.restored > 0 && sum.ended[&Reason::Ok] > sum.accepted / 3);
}

#[test]
fn a_placer_that_goes_over_all_nodes_weathers_it_too() {
    let scenario = Scenario {
        strategies: Vec::new(),
        ..Scenario::default()
    };
    let sum = storms::<crate::naive::Naive>(&scenario, 4);
    assert!(sum.lost > 0 && sum.ended[&Reason::Ok] > 0);
}

#[test]
fn lots_are_bought_and_paid_back_in_rough_weather() {
    let scenario = Scenario {
        tasks: 60,
        steps: 300,
        step_ms: 10_000,
        orders: 700,
        skew_ms: 3_600_000,
        compare: 8,
        ..Scenario::default()
    };
    let sum = storms::<betanet_scheduler::Placer>(&scenario, 4);
    assert!(sum.rents > 0 && sum.voided > 0, "{sum:?}");
    let scenario = Scenario {
        strategies: Vec::new(),
        ..scenario
    };
    storms::<crate::naive::Naive>(&scenario, 2);
}
