use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_journal::{Journal, MemoryStore};
use betanet_keys::Peer;
use betanet_runtime::{
    AdminRequest, CountPeers, Extension, Gateway, GatewayBuilder, GatewayConfig, Headers, Method,
    Node, Request, StreamType,
};
use betanet_voucher_service::accounts::{
    AccountService, AccountSettings, AccountsRunning, Evidence, Peers, PeersFuture,
};
use betanet_vouchers::account::{Account, PERIOD};
use betanet_vouchers::meter::Tariff;
use betanet_wire::{ChargeTo, Code, NodeId, message, msg};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::world::{code, identity, now_ms};

/// Bytes of an answer: more than the margin that a peer grants.
const ANSWER: usize = 400_000;

/// The peers of a test, by their addresses.
#[derive(Default)]
struct Known {
    peers: Mutex<Vec<Peer>>,
    node: Option<Node>,
}

impl Known {
    fn of(me: u8) -> Arc<Self> {
        let node = Node::new(Some(identity(me)), Default::default()).unwrap();
        Arc::new(Self {
            node: Some(node),
            ..Self::default()
        })
    }

    fn add(&self, peer: Peer) {
        let mut peers = self.peers.lock().unwrap();
        peers.retain(|p| p.key != peer.key);
        peers.push(peer);
    }
}

impl Peers for Known {
    fn known(&self) -> PeersFuture<'_, BTreeSet<NodeId>> {
        let peers = self.peers.lock().unwrap();
        let known = peers.iter().map(|p| p.key.node_id()).collect();
        Box::pin(std::future::ready(known))
    }

    fn session(&self, peer: NodeId) -> PeersFuture<'_, Option<betanet_runtime::SessionHandle>> {
        let peers = self.peers.lock().unwrap().clone();
        Box::pin(async move {
            let peer = peers.iter().find(|p| p.key.node_id() == peer)?;
            self.node.as_ref()?.session(peer).await.ok()
        })
    }
}

/// A relay that keeps accounts.
struct Relay {
    me: u8,
    store: Arc<MemoryStore>,
    settings: AccountSettings,
    known: Arc<Known>,
    gateway: Gateway,
    service: AccountService,
    running: AccountsRunning,
    _home: tempfile::TempDir,
}

fn building(me: u8, onward: Vec<Peer>) -> (GatewayBuilder, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut config = GatewayConfig::in_state(home.path().join("state"));
    config.listener.listen = vec!["127.0.0.1:0".into()];
    config.limits.per_address = Some(128);
    config.relay.onward = onward;
    let answer = |_: betanet_runtime::Call| async {
        betanet_runtime::Reply::new(200).with_body(vec![7; ANSWER])
    };
    let builder = Gateway::builder(identity(me), &config).service("/", answer);
    (builder, home)
}

async fn gateway(
    me: u8,
    onward: Vec<Peer>,
    service: Option<&AccountService>,
) -> (Gateway, tempfile::TempDir) {
    let (mut builder, home) = building(me, onward);
    if let Some(service) = service {
        builder = builder
            .count_peers(service.meter())
            .stream_type(StreamType::ACCOUNT, service.streams())
            .extension(service.extension());
    }
    (builder.start().await.unwrap(), home)
}

impl Relay {
    async fn start(me: u8, onward: Vec<Peer>, tariff: Tariff) -> Self {
        let settings = AccountSettings {
            tariff,
            ..AccountSettings::default()
        };
        Self::with(me, onward, settings, Arc::new(MemoryStore::new())).await
    }

    async fn with(
        me: u8,
        onward: Vec<Peer>,
        settings: AccountSettings,
        store: Arc<MemoryStore>,
    ) -> Self {
        let service = AccountService::new(identity(me), settings);
        let (gateway, home) = gateway(me, onward, Some(&service)).await;
        let known = Known::of(me);
        let journal: Arc<dyn Journal> = Arc::new(store.open("one"));
        let peers = Arc::clone(&known) as Arc<dyn Peers>;
        let running = service.start(journal, peers).await.unwrap();
        running.leads().await;
        Self {
            me,
            store,
            settings,
            known,
            gateway,
            service,
            running,
            _home: home,
        }
    }

    fn peer(&self) -> Peer {
        self.gateway.listening().peer()
    }

    fn node(&self) -> NodeId {
        identity(self.me).public().node_id()
    }

    /// Stops, and starts again on the same journal.
    async fn restarted(self, onward: Vec<Peer>) -> Self {
        let known = Arc::clone(&self.known);
        self.running.stop().await;
        self.gateway.shutdown().await;
        let again = Self::with(self.me, onward, self.settings, self.store).await;
        let peers = known.peers.lock().unwrap().clone();
        peers.into_iter().for_each(|peer| again.known.add(peer));
        again
    }

    async fn page(&self, path: &str) -> Vec<u8> {
        let request = AdminRequest {
            method: "GET".parse().unwrap(),
            uri: path.parse().unwrap(),
            headers: Default::default(),
            body: Box::pin(futures_util::stream::empty()),
        };
        let mut reply = Extension::answer(self.service.extension(), request).await;
        assert_eq!(reply.status, 200);
        reply.body.next().await.unwrap().unwrap().to_vec()
    }

    async fn evidence(&self) -> Vec<Account> {
        let file = self.page("/accounts/1/evidence").await;
        Evidence::from_bytes(&file).unwrap().1
    }

    fn metric(&self, name: &str) -> u64 {
        let all = self.service.extension().measures();
        all.iter().find(|m| m.name == name).unwrap().values[0].1
    }
}

/// A client of two relays and a node without accounts: its streams go over both.
struct World {
    first: Relay,
    second: Relay,
    end: Gateway,
    _home: tempfile::TempDir,
}

impl World {
    async fn start(tariff: Tariff) -> Self {
        let (end, home) = gateway(43, Vec::new(), None).await;
        let second = Relay::start(42, vec![end.listening().peer()], tariff).await;
        let first = Relay::start(41, vec![second.peer()], Tariff::default()).await;
        let this = Self {
            first,
            second,
            end,
            _home: home,
        };
        this.meet();
        this
    }

    fn meet(&self) {
        self.first.known.add(self.second.peer());
        self.second.known.add(self.first.peer());
    }

    /// Fetches one answer over both relays.
    async fn fetch(&self) -> Result<usize, ()> {
        let node = Node::client().unwrap();
        let relays = [self.first.peer(), self.second.peer()];
        let session = node
            .connect_over(&relays, &self.end.listening().peer())
            .await;
        let session = session.map_err(|_| ())?;
        let get = Request::new(Method::Get, "/", Headers::default());
        let mut answer = session.ask(get).await.map_err(|_| ())?;
        let body = answer.body.all(1 << 20).await.map_err(|_| ())?;
        session.close().await;
        Ok(body.map_or(0, |b| b.len()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_settle_what_one_forwards_and_guests_are_not_written_down() {
    let world = World::start(Tariff::default()).await;
    let (first, second) = (&world.first, &world.second);
    assert_eq!(world.fetch().await, Ok(ANSWER));
    // The first has not yet heard of the second: nothing is lost by a peer that is not reached.
    first.running.settle().await.unwrap();
    second.running.settle().await.unwrap();
    let view = second.running.view().await.unwrap();
    let (given, settled) = view.given;
    assert!(
        given > ANSWER as u64 && given == settled,
        "{given} {settled}"
    );
    assert!(view.open.is_empty());
    // Its clients are nobody's business, and no file's.
    let view = first.running.view().await.unwrap();
    assert_eq!(view.given, (0, 0));
    let (taken, signed) = view.taken;
    // The last bytes may be under way.
    assert!(
        signed == given && taken > ANSWER as u64 / 2,
        "{taken} {signed}"
    );
    let evidence = second.evidence().await;
    assert_eq!(evidence.len(), 1);
    let account = evidence[0];
    assert_eq!((account.relay, account.from), (second.node(), first.node()));
    assert_eq!((account.bytes, account.period), (given, now_ms() / PERIOD));
    let list: Value = serde_json::from_slice(&second.page("/accounts/1/list").await).unwrap();
    assert_eq!(list["given"][0]["settled"], given);
    assert_eq!(second.metric("account_bytes_settled"), given);
    assert_eq!(first.metric("account_records_signed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_counter_is_refused_and_shown_on_both_sides() {
    let world = World::start(Tariff::default()).await;
    let (first, second) = (&world.first, &world.second);
    assert_eq!(world.fetch().await, Ok(ANSWER));
    let charge = ChargeTo::V4([127, 0, 0, 1]);
    second
        .service
        .meter()
        .given(&first.node(), charge, 10 << 20);
    first.running.settle().await.unwrap();
    second.running.settle().await.unwrap();
    assert!(second.evidence().await.is_empty());
    assert_eq!(second.metric("account_records_refused"), 1);
    assert_eq!(
        (
            first.metric("account_records_disputed"),
            first.metric("account_disputes")
        ),
        (1, 1)
    );
    let list: Value = serde_json::from_slice(&second.page("/accounts/1/list").await).unwrap();
    let refused = Code::POLICY_REJECTED.to_string();
    assert_eq!(list["given"][0]["refused"], refused);
    let list: Value = serde_json::from_slice(&first.page("/accounts/1/list").await).unwrap();
    assert!(list["taken"][0]["disputed"].as_u64().unwrap() > 10 << 20);
    // The connection lives on, and so do the streams of others.
    assert_eq!(world.fetch().await, Ok(ANSWER));
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_signatures_outlive_restarts_and_an_unreached_peer() {
    let mut world = World::start(Tariff::default()).await;
    assert_eq!(world.fetch().await, Ok(ANSWER));
    // The first is away while it is asked: the claim is repeated later.
    let away = world.first.peer();
    let nowhere = Peer {
        addrs: vec!["127.0.0.1:1".into()],
        ..away
    };
    world.second.known.add(nowhere);
    world.second.running.settle().await.unwrap();
    assert_eq!(world.second.metric("account_peers_silent"), 1);
    let end = world.end.listening().peer();
    world.second = world.second.restarted(vec![end]).await;
    world.first = world.first.restarted(vec![world.second.peer()]).await;
    world.meet();
    world.second.running.settle().await.unwrap();
    let (given, settled) = world.second.running.view().await.unwrap().given;
    assert!(given > ANSWER as u64 && given == settled);
    // More of the same day raises the same account.
    assert_eq!(world.fetch().await, Ok(ANSWER));
    world.first.running.settle().await.unwrap();
    world.second.running.settle().await.unwrap();
    let evidence = world.second.evidence().await;
    assert_eq!((evidence.len(), evidence[0].seq), (1, 2));
    assert!(evidence[0].bytes > 2 * ANSWER as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaid_peer_is_refused_between_streams_until_it_countersigns() {
    let tariff = Tariff {
        price: 1,
        allowance: 100_000,
    };
    let world = World::start(tariff).await;
    // The stream that begins within the allowance is carried to its end.
    assert_eq!(world.fetch().await, Ok(ANSWER));
    assert_eq!(world.fetch().await, Err(()));
    assert!(world.second.metric("account_streams_refused") > 0);
    world.first.running.settle().await.unwrap();
    world.second.running.settle().await.unwrap();
    assert_eq!(world.fetch().await, Ok(ANSWER));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_waits_until_an_honest_peer_has_counted_the_same() {
    let settings = AccountSettings {
        every: Duration::from_millis(50),
        lag: Duration::from_secs(3),
        ..AccountSettings::default()
    };
    let (end, home) = gateway(43, Vec::new(), None).await;
    let store = Arc::new(MemoryStore::new());
    let second = Relay::with(42, vec![end.listening().peer()], settings, store).await;
    let first = Relay::start(41, vec![second.peer()], Tariff::default()).await;
    let world = World {
        first,
        second,
        end,
        _home: home,
    };
    assert_eq!(world.fetch().await, Ok(ANSWER));
    world.meet();
    let (first, second) = (&world.first, &world.second);
    let claimed = async || {
        let view = second.running.view().await.unwrap();
        view.of_peers.iter().any(|(_, row)| row.open)
    };
    while !claimed().await && second.metric("account_records_refused") == 0 {
        tokio::task::yield_now().await;
    }
    // The claim is made, and the peer writes down what it counted only now.
    first.running.settle().await.unwrap();
    let answers = || {
        let refused = second.metric("account_records_refused");
        (second.metric("account_records_settled"), refused)
    };
    while answers() == (0, 0) {
        tokio::task::yield_now().await;
    }
    assert_eq!(answers(), (1, 0));
}

/// Peers that were sent bytes to forward, and who is charged for it.
#[derive(Default)]
struct Charges(Mutex<BTreeSet<(NodeId, ChargeTo)>>);

impl CountPeers for Charges {
    fn admits(&self, _: &NodeId, _: ChargeTo) -> bool {
        true
    }

    fn given(&self, _: &NodeId, _: ChargeTo, _: u64) {}

    fn taken(&self, peer: &NodeId, charge: ChargeTo, _: u64) {
        self.0.lock().unwrap().insert((*peer, charge));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_brings_a_stream_is_charged_for_the_relay_that_it_goes_on_to() {
    let (end, _home) = gateway(43, Vec::new(), None).await;
    let (builder, _state) = building(42, vec![end.listening().peer()]);
    let charges = Arc::new(Charges::default());
    let counts = Arc::clone(&charges) as Arc<dyn CountPeers>;
    let relay = builder.count_peers(counts).start().await.unwrap();
    let node = Node::client().unwrap();
    let over = [relay.listening().peer()];
    let session = node.connect_over(&over, &end.listening().peer()).await;
    let get = Request::new(Method::Get, "/", Headers::default());
    assert_eq!(session.unwrap().ask(get).await.unwrap().head.status, 200);
    let on = ChargeTo::V4([127, 0, 0, 1]);
    let expected = [(identity(43).public().node_id(), on)];
    assert_eq!(*charges.0.lock().unwrap(), expected.into());
}

message! {
    struct Claim {
        req "rec" rec: Vec<u8>,
        req "sig" sig: [u8; 64],
    }
}

/// Sends a message on a stream of its own, and reads the answer; `None` if the stream is reset.
async fn asked(session: &betanet_runtime::SessionHandle, message: Vec<u8>) -> Option<Vec<u8>> {
    let kind = StreamType::ACCOUNT.number();
    let (mut answers, mut ours) = session
        .open_raw(kind, message.into())
        .await
        .unwrap()
        .split();
    ours.send(Bytes::new(), true).await.ok()?;
    let mut all = Vec::new();
    while let Some(piece) = answers.chunk().await.ok()? {
        all.extend_from_slice(&piece);
    }
    let (answer, _) = msg::split(&all, 1_024).unwrap()?;
    Some(answer.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_messages_see_their_codes_full_queues_reset_and_others_are_served() {
    let relay = Relay::start(41, Vec::new(), Tariff::default()).await;
    let node = Node::new(Some(identity(60)), Default::default()).unwrap();
    let session = node.session(&relay.peer()).await.unwrap();
    let account = Account {
        bytes: 10,
        from: relay.node(),
        period: now_ms() / PERIOD,
        relay: identity(60).public().node_id(),
        seq: 1,
    };
    let claim = |account: &Account, by: u8| {
        let sig = account.sign(&identity(by));
        let rec = account.to_bytes();
        msg::to_vec(&Claim { rec, sig })
    };
    let garbage = msg::to_vec(&Claim {
        rec: b"x".to_vec(),
        sig: [0; 64],
    });
    let strange = Account {
        relay: identity(61).public().node_id(),
        ..account
    };
    for (message, expected) in [
        (garbage, Code::MALFORMED_FRAME),
        (vec![0, 0, 255, 255, 1], Code::MALFORMED_FRAME),
        (vec![0, 0, 0, 9, 1], Code::MALFORMED_FRAME),
        (claim(&account, 61), Code::AUTH_FAILED),
        (claim(&strange, 61), Code::POLICY_REJECTED),
        // The relay was never used: not a byte is signed.
        (claim(&account, 60), Code::POLICY_REJECTED),
    ] {
        let answer = asked(&session, message).await.unwrap();
        assert_eq!(code(&answer), expected);
    }
    // Streams that say nothing hold 64 places at most; one more is reset.
    let mut held = Vec::new();
    for _ in 0..64 {
        let kind = StreamType::ACCOUNT.number();
        held.push(
            session
                .open_raw(kind, Bytes::from_static(&[0]))
                .await
                .unwrap(),
        );
    }
    assert_eq!(asked(&session, claim(&account, 60)).await, None);
    drop(held);
    let mut answer = None;
    while answer.is_none() {
        answer = asked(&session, claim(&account, 60)).await;
    }
    assert_eq!(code(&answer.unwrap()), Code::POLICY_REJECTED);

    // A node without accounts refuses the stream, and lives on.
    let (plain, _home) = gateway(43, Vec::new(), None).await;
    let session = node.session(&plain.listening().peer()).await.unwrap();
    assert_eq!(asked(&session, claim(&account, 60)).await, None);
    let get = Request::new(Method::Get, "/", Headers::default());
    assert_eq!(session.ask(get).await.unwrap().head.status, 200);
}
