//! Compares the mix's measured anonymity with the prediction.

use std::time::Duration;

use betanet_sim::anonymity::{Setting, measure, n_minus_one, predicted};

const BUSY: Setting = Setting {
    seed: 1,
    relays: 100,
    layers: 3,
    clients: 1000,
    rate: 10.0,
    corrupt_percent: 0,
    followed: 40,
};

#[test]
fn entropy_is_what_rate_and_delay_predict() {
    let m = measure(&BUSY);
    assert!((m.one - m.one_predicted).abs() < 0.3, "{m:?}");
    assert!((m.path - m.path_predicted).abs() < 0.3, "{m:?}");
    assert!(m.certain < 1e-9, "{m:?}");
    // Twice the rate is one bit more; an exponential of 50 ms has the entropy of e × 50 ms.
    assert!((predicted(200.0, 1) - predicted(100.0, 1) - 1.0).abs() < 1e-9);
    let exponential = (std::f64::consts::E * 0.05 * 100.0).log2();
    assert!(
        (predicted(100.0, 1) - exponential).abs() < 0.4,
        "but for the cut"
    );
}

#[test]
fn corrupt_relays_take_from_it_and_all_corrupt_take_all() {
    let with = |corrupt_percent| {
        measure(&Setting {
            corrupt_percent,
            ..BUSY
        })
    };
    let (none, some, all) = (with(0), with(30), with(100));
    assert!(
        some.path < none.path - 0.2 && some.path > 1.0,
        "{none:?} {some:?}"
    );
    assert!(all.path < 1e-9 && all.certain > 0.999, "{all:?}");
}

#[test]
fn an_n_minus_one_attack_is_missed_by_no_one_for_long() {
    let patience = Duration::from_secs(10);
    let every = Duration::from_secs(1);
    let attack = n_minus_one(&BUSY, 1, every, Duration::from_secs(5), patience);
    assert!(attack.lost * 50 > attack.loops, "{attack:?}");
    assert!(
        attack.first.is_some_and(|f| f < patience + every),
        "{attack:?}"
    );
    assert!(attack.alarmed > 50, "{attack:?}");
}
