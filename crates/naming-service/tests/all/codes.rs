use betanet_bar::{Headers, Method, Request};
use betanet_naming::message::{Ask, Hello, KIND};
use betanet_naming::testkit::{DAY, Network, owner};
use betanet_naming::{AliasRecord, Finalized};
use betanet_naming_service::ClientError;
use betanet_naming_service::client;
use betanet_session::Substream;
use betanet_wire::Code;
use bytes::Bytes;

use super::world::{Asker, Ledger, alias, now_ms, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_code_and_the_connection_lives_on() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 6);
    let node = Ledger::alone(home.path(), &network, None).await;
    let mut asker = Asker::of(&node.peer, &network).await;
    let ts = now_ms();
    let mut ledger = network.ledger();
    for record in [
        network.bound("a", &owner(1), 2, ts),
        network.registered("Test", b"k", 5),
    ] {
        ledger.apply(ts, record.clone()).unwrap();
        let head = network.head(&ledger, ts, &[0, 1]);
        ledger.accept(head.clone()).unwrap();
        asker.make_final(&record, &head).await;
    }
    let mut forged = AliasRecord::bind(alias("b"), &owner(1), 1, ts);
    forged.sig[3] ^= 1;
    let unsigned = {
        let record = AliasRecord::bind(alias("b"), &owner(1), 1, ts);
        Finalized::new(record, owner(1).public()).to_bytes()
    };
    let retires = AliasRecord::retire(alias("c"), &owner(1), 1, ts);
    let cases = [
        (b"garbage".to_vec(), 400, Code::MALFORMED_FRAME),
        (Vec::new(), 400, Code::MALFORMED_FRAME),
        (
            network
                .finalized(forged, owner(1).public(), &[0, 1])
                .to_vec(),
            403,
            Code::ALIAS_SIG_INVALID,
        ),
        (unsigned, 403, Code::ALIAS_SIG_INVALID),
        (
            network.bound("a", &owner(2), 3, ts).to_vec(),
            403,
            Code::ALIAS_SIG_INVALID,
        ),
        (
            network.bound("a", &owner(1), 2, ts).to_vec(),
            409,
            Code::ALIAS_SEQ_REPLAY,
        ),
        (
            network.bound("a", &owner(1), 1, ts).to_vec(),
            409,
            Code::ALIAS_SEQ_REPLAY,
        ),
        (
            network.bound("b", &owner(1), 1, ts - DAY).to_vec(),
            403,
            Code::POLICY_REJECTED,
        ),
        (
            network
                .finalized(retires, owner(1).public(), &[0, 1])
                .to_vec(),
            403,
            Code::POLICY_REJECTED,
        ),
        (
            network.registered("Test", b"k", 4).to_vec(),
            409,
            Code::REPLAY,
        ),
        (
            network
                .envelope(
                    |list| {
                        betanet_wire::cbor::to_vec(&betanet_keys::Common {
                            key: b"k",
                            seq: 6,
                            list: &list,
                            ty: "Test",
                        })
                    },
                    4,
                )
                .to_vec(),
            403,
            Code::AUTH_FAILED,
        ),
        (
            network.rotation(&[7, 8, 9], 3, &[0, 1]).to_vec(),
            403,
            Code::POLICY_REJECTED,
        ),
    ];
    for (n, (body, status, code)) in cases.into_iter().enumerate() {
        let refused = refusal(asker.post("records", &body).await);
        assert_eq!(
            (refused.status, refused.code),
            (status, code),
            "case {n}: {}",
            refused.why
        );
    }
    // Two rotations with one seq.
    let (one, two) = ([7, 8, 9], [10, 11, 12]);
    asker
        .post("records", &network.rotation(&one, 1, &[0, 1]))
        .await
        .unwrap();
    let refused = refusal(
        asker
            .post("records", &network.rotation(&two, 1, &[0, 1]))
            .await,
    );
    assert_eq!(
        (refused.status, refused.code),
        (409, Code::ALIAS_ROTATION_CONFLICT)
    );
    // A head that does not count, one that is none, and a request for a signature at a node without a key.
    let mut head = network.head(&network.ledger(), ts, &[0]).to_bytes();
    assert_eq!(
        refusal(asker.post("head", &head).await).code,
        Code::ALIAS_SIG_INVALID
    );
    head.truncate(10);
    assert_eq!(
        refusal(asker.post("head", &head).await).code,
        Code::MALFORMED_FRAME
    );
    let refused = refusal(asker.post("sign", b"x").await);
    assert_eq!(
        (refused.status, refused.code),
        (404, Code::UNSUPPORTED_FEATURE)
    );
    let long = vec![0; betanet_naming_service::body::BODY_MAX + 1];
    assert_eq!(
        refusal(asker.post("records", &long).await).code,
        Code::MALFORMED_FRAME
    );
    // All on one session, which still answers.
    assert!(!asker.session.is_closed());
    assert!(asker.resolve("a").await.node().is_some());
    node.stop().await;
}

/// Value of a counter among a node's metrics.
fn counter(node: &Ledger, name: &str) -> u64 {
    let metrics = node.gateway.render_metrics();
    let is = |line: &&str| {
        let series = line.split(' ').next().unwrap_or_default();
        series.trim_end_matches("_total").ends_with(name)
    };
    let line = metrics.lines().find(is);
    let line = line.unwrap_or_else(|| panic!("{metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_gossip_ends_its_stream_and_the_connection_lives_on() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let node = Ledger::alone(home.path(), &network, None).await;
    let mut asker = Asker::of(&node.peer, &network).await;
    let ts = now_ms();
    let view = |name: &str, by: &[usize]| {
        let mut ledger = network.ledger();
        let record = network.bound(name, &owner(1), 1, ts);
        ledger.apply(ts, record.clone()).unwrap();
        (record, network.head(&ledger, ts, by))
    };
    let (record, head) = view("a", &[0, 1]);
    asker.make_final(&record, &head).await;
    let hello = |head| Hello { head, split: None }.to_bytes().to_vec();
    // Another view that one signer signed alone: ALIAS_SIG_INVALID.
    let few = hello(Some(view("b", &[2]).1));
    let beyond = Ask { from: 1, n: 1 }.to_bytes();
    let cases = [
        // MALFORMED_FRAME: no map, a message that is too long, and two at once.
        vec![0, 0, 0, 1, 0x01],
        vec![0, 2, 0, 0],
        [hello(None), hello(None)].concat(),
        few,
        // POLICY_REJECTED: records beyond the head.
        hello(None),
    ];
    for (n, case) in cases.into_iter().enumerate() {
        let stream = asker.session.open_raw(KIND, Bytes::new()).await.unwrap();
        let mut stream = Substream::new(stream);
        stream.write(case.into()).await.unwrap();
        if n == 4 {
            assert!(stream.next().await.unwrap().is_some());
            stream.write(beyond.clone()).await.unwrap();
        }
        assert!(stream.next().await.is_err(), "case {n}");
        assert_eq!(counter(&node, "names_gossip_faults"), n as u64 + 1);
        assert!(asker.resolve("a").await.node().is_some(), "case {n}");
    }
    assert!(!asker.session.is_closed());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_records_are_proven_and_what_is_asked_is_bounded() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 6);
    let node = Ledger::alone(home.path(), &network, None).await;
    let mut asker = Asker::of(&node.peer, &network).await;
    let ts = now_ms();
    let mut ledger = network.ledger();
    let subject = ("Test", &b"k"[..]);
    let found = async |asker: &mut Asker| {
        let request = client::registry_request(subject.0, subject.1);
        let bytes = asker.get(request).await.unwrap();
        client::registered(&bytes, subject, &mut asker.trust).unwrap()
    };
    assert_eq!(found(&mut asker).await, None);
    for seq in [5, 6] {
        let record = network.registered(subject.0, subject.1, seq);
        ledger.apply(ts, record.clone()).unwrap();
        let head = network.head(&ledger, ts, &[0, 1]);
        ledger.accept(head.clone()).unwrap();
        asker.make_final(&record, &head).await;
        // The highest one stands.
        let standing = found(&mut asker).await.unwrap();
        assert_eq!(standing.to_bytes(), record);
    }
    // What was asked for is what is proven, by this network's keys.
    let request = client::registry_request(subject.0, subject.1);
    let bytes = asker.get(request).await.unwrap();
    for other in [("Test", &b"l"[..]), ("Other", &b"k"[..])] {
        let read = client::registered(&bytes, other, &mut asker.trust);
        assert!(matches!(read, Err(ClientError::OtherRecord)), "{read:?}");
    }
    let mut strangers = network.genesis();
    strangers.maintainers.truncate(3);
    let read = client::registered(&bytes, subject, &mut client::Trust::new(&strangers));
    assert!(matches!(read, Err(ClientError::OtherRecord)), "{read:?}");

    let long = |n: usize| "a".repeat(n);
    let targets = [
        (format!("registry/{}/00", long(64)), true),
        (format!("registry/{}/00", long(65)), false),
        (format!("registry/Test/{}", long(512)), true),
        (format!("registry/Test/{}", long(514)), false),
        ("registry/Te.st/00".to_owned(), false),
        ("registry/Test/0".to_owned(), false),
    ];
    for (target, good) in targets {
        let target = format!("{}/{target}", betanet_naming_service::PREFIX);
        let request = Request::new(Method::Get, &target, Headers::default());
        let answer = asker.get(request).await;
        match good {
            true => drop(answer.unwrap()),
            false => assert_eq!(refusal(answer).status, 400, "{target}"),
        }
    }
    node.stop().await;
}
