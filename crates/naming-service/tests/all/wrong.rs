//! Wrong labels and signatures that count once: each is refused over a session, which goes on to answer.

use betanet_bar::{Headers, Method, Request};
use betanet_keys::{Common, Envelope, Identity};
use betanet_log::{Signature, SignedHead};
use betanet_naming::testkit::{Network, identity, owner};
use betanet_naming::{Alias, AliasRecord, DOMAIN, Finalized, Look, RotateMaintainers};
use betanet_naming_service::PREFIX;
use betanet_wire::{Code, NodeId, cbor, message};

use super::world::{Asker, Ledger, alias, now_ms, refusal};

message! {
    /// An alias record of any text.
    struct RawRecord<'a> {
        req "ts" ts: u64,
        req "seq" seq: u64,
        req "sig" sig: [u8; 64],
        req "node" node: NodeId,
        req "alias" alias: &'a str,
    }
}

message! {
    /// A record with signatures of any number by one signer.
    struct RawFinalized<'a> {
        req "key" key: [u8; 32],
        req "rec" rec: &'a [u8],
        req "sigs" sigs: Vec<Signature>,
    }
}

message! {
    struct RawRotation<'a> {
        req "new" new: Vec<[u8; 32]>,
        req "seq" seq: u64,
        req "sig" sig: Vec<[u8; 64]>,
        req "prev" prev: Vec<[u8; 32]>,
        req "type" ty: &'a str,
    }
}

message! {
    struct RawEnvelope<'a> {
        req "rec" rec: &'a [u8],
        req "sigs" sigs: Vec<Signature>,
    }
}

message! {
    struct RawHead<'a> {
        req "head" head: &'a [u8],
        req "sigs" sigs: Vec<Signature>,
    }
}

/// A record of this text by a node, final by two signers.
fn record_of(network: &Network, text: &str, ts: u64) -> Vec<u8> {
    let me = owner(1);
    let (node, seq) = (me.public().node_id(), 1_u64);
    let parts: [&[u8]; 4] = [
        text.as_bytes(),
        &node.0,
        &seq.to_be_bytes(),
        &ts.to_be_bytes(),
    ];
    let rec = cbor::to_vec(&RawRecord {
        ts,
        seq,
        sig: me.sign("BN-L5", &parts),
        node,
        alias: text,
    });
    let sign = |signer| signed(signer, "BN-L5-FINAL", &rec);
    cbor::to_vec(&RawFinalized {
        key: *me.public().as_bytes(),
        rec: &rec,
        sigs: network.signers[..2].iter().map(sign).collect(),
    })
}

fn signed(by: &Identity, label: &str, text: &[u8]) -> Signature {
    Signature {
        signer: *by.public().as_bytes(),
        sig: by.sign(label, &[text]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_is_none_is_refused_in_records_and_in_requests() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let node = Ledger::alone(home.path(), &network, None).await;
    let mut asker = Asker::of(&node.peer, &network).await;
    let ts = now_ms();
    let label = "a".repeat(63);
    let longest = [&label[..], &label, &label, &label[..61]].join(".");
    let wrong = [
        (String::new(), "empty"),
        (".".to_owned(), "empty labels"),
        ("a..b".to_owned(), "an empty label"),
        ("a.".to_owned(), "an empty label at the end"),
        ("a".repeat(64), "a label of 64 characters"),
        (format!("{longest}a"), "an alias of 254 characters"),
        ("Files".to_owned(), "not its one form"),
        ("p\u{430}ypal".to_owned(), "two scripts, not in punycode"),
        ("a_b".to_owned(), "a character that no label has"),
    ];
    for (text, what) in &wrong {
        let refused = refusal(asker.post("records", &record_of(&network, text, ts)).await);
        let said = (refused.status, refused.code);
        assert_eq!(said, (400, Code::MALFORMED_FRAME), "{what}: {refused:?}");
        if text.is_ascii() {
            for resource in ["alias", "history"] {
                let target = format!("{PREFIX}/{resource}/{text}");
                let request = Request::new(Method::Get, &target, Headers::default());
                let refused = refusal(asker.get(request).await);
                let said = (refused.status, refused.code);
                assert_eq!(said, (400, Code::MALFORMED_FRAME), "{resource} of {what}");
            }
        }
        assert!(!asker.session.is_closed(), "{what}");
    }
    // The longest one is taken, and so is one that mixes scripts: whoever shows it warns of it.
    let mixed = Alias::parse("p\u{430}ypal").unwrap();
    let mut ledger = network.ledger();
    for text in [longest.as_str(), mixed.as_str()] {
        let record = network.bound(text, &owner(1), 1, ts);
        assert_eq!(&record[..], record_of(&network, text, ts));
        ledger.apply(ts, record.clone()).unwrap();
        let head = network.head(&ledger, ts, &[0, 1]);
        ledger.accept(head.clone()).unwrap();
        asker.make_final(&record, &head).await;
        let found = asker.resolve(text).await;
        assert_eq!(found.node(), Some(owner(1).public().node_id()));
    }
    let look = Look::of(&mixed);
    assert!(look.is_suspicious() && look.mixed, "{look:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_who_signs_twice_is_one_signer() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 6);
    let node = Ledger::alone(home.path(), &network, None).await;
    let mut asker = Asker::of(&node.peer, &network).await;
    let ts = now_ms();
    let one = &network.signers[0];
    let signer_keys = || network.signers.iter().map(|i| *i.public().as_bytes());

    let me = owner(1);
    let unsigned = Finalized::new(AliasRecord::bind(alias("a"), &me, 1, ts), me.public());
    let sign = |by| signed(by, "BN-L5-FINAL", unsigned.signed_bytes());
    let signature = sign(one);
    let record = |sigs: Vec<Signature>| {
        cbor::to_vec(&RawFinalized {
            key: *me.public().as_bytes(),
            rec: unsigned.signed_bytes(),
            sigs,
        })
    };

    let new = [4, 5, 6].map(|n| *identity(n).public());
    let prev: Vec<_> = network.signers.iter().map(|i| *i.public()).collect();
    let rotation = RotateMaintainers::new(&new, &prev, 1);
    let rotated = rotation.signature(one).sig;
    let rotation = cbor::to_vec(&RawRotation {
        new: new.iter().map(|k| *k.as_bytes()).collect(),
        seq: 1,
        sig: vec![rotated, rotated],
        prev: signer_keys().collect(),
        ty: "rot",
    });

    let mut registered = None;
    let good = network.envelope(
        |list| {
            let common = Common {
                key: b"k",
                seq: 1,
                list: &list,
                ty: "Test",
            };
            registered.insert(cbor::to_vec(&common)).clone()
        },
        5,
    );
    let rec = registered.unwrap();
    // Four maintainers, of whom one signs twice, where five are needed.
    let mut maintainers = network.maintainers[..4].to_vec();
    maintainers.push(maintainers[0].clone());
    let envelope = cbor::to_vec(&RawEnvelope {
        rec: &rec,
        sigs: maintainers
            .iter()
            .map(|by| signed(by, "BN-REG", &rec))
            .collect(),
    });
    assert_eq!(Envelope::from_bytes(&good).unwrap().record(), rec);

    let invalid = Code::ALIAS_SIG_INVALID;
    for (what, body, code) in [
        ("a record", record(vec![signature, signature]), invalid),
        ("a record, by three", record(vec![signature; 3]), invalid),
        ("a rotation", rotation, invalid),
        ("a registry record", envelope, Code::AUTH_FAILED),
    ] {
        let refused = refusal(asker.post("records", &body).await);
        assert_eq!((refused.status, refused.code), (403, code), "{what}");
        assert!(asker.newest().await.head.is_none(), "{what}");
    }
    // The same with the signature of a second one is final.
    let second = sign(&network.signers[2]);
    let both = record(vec![signature, signature, second]);
    asker.post("records", &both).await.unwrap();
    let mut ledger = network.ledger();
    ledger.apply(ts, both.into()).unwrap();
    let head = SignedHead::new(ledger.next_head(ts).unwrap());
    let own = head.signature(DOMAIN, one);
    let with = |sigs| {
        cbor::to_vec(&RawHead {
            head: head.signed_bytes(),
            sigs,
        })
    };
    let refused = refusal(asker.post("head", &with(vec![own, own])).await);
    assert_eq!((refused.status, refused.code), (403, invalid));
    let second = head.signature(DOMAIN, &network.signers[2]);
    let good = with(vec![own, own, second]);
    asker.post("head", &good).await.unwrap();
    assert_eq!(asker.resolve("a").await.node(), Some(me.public().node_id()));
    assert!(!asker.session.is_closed());
    node.stop().await;
}
