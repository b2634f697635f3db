use alloc::format;
use alloc::string::ToString as _;
use alloc::vec;

use betanet_wire::cbor as det;
use proptest::prelude::*;

use super::soft::Soft;
use super::*;

const CHALLENGE: [u8; 32] = [0x5a; 32];
const ORIGINS: &[&str] = &["https://panel.example"];

fn want() -> Expected<'static> {
    Expected {
        challenge: &CHALLENGE,
        domain: "panel.example",
        origins: ORIGINS,
        verified: true,
    }
}

fn enrol(soft: &Soft) -> Result<Passkey, PasskeyFault> {
    let (client, object) = soft.create(&CHALLENGE);
    register(7, "blue key", &client, &object, &want())
}

fn come(soft: &Soft, passkey: &Passkey) -> Result<Passkey, PasskeyFault> {
    log_in(passkey, &soft.assertion(&soft.get(&CHALLENGE)), &want())
}

fn both() -> [Soft; 2] {
    [Soft::new(Algorithm::Es256), Soft::new(Algorithm::EdDsa)]
}

#[test]
fn a_passkey_is_registered_and_used() {
    for (mut soft, algorithm) in both().into_iter().zip(Algorithm::ALL) {
        let passkey = enrol(&soft).unwrap();
        assert_eq!((passkey.algorithm, passkey.count), (*algorithm, 1));
        assert_eq!((&*passkey.name, passkey.backup), ("blue key", false));
        soft.count = 2;
        let used = come(&soft, &passkey).unwrap();
        assert_eq!(
            used,
            Passkey {
                count: 2,
                ..passkey.clone()
            }
        );
        // The same answer again, and one of a copy that lags.
        assert_eq!(come(&soft, &used), Err(PasskeyFault::Counter));
        soft.count = 0;
        assert_eq!(come(&soft, &used), Err(PasskeyFault::Counter));
        // An authenticator without a counter.
        let passkey = enrol(&soft).unwrap();
        assert_eq!(come(&soft, &passkey).as_ref(), Ok(&passkey));
        let bytes = det::to_vec(&passkey);
        assert_eq!(det::from_slice::<Passkey>(&bytes), Ok(passkey));
    }
    assert_eq!(
        Algorithm::ALL
            .iter()
            .map(|a| a.number())
            .collect::<Vec<_>>(),
        [-7, -8]
    );
}

#[test]
fn passkeys_that_may_be_copied_extensions_and_other_orders_are_taken() {
    for mut soft in both() {
        soft.flags |= 0b11000;
        assert!(enrol(&soft).unwrap().backup);
        soft.flags |= 0x80;
        soft.extensions = b"\xa1\x6bcredProtect\x02".to_vec();
        let passkey = enrol(&soft).unwrap();
        soft.count = 9;
        assert!(come(&soft, &passkey).is_ok());
        // Firefox has written its keys in this order.
        let mut object = b"\xa3\x63fmt\x64none\x68authData".to_vec();
        object.extend_from_slice(&soft::bytes(&soft.attested()));
        object.extend_from_slice(b"\x67attStmt\xa0");
        let client = soft.client("webauthn.create", &CHALLENGE);
        assert!(register(7, "", &client, &object, &want()).is_ok());
        // Chromium adds such a member to some client data.
        soft.client_extra = r#","other_keys_can_be_added_here":"do not compare","tokenBinding":{"status":"supported"}"#.into();
        assert!(enrol(&soft).is_ok());
    }
}

#[test]
fn what_is_wrong_in_client_data_is_told() {
    use PasskeyFault::{Ceremony, Challenge, ClientData, CrossOrigin, Length, Origin};
    for mut soft in both() {
        let passkey = enrol(&soft).unwrap();
        soft.count = 2;
        let (_, object) = soft.create(&CHALLENGE);
        let good = String::from_utf8(soft.client("webauthn.get", &CHALLENGE)).unwrap();
        let text = betanet_wire::text::base64url(&CHALLENGE);
        let mut other = CHALLENGE;
        other[31] ^= 1;
        let other = betanet_wire::text::base64url(&other);
        let evil = good.replace("panel.example", "evil.example");
        let long = format!("\"pad\":\"{}\",\"type\"", "x".repeat(CLIENT_DATA_MAX));
        for (client, fault) in [
            (good.replace("webauthn.get", "webauthn.create"), Ceremony),
            (good.replace("webauthn.get", "payment.get"), Ceremony),
            (good.replace(&text, &other), Challenge),
            (good.replace(&text, ""), Challenge),
            (good.replace(&text, &format!("{text}=")), ClientData),
            (evil, Origin),
            (good.replace("https://panel", "http://panel"), Origin),
            (good.replace("panel.example", "panel.example:444"), Origin),
            (good.replace("panel.example", "sub.panel.example"), Origin),
            (
                good.replace("panel.example", "panel.example.evil.example"),
                Origin,
            ),
            (
                good.replace("\"crossOrigin\":false", "\"crossOrigin\":true"),
                CrossOrigin,
            ),
            (
                good.replace("\"crossOrigin\":false", "\"crossOrigin\":\"no\""),
                ClientData,
            ),
            (good.replace("\"origin\"", "\"Origin\""), ClientData),
            (
                good.replace("\"type\"", "\"type\":\"webauthn.get\",\"type\""),
                ClientData,
            ),
            (good.replace("\"type\"", &long), Length),
            (format!("{good} x"), ClientData),
            (String::new(), ClientData),
        ] {
            let signed = [&soft.data(soft.flags, &[])[..], &hash(&[client.as_bytes()])].concat();
            let answer = soft::Answer {
                signature: soft.sign(&signed),
                authenticator: soft.data(soft.flags, &[]),
                client: client.clone().into_bytes(),
            };
            let verdict = log_in(&passkey, &soft.assertion(&answer), &want());
            assert_eq!(verdict, Err(fault), "{client}");
            let create = client.replace("webauthn.get", "webauthn.create");
            if fault != Ceremony {
                let verdict = register(7, "", create.as_bytes(), &object, &want());
                assert_eq!(verdict, Err(fault), "{create}");
            }
        }
        assert_eq!(challenge_of(good.as_bytes()), Some(CHALLENGE));
        assert_eq!(challenge_of(b"{}"), None);
    }
}

#[test]
fn what_is_wrong_in_authenticator_data_is_told() {
    use PasskeyFault::{AuthenticatorData, Cbor, RelyingParty, User};
    for algorithm in Algorithm::ALL {
        let good = Soft::new(*algorithm);
        let passkey = Passkey {
            count: 0,
            ..enrol(&good).unwrap()
        };
        let with = |change: &dyn Fn(&mut Soft), fault| {
            let mut soft = Soft {
                key: match &good.key {
                    soft::Key::EdDsa(i) => soft::Key::EdDsa(i.clone()),
                    // The key does not matter: what is wrong shows before the signature.
                    soft::Key::Es256(_) => Soft::new(Algorithm::Es256).key,
                },
                ..Soft::new(Algorithm::EdDsa)
            };
            change(&mut soft);
            assert_eq!(come(&soft, &passkey), Err(fault));
            assert_eq!(enrol(&soft), Err(fault));
        };
        with(&|s| s.domain = "evil.example".into(), RelyingParty);
        with(&|s| s.flags = 0b100, User);
        with(&|s| s.flags = 0b001, User);
        with(&|s| s.flags |= 0b10000, AuthenticatorData);
        with(&|s| s.extensions = vec![0], AuthenticatorData);
        with(&|s| s.flags |= 0x80, Cbor);
        with(
            &|s| {
                s.flags |= 0x80;
                s.extensions = vec![0xa0];
            },
            AuthenticatorData,
        );
        with(
            &|s| {
                s.flags |= 0x80;
                s.extensions = vec![0xa1, 0x61, b'x', 1, 0];
            },
            AuthenticatorData,
        );
        with(
            &|s| {
                s.flags |= 0x80;
                s.extensions = [&[0xa1, 0x61, b'x'], &[0x81; 500][..], &[0]].concat();
            },
            Cbor,
        );
        with(
            &|s| {
                s.flags |= 0x80;
                s.extensions = vec![0xbf, 0x61, b'x', 1, 0xff];
            },
            Cbor,
        );
        with(
            &|s| {
                s.flags |= 0x80;
                s.extensions = vec![0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            },
            Cbor,
        );
    }
    // A user who was only present is enough where nothing else is asked.
    let mut soft = Soft::new(Algorithm::Es256);
    soft.flags = 1;
    let (client, object) = soft.create(&CHALLENGE);
    let want = Expected {
        verified: false,
        ..want()
    };
    assert!(register(7, "", &client, &object, &want).is_ok());
}

#[test]
fn attestations_and_keys_of_other_kinds_are_refused() {
    use PasskeyFault::{Attestation, AuthenticatorData, Cbor, Key, Length};
    for soft in both() {
        let client = soft.client("webauthn.create", &CHALLENGE);
        let data = soft.attested();
        let good = Soft::object(&data);
        let verdict = |object: &[u8]| register(7, "", &client, object, &want()).err();
        assert_eq!(verdict(&good), None);
        let swap = |object: &[u8], from: &[u8], to: &[u8]| {
            let at = object.windows(from.len()).position(|w| w == from).unwrap();
            [&object[..at], to, &object[at + from.len()..]].concat()
        };
        for (object, fault) in [
            (swap(&good, b"\x64none", b"\x66packed"), Attestation),
            (
                swap(&good, b"\xa0\x68authData", b"\xa1\x63sig\x01\x68authData"),
                Attestation,
            ),
            (swap(&good, b"\x63fmt", b"\x63fnt"), Cbor),
            (swap(&good, b"\x67attStmt\xa0", b"\x63fmt\x64none"), Cbor),
            (swap(&good, b"\xa3", b"\xa2"), Cbor),
            (swap(&good, b"\xa3", b"\xb9\xff\xff"), Cbor),
            (swap(&good, b"\xa3", b"\xbf"), Cbor),
            ([&good[..], &[0]].concat(), Cbor),
            (good[..good.len() - 1].to_vec(), Cbor),
            (Vec::new(), Cbor),
            (vec![0; ATTESTATION_MAX + 1], Length),
            (Soft::object(&soft.data(soft.flags, &[])), AuthenticatorData),
            (Soft::object(&data[..40]), AuthenticatorData),
            (Soft::object(&data[..20]), AuthenticatorData),
            (Soft::object(&[&data[..], &[0]].concat()), AuthenticatorData),
            // A credential ID of no bytes, and one of 1 024.
            (
                Soft::object(&swap(&data, &[0, 64, 0, 1, 2], &[0, 0, 0, 1, 2])),
                Length,
            ),
            (
                Soft::object(&swap(&data, &[0, 64, 0, 1, 2], &[4, 0, 0, 1, 2])),
                Length,
            ),
            // RS256, another curve, another type of key, none.
            (
                Soft::object(&swap(
                    &data,
                    &[0xa5 - u8::from(matches!(soft.key, soft::Key::EdDsa(_))), 1],
                    &[0xa5, 9],
                )),
                if matches!(soft.key, soft::Key::EdDsa(_)) {
                    Cbor
                } else {
                    Key
                },
            ),
        ] {
            assert_eq!(verdict(&object), Some(fault), "{object:x?}");
        }
        let cose = soft.cose();
        for (from, to) in [(3, 0x38), (4, 0x28), (6, 2), (2, 3)] {
            let mut other = cose.clone();
            other[from] = to;
            if other != cose {
                let object = Soft::object(&swap(&data, &cose, &other));
                assert!(matches!(
                    verdict(&object),
                    Some(Key | Cbor | AuthenticatorData)
                ));
            }
        }
    }
    // Ed25519 points of small order, and none at all.
    let soft = Soft::new(Algorithm::EdDsa);
    let client = soft.client("webauthn.create", &CHALLENGE);
    let key = soft.cose()[10..].to_vec();
    for bad in [
        [0; 32],
        {
            let mut one = [0; 32];
            one[0] = 1;
            one
        },
        [0xff; 32],
    ] {
        let data = soft.attested();
        let at = data.windows(32).position(|w| w == key).unwrap();
        let data = [&data[..at], &bad, &data[at + 32..]].concat();
        let verdict = register(7, "", &client, &Soft::object(&data), &want());
        assert_eq!(verdict, Err(Key));
    }
}

#[test]
fn only_the_registered_key_signs() {
    for (soft, other) in both().into_iter().zip([Soft::new(Algorithm::Es256), {
        let mut soft = Soft::new(Algorithm::EdDsa);
        soft.key = soft::Key::EdDsa(betanet_keys::Identity::from_seed(&[5; 32]).into());
        soft
    }]) {
        let passkey = Passkey {
            count: 0,
            ..enrol(&soft).unwrap()
        };
        assert!(come(&soft, &passkey).is_ok());
        assert_eq!(come(&other, &passkey), Err(PasskeyFault::Signature));
        let answer = soft.get(&CHALLENGE);
        let check = |change: &dyn Fn(&mut Assertion<'_>)| {
            let mut assertion = soft.assertion(&answer);
            change(&mut assertion);
            log_in(&passkey, &assertion, &want()).err()
        };
        assert_eq!(check(&|_| {}), None);
        assert_eq!(check(&|a| a.signature = &[]), Some(PasskeyFault::Signature));
        assert_eq!(
            check(&|a| a.signature = &[0; 64]),
            Some(PasskeyFault::Signature)
        );
        assert_eq!(
            check(&|a| a.signature = &[0; 73]),
            Some(PasskeyFault::Length)
        );
        assert_eq!(
            check(&|a| a.credential = &[1]),
            Some(PasskeyFault::Credential)
        );
        let long = vec![0; AUTHENTICATOR_MAX + 1];
        let mut assertion = soft.assertion(&answer);
        assertion.authenticator = &long;
        assert_eq!(
            log_in(&passkey, &assertion, &want()),
            Err(PasskeyFault::Length)
        );
        // A registration's answer is not a login's.
        let (client, _) = soft.create(&CHALLENGE);
        let mut assertion = soft.assertion(&answer);
        assertion.client = &client;
        assert_eq!(
            log_in(&passkey, &assertion, &want()),
            Err(PasskeyFault::Ceremony)
        );
    }
}

#[test]
fn of_two_uses_with_one_counter_only_the_first_is_stored() {
    let mut soft = Soft::new(Algorithm::EdDsa);
    let passkey = enrol(&soft).unwrap();
    let mut all = crate::Accounts::default();
    let id = all
        .add(1, [1; 16], "a", crate::Grants::default(), None)
        .unwrap()
        .id;
    all.add_passkey(id, passkey.clone()).unwrap();
    // Two logins at once: both are checked against the counter that is stored.
    soft.count = 2;
    let (one, two) = (come(&soft, &passkey), come(&soft, &passkey));
    assert!(all.use_passkey(id, one.unwrap()).is_ok());
    let late = all.use_passkey(id, two.unwrap()).err();
    assert_eq!(late, Some(PasskeyFault::Counter.into()));
    // An authenticator without a counter has no newer one.
    let mut none = Passkey {
        id: vec![9],
        count: 0,
        ..passkey
    };
    all.add_passkey(id, none.clone()).unwrap();
    assert!(all.use_passkey(id, none.clone()).is_ok());
    assert!(all.use_passkey(id, none.clone()).is_ok());
    none.id = vec![8];
    let unknown = all.use_passkey(id, none).err();
    assert_eq!(unknown, Some(crate::Error::Unknown));
}

#[test]
fn a_name_is_cut_and_an_account_has_each_passkey_once() {
    let soft = Soft::new(Algorithm::EdDsa);
    let (client, object) = soft.create(&CHALLENGE);
    let passkey = register(7, &"é".repeat(99), &client, &object, &want()).unwrap();
    assert_eq!(passkey.name.chars().count(), 64);
    let mut all = crate::Accounts::default();
    let mut add = |n: u8| {
        all.add(1, [n; 16], &n.to_string(), crate::Grants::default(), None)
            .unwrap()
            .id
    };
    let (a, b) = (add(1), add(2));
    all.add_passkey(a, passkey.clone()).unwrap();
    assert_eq!(
        all.add_passkey(b, passkey.clone()).err(),
        Some(crate::Error::Exists)
    );
    assert_eq!(all.find_passkey(&passkey.id).unwrap().0.id, a);
    for n in 1..u8::try_from(crate::PASSKEYS_MAX).unwrap() {
        all.add_passkey(
            a,
            Passkey {
                id: vec![n],
                ..passkey.clone()
            },
        )
        .unwrap();
    }
    let more = all
        .add_passkey(
            a,
            Passkey {
                id: vec![99],
                ..passkey.clone()
            },
        )
        .err();
    assert_eq!(more, Some(crate::Error::Full(crate::PASSKEYS_MAX)));
    let stored = all.get(a).unwrap().to_bytes();
    let mut again = crate::Accounts::default();
    again.restore(&stored).unwrap();
    assert_eq!(again.find_passkey(&passkey.id).unwrap().1, &passkey);
    all.remove_passkey(a, &passkey.id).unwrap();
    assert!(all.find_passkey(&passkey.id).is_none());
    assert!(all.add_passkey(b, passkey).is_ok());
}

proptest! {
    /// A bit that changes anywhere in an answer makes it count for nothing.
    #[test]
    fn a_changed_answer_is_refused(part in 0..3, place: prop::sample::Index, bit in 0_u8..8, es256: bool) {
        let soft = Soft::new(Algorithm::ALL[usize::from(!es256)]);
        let passkey = Passkey { count: 0, ..enrol(&soft).unwrap() };
        let mut answer = soft.get(&CHALLENGE);
        prop_assert!(log_in(&passkey, &soft.assertion(&answer), &want()).is_ok());
        let bytes = match part {
            0 => &mut answer.client,
            1 => &mut answer.authenticator,
            _ => &mut answer.signature,
        };
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(log_in(&passkey, &soft.assertion(&answer), &want()).is_err());
    }

    #[test]
    fn arbitrary_bytes_break_nothing(client: Vec<u8>, object: Vec<u8>, signature: Vec<u8>) {
        let soft = Soft::new(Algorithm::EdDsa);
        let passkey = enrol(&soft).unwrap();
        let good = soft.client("webauthn.create", &CHALLENGE);
        prop_assert!(register(7, "", &client, &object, &want()).is_err());
        prop_assert!(register(7, "", &good, &object, &want()).is_err());
        prop_assert!(register(7, "", &good, &Soft::object(&object), &want()).is_err());
        let assertion = Assertion {
            credential: &passkey.id,
            client: &client,
            authenticator: &object,
            signature: &signature,
        };
        prop_assert!(log_in(&passkey, &assertion, &want()).is_err());
    }
}
