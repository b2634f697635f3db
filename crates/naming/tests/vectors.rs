//! The known answers of `spec-vectors/naming.json` and `registry.json`.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_keys::{Envelope, Maintainers, PublicKey};
use betanet_log::Signers;
use betanet_naming::{Alias, Entry, Finalized, RotateMaintainers};
use betanet_wire::text::{hex, unhex, unhex_array};
use serde_json::Value;

fn file(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec-vectors/");
    let text = std::fs::read_to_string(format!("{folder}{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn bytes(v: &Value) -> Vec<u8> {
    unhex(v.as_str().unwrap()).unwrap()
}

fn keys(v: &Value) -> Vec<PublicKey> {
    let key =
        |v: &Value| PublicKey::from_bytes(&unhex_array(v.as_str().unwrap()).unwrap()).unwrap();
    v.as_array().unwrap().iter().map(key).collect()
}

#[test]
fn alias_records_are_final_under_their_signers_and_change_with_no_bit() {
    let file = file("naming");
    let cases = file["cases"]["alias"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let encoded = bytes(&case["finalized"]);
        let finalized = Finalized::from_bytes(&encoded).unwrap();
        assert_eq!(hex(&finalized.to_bytes()), case["finalized"]);
        assert_eq!(hex(finalized.signed_bytes()), case["record"]);
        let record = finalized.record();
        let name = Alias::parse(case["alias"].as_str().unwrap()).unwrap();
        assert_eq!(record.alias, name);
        assert_eq!(Some(record.seq), case["seq"].as_u64());
        assert_eq!(Some(record.ts), case["ts"].as_u64());
        let [key] = keys(&Value::Array(vec![case["key"].clone()]))[..] else {
            panic!("one key");
        };
        assert_eq!(record.node, key.node_id());
        let signers = Signers::new(&keys(&case["signers"])).unwrap();
        assert_eq!(finalized.check(&signers), Ok(()));
        assert!(matches!(Entry::from_bytes(&encoded), Ok(Entry::Alias(_))));
        for at in 0..encoded.len() {
            let mut bent = encoded.clone();
            bent[at] ^= 1;
            let checked = Finalized::from_bytes(&bent).map(|f| f.check(&signers));
            assert!(!matches!(checked, Ok(Ok(()))), "byte {at}");
        }
    }
}

#[test]
fn a_rotation_has_the_known_hash_and_signers() {
    let file = file("naming");
    let case = &file["cases"]["rotation"][0];
    let rotation = RotateMaintainers::from_bytes(&bytes(&case["map"])).unwrap();
    assert_eq!(hex(&rotation.to_bytes()), case["map"]);
    assert_eq!(hex(&rotation.hash()), case["hash"]);
    let value: betanet_wire::cbor::Value<'_> =
        betanet_wire::cbor::from_slice(Box::leak(bytes(&case["map"]).into_boxed_slice())).unwrap();
    let betanet_wire::cbor::Value::Map(entries) = value else {
        panic!("a map");
    };
    let prev = entries
        .iter()
        .find(|(k, _)| *k == betanet_wire::cbor::Value::Text("prev"));
    let Some((_, betanet_wire::cbor::Value::Array(prev))) = prev else {
        panic!("prev");
    };
    let key = |v: &betanet_wire::cbor::Value<'_>| match v {
        betanet_wire::cbor::Value::Bytes(b) => {
            PublicKey::from_bytes((*b).try_into().unwrap()).unwrap()
        }
        _ => panic!("a key"),
    };
    let prev: Vec<PublicKey> = prev.iter().map(key).collect();
    let signers = Signers::new(&prev).unwrap();
    assert!(rotation.is_from(&signers));
    assert!(rotation.signed_by(&signers).unwrap().len() >= signers.threshold());
    // The vector's new keys are no curve points: it stands for the hash and the signatures.
    assert_eq!(rotation.signers(), Err(betanet_naming::Reject::Signers));
}

#[test]
fn registry_records_count_or_not() {
    let (naming, registry) = (file("naming"), file("registry"));
    let both = [&naming["cases"]["registry"], &registry["cases"]["registry"]];
    let cases = both.iter().flat_map(|v| v.as_array().unwrap());
    let mut seen = [0, 0];
    for case in cases {
        let encoded = bytes(&case["envelope"]);
        let Ok(Entry::Registry(envelope)) = Entry::from_bytes(&encoded) else {
            panic!("no envelope");
        };
        let list = Maintainers::new(&keys(&case["maintainers"]));
        let accept = case["accept"] == true;
        assert_eq!(envelope.check(&list).is_ok(), accept);
        assert_eq!(Envelope::from_bytes(&encoded).unwrap(), envelope);
        seen[usize::from(accept)] += 1;
    }
    assert_eq!(seen, [4, 4]);
}
