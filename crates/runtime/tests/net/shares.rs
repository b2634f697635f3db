//! Sessions that a relay dialled for others and that nobody uses any more. The clock stands still while anybody has something to do, and
//! goes on in steps.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use betanet_runtime::{Headers, Method, Node, Request, SessionHandle, Transport};
use tokio::time::{advance, pause, resume};

use crate::Fixture;

/// A client at an address of its own.
fn client(n: u8) -> Arc<Node> {
    let at = IpAddr::from([127, 60, 0, n]);
    let node = Node::client().unwrap().dialling_over(Transport::Tcp);
    Arc::new(node.dialling_from(Some(at)))
}

/// Lets everybody do what is to be done now, sockets and all, while the clock stands.
async fn turns() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        turns().await;
    }
}

/// Lets time pass, of a clock that stands.
async fn pass(seconds: u64) {
    for _ in 0..2 * seconds {
        advance(Duration::from_millis(500)).await;
        turns().await;
    }
}

async fn hello(session: &SessionHandle) -> Vec<u8> {
    let get = Request::new(Method::Get, "/hello.txt", Headers::default());
    let mut answer = session.ask(get).await.unwrap();
    answer.body.all(100).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_session_that_a_relay_dialled_for_others_ends_once_nobody_used_it_for_200_s() {
    let exit = Fixture::start_as(64, |c| c.quic = false).await;
    let exit_peer = exit.gateway.listening().peer();
    let relay = Fixture::start_as(63, |c| {
        c.onward = vec![exit_peer.clone()];
        c.quic = false;
    })
    .await;
    let way = [relay.gateway.listening().peer()];
    let node = client(1);
    let session = node.connect_over(&way, &exit_peer).await.unwrap();
    assert_eq!(hello(&session).await, b"hello");
    // The relay's own, and the one that it carries.
    assert_eq!(exit.gateway.sessions(), 2);
    pause();
    pass(400).await;
    assert_eq!(exit.gateway.sessions(), 2, "while it is used it stays");
    resume();
    session.close().await;
    session.over().await;
    pause();
    until(|| exit.gateway.sessions() == 1).await;
    pass(198).await;
    assert_eq!(exit.gateway.sessions(), 1);
    pass(3).await;
    assert_eq!(exit.gateway.sessions(), 0);
    resume();
    // The next path dials anew.
    let session = node.connect_over(&way, &exit_peer).await.unwrap();
    assert_eq!(hello(&session).await, b"hello");
}
