//! Health reports of a running gateway.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use betanet_carrier::client::{Trust, Way, connect};
use betanet_carrier::{Carrier, Certificate, Plain};
use betanet_htx::ticket::Ticket;
use betanet_htx::{Config, Secrets, Session, Transmit};
use betanet_machine::Rng;
use betanet_mix::BeaconSecret;
use betanet_wire::text::hex;
use std::future::poll_fn;
use tokio::time::timeout;

use super::parts::RELOAD;
use super::*;
use crate::{Admin, Node, Role, Transport, serve_admin};

const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a gateway with new folders, which exist as long as the first of the pair.
pub(crate) async fn started(
    change: impl FnOnce(&mut GatewayConfig),
) -> (tempfile::TempDir, Arc<Gateway>) {
    let home = tempfile::tempdir().unwrap();
    let [cover, served] = ["cover", "served"].map(|folder| home.path().join(folder));
    for folder in [&cover, &served] {
        std::fs::create_dir(folder).unwrap();
    }
    std::fs::write(cover.join("index.html"), "<h1>A garden diary</h1>\n").unwrap();
    let mut config = GatewayConfig::default();
    config.site.cover = Some(cover);
    config.folder.serve = Some(served);
    config.node.key = home.path().join("key.pem");
    config.listener.quic = true;
    config.check().unwrap();
    change(&mut config);
    let identity = Identity::from_seed(&[2; 32]);
    let gateway = Gateway::start(identity, &config).await.unwrap();
    (home, Arc::new(gateway))
}

/// Writes the file of a network whose seeds do not answer.
pub(crate) fn network_file(home: &Path) -> PathBuf {
    let key = |n: u8| format!("\"{}\"", Identity::from_seed(&[n; 32]).public());
    let keys = |from: u8, n: u8| (from..from + n).map(key).collect::<Vec<_>>().join(", ");
    let mut file = format!(
        "name = \"test\"\nsigners = [{}]\nmaintainers = [{}]\n[policy]\nprivate = true\n\
         [mix]\nbeacon_key = \"{}\"\nlayers = 1\nfirst_epoch = 1\n",
        keys(60, 3),
        keys(70, 5),
        hex(&BeaconSecret::from_seed(&[9; 32])
            .unwrap()
            .public()
            .to_bytes()),
    );
    for n in 80..85 {
        let key = key(n);
        file += &format!("[[seed]]\nkey = {key}\naddrs = [\"/ip4/127.0.0.1/tcp/1/tls\"]\n");
    }
    let path = home.join("NETWORK.toml");
    std::fs::write(&path, file).unwrap();
    path
}

/// Serves the admin address, for as long as the first of the pair exists.
pub(crate) fn asked(gateway: &Arc<Gateway>) -> (Admin, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    (serve_admin(listener, Arc::clone(gateway)).unwrap(), at)
}

/// Returns status and body of `GET /healthz`.
pub(crate) fn healthz(at: SocketAddr) -> (u16, String) {
    let mut tcp = TcpStream::connect(at).unwrap();
    let ask = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    tcp.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Polls until the status is as expected.
async fn until(at: SocketAddr, holds: impl Fn(u16, &str) -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let mut last = (0, String::new());
    let asking = async {
        while !holds(last.0, &last.1) {
            looks.tick().await;
            last = healthz(at);
        }
    };
    let held = timeout(PATIENCE, asking).await;
    assert!(held.is_ok(), "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn accept_loops_that_are_stuck_fail_healthz_and_the_watchdog() {
    let (_home, gateway) = started(|_| {}).await;
    let (_admin, at) = asked(&gateway);
    assert_eq!(healthz(at), (200, "ok\n".to_owned()));
    // Each accept loop needs this lock briefly for a connection, and does not get it.
    let connections = Arc::clone(&gateway.connections);
    let (taken, is_taken) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let holder = std::thread::spawn(move || {
        let _held = connections.lock().unwrap();
        taken.send(()).unwrap();
        released.recv().unwrap();
    });
    is_taken.recv().unwrap();
    let bound = gateway.listening().bound[0];
    let _tcp = TcpStream::connect(bound).unwrap();
    let peer = gateway.listening().peer();
    let dialling = tokio::spawn(async move {
        let node = Node::client().unwrap().with_transport(Transport::Quic);
        node.connect(&peer).await.is_ok()
    });
    until(at, |status, why| {
        let all = [bound.to_string(), format!("quic:{bound}")];
        let stuck = |address| format!("listener: nothing has taken connections at {address} for ");
        status == 503 && all.iter().all(|a| why.contains(&stuck(a)))
    })
    .await;
    let alive = timeout(Duration::from_secs(5), gateway.is_alive()).await;
    assert!(!alive.unwrap_or_default());
    release.send(()).unwrap();
    holder.join().unwrap();
    until(at, |status, _| status == 200).await;
    assert!(gateway.is_alive().await);
    dialling.abort();
}

#[tokio::test]
async fn a_changed_certificate_that_is_not_used_fails_healthz_until_it_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("certificate.pem");
    Certificate::load_or_create(&file, &["localhost".into()]).unwrap();
    let good = std::fs::read(&file).unwrap();
    let both = file.clone();
    let (_home, gateway) = started(|c| {
        c.tls.certificate = Some(both.clone());
        c.tls.certificate_key = Some(both);
    })
    .await;
    let (_admin, at) = asked(&gateway);
    assert_eq!(healthz(at).0, 200);
    let shown = gateway.vitals.certificate.pin();
    // Set the time explicitly, whatever the resolution of the disk's clock.
    let changed = |bytes: &[u8], later: u64| {
        std::fs::write(&file, bytes).unwrap();
        let at = SystemTime::now() + Duration::from_secs(later);
        let file = File::options().append(true).open(&file).unwrap();
        file.set_modified(at).unwrap();
    };
    changed(b"no certificate", 10);
    assert_eq!(healthz(at).0, 200);
    tokio::time::pause();
    tokio::time::sleep(RELOAD).await;
    // Files are read on another thread.
    let wrong = loop {
        match healthz(at) {
            (200, _) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    let why = "certificate: the changed files are not used: the certificate or key cannot be used: no certificate in the file\n";
    assert_eq!(wrong, (503, why.to_owned()));
    assert_eq!(gateway.vitals.certificate.pin(), shown);
    changed(&good, 20);
    tokio::time::sleep(RELOAD).await;
    while healthz(at) != (200, "ok\n".to_owned()) {
        tokio::task::yield_now().await;
    }
}

/// Checks all tasks that a node's roles need: each is named once it has ended.
#[tokio::test]
async fn the_tasks_of_a_nodes_roles_are_named_when_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let network = network_file(dir.path());
    let (_home, gateway) = started(|c| {
        c.mesh.network = Some(network);
        c.mesh.roles = [Role::Core, Role::Mix, Role::Gateway, Role::Seed]
            .into_iter()
            .collect();
        c.legacy.accept = true;
    })
    .await;
    let (_admin, at) = asked(&gateway);
    assert_eq!(healthz(at), (200, "ok\n".to_owned()));
    gateway.relay.mesh().unwrap().task().abort();
    let line = |name: &str| {
        format!("role: the task of {name} has ended; only a restart of the node helps\n")
    };
    until(at, |status, why| status == 503 && why == line("the mesh")).await;
    // A role that cannot work is no reason for a manager to restart the process over and over.
    assert!(gateway.is_alive().await);
    for task in &gateway.accepting {
        task.abort();
    }
    gateway.plane.as_ref().unwrap().stop();
    let all = [
        "the mesh",
        "the mix's directory",
        "the mix's requests",
        "the mix's keys",
        "the mix's packets",
        "the certificate",
        "version 1.1",
    ];
    until(at, |_, why| {
        let roles: Vec<&str> = why.lines().filter(|l| l.starts_with("role: ")).collect();
        let named = |name: &&str| why.contains(&line(name));
        roles.len() == all.len() && all.iter().all(named)
    })
    .await;
    assert!(
        healthz(at)
            .1
            .contains("listener: nothing takes connections")
    );
    assert!(!gateway.is_alive().await);
}

/// Sends message 1 of a handshake and nothing after it. Returns `None` if it is refused.
async fn knock(gateway: &Gateway, n: u8) -> Option<Box<dyn Carrier>> {
    let Listening {
        bound, key, pin, ..
    } = gateway.listening();
    let (at, trust) = (bound[0].to_string(), Trust::Pin(*pin));
    let outer = connect(&at, &trust, Way::default(), &Plain).await.unwrap();
    let mut rng = Rng::new(&betanet_machine::Seed::from_number(n.into()));
    let mut session = Session::connect(
        gateway.clock.now(),
        Config::default(),
        &Identity::from_seed(&[n; 32]),
        key,
        outer.ekm0(),
        Secrets::draw(&mut rng),
    )
    .unwrap();
    let Some(Transmit::Bytes(message1)) = betanet_machine::Machine::poll_transmit(&mut session)
    else {
        panic!("no message 1")
    };
    let label = Ticket::fresh_label(&rng.array());
    let mut carrier = outer.open(key, &label).await.unwrap();
    poll_fn(|cx| carrier.poll_ready(cx)).await.ok()?;
    carrier.send(message1).unwrap();
    let answered = poll_fn(|cx| {
        carrier.push(cx);
        carrier.poll_receive(cx)
    });
    answered.await.ok().map(|_| carrier)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_sessions_has_no_more_entries_than_there_are_places() {
    let (_home, gateway) = started(|c| {
        c.listener.quic = false;
        c.limits.connections_per_address = 100;
        c.limits.connects_per_second = 1000;
    })
    .await;
    let mut begun = Vec::new();
    for n in 0..40 {
        begun.extend(knock(&gateway, 100 + n).await);
    }
    assert_eq!(begun.len(), 32);
    assert_eq!(gateway.sessions.entries(), 32);
    // Another address, with the maximum of eight sessions.
    let node = Node::client()
        .unwrap()
        .with_source_address(Some([127, 8, 0, 1].into()));
    let peer = gateway.listening().peer();
    let mut standing = Vec::new();
    for _ in 0..12 {
        let session = node.connect(&peer).await.unwrap();
        // The handshake may answer the first ping. By the second, it is known whether the session may stay.
        if session.ping().await.is_ok() && session.ping().await.is_ok() {
            standing.push(session);
        }
    }
    assert_eq!(standing.len(), 8);
    let eventually = async |entries: usize| {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let gone = async {
            while gateway.sessions.entries() != entries {
                looks.tick().await;
            }
        };
        let held = timeout(PATIENCE, gone).await;
        assert!(held.is_ok(), "{}", gateway.sessions.entries());
    };
    eventually(40).await;
    let told = gateway.sessions.told(gateway.clock.now().mono, 100);
    let told = serde_json::to_value(told).unwrap();
    assert_eq!((&told["standing"], &told["direct"]), (&8.into(), &8.into()));
    drop((begun, standing));
    eventually(0).await;
}
