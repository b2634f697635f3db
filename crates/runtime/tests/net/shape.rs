//! Sessions whose traffic follows a shape, and what both ends do about templates.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_htx::shape::{Gap, Step};
use betanet_keys::{Envelope, Maintainers};
use betanet_runtime::{
    Error, FrontRecord, FrontRules, Fronts, Headers, Identity, Method, Node, Plain, Profile,
    Request, Templates, TrafficShape, Transport,
};
use betanet_wire::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Fixture, content, write};

fn get(path: &str) -> Request {
    Request::new(Method::Get, path, Headers::default())
}

fn shape() -> TrafficShape {
    let step = |ms: u64, up, size| Step {
        gap: Gap::new(Duration::from_millis(ms)),
        up,
        size,
    };
    let trace = |n: u16| {
        vec![
            step(0, true, 463),
            step(4, false, 4501),
            step(10, true, 117 + n),
            step(0, true, 217),
            step(4, false, 16_401),
            step(0, false, 9001),
            step(20, true, 317),
            step(4, false, 7001),
        ]
    };
    TrafficShape::new(vec![trace(0), trace(1)]).unwrap()
}

type Records = Arc<Mutex<Vec<(bool, usize)>>>;

/// Carries bytes to `to`, and keeps the lengths of TLS records.
async fn observed(to: String) -> (u16, Records) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let records: Records = Arc::default();
    let seen = Arc::clone(&records);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        for (up, mut from, mut into) in [(true, near_in, far_out), (false, far_in, near_out)] {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let (mut buf, mut all) = (vec![0; 65_536], Vec::new());
                while let Ok(n @ 1..) = from.read(&mut buf).await {
                    all.extend_from_slice(&buf[..n]);
                    while let Some(header) = all.first_chunk::<5>() {
                        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
                        if all.len() < 5 + len {
                            break;
                        }
                        seen.lock().unwrap().push((up, len));
                        all.drain(..5 + len);
                    }
                    if into.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, records)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sends_in_the_records_of_its_shape_and_delivers_all_the_same() {
    for node in [
        Node::client().unwrap(),
        Node::client().unwrap().shaped(Arc::new(Plain)),
    ] {
        let fixture = Fixture::start(|c| c.shape = Some(shape())).await;
        let bytes = content(60_000);
        write(&fixture.served("file.bin"), &bytes);
        let (port, records) = observed(fixture.address()).await;
        let mut peer = fixture.gateway.listening().peer();
        peer.addrs = vec![format!("127.0.0.1:{port}")];
        let node = node.following(Arc::new(shape()));
        let session = node.connect(&peer).await.unwrap();
        let mut answer = session.ask(get("/file.bin")).await.unwrap();
        assert_eq!(answer.body.all(100_000).await.unwrap().unwrap(), bytes);
        let cost = session.facts().await.unwrap().padded.unwrap();
        assert!(cost.bursts > 3 && cost.padding > 0, "{cost:?}");
        assert_eq!(fixture.metric("betanet_sessions_shaped_total"), 1);
        let records = records.lock().unwrap().clone();
        // Large records come only in the shape's sizes: two frames' headers are what a burst may be short of.
        let down: Vec<usize> = records.iter().filter(|r| !r.0).map(|r| r.1).collect();
        let large: Vec<usize> = down.iter().copied().filter(|n| *n > 6000).collect();
        let known = |n: &usize| {
            [16_401_usize, 9001, 7001]
                .iter()
                .any(|s| s.abs_diff(*n) <= 18)
        };
        assert!(large.len() >= 4 && large.iter().all(known), "{large:?}");
        let up: Vec<usize> = records.iter().filter(|r| r.0).map(|r| r.1).collect();
        assert!(up.contains(&217) && up.contains(&317), "{up:?}");
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_shape_is_served_as_ever() {
    let fixture = Fixture::start(|c| c.shape = Some(shape())).await;
    let node = Node::client().unwrap().dialling_over(Transport::Tcp);
    let peer = fixture.gateway.listening().peer();
    let session = node.connect(&peer).await.unwrap();
    let mut answer = session.ask(get("/hello.txt")).await.unwrap();
    assert_eq!(answer.body.all(10).await.unwrap().unwrap(), b"hello");
    assert_eq!(session.facts().await.unwrap().padded, None);
    assert_eq!(fixture.metric("betanet_sessions_shaped_total"), 0);
}

fn mismatch(error: &Error) -> bool {
    matches!(error, Error::Session { code, .. } if *code == Code::L2_ORIGIN_MISMATCH)
}

#[tokio::test(flavor = "multi_thread")]
async fn under_extended_templates_that_are_not_listed_end_the_session() {
    // At the gateway, which learns the template in message 3.
    let fixture = Fixture::start(|c| c.profile = Profile::Extended).await;
    let peer = fixture.gateway.listening().peer();
    let node = Node::client().unwrap().dialling_over(Transport::Tcp);
    let asked = match node.connect(&peer).await {
        Err(e) => mismatch(&e),
        // The client's end may stand for a moment before it hears.
        Ok(session) => session.ask(get("/hello.txt")).await.is_err(),
    };
    assert!(asked);
    assert!(fixture.metric("betanet_sessions_opened_total") == 0);
    // At the client, which does not begin.
    let fixture = Fixture::start(|_| {}).await;
    let peer = fixture.gateway.listening().peer();
    let rules = FrontRules {
        profile: Profile::Extended,
        fronts: Arc::default(),
    };
    let node = Node::client().unwrap().held_to(rules);
    let node = node.dialling_over(Transport::Tcp);
    let refused = node.connect(&peer).await.unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains("L2_ORIGIN_MISMATCH") && said.contains("is missing"),
        "{said}"
    );
    assert_eq!(fixture.gateway.sessions(), 0);
}

#[cfg(feature = "mimic")]
#[tokio::test(flavor = "multi_thread")]
async fn a_calibrated_template_is_told_kept_for_a_day_and_counts_where_it_is_listed() {
    let fixture = Fixture::start(|_| {}).await;
    let dir = tempfile::tempdir().unwrap();
    let templates = Templates::new(dir.path()).unwrap();
    let peer = fixture.gateway.listening().peer();
    let address = fixture.address();
    let trust = betanet_runtime::Trust::Pin(peer.pin.unwrap());
    let look = |again| {
        betanet_runtime::calibrate_origin(&templates, &address, &trust, again, Duration::ZERO)
    };
    let found = look(false).await.unwrap();
    assert!(found.fresh && !found.changed);
    assert_eq!(found.asked, Some(("/favicon.ico", 404)));
    assert_eq!(found.template.origin_alpn, "h2");
    let settings = found.template.origin_h2.clone().unwrap();
    assert!(settings.0.contains_key(&3), "{settings:?}");
    // A second look within the day asks nobody; one that is wanted sees the same.
    assert!(!look(false).await.unwrap().fresh);
    let again = look(true).await.unwrap();
    assert!(again.fresh && !again.changed);
    assert_eq!(again.template.id(), found.template.id());
    let now = again.fetched_ms;
    assert!(templates.known(&address, now + 86_399_999).is_some());
    assert!(templates.known(&address, now + 86_400_000).is_none());
    assert!(
        templates.known(&address, now - 1).is_none(),
        "a clock that was set back"
    );
    // An origin whose SETTINGS are others than what was kept.
    let file = std::fs::read_dir(dir.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut other = found.template.clone();
    other.origin_h2.as_mut().unwrap().0.insert(3, 7);
    let text =
        serde_json::json!({"fetched_ms": now, "map": betanet_wire::text::hex(&other.to_bytes())});
    std::fs::write(&file, text.to_string()).unwrap();
    assert!(look(true).await.unwrap().changed);
    // A session sees it too: what was kept is forgotten, and the next one tells what is there now.
    std::fs::write(&file, text.to_string()).unwrap();
    let telling = Node::client().unwrap().telling_templates(templates.clone());
    let telling = telling.dialling_over(Transport::Tcp);
    for told in [&other, &found.template] {
        let session = telling.connect(&peer).await.unwrap();
        assert_eq!(session.facts().await.unwrap().template, told.id());
    }
    // It is told to the peer, and passes EXTENDED where maintainers vouch for it.
    let maintainers: Vec<Identity> = (80..86).map(|n| Identity::from_seed(&[n; 32])).collect();
    let keys: Vec<_> = maintainers.iter().map(|m| *m.public()).collect();
    let list = Maintainers::new(&keys);
    let record = |expiry| {
        let front = FrontRecord {
            template: found.template.id(),
            seq: expiry,
            expiry,
            host_pattern: "127.0.0.1".into(),
            profile: Profile::Extended,
        };
        let mut envelope = Envelope::new(front.record(&list)).unwrap();
        maintainers.iter().for_each(|m| envelope.sign(m));
        let mut fronts = Fronts::default();
        fronts.add(&envelope, &list).unwrap();
        FrontRules {
            profile: Profile::Extended,
            fronts: Arc::new(fronts),
        }
    };
    let dial = |rules| {
        let node = Node::client().unwrap().telling_templates(templates.clone());
        let node = node.held_to(rules).dialling_over(Transport::Tcp);
        let peer = peer.clone();
        async move { node.connect(&peer).await }
    };
    let session = dial(record(now + 1_000_000)).await.unwrap();
    assert_eq!(session.facts().await.unwrap().template, found.template.id());
    let expired = dial(record(now - 1)).await.unwrap_err().to_string();
    assert!(expired.contains("expired"), "{expired}");
}

#[cfg(feature = "mimic")]
#[tokio::test(flavor = "multi_thread")]
async fn quic_has_a_template_of_its_own() {
    let fixture = Fixture::start(|_| {}).await;
    let dir = tempfile::tempdir().unwrap();
    let templates = Templates::new(dir.path()).unwrap();
    let peer = fixture.gateway.listening().peer();
    let address = format!("quic:{}", fixture.address());
    let trust = betanet_runtime::Trust::Pin(peer.pin.unwrap());
    let look =
        || betanet_runtime::calibrate_origin(&templates, &address, &trust, false, Duration::ZERO);
    let found = look().await.unwrap();
    assert_eq!(found.asked, Some(("/favicon.ico", 404)));
    assert_eq!(found.template.origin_alpn, "h3");
    assert_eq!(
        (&found.template.h2, &found.template.origin_h2),
        (&None, &None)
    );
    assert!(found.template.quic.is_some());
    assert!(!look().await.unwrap().fresh);
    let node = Node::client().unwrap().telling_templates(templates.clone());
    let session = node.connect(&peer).await.unwrap();
    assert_eq!(session.outer().alpn, "h3");
    assert_eq!(session.facts().await.unwrap().template, found.template.id());
}
