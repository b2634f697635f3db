//! Handling of unregistered templates at both ends.

use std::sync::Arc;

use betanet_runtime::{
    DialError, FrontRules, Headers, Method, Node, Profile, Request, SessionError, Transport,
};
use betanet_wire::Code;

use crate::Fixture;

fn get(path: &str) -> Request {
    Request::new(Method::Get, path, Headers::default())
}

fn mismatch(error: &DialError) -> bool {
    matches!(error, DialError::Session(SessionError::Session { code, .. }) if *code == Code::L2_ORIGIN_MISMATCH)
}

#[tokio::test(flavor = "multi_thread")]
async fn under_extended_templates_that_are_not_listed_end_the_session() {
    // At the gateway, which learns the template in message 3.
    let fixture = Fixture::start(|c| c.traffic.profile = Profile::Extended).await;
    let peer = fixture.gateway.listening().peer();
    let node = Node::client().unwrap().with_transport(Transport::Tcp);
    let asked = match node.connect(&peer).await {
        Err(e) => mismatch(&e),
        // The client's session may be open for a moment before the end arrives, but its request is not answered.
        Ok(session) => session.ask(get("/hello.txt")).await.is_err(),
    };
    assert!(asked);
    assert!(fixture.metric("betanet_sessions_opened_total") == 0);
    // At the client, which does not start a session.
    let fixture = Fixture::start(|_| {}).await;
    let peer = fixture.gateway.listening().peer();
    let rules = FrontRules {
        profile: Profile::Extended,
        fronts: Some(Arc::default()),
    };
    let node = Node::client().unwrap().with_front_rules(rules);
    let node = node.with_transport(Transport::Tcp);
    let refused = node.connect(&peer).await.unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains("L2_ORIGIN_MISMATCH") && said.contains("is missing"),
        "{said}"
    );
    assert_eq!(fixture.gateway.sessions(), 0);
}
