//! The commands of the world reach what the laws are checked over.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use std::collections::BTreeMap;

use betanet_tokenomics::testkit::{Dice, World};
use betanet_tokenomics::{Code, request};

#[test]
fn the_world_has_every_operation_accepted_but_those_of_relays() {
    let mut accepted: BTreeMap<&str, u64> = BTreeMap::new();
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..40_u64 {
        let mut world = World::new().unwrap();
        let mut bytes = Vec::new();
        for part in 0..256_u64 {
            let text = [seed.to_be_bytes(), part.to_be_bytes()].concat();
            bytes.extend_from_slice(&betanet_keys::hash(&[&text]));
        }
        let mut dice = Dice::new(&bytes);
        while !dice.is_empty() {
            let command = world.command(&mut dice);
            let (name, answer) = match &command {
                None => ("tick", world.economy.tick(world.now)),
                Some(request) => {
                    let answer = world.economy.apply_unsigned(world.now, request);
                    (request.op.name(), answer)
                }
            };
            let code = answer.unwrap().code;
            match code {
                Code::Ok => *accepted.entry(name).or_default() += 1,
                code => *refused.entry(code.name()).or_default() += 1,
            }
        }
        assert_eq!(world.economy.audit(), Ok(()));
    }
    let never: Vec<&str> = request::OPS
        .iter()
        .map(|op| op.name)
        .filter(|name| accepted.get(name).copied().unwrap_or(0) < 3)
        .collect();
    // The world has no counters of relays. Its accounts are seldom empty.
    assert!(
        never.iter().all(|name| ["meter", "close"].contains(name)),
        "{never:?}: {accepted:?}"
    );
    // Codes of the frame, which this way of sending leaves out, are few.
    assert!(refused.len() >= 18, "{refused:?}");
}
