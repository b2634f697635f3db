//! The tasks of a real GPU cluster.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

#[path = "../../../xtask/src/fog/openb.rs"]
mod openb;

use betanet_fog::Strategy;

#[test]
fn every_task_is_placed_or_refused_and_affinity_packs_as_a_best_fit_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/openb.txt");
    let trace = openb::read(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!((trace.nodes.len(), trace.tasks.len()), (1_523, 8_152));
    let baseline = openb::best_fit(&trace).unwrap();
    let affinity = openb::place(&trace, Strategy::Affinity).unwrap();
    let refused: usize = affinity.refused.values().sum();
    assert_eq!(affinity.placed + refused, trace.tasks.len());
    assert!(
        affinity.gpu * 100 >= baseline.gpu * 95,
        "{} against {}",
        affinity.gpu,
        baseline.gpu
    );
    let table = openb::table(&trace).unwrap();
    println!("{table}");
    assert_eq!(table.lines().count(), 8);
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(readme.contains(table.trim()), "README.md has another table");
}
