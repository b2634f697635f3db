//! Programs with the network's grant, over real connections: they reach what their policy names, and nothing else.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use betanet_sandbox::{Ended, Job, NetworkPolicy, Status};
use tokio::time::Instant;

use crate::support::{Bench, left};

const GUEST: &str = include_str!("network/guest.wat");
/// This machine.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Places of errors in `wasi:sockets/network.error-code`.
const DENIED: u32 = 1;
const INVALID: u32 = 3;
const UNRESOLVABLE: u32 = 18;
/// Steps of a connection.
const OPEN: u32 = 100;
const START: u32 = 200;
const FINISH: u32 = 300;

/// The component whose program is `body`, with texts that begin at 1024.
fn guest(data: &str, body: &str) -> String {
    let data = format!("(data (i32.const 1024) \"{data}\")");
    GUEST.replace("DATA", &data).replace("BODY", body)
}

fn connect(to: SocketAddr) -> String {
    match to {
        SocketAddr::V4(to) => {
            let [a, b, c, d] = to.ip().octets();
            let port = to.port();
            format!(
                "(call $connect4 (i32.const {port}) (i32.const {a}) (i32.const {b}) (i32.const {c}) (i32.const {d}))"
            )
        }
        SocketAddr::V6(to) => {
            let words: Vec<_> = to.ip().segments().into_iter().map(u32::from).collect();
            let all = [u32::from(to.port())].into_iter().chain(words);
            let all = all
                .chain([to.scope_id()])
                .map(|n| format!("(i32.const {n})"));
            format!("(call $connect6 {})", all.collect::<String>())
        }
    }
}

fn bind(ip: Ipv4Addr, port: u16) -> String {
    let to = connect((ip, port).into());
    to.replace("$connect4", "$bind4")
}

fn granted(host: &str, port: u16, private: &[IpAddr]) -> Option<NetworkPolicy> {
    Some(NetworkPolicy {
        hosts: vec![(host.to_owned(), port)],
        private: private.to_vec(),
    })
}

fn with(bench: &Bench, network: Option<NetworkPolicy>) -> Job {
    let mut job = bench.job();
    job.grants.network = network;
    job
}

/// Runs a guest to its end, and returns the lines that it printed.
async fn lines(
    bench: &Bench,
    network: Option<NetworkPolicy>,
    data: &str,
    body: &str,
) -> Vec<String> {
    let job = with(bench, network);
    let output = job.output.clone();
    let ended = bench.run(&guest(data, body), job).await;
    assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
    let printed = left(&output).remove("stdout").unwrap();
    let printed = String::from_utf8(printed).unwrap();
    printed.lines().map(str::to_owned).collect()
}

/// A server that answers each line with another, and counts its connections. It ends with the test.
struct Server {
    at: SocketAddr,
    taken: Arc<AtomicUsize>,
}

impl Server {
    fn new(ip: IpAddr, port: u16) -> Self {
        let listener = TcpListener::bind((ip, port)).unwrap();
        let (at, taken) = (
            listener.local_addr().unwrap(),
            Arc::new(AtomicUsize::new(0)),
        );
        let counted = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream: TcpStream = stream.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let mut said = [0; 5];
                if stream.read_exact(&mut said).is_ok() {
                    stream.write_all(b"you said ").unwrap();
                    stream.write_all(&said).unwrap();
                }
            }
        });
        Self { at, taken }
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_program_reaches_the_host_and_port_of_its_policy_and_no_other() {
    let bench = Bench::new().await;
    let named = Server::new(HERE, 0);
    let port = named.at.port();
    let beside = Server::new(HERE, 0);
    let other = Server::new("127.0.0.2".parse().unwrap(), port);
    let at = |ip: &str, port: u16| SocketAddr::new(ip.parse().unwrap(), port);
    let zone: SocketAddr = "[fe80::1%1]:80".parse().unwrap();
    // Where the engine says no at once, and where the policy does.
    let refused = [
        (beside.at, FINISH + DENIED),
        (other.at, FINISH + DENIED),
        (at("127.0.0.1", 0), START + INVALID),
        (at("0.0.0.0", port), START + INVALID),
        (at("224.0.0.1", port), START + INVALID),
        (at("255.255.255.255", port), START + INVALID),
        (at("10.0.0.1", port), FINISH + DENIED),
        (at("169.254.169.254", 80), FINISH + DENIED),
        (at("::1", port), FINISH + DENIED),
        (at("::", port), START + INVALID),
        (at("ff02::1", port), START + INVALID),
        (at("fc00::1", port), FINISH + DENIED),
        (zone, FINISH + DENIED),
        // The named one, in forms that a check could take for another.
        (at("::ffff:127.0.0.1", port), START + INVALID),
        (at("::127.0.0.1", port), START + INVALID),
        (at("64:ff9b::127.0.0.1", port), FINISH + DENIED),
        (at("2002:7f00:1::1", port), FINISH + DENIED),
    ];
    let mut body = connect(named.at);
    body += "(call $send (i32.const 1024) (i32.const 5)) (call $receive)";
    body += "(call $print (i32.const 1029) (i32.const 1))";
    body += &refused.map(|(to, _)| connect(to)).concat();
    // An address of one's own, and to be reached at.
    body += &bind(Ipv4Addr::LOCALHOST, 0);
    body += &bind(Ipv4Addr::UNSPECIFIED, port);
    body += &bind(Ipv4Addr::UNSPECIFIED, 0);
    body += "(call $listen) (call $udp (i32.const 0)) (call $udp (i32.const 1))";
    let policy = granted("127.0.0.1", port, &[HERE]);
    let said = lines(&bench, policy, "hello\\n", &body).await;
    let mut wanted = vec!["c 0".to_owned(), "you said hello".to_owned()];
    wanted.extend(refused.map(|(_, code)| format!("c {code}")));
    wanted.extend(["b 201", "b 201", "b 0", "l 101", "u 101", "u 101"].map(str::to_owned));
    assert_eq!(said, wanted);
    assert_eq!((named.taken(), beside.taken(), other.taken()), (1, 0, 0));
}

#[tokio::test]
async fn a_private_address_is_refused_by_whatever_name_unless_whoever_runs_the_sandbox_names_it() {
    let bench = Bench::new().await;
    let server = Server::new(HERE, 0);
    let port = server.at.port();
    let body = "(call $look-up (i32.const 1024) (i32.const 9))".to_owned() + &connect(server.at);
    // An address of this machine, in forms that resolvers take.
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "127.1",
        "0x7f000001",
        "2130706433",
        "::ffff:127.0.0.1",
    ] {
        let said = lines(&bench, granted(host, port, &[]), "localhost", &body).await;
        let none = [
            format!("n {}", OPEN + UNRESOLVABLE),
            format!("c {}", FINISH + DENIED),
        ];
        assert_eq!(said, none, "{host}");
    }
    assert_eq!(server.taken(), 0);
    // The address is named, and the name leads to it. Names have no case, and are told to programs that use their case or none.
    let policy = granted("LocalHost", port, &[HERE]);
    let said = lines(&bench, policy, "localhost", &body).await;
    assert_eq!(said, ["a 2130706433", "n 0", "c 0"]);
    assert_eq!(server.taken(), 1);
}

#[tokio::test]
async fn without_the_grant_there_is_no_socket_and_with_an_empty_one_no_host() {
    let bench = Bench::new().await;
    let server = Server::new(HERE, 0);
    let body = connect(server.at) + "(call $udp (i32.const 0))";
    let body = body + "(call $look-up (i32.const 1024) (i32.const 9))";
    let unknown = format!("n {}", OPEN + UNRESOLVABLE);
    let said = lines(&bench, None, "localhost", &body).await;
    assert_eq!(said, ["c 101", "u 101", &unknown]);
    let policy = NetworkPolicy {
        private: vec![HERE],
        ..NetworkPolicy::default()
    };
    let said = lines(&bench, Some(policy), "localhost", &body).await;
    assert_eq!(said, ["c 301", "u 101", &unknown]);
    assert_eq!(server.taken(), 0);
}

#[tokio::test]
async fn sockets_and_their_buffers_are_bounded() {
    let bench = Bench::new().await;
    let policy = || granted("127.0.0.1", 1, &[HERE]);
    let said = lines(&bench, policy(), "", "(call $buffers)").await;
    let size = 128 * 1024;
    assert_eq!(
        said,
        [
            format!("r {size}"),
            format!("w {size}"),
            format!("r {size}"),
            format!("w {size}")
        ]
    );
    // The run ends as it would without them: its output needs no further descriptor.
    let mut job = with(&bench, policy());
    let input = bench.input("input", b"x");
    job.inputs = (0..64)
        .map(|n| betanet_sandbox::Input {
            path: format!("in/{n}"),
            ..input.clone()
        })
        .collect();
    for job in [with(&bench, policy()), job] {
        let output = job.output.clone();
        let ended = bench.run(&guest("", "(call $many)"), job).await;
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
        let printed = String::from_utf8(left(&output).remove("stdout").unwrap()).unwrap();
        let (sockets, why) = printed.split_once('\n').unwrap();
        let sockets: u32 = sockets.strip_prefix("s ").unwrap().parse().unwrap();
        assert!((32..48).contains(&sockets), "{printed}");
        assert_eq!(why, "s 100\n");
    }
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_sent_little() {
    let bench = Bench::new().await;
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let body = connect(at) + "(call $flood)";
    let said = lines(&bench, granted("127.0.0.1", at.port(), &[HERE]), "", &body).await;
    let sent: u64 = said[1].strip_prefix("k ").unwrap().parse().unwrap();
    // The buffers of both ends: the listener's is what the system gives.
    assert!(said[0] == "c 0" && (1..4096).contains(&sent), "{said:?}");
}

/// Takes one connection and waits for its end. Returns how long that took from now on, and whether it ended at all.
fn until_the_end(
    listener: TcpListener,
) -> (std::sync::mpsc::Receiver<()>, JoinHandle<Option<Instant>>) {
    let (told, taken) = std::sync::mpsc::channel();
    let waits = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        told.send(()).unwrap();
        let mut bytes = [0; 65536];
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => return Some(Instant::now()),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Err(_) => return Some(Instant::now()),
            }
        }
    });
    (taken, waits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_after_the_end_of_a_run() {
    let bench = Bench::new().await;
    let sends = "(loop (call $send (i32.const 1024) (i32.const 5)) (br 0))";
    for dropped in [false, true] {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let (taken, waits) = until_the_end(listener);
        let mut job = with(&bench, granted("127.0.0.1", at.port(), &[HERE]));
        job.limits.fuel = u64::MAX / 4;
        job.limits.wall = Duration::from_secs(if dropped { 60 } else { 2 });
        let sandbox = bench.sandbox.clone();
        let program = bench.text(&guest("hello", &(connect(at) + sends)));
        let run = tokio::spawn(async move { sandbox.run(program, job, |_: &[u8]| {}).await });
        tokio::task::spawn_blocking(move || taken.recv_timeout(Duration::from_secs(60)).unwrap())
            .await
            .unwrap();
        let over = if dropped {
            run.abort();
            assert!(run.await.is_err());
            Instant::now()
        } else {
            let ended: Ended = run.await.unwrap();
            assert_eq!(ended.status, Status::Time, "{}", ended.reason);
            Instant::now()
        };
        let ended = tokio::task::spawn_blocking(move || waits.join().unwrap())
            .await
            .unwrap();
        let after = ended.unwrap().saturating_duration_since(over);
        assert!(after < Duration::from_secs(5), "{after:?}");
    }
}
