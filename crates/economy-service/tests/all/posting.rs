//! Heads in the network's ledger of names: posted once an epoch, and found by whoever verifies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use betanet_economy_service::anchor::{ECONOMY_HEAD, anchor, anchored};
use betanet_economy_service::{Anchoring, EconomyService, Error, Finding, verify};
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_keys::{Envelope, Identity, Maintainers, Peer, PublicKey};
use betanet_naming::testkit::Network;
use betanet_naming_service::client::{self as names, Trust as NamesTrust};
use betanet_naming_service::{NameService, PREFIX, Running, Settings as NamesSettings};
use betanet_runtime::{Gateway, GatewayConfig, Method, Node, SessionHandle};
use betanet_session::{Call, Reply};
use betanet_store::State;
use betanet_tokenomics::Code;

use super::world::{Asker, Books, FOG, genesis, journal, payment, settings};

/// A node of the ledger of names.
struct Names {
    gateway: Gateway,
    running: Running,
    peer: Peer,
}

impl Names {
    /// The nodes of all signers, each knowing the others.
    async fn of(home: &Path, network: &Network) -> Vec<Self> {
        let mut idle = Vec::new();
        for (at, signer) in network.signers.iter().enumerate() {
            let home = home.join(format!("names{at}"));
            let mut config = GatewayConfig::in_state(home.join("state"));
            config.listener.listen = vec!["127.0.0.1:0".into()];
            config.limits.per_address = Some(256);
            let identity = betanet_runtime::load_or_new_identity(&config.node.key).unwrap();
            let mut settings = NamesSettings::new(network.genesis());
            settings.signer = Some(signer.clone());
            let names = NameService::new(settings).unwrap();
            let gateway = Gateway::builder(identity.clone(), &config)
                .service(PREFIX, names.service())
                .stream_type(NameService::STREAMS, names.streams())
                .start()
                .await
                .unwrap();
            idle.push((home, names, gateway, identity));
        }
        let peers = idle.iter().zip(&network.signers);
        let known: Vec<(PublicKey, Peer)> = peers
            .map(|((_, _, gateway, _), signer)| (*signer.public(), gateway.listening().peer()))
            .collect();
        let mut all = Vec::new();
        for (home, mut names, gateway, identity) in idle {
            let peers = known.iter().map(|(_, peer)| peer.clone()).collect();
            names.know(peers, known.clone());
            let state = State::open(&home.join("names")).unwrap();
            let journal = SqliteJournal::open(&Arc::new(state), SqliteSettings::default()).unwrap();
            let running = names.start(&identity, Arc::new(journal), |node| node).await;
            let running = running.unwrap();
            running.leads().await;
            all.push(Self {
                peer: gateway.listening().peer(),
                gateway,
                running,
            });
        }
        all
    }

    async fn stop(self) {
        self.running.stop().await;
        self.gateway.shutdown().await;
    }
}

fn anchoring(network: &Network, nodes: Vec<Peer>, keys: std::ops::Range<usize>) -> Anchoring {
    let mut anchoring = Anchoring::new(network.genesis());
    anchoring.nodes = nodes;
    anchoring.maintainers = network.maintainers[keys].to_vec();
    anchoring.look_every = Duration::from_millis(200);
    anchoring
}

/// The record that stands for this ledger, verified.
async fn standing(
    session: &SessionHandle,
    network: &Network,
    genesis: &[u8; 32],
) -> Option<Envelope> {
    let request = names::registry_request(ECONOMY_HEAD, genesis);
    let answer = session.ask(request).await.unwrap();
    let bytes = names::body(answer, 4 << 20).await.unwrap();
    let mut trust = NamesTrust::new(&network.genesis());
    let found = names::registered(&bytes, (ECONOMY_HEAD, genesis), &mut trust).unwrap();
    // Signers of another network prove nothing.
    let mut other = NamesTrust::new(&Network::new(4, 6).genesis());
    if found.is_some() {
        assert!(names::registered(&bytes, (ECONOMY_HEAD, genesis), &mut other).is_err());
        assert!(names::registered(&bytes, ("Other", genesis), &mut trust).is_err());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_the_epoch_is_posted_once_and_shows_a_cut_tail_and_a_split_view() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 6);
    let nodes = Names::of(home.path(), &network).await;
    let peers: Vec<Peer> = nodes.iter().map(|n| n.peer.clone()).collect();
    let genesis = genesis();
    // The first of the named nodes is gone.
    let gone = Peer {
        key: *Identity::from_seed(&[8; 32]).public(),
        addrs: vec!["127.0.0.1:1".into()],
        pin: None,
    };
    let mut with = settings(&genesis, &[11, 12]);
    with.anchoring = Some(anchoring(
        &network,
        vec![gone, peers[0].clone(), peers[1].clone()],
        0..5,
    ));
    let books = Books::start(home.path(), with.clone(), journal(home.path())).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    for nonce in 0..3 {
        let paid = asker.send(&payment(&asker.trust, 1, nonce, 2, FOG)).await;
        assert_eq!(paid.1.answer.code, Code::Ok);
    }
    books.running.reaches(4).await;
    let id = *asker.trust.genesis().id();
    let reader = Node::client().unwrap();
    let session = reader.session(&peers[0]).await.unwrap();
    let posted = async |books: &Books| {
        let found = async {
            loop {
                match standing(&session, &network, &id).await {
                    Some(found) => return found,
                    None => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(100), found).await;
        let (failed, signed) = ("economy_posts_failed", "economy_post_signatures");
        let told = [failed, signed].map(|name| books.measure(name));
        found.unwrap_or_else(|_| panic!("not final: failed and signed {told:?}"))
    };
    let first = posted(&books).await;
    let read = anchored(first.record()).unwrap();
    assert_eq!((&read.genesis[..], read.epoch), (&id[..], 0));
    let covers = read.head.head().size;
    let list: Vec<PublicKey> = network.maintainers.iter().map(|i| *i.public()).collect();
    assert!(first.check(&Maintainers::new(&list)).is_ok());

    // A restart posts no other head of the epoch.
    for nonce in 3..6 {
        asker.send(&payment(&asker.trust, 1, nonce, 2, FOG)).await;
    }
    books.running.reaches(7).await;
    books.stop().await;
    let books = Books::start(home.path(), with, journal(home.path())).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    books.running.reaches(7).await;
    let looked = async {
        while books.measure("economy_posted_epochs") != 1 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(100), looked)
        .await
        .unwrap();
    // The node that is gone.
    assert_eq!(books.measure("economy_posts_failed"), 1);
    assert_eq!(posted(&books).await.record(), first.record());

    // Whoever verifies the journal with that head finds what is missing or other.
    let journal_of = async |asker: &Asker, n: u64| {
        let bytes = asker.get(&format!("journal?after=0&n={n}")).await;
        bytes.good().unwrap()
    };
    let all = journal_of(&asker, 7).await;
    let newest = asker.head().await;
    let good = verify(&all, Some(&genesis), vec![read.head.clone(), newest]);
    assert_eq!(good.unwrap().covered, 7);
    let cut = journal_of(&asker, covers - 1).await;
    let found = verify(&cut, Some(&genesis), vec![read.head.clone()]).unwrap_err();
    assert!(matches!(found, Finding::Short { head, .. } if head == covers));
    // The same genesis with other records.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Books::leader(elsewhere.path(), &genesis, &[11, 12]).await;
    let asker = Asker::of(&other.peer, &genesis).await;
    for nonce in 0..6 {
        asker
            .send(&payment(&asker.trust, 1, nonce, 2, 2 * FOG))
            .await;
    }
    other.running.reaches(7).await;
    let all = journal_of(&asker, 7).await;
    let newest = asker.head().await;
    let found = verify(&all, Some(&genesis), vec![newest, read.head.clone()]).unwrap_err();
    assert!(
        matches!(found, Finding::Root(size) if size == covers),
        "{found}"
    );
    reader.close().await;
    other.stop().await;
    books.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

/// A node of the ledger of names that shows what another one has, and drops each record that it takes.
async fn dropping(home: &Path, shows: Peer) -> (Gateway, Arc<AtomicU64>) {
    let mut config = GatewayConfig::in_state(home.join("dropping"));
    config.listener.listen = vec!["127.0.0.1:0".into()];
    let identity = betanet_runtime::load_or_new_identity(&config.node.key).unwrap();
    let node = Arc::new(Node::client().unwrap());
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dropped);
    let answers = move |call: Call| {
        let (node, shows, counted) = (node.clone(), shows.clone(), counted.clone());
        async move {
            if call.request.method == Method::Post {
                counted.fetch_add(1, Ordering::SeqCst);
                return Reply::new(201).with_body(b"taken".to_vec());
            }
            let session = node.session(&shows).await.unwrap();
            let mut answer = session.ask(call.request).await.unwrap();
            let body = answer.body.all(4 << 20).await.unwrap().unwrap_or_default();
            Reply::new(answer.head.status).with_body(body)
        }
    };
    let gateway = Gateway::builder(identity, &config)
        .service(PREFIX, answers)
        .start()
        .await;
    (gateway.unwrap(), dropped)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drops_what_it_takes_holds_no_post_up() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 6);
    let nodes = Names::of(home.path(), &network).await;
    let (drops, dropped) = dropping(home.path(), nodes[0].peer.clone()).await;
    let genesis = genesis();
    let mut with = settings(&genesis, &[11, 12]);
    let named = vec![drops.listening().peer(), nodes[1].peer.clone()];
    let mut anchoring = anchoring(&network, named, 0..5);
    // Both nodes get their time: a record is final within seconds.
    anchoring.final_within = Duration::from_secs(1);
    with.anchoring = Some(anchoring);
    let books = Books::start(home.path(), with, journal(home.path())).await;
    let posted = async {
        while books.measure("economy_posted_epochs") != 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(100), posted)
        .await
        .unwrap();
    assert!(dropped.load(Ordering::SeqCst) > 0);
    assert!(books.measure("economy_posts_failed") >= 1);
    books.stop().await;
    drops.shutdown().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maintainers_on_several_nodes_sign_together_and_only_what_is_final_there() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let network = Network::new(3, 6);
    let nodes = Names::of(home.path(), &network).await;
    let genesis = genesis();
    let mut leading = settings(&genesis, &[11]);
    leading.anchoring = Some(anchoring(&network, vec![nodes[0].peer.clone()], 0..2));
    let leader = Books::start(home.path(), leading, journal(home.path())).await;
    let mut following = settings(&genesis, &[12]);
    following.leaders = vec![leader.peer.clone()];
    following.anchoring = Some(anchoring(&network, Vec::new(), 2..5));
    let follower = Books::start(other.path(), following, journal(other.path())).await;
    let asker = Asker::of(&leader.peer, &genesis).await;
    let id = *asker.trust.genesis().id();
    let reader = Node::client().unwrap();
    let session = reader.session(&nodes[2].peer).await.unwrap();
    let found = async {
        loop {
            match standing(&session, &network, &id).await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), found).await;
    let found = found.unwrap();
    assert_eq!(
        (found.signatures(), anchored(found.record()).unwrap().epoch),
        (5, 0)
    );
    let stands = async {
        while leader.measure("economy_anchored_records") == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stands)
        .await
        .unwrap();
    assert_eq!(leader.measure("economy_posted_epochs"), 1);
    // Nothing waits any more, and nobody's signatures are taken for it.
    assert_eq!(asker.get("anchor").await.status, 404);
    let refused = asker.post("anchor", found.to_bytes()).await;
    assert_eq!(refused.status, 409);
    assert_eq!(asker.post("anchor", b"x".to_vec()).await.status, 400);
    reader.close().await;
    follower.stop().await;
    leader.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_maintainers_and_strangers_post_nothing() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 6);
    let genesis = genesis();
    let refused = |network: &Network, keys| {
        let mut with = settings(&genesis, &[11, 12]);
        let mut anchoring = anchoring(network, Vec::new(), 0..0);
        anchoring.maintainers = keys;
        with.anchoring = Some(anchoring);
        let me = Identity::from_seed(&[9; 32]);
        EconomyService::new(me, with).unwrap_err()
    };
    let four = refused(&Network::new(3, 4), Vec::new());
    assert!(matches!(
        four,
        Error::Maintainers {
            listed: 4,
            needed: 5
        }
    ));
    let stranger = refused(&network, vec![Identity::from_seed(&[8; 32])]);
    assert!(matches!(stranger, Error::Maintainer(_)));

    // Nor does the ledger of names take a record that four signed.
    let nodes = Names::of(home.path(), &network).await;
    let books = Books::leader(home.path(), &genesis, &[11, 12]).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    books.running.reaches(1).await;
    let keys: Vec<PublicKey> = network.maintainers.iter().map(|i| *i.public()).collect();
    let list = Maintainers::new(&keys).hash();
    let id = *asker.trust.genesis().id();
    let mut envelope = Envelope::new(anchor(&id, 0, &asker.head().await, list)).unwrap();
    for maintainer in &network.maintainers[..4] {
        envelope.sign(maintainer);
    }
    let node = Node::client().unwrap();
    let session = node.session(&nodes[0].peer).await.unwrap();
    let bytes = envelope.to_bytes();
    let upload = session.upload(names::submit_request(&bytes)).await.unwrap();
    let _ = upload.send(bytes.into()).await;
    let answer = upload.finish().await.unwrap();
    assert_eq!(answer.head.status, 403);
    assert_eq!(standing(&session, &network, &id).await, None);
    node.close().await;
    books.stop().await;
    for node in nodes {
        node.stop().await;
    }
}
