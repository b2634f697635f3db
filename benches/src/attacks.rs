//! Attacks on a gateway, each from another process: what the node holds and spends meanwhile, and whether honest clients are served.
//!
//! `cargo xtask attacks [SECONDS] [--only NAME] [--same] [--json FILE]` runs each attack for so many seconds. With `--mixed` all of them
//! take turns for SECONDS in all, while sessions of honest clients stand. The attacker's address is 127.9.9.9, or with `--same` that of
//! the honest clients.

mod frames;
mod honest;
mod inside;
mod mixing;
mod quic;
mod target;
mod web;

use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use betanet_runtime::Peer;
use serde_json::{Value, json};

use honest::{Holder, Tries};
use target::{Home, Target, child, command_line};

/// The attacker's address, and that of honest clients.
const ATTACKER: [u8; 4] = [127, 9, 9, 9];
const HONEST: [u8; 4] = [127, 0, 0, 1];

/// What an attacker's process is told.
pub(crate) struct Plan {
    peer: Peer,
    /// A relay that carries paths on to the node, where the attack needs one.
    relay: Option<Peer>,
    network: std::path::PathBuf,
    from: IpAddr,
    until: Instant,
}

impl Plan {
    /// Where the node listens over TCP.
    fn tcp(&self) -> std::net::SocketAddr {
        let all = self.peer.addrs.iter();
        all.filter_map(|a| a.parse().ok()).next().unwrap()
    }

    /// Where the node listens over QUIC.
    fn udp(&self) -> std::net::SocketAddr {
        let all = self.peer.addrs.iter();
        let quic = all.filter_map(|a| a.strip_prefix("quic:")?.parse().ok());
        quic.into_iter()
            .next()
            .expect("a node that listens for QUIC")
    }

    fn over(&self) -> bool {
        Instant::now() >= self.until
    }
}

type Run = fn(std::sync::Arc<Plan>) -> Pin<Box<dyn Future<Output = String>>>;

/// One way to attack, and what the node may hold while it goes on: the bounds of the table in SECURITY.md for one address, and what the
/// allocator keeps. Of unread answers over HTTP/2 that is 64 MiB of answers, 128 MiB of requests under way, and 16 MiB in TLS.
struct Attack {
    name: &'static str,
    what: &'static str,
    /// MiB that the node's resident memory may grow by.
    mib: f64,
    /// Descriptors that it may have open more than before.
    files: i64,
    run: Run,
}

macro_rules! attack {
    ($name:literal, $what:literal, $mib:literal, $files:literal, $run:path) => {
        Attack {
            name: $name,
            what: $what,
            mib: $mib,
            files: $files,
            run: |plan| Box::pin($run(plan)),
        }
    };
}

/// Of one core, what the node may spend on an attacker; 100 TLS handshakes a second, which one address may have, are a quarter.
const CPU: f64 = 0.75;

/// The connections of one address are at most 256.
const ATTACKS: &[Attack] = &[
    attack!(
        "unread-h1",
        "256 connections with pipelined GETs of 1 MiB, never read",
        96.0,
        300,
        web::unread_h1
    ),
    attack!(
        "unread-h2",
        "256 connections with windows of 2 GiB and 100 GETs of 1 MiB, never read",
        208.0,
        300,
        web::unread_h2
    ),
    attack!(
        "closed-windows-h2",
        "256 connections with INITIAL_WINDOW_SIZE 0 and 100 GETs each",
        160.0,
        300,
        web::closed_windows
    ),
    attack!(
        "dripped-windows-h2",
        "the same, each window opened by one byte a second",
        160.0,
        300,
        web::dripped_windows
    ),
    attack!(
        "closed-windows-h3",
        "64 QUIC connections with stream windows of 0 and 100 GETs each",
        96.0,
        16,
        quic::closed_windows
    ),
    attack!(
        "open-posts",
        "256 connections with 100 POSTs each whose bodies stay open",
        160.0,
        300,
        web::open_posts
    ),
    attack!(
        "long-posts",
        "256 connections that fill the windows of their POSTs' bodies",
        160.0,
        300,
        web::long_posts
    ),
    attack!(
        "slow-heads",
        "256 connections that send a byte of a head each second",
        64.0,
        300,
        web::slow_heads
    ),
    attack!(
        "window-updates",
        "WINDOW_UPDATE frames without end on 2 connections",
        32.0,
        16,
        web::window_updates
    ),
    attack!(
        "priorities",
        "PRIORITY frames without end on 2 connections",
        32.0,
        16,
        web::priorities
    ),
    attack!(
        "unknown-frames",
        "unknown frames without end on 2 connections",
        32.0,
        16,
        web::unknown_frames
    ),
    attack!(
        "settings",
        "SETTINGS frames without end on 2 connections",
        32.0,
        16,
        web::settings
    ),
    attack!(
        "pings",
        "PING frames without end on 2 connections, answers unread",
        32.0,
        16,
        web::pings
    ),
    attack!(
        "resets",
        "requests that are reset at once, without end on 2 connections",
        32.0,
        16,
        web::resets
    ),
    attack!(
        "reserved-frames-h3",
        "reserved HTTP/3 frames without end on 2 connections",
        32.0,
        16,
        quic::reserved_frames
    ),
    attack!(
        "initials",
        "1 000 QUIC Initials a second that no Retry's answer follows",
        32.0,
        16,
        quic::initials
    ),
    attack!(
        "half-open",
        "tickets and first messages on 164 connections of 100 requests, nothing after",
        64.0,
        300,
        inside::half_open
    ),
    attack!(
        "gaps",
        "8 sessions with one-byte parts behind gaps on 256 streams",
        96.0,
        32,
        inside::gaps
    ),
    attack!(
        "capabilities",
        "8 sessions with CapMsgs of 1 MiB",
        32.0,
        32,
        inside::capabilities
    ),
    attack!(
        "inner-frames",
        "8 sessions that send WINDOW_UPDATE and PING frames without end",
        32.0,
        32,
        inside::frames
    ),
    attack!(
        "requests",
        "8 sessions that open streams as fast as they are let, and read no answer",
        64.0,
        96,
        inside::requests
    ),
    attack!(
        "path-memory",
        "64 identities that fill the memory of paths",
        32.0,
        32,
        inside::paths
    ),
    attack!(
        "forwarded",
        "sessions within paths over a relay, of ever new identities",
        96.0,
        128,
        inside::forwarded
    ),
    attack!(
        "mix-puts",
        "8 sessions with 100 PUTs of 1 MiB under /.bn/mix/ that do not end",
        32.0,
        32,
        mixing::puts
    ),
    attack!(
        "mix-layers",
        "8 sessions that ask for layers of wrong beacons",
        32.0,
        32,
        mixing::layers
    ),
    attack!(
        "mix-links",
        "packets to ever other next hops",
        64.0,
        64,
        mixing::links
    ),
];

fn usage() -> String {
    let list: Vec<String> = ATTACKS
        .iter()
        .map(|a| format!("  {:20} {}", a.name, a.what))
        .collect();
    format!(
        "usage: cargo xtask attacks [SECONDS] [--only NAME] [--same] [--mixed] [--quick] [--json FILE]\n\n\
         Each attack lasts SECONDS (20), with --mixed all of them together (600). With --quick each lasts 2, and how long things took\n\
         decides nothing. The binaries gateway and betanet stand beside this one.\n\n\
         {}\n\nExample: cargo xtask attacks 20 --only half-open",
        list.join("\n")
    )
}

/// What was asked for.
struct Asked {
    seconds: Option<u64>,
    only: Option<String>,
    same: bool,
    mixed: bool,
    /// Only what the node holds decides, and no time.
    quick: bool,
    json: Option<String>,
}

impl Asked {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut asked = Self {
            seconds: None,
            only: None,
            same: false,
            mixed: false,
            quick: false,
            json: None,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or(format!("{arg} lacks its value"));
            match arg.as_str() {
                "--same" => asked.same = true,
                "--mixed" => asked.mixed = true,
                "--quick" => asked.quick = true,
                "--json" => asked.json = Some(value()?),
                "--only" => {
                    let only = value()?;
                    if ATTACKS.iter().all(|a| a.name != only) {
                        return Err(format!("there is no attack {only:?}"));
                    }
                    asked.only = Some(only);
                }
                seconds => {
                    let number = seconds.parse().ok().filter(|n| (1..=86_400).contains(n));
                    asked.seconds = Some(
                        number.ok_or(format!("{seconds:?} is no number of seconds, 1 to 86400"))?,
                    );
                }
            }
        }
        Ok(asked)
    }

    fn from(&self) -> IpAddr {
        if self.same { HONEST } else { ATTACKER }.into()
    }
}

/// The attacker's process: `attack NAME PEER RELAY NETWORK FROM SECONDS`.
pub(crate) fn attacker(words: &[&str]) {
    let [name, peer, relay, network, from, seconds] = words else {
        panic!("attack NAME PEER RELAY NETWORK FROM SECONDS");
    };
    crate::idle::raise_files();
    let attack = ATTACKS.iter().find(|a| a.name == *name).unwrap();
    let plan = Plan {
        peer: peer.parse().unwrap(),
        relay: relay.parse().ok(),
        network: network.into(),
        from: from.parse().unwrap(),
        until: Instant::now() + Duration::from_secs(seconds.parse().unwrap()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    println!("{}", local.block_on(&runtime, (attack.run)(plan.into())));
}

/// A process of honest sessions that stand: `attack-holder PEER`.
pub(crate) fn holder(peer: &str) {
    honest::hold(peer);
}

/// What one attack did to the node.
struct Outcome {
    said: String,
    grown_mib: f64,
    files: i64,
    cpu: f64,
    tries: Tries,
}

impl Outcome {
    fn fine(&self, attack: &Attack, quick: bool) -> bool {
        let held = self.grown_mib <= attack.mib && self.files <= attack.files;
        held && (quick || self.cpu <= CPU && self.tries.fine())
    }
}

fn one(attack: &Attack, asked: &Asked, node: &Target, relay: &Target, home: &Home) -> Outcome {
    let seconds = asked.seconds.unwrap_or(if asked.quick { 2 } else { 20 });
    let before = node.seen();
    let from = asked.from().to_string();
    let network = home.network();
    let line = [
        "attack",
        attack.name,
        &node.text,
        &relay.text,
        network.to_str().unwrap(),
        &from,
        &seconds.to_string(),
    ];
    let mut attacker = child(&line);
    let began = Instant::now();
    let mut tries = Tries::default();
    let (mut most, mut files) = (before.rss_mib, before.files);
    while attacker.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(seconds + 20) {
            let _ = attacker.kill();
            break;
        }
        let seen = node.seen();
        most = most.max(seen.rss_mib);
        files = files.max(seen.files);
        // An attack needs a moment until it stands.
        if began.elapsed() > Duration::from_secs(1) && tries.total() < 200 {
            tries.once(node, home);
        } else {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let after = node.seen();
    let said = target::said(attacker);
    Outcome {
        said,
        grown_mib: most - before.rss_mib,
        files: files - before.files,
        cpu: (after.cpu - before.cpu) / began.elapsed().as_secs_f64(),
        tries,
    }
}

/// Runs the attacks; whether the node kept its bounds.
pub(crate) fn run(args: &[String]) -> bool {
    if args.iter().any(|a| matches!(a.as_str(), "-h" | "--help")) {
        println!("{}", usage());
        return true;
    }
    let asked = match Asked::parse(args) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}\n\n{}", usage());
            std::process::exit(2);
        }
    };
    crate::idle::raise_files();
    let home = Home::new();
    if asked.mixed {
        return mixed(&asked, &home);
    }
    println!(
        "{:20} {:>13} {:>11} {:>6} {:>10} {:>10} {:>9}",
        "attack", "memory, MiB", "files", "CPU", "get, TCP", "get, QUIC", "slowest"
    );
    let mut fine = true;
    let mut list = Vec::new();
    for attack in ATTACKS {
        if asked.only.as_ref().is_some_and(|only| only != attack.name) {
            continue;
        }
        let node = Target::start(&home, 1, None);
        let relay = Target::start(&home, 2, Some(&node));
        let warm = Tries::warm(&node, &home);
        let outcome = one(attack, &asked, &node, &relay, &home);
        let kept = outcome.fine(attack, asked.quick) && (warm || asked.quick) && !node.panicked();
        fine &= kept;
        println!(
            "{:20} {:>5.1} of {:>4.0} {:>4} of {:>3} {:>5.0}% {:>10} {:>10} {:>6.0} ms  {}",
            attack.name,
            outcome.grown_mib,
            attack.mib,
            outcome.files,
            attack.files,
            outcome.cpu * 100.0,
            outcome.tries.tcp(),
            outcome.tries.quic(),
            outcome.tries.slowest.as_secs_f64() * 1000.0,
            if kept { "kept" } else { "NOT KEPT" }
        );
        println!("{:20} {}; attacker: {}", "", attack.what, outcome.said);
        if let Some(why) = outcome.tries.why.first() {
            println!("{:20} first failure: {why}", "");
        }
        list.push(json!({
            "attack": attack.name, "grown_mib": outcome.grown_mib, "bound_mib": attack.mib,
            "files": outcome.files, "bound_files": attack.files, "cpu": outcome.cpu,
            "tcp": outcome.tries.tcp(), "quic": outcome.tries.quic(),
            "slowest_ms": outcome.tries.slowest.as_secs_f64() * 1000.0, "kept": kept, "attacker": outcome.said,
        }));
    }
    if let Some(path) = &asked.json {
        std::fs::write(path, format!("{}\n", Value::from(list))).unwrap();
    }
    fine
}

/// All attacks in turns, while honest sessions stand.
fn mixed(asked: &Asked, home: &Home) -> bool {
    /// How long a turn is.
    const TURN: u64 = 15;
    /// Memory may grow until then, and a tenth beyond what it was.
    const SETTLED: Duration = Duration::from_secs(600);
    let whole = Duration::from_secs(asked.seconds.unwrap_or(600));
    let node = Target::start(home, 1, None);
    let relay = Target::start(home, 2, Some(&node));
    let mut fine = Tries::warm(&node, home);
    let mut holder = Holder::start(&node);
    let began = Instant::now();
    let mut tries = Tries::default();
    let (mut settled, mut most) = (0_f64, 0_f64);
    let turn = Asked {
        seconds: Some(TURN),
        only: None,
        same: asked.same,
        mixed: false,
        quick: false,
        json: None,
    };
    for attack in ATTACKS.iter().cycle() {
        if began.elapsed() >= whole {
            break;
        }
        let outcome = one(attack, &turn, &node, &relay, home);
        let seen = node.seen();
        if began.elapsed() <= SETTLED.min(whole / 6) {
            settled = settled.max(seen.rss_mib).max(outcome.grown_mib);
        } else {
            most = most.max(seen.rss_mib);
        }
        println!(
            "{:>5} s {:20} {:>6.1} MiB {:>5} files {:>4.0}% CPU  get {} TCP {} QUIC",
            began.elapsed().as_secs(),
            attack.name,
            seen.rss_mib,
            seen.files,
            outcome.cpu * 100.0,
            outcome.tries.tcp(),
            outcome.tries.quic(),
        );
        if let Some(why) = outcome.tries.why.first() {
            println!("        first failure: {why}");
        }
        tries.add(outcome.tries);
    }
    let lost = holder.lost();
    let flat = most <= settled * 1.1;
    println!(
        "{} s: {} TCP and {} QUIC gets within 2 s, slowest {:.0} ms; {lost} of {} standing sessions lost; memory {most:.1} MiB at most \
         after {settled:.1} MiB; {}",
        began.elapsed().as_secs(),
        tries.tcp(),
        tries.quic(),
        tries.slowest.as_secs_f64() * 1000.0,
        honest::STANDING,
        command_line(&node),
    );
    fine &= lost == 0 && flat && tries.fine() && !node.panicked();
    println!("{}", if fine { "kept" } else { "NOT KEPT" });
    fine
}
