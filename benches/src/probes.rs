//! Active probes: a gateway beside the same program as a site and nothing else, and beside nginx, asked the same in turns that are
//! drawn; every answer compared field by field, and times by a Kolmogorov-Smirnov test.
//! See [`USAGE`].
//!
//! All are started anew several times, in turns: two processes of one program differ by microseconds, by where their memory lies.

mod answer;
mod client;
mod expected;
mod h1;
mod h2;
mod h3;
pub(crate) mod kinds;
mod later;
mod posts;
mod report;
mod seen;
mod server;
mod stats;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use answer::Answer;
use kinds::Kind;
use later::later;
use report::{ALPHA, Report};
use seen::Seen;
use server::{Place, Which};
use stats::ks;

pub(crate) const USAGE: &str = "usage: cargo xtask probes [N] [--quick] [--only TEXT] [--json FILE]\n\n\
Sends the same requests to a gateway, to the same site without betanet, and to nginx. N (2 000) is the number of tries of each kind that\n\
a ticket may change. Other kinds get a tenth of that, and those that wait for a minute get one.\n\n\
--quick sends each request once, and checks no times. --only selects the kinds whose names contain TEXT.\n\n\
Example: cargo xtask probes 200 --only 'post h2'";

/// Times that the servers are started anew.
const ROUNDS: usize = 50;
/// What is planted, to see that it is found.
const PLANTED: Duration = Duration::from_millis(1);
/// With fewer of each kind, those that wait for a server's patience are left out.
const SLOW_FROM: usize = 100;
/// Of how many tries one is enough for a kind whose times say nothing of tickets.
const SELDOM: usize = 10;

/// Kinds whose connections are looked at to their ends at once: as many as one core answers well within the time for that.
const AT_ONCE: usize = 6;

/// One kind's answers.
struct Row {
    kind: String,
    slow: bool,
    /// Milliseconds, by server.
    times: [Vec<f64>; 3],
    /// Answers alone, and those whose connections were looked at to their ends.
    seen: [Seen; 2],
}

impl Row {
    fn new(kind: &Kind) -> Self {
        Self {
            kind: kind.name.clone(),
            slow: kind.slow,
            times: [Vec::new(), Vec::new(), Vec::new()],
            seen: Default::default(),
        }
    }

    fn take(&mut self, answers: &[Option<Answer>; 3]) {
        for (server, answer) in answers.iter().enumerate() {
            let Some(answer) = answer else { continue };
            self.times[server].push(answer.took.as_secs_f64() * 1000.0);
            self.seen[0].take(server, answer);
        }
    }

    fn look(&mut self, answers: &[Option<Answer>; 3]) {
        for (server, answer) in answers.iter().enumerate() {
            let Some(answer) = answer else { continue };
            self.seen[1].take(server, answer);
        }
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Gateway, site, nginx; the last only where it has this kind.
type Targets = [Option<SocketAddr>; 3];

/// Asks all servers so often, in turns that are drawn. Where so few answers differ, more are asked for: a race decides some of them.
async fn compare(row: &mut Row, kind: &Kind, to: Targets, n: usize, dice: &mut Dice) {
    for i in 0..n.max(seen::FEW) {
        if i >= n && !row.seen[0].differ_and_are_few() {
            break;
        }
        let mut order = [0, 1, 2];
        order.swap(2, dice.below(3));
        order.swap(1, dice.below(2));
        let mut answers = [None, None, None];
        for at in order {
            if let Some(to) = to[at] {
                answers[at] = Some(kinds::ask(kind, to, false).await);
            }
        }
        row.take(&answers);
    }
}

/// Asks all servers at once, and looks at their connections to their ends.
async fn ask_all(kind: &Kind, to: Targets) -> [Option<Answer>; 3] {
    let asked = to.map(|to| {
        let kind = kind.clone();
        to.map(|to| tokio::spawn(async move { kinds::ask(&kind, to, true).await }))
    });
    let mut answers = [None, None, None];
    for (answer, asked) in answers.iter_mut().zip(asked) {
        if let Some(asked) = asked {
            *answer = Some(asked.await.unwrap());
        }
    }
    answers
}

/// Looks at what becomes of a connection of each kind, of a few kinds at once.
async fn look(rows: &mut [Row], kinds: &[(&Kind, Targets)], again: bool) {
    let pairs: Vec<_> = rows.iter_mut().zip(kinds).collect();
    let mut left: Vec<_> = pairs
        .into_iter()
        .filter(|(row, _)| !again || row.seen[1].differ_and_are_few())
        .collect();
    for some in left.chunks_mut(AT_ONCE) {
        let asked = some.iter().map(|(_, (kind, to))| ask_all(kind, *to));
        let answers = futures_util::future::join_all(asked).await;
        for ((row, _), answers) in some.iter_mut().zip(&answers) {
            row.look(answers);
        }
    }
}

/// Asks what takes a minute, all of it at once.
async fn wait(kinds: &[Kind], to: Targets) -> Vec<Row> {
    let kinds: Vec<&Kind> = kinds.iter().filter(|k| k.slow).collect();
    let asked = kinds.iter().map(|kind| ask_all(kind, to));
    let answers = futures_util::future::join_all(asked).await;
    let rows = kinds.into_iter().zip(answers).map(|(kind, mut answers)| {
        for seen in answers.iter_mut().flatten() {
            let after = format!("{:.0} s", seen.took.as_secs_f64());
            seen.note("after", after);
        }
        let mut row = Row::new(kind);
        row.take(&answers);
        row
    });
    rows.collect()
}

/// What the command line says.
struct Asked {
    n: usize,
    gateway: PathBuf,
    only: Option<String>,
    json: Option<PathBuf>,
    /// Only answers decide, and no time.
    quick: bool,
}

impl Asked {
    fn parse(args: &[String]) -> Self {
        let quick = args.iter().any(|a| a == "--quick");
        let n = args.first().filter(|a| !a.starts_with("--"));
        let n = n.map_or(if quick { 1 } else { 200 }, |n| {
            n.parse().expect("probes N")
        });
        let gateway = args.get(1).filter(|a| !a.starts_with("--"));
        let value = |flag: &str| {
            let at = args.iter().position(|a| a == flag)?;
            Some(args.get(at + 1).expect("a flag's value").clone())
        };
        Self {
            n,
            gateway: gateway.map_or_else(|| crate::beside("gateway"), PathBuf::from),
            only: value("--only"),
            json: value("--json").map(PathBuf::from),
            quick,
        }
    }
}

/// Runs the suite; whether nothing differs without a reason, and what was planted is found.
pub(crate) fn run(args: &[String]) -> bool {
    let asked = Asked::parse(args);
    let home = tempfile::tempdir().unwrap();
    let place = Place::make(home.path(), asked.gateway);
    let runtime = crate::parts::runtime(Some(1));
    let mut dice = Dice(0x5eed);
    let mut rows: Vec<Row> = Vec::new();
    let mut planted = None;
    let n = asked.n;
    let rounds = (n / 25).clamp(1, ROUNDS);
    for round in 0..rounds {
        // Each is the one that was started first as often as the other.
        let mut order = [Which::Gateway, Which::Site];
        order.rotate_left(round % 2);
        let started = order.map(|which| (which, place.start(which, false)));
        let quic = order.map(|which| (which, place.start(which, true)));
        let nginx = place.start(Which::Nginx, false);
        let of = |servers: &[(Which, server::Server); 2], which| {
            let found = servers.iter().find(|(w, _)| *w == which);
            found.map(|(_, server)| server.address())
        };
        let [gateway, site] = [Which::Gateway, Which::Site].map(|w| of(&started, w));
        let over_quic = [Which::Gateway, Which::Site].map(|w| of(&quic, w));
        let share = |n: usize| n / rounds + usize::from(round < n % rounds);
        runtime.block_on(async {
            let recorded = kinds::recorded(gateway.unwrap()).await;
            let mut all = kinds::all(&recorded);
            if let Some(only) = &asked.only {
                all.retain(|kind| kind.name.contains(only));
            }
            let asked_of = |kind: &Kind| match kind.of_nginx() {
                true => [gateway, site, Some(nginx.address())],
                false => [over_quic[0], over_quic[1], None],
            };
            let quick = all.iter().filter(|kind| !kind.slow);
            let quick: Vec<_> = quick.map(|kind| (kind, asked_of(kind))).collect();
            if rows.is_empty() {
                rows.extend(quick.iter().map(|(kind, _)| Row::new(kind)));
            }
            for (row, (kind, to)) in rows.iter_mut().zip(&quick) {
                let tries = share(if kind.often() { n } else { n.div_ceil(SELDOM) });
                compare(row, kind, *to, tries, &mut dice).await;
            }
            if round < seen::FEW {
                look(&mut rows, &quick, false).await;
            }
            if round + 1 == rounds {
                let kind = kinds::planted();
                let slow = later(site.unwrap(), PLANTED).await;
                let straight = later(site.unwrap(), Duration::ZERO).await;
                let mut row = Row::new(&kind);
                let to = [Some(slow), Some(straight), None];
                compare(&mut row, &kind, to, n, &mut dice).await;
                planted = Some(row);
                for _ in 1..seen::FEW {
                    look(&mut rows, &quick, true).await;
                }
                if n >= SLOW_FROM {
                    rows.extend(wait(&all, [gateway, site, Some(nginx.address())]).await);
                }
            }
        });
        eprintln!("round {} of {rounds}", round + 1);
    }
    let planted = planted.expect("a last round");
    let (d, p) = ks(&planted.times[0], &planted.times[1]);
    let report = Report {
        rows: &rows,
        all: asked.only.is_none(),
        each: n,
        timed: !asked.quick,
    };
    let mut fine = report.print();
    if asked.quick {
        return fine;
    }
    let found = p < ALPHA;
    println!(
        "planted {} ms: D {d:.4}, p {p:.2e}: {}",
        PLANTED.as_millis(),
        if found { "found" } else { "NOT FOUND" }
    );
    fine &= found;
    if let Some(path) = asked.json {
        std::fs::write(path, report.json(found).to_string()).unwrap();
    }
    fine
}
