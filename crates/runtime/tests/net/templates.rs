//! Calibrated templates: sending, storing, listing.

use std::sync::Arc;
use std::time::Duration;

use betanet_keys::{Envelope, Maintainers};
use betanet_runtime::{
    FrontRecord, FrontRules, Fronts, Identity, Node, Profile, Templates, Transport,
};

use crate::Fixture;

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
    // A second calibration within the day sends no request. A forced one gives the same result.
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
    // The observation continues for PINGs, whatever the answer is.
    let (began, idle) = (std::time::Instant::now(), Duration::from_millis(100));
    let watched = betanet_runtime::calibrate_origin(&templates, &address, &trust, true, idle);
    assert_eq!(watched.await.unwrap().asked, Some(("/favicon.ico", 404)));
    assert!(began.elapsed() >= idle);
    // An origin whose SETTINGS differ from the stored ones.
    let kept = || {
        let names = std::fs::read_dir(dir.path()).unwrap().flatten();
        let mut names =
            names.filter(|e| e.file_name().as_encoded_bytes().starts_with(b"template-"));
        names.next().unwrap().path()
    };
    // The form and place of an earlier version are read once.
    let put = |text: &str| {
        std::fs::remove_file(kept()).unwrap();
        let old = dir.path().join("templates");
        std::fs::create_dir_all(&old).unwrap();
        let name = address.replace(':', "_");
        std::fs::write(old.join(format!("{name}.json")), text).unwrap();
    };
    let mut other = found.template.clone();
    other.origin_h2.as_mut().unwrap().0.insert(3, 7);
    let text =
        serde_json::json!({"fetched_ms": now, "map": betanet_wire::text::hex(&other.to_bytes())});
    put(&text.to_string());
    assert!(look(true).await.unwrap().changed);
    // A session notices it too: the stored template is discarded, and the next session sends the current one.
    put(&text.to_string());
    let telling = Node::client().unwrap().with_templates(templates.clone());
    let telling = telling.with_transport(Transport::Tcp);
    for told in [&other, &found.template] {
        let session = telling.connect(&peer).await.unwrap();
        assert_eq!(session.facts().await.unwrap().template, told.id());
    }
    // It is sent to the peer, and satisfies EXTENDED if maintainers have signed it.
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
            fronts: Some(Arc::new(fronts)),
        }
    };
    let dial = |rules| {
        let node = Node::client().unwrap().with_templates(templates.clone());
        let node = node.with_front_rules(rules).with_transport(Transport::Tcp);
        let peer = peer.clone();
        async move { node.connect(&peer).await }
    };
    let session = dial(record(now + 1_000_000)).await.unwrap();
    assert_eq!(session.facts().await.unwrap().template, found.template.id());
    let expired = dial(record(now - 1)).await.unwrap_err().to_string();
    assert!(expired.contains("expired"), "{expired}");
}

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
    let node = Node::client().unwrap().with_templates(templates.clone());
    let session = node.connect(&peer).await.unwrap();
    assert_eq!(session.outer().alpn, "h3");
    assert_eq!(session.facts().await.unwrap().template, found.template.id());
}
