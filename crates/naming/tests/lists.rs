//! The places in the log at which other maintainers are in force.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_naming::testkit::{Network, T0, identity, owner};
use betanet_naming::{Effect, Ledger, MAINTAINERS};
use betanet_wire::cbor::Value;

#[test]
fn records_of_maintainers_are_listed_once_they_are_final() {
    let network = Network::new(3, 5);
    let new: Vec<[u8; 32]> = (601..=605)
        .map(|n| *identity(n).public().as_bytes())
        .collect();
    let new: Vec<Value<'_>> = new.iter().map(|k| Value::Bytes(k)).collect();
    let body = |list: [u8; 32]| {
        let map = Value::Map(vec![
            (Value::Text("key"), Value::Bytes(b"m")),
            (Value::Text("new"), Value::Array(new.clone())),
            (Value::Text("seq"), Value::Unsigned(1)),
            (Value::Text("list"), Value::Bytes(&list)),
            (Value::Text("type"), Value::Text(MAINTAINERS)),
        ]);
        map.to_vec().unwrap()
    };
    let record = network.envelope(body, 5);
    let mut ledger = network.ledger();
    ledger
        .apply(T0, network.bound("a", &owner(1), 1, T0))
        .unwrap();
    assert_eq!(
        ledger.apply(T0, record.clone()),
        Ok((1, Effect::Maintainers))
    );
    assert_eq!(ledger.lists().count(), 0);
    ledger.drop_waiting();
    assert_eq!(ledger.maintainers(), network.genesis().maintainers);
    ledger
        .apply(T0, network.bound("a", &owner(1), 1, T0))
        .unwrap();
    ledger.apply(T0, record).unwrap();
    let head = network.head(&ledger, T0, &[0, 1]);
    ledger.accept(head).unwrap();
    assert_eq!(ledger.lists().collect::<Vec<_>>(), [1]);
    let restored = Ledger::from_snapshot(&network.genesis(), &ledger.snapshot().unwrap()).unwrap();
    assert_eq!(restored.lists().collect::<Vec<_>>(), [1]);
    assert_eq!(restored.maintainers(), ledger.maintainers());
}
