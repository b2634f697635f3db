//! Size first, then types, signature, role, bounds.

use betanet_fog::bodies::StateRequest;
use betanet_fog::{
    Item, Node, Received, Record, RefusalCode, SIGNED_MAX, Signed, Task, Token, from_slice, json,
    to_vec,
};
use betanet_keys::Identity;
use serde_json::{Value, json};

use super::{NOW, hex, node, owner, task, with};

#[test]
fn size_is_checked_first_and_a_long_token_has_no_text() {
    let long = vec![0xff; SIGNED_MAX + 1];
    let large = RefusalCode::TooLarge.bare();
    assert_eq!(Received::<Task>::read(&long).err(), Some(large));
    assert_eq!(
        Received::<Task>::read(&long[1..]).err().map(|e| e.code),
        Some(RefusalCode::Malformed)
    );
    assert_eq!(
        from_slice::<StateRequest>(&vec![0; betanet_fog::BODY_MAX + 1]).err(),
        Some(large)
    );

    let args = vec!["a".repeat(1024); 64];
    let whole: Task = json::from_str(&with(task(), "/args", json!(args)).to_string()).unwrap();
    assert_eq!(Signed::sign(whole, &owner()).err(), Some(large));

    let token = |addrs: usize| {
        let addrs = vec!["192.0.2.7:443"; addrs];
        let value = json!({ "addrs": addrs, "exp": 1, "id": "11".repeat(16), "key": hex(&owner()), "kinds": [], "node": "", "org": "", "pin": "" });
        let token: Token = json::from_str(&value.to_string()).unwrap();
        Signed::sign(token, &owner()).unwrap().to_text()
    };
    assert!(token(1).is_ok());
    assert_eq!(token(64).err(), Some(RefusalCode::BadValue.of("addrs")));
}

#[test]
fn the_checks_come_in_the_chapters_order() {
    // Wrong in its types, its signature and its bounds at once: each is told only when those before it are right.
    let encode = |value: &Value, sig: [u8; 64]| {
        let rec = json::to_cbor(&value.to_string(), &Task::SHAPE).unwrap();
        to_vec(&betanet_fog::Envelope { rec, sig })
    };
    let value = with(task(), "/prio", json!(10));
    let mut bytes = encode(&value, [0; 64]);
    assert_eq!(
        Signed::<Task>::open(&bytes, NOW).err(),
        Some(RefusalCode::SigInvalid.bare())
    );
    // A wrong type behind the bad value: `verify` no longer starts with text.
    let at = bytes.windows(5).position(|w| w == b"\x64none").unwrap();
    bytes[at] = 0x44;
    assert_eq!(
        Signed::<Task>::open(&bytes, NOW).err(),
        Some(RefusalCode::Malformed.of("verify"))
    );
    let rec = json::to_cbor(&value.to_string(), &Task::SHAPE).unwrap();
    let sig = owner().sign(Task::LABEL, &[&rec]);
    let authentic = Received::<Task>::read(&encode(&value, sig))
        .unwrap()
        .verify()
        .unwrap();
    // Here the caller looks at the role.
    assert_eq!(authentic.namespace().unwrap(), "lab");
    assert_eq!(authentic.signer(), owner().public());
    assert_eq!(
        authentic.check(NOW).err(),
        Some(RefusalCode::BadValue.of("prio"))
    );
}

#[test]
fn a_record_is_signed_by_the_key_it_names() {
    let other = Identity::from_seed(&[2; 32]);
    let described: Node = json::from_str(&node().to_string()).unwrap();
    assert_eq!(
        Signed::sign(described.clone(), &other).err(),
        Some(RefusalCode::SigInvalid.of("key"))
    );
    let signed = Signed::sign(described, &owner()).unwrap();
    let received = || Received::<Node>::read(&signed.to_bytes()).unwrap();
    assert!(received().verify_with(owner().public()).is_ok());
    let invalid = Some(RefusalCode::SigInvalid.bare());
    assert_eq!(received().verify_with(other.public()).err(), invalid);
    // The label of another kind of record.
    let mut envelope = signed.envelope().clone();
    envelope.sig = owner().sign("BN-FOG-TASK1", &[&envelope.rec]);
    assert_eq!(Signed::<Node>::open(&to_vec(&envelope), NOW).err(), invalid);
    // A key that is no point of the right group.
    let zero = with(node(), "/key", json!("00".repeat(32)));
    let rec = json::to_cbor(&zero.to_string(), &Node::SHAPE).unwrap();
    let envelope = betanet_fog::Envelope { rec, sig: [0; 64] };
    assert_eq!(Signed::<Node>::open(&to_vec(&envelope), NOW).err(), invalid);
}
