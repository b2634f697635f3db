//! Error codes that end a session or a stream, provoked and read by the second client. Each time another session of the node,
//! opened before, is served afterwards.

use betanet_runtime::Profile;
use betanet_wire::Code;

use crate::Fixture;
use crate::mesh::Net;
use crate::peer::{HalfOpen, Peer, Ticket};
use crate::second::{fetch, node, path_header, seeds};

/// A node, and the client whose session has to outlive what others do.
struct Scene {
    fixture: Fixture,
    server: [u8; 32],
    bystander: Peer,
    asked: u32,
}

impl Scene {
    async fn new() -> Self {
        let fixture = Fixture::start(|_| {}).await;
        let server = *fixture.gateway.listening().key.as_bytes();
        let bystander = Peer::connect(&fixture.address(), &server, [90; 32]).await;
        Self {
            fixture,
            server,
            bystander,
            asked: 1,
        }
    }

    async fn peer(&self, seed: [u8; 32]) -> Peer {
        Peer::connect(&self.fixture.address(), &self.server, seed).await
    }

    /// The session opened first is still served.
    async fn lives_on(&mut self) {
        self.asked += 2;
        let got = fetch(&mut self.bystander, self.asked, "/hello.txt").await;
        assert_eq!(got, (200, b"hello".to_vec()));
    }

    /// The session of `peer` ended with `code`: after the answering CLOSE its body ends too.
    async fn ends(&mut self, peer: &mut Peer, code: Code) {
        assert_eq!(peer.code(0).await, code.0);
        self.lives_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_common_version_is_told_in_epoch_0() {
    let mut scene = Scene::new().await;
    let address = scene.fixture.address();
    for (seed, decides) in seeds(&scene.server).into_iter().zip([true, false]) {
        let mut peer = Peer::offer(&address, &scene.server, seed, "betanet/htx/9.0.0").await;
        assert_eq!(peer.decided, decides);
        scene
            .ends(&mut peer, Code::VERSION_NEGOTIATION_FAILED)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_under_the_old_key_is_told_apart_from_a_forged_one() {
    let mut scene = Scene::new().await;
    let mut peer = scene.peer([91; 32]).await;
    peer.turn();
    // Up to three more frames may come under the old key, and are answered.
    for _ in 0..2 {
        peer.late_ping();
        while peer.next().await.ty != 2 {}
    }
    for _ in 0..3 {
        peer.frame(2, 0, 0, &[1; 8]);
    }
    peer.late_ping();
    scene.ends(&mut peer, Code::OLD_KEY_FRAME).await;

    // A while later such a frame is one that opens under no key.
    let mut peer = scene.peer([92; 32]).await;
    peer.turn();
    for _ in 0..8 {
        peer.frame(2, 0, 0, &[1; 8]);
    }
    peer.late_ping();
    peer.is_cut().await;
    scene.lives_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_past_the_credit_and_credit_past_its_bound_end_the_session() {
    let mut scene = Scene::new().await;
    // One byte past the credit of a new stream, which is 32 768.
    let mut peer = scene.peer([93; 32]).await;
    peer.stream(3, 32_768, b"x", false);
    scene.ends(&mut peer, Code::FLOW_CONTROL_VIOLATION).await;
    // A stream for which nobody gave credit beyond the first raise.
    let mut peer = scene.peer([94; 32]).await;
    peer.stream(3, 0, &[0x01], false);
    peer.stream(3, 32_768 + 229_376, b"x", false);
    scene.ends(&mut peer, Code::FLOW_CONTROL_VIOLATION).await;
    // The last byte within the credit is taken, and the session lives.
    let mut peer = scene.peer([95; 32]).await;
    peer.stream(3, 0, &[0x01], false);
    peer.stream(3, 32_768 + 229_375, b"x", false);
    peer.frame(2, 0, 0, &[7; 8]);
    loop {
        let frame = peer.next().await;
        assert_ne!(frame.ty, 4, "{:?}", frame.payload);
        if (frame.ty, frame.mark) == (2, 1) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_paths_end_the_session_and_no_other() {
    let mut scene = Scene::new().await;
    let seed = [96; 32];
    let mut peer = scene.peer(seed).await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = u64::try_from(now.as_millis()).unwrap();
    let invalid = |i| {
        let mut header = path_header(seed, &[node(&scene.server), [9; 20]], now + i, 180);
        header[60] ^= 1;
        header
    };
    for i in 0..15 {
        peer.frame(0x20, 0, 0, &invalid(i));
    }
    let got = fetch(&mut peer, 3, "/hello.txt").await;
    assert_eq!(got, (200, b"hello".to_vec()), "fifteen are forgiven");
    peer.frame(0x20, 0, 0, &invalid(15));
    scene.ends(&mut peer, Code::PATH_INVALID).await;
    let refused = "betanet_paths_total{outcome=\"refused\"}";
    assert_eq!(scene.fixture.metric(refused), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_not_listed_is_told_so_by_the_gateway() {
    let fixture = Fixture::start(|c| c.traffic.profile = Profile::Extended).await;
    let server = *fixture.gateway.listening().key.as_bytes();
    for seed in seeds(&server) {
        let mut peer = Peer::connect(&fixture.address(), &server, seed).await;
        assert_eq!(peer.code(0).await, Code::L2_ORIGIN_MISMATCH.0);
    }
    assert_eq!(fixture.metric("betanet_sessions_opened_total"), 0);
    // The node goes on to tell each client, and serves its site.
    let mut again = Peer::connect(&fixture.address(), &server, [97; 32]).await;
    assert_eq!(again.code(0).await, Code::L2_ORIGIN_MISMATCH.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_says_nothing_is_ended_alone() {
    let net = Net::start(34, 1).await;
    let gateway = net.gateways[0].as_ref().unwrap();
    let server = *gateway.listening().key.as_bytes();
    let address = gateway.listening().addresses[0].clone();
    let mut peer = Peer::connect(&address, &server, [98; 32]).await;
    // A GOSSIP stream without its request.
    peer.stream(3, 0, &[0x11], false);
    assert_eq!(peer.code(3).await, Code::STALLED.0);
    assert_eq!(
        fetch(&mut peer, 5, "/hello.txt").await,
        (200, b"hello from 1".to_vec())
    );
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_ticket_is_counted_and_its_connection_is_served() {
    // L2_TICKET_INVALID is never sent: the node counts it, and answers as its site does.
    let mut scene = Scene::new().await;
    let mut one = HalfOpen::connect(&scene.fixture.address(), [99; 32]).await;
    let refused = "betanet_tickets_refused_total";
    let page = one.page().await;
    assert_eq!(page, (200, b"<h1>A garden diary</h1>\n".to_vec()));
    let server = scene.server;
    assert_eq!(one.post(Ticket::None, &server, "no-ticket").await, 405);
    assert_eq!(scene.fixture.metric(refused), 0);
    let invalid = [Ticket::Malformed, Ticket::Wrong, Ticket::OtherConnection];
    for (kind, count) in invalid.into_iter().zip(1..) {
        let status = one.post(kind, &server, "the-label-of-an-invalid-one").await;
        assert_eq!((status, scene.fixture.metric(refused)), (405, count));
        assert_eq!(one.page().await, page, "{kind:?}");
        scene.lives_on().await;
    }
    // On the same connection a valid ticket opens a session, whose handshake the node answers.
    assert_eq!(one.knock(&server, "the-label-of-a-valid-ticket").await, 200);
    assert_eq!(one.page().await, page);
    assert_eq!(scene.fixture.metric(refused), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_no_known_type_or_path_are_refused_alone() {
    let mut scene = Scene::new().await;
    let mut peer = scene.peer([100; 32]).await;
    let unknown_path = [&[3][..], &[7; 8]].concat();
    for (n, (first, code)) in (0..).zip([
        (&[0x7f][..], Code::UNSUPPORTED_FEATURE),
        (&unknown_path, Code::POLICY_REJECTED),
    ]) {
        let stream = 3 + 4 * n;
        peer.stream(stream, 0, first, false);
        assert_eq!(peer.code(stream).await, code.0);
        let got = fetch(&mut peer, stream + 2, "/hello.txt").await;
        assert_eq!(got, (200, b"hello".to_vec()), "{code}");
        scene.lives_on().await;
    }
}
