//! What a person sees in Chromium: bytes, paint, movement, and the time from an event to the page.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use betanet_coordinator::Request;
use betanet_fog::bodies::StateRequest;
use betanet_fog::{NodeState, Signed};
use betanet_keys::Identity;
use betanet_sim::fog::{caller, identity, task_of};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::fleet::{beats, now_ms};
use crate::world::World;
use crate::{percent, sorted, submit};

/// Loads of a page for its paint.
const LOADS: usize = 20;
/// Changes of the page for the count of connections.
const CHANGES: usize = 100;
/// Events a second, and seconds of them.
const RATE: u64 = 50;
const SECONDS: u64 = 20;

/// Longest time, in ms, by which a timer of this process came late.
static LAG: AtomicU64 = AtomicU64::new(0);

/// Counts what the page's rules forbid, sums its movements, and notes when a position of the journal is shown.
const WATCH: &str = "
    window.csp = 0; window.moved = 0; window.shown = []; window.movers = [];
    const named = (n) => !n ? 'gone' : n.nodeType === 3 ? '#text of ' + named(n.parentNode)
        : n.nodeName.toLowerCase() + (n.id ? '#' + n.id : '') + (n.dataset?.testid ? '[' + n.dataset.testid + ']' : '')
          + (n.className ? '.' + n.className : '');
    const where = (r) => [r.x, r.y, r.width, r.height].map(Math.round).join(' ');
    addEventListener('securitypolicyviolation', () => { csp += 1; });
    let sum = 0, first = 0, before = 0;
    new PerformanceObserver((list) => {
        for (const e of list.getEntries()) {
            if (e.hadRecentInput) continue;
            // Cumulative Layout Shift: the most of a window of 5 s, which ends after 1 s without any.
            if (e.startTime - before > 1000 || e.startTime - first > 5000) { first = e.startTime; sum = 0; }
            before = e.startTime;
            sum += e.value;
            movers.push(e.value.toFixed(4) + ' at ' + Math.round(e.startTime) + ' ms: '
                + e.sources.map(s => named(s.node) + ' from ' + where(s.previousRect) + ' to ' + where(s.currentRect)).join(', '));
            moved = Math.max(moved, sum);
        }
    }).observe({ type: 'layout-shift', buffered: true });
    window.still = 0;
    let tick = Date.now();
    setInterval(() => { still = Math.max(still, Date.now() - tick); tick = Date.now(); }, 20);
    new MutationObserver(() => {
        const at = Number(document.getElementById('stamp')?.dataset.position || 0);
        if (shown.length === 0 || shown[shown.length - 1][0] !== at) shown.push([at, Date.now()]);
    }).observe(document, { childList: true, subtree: true });";

fn gzip(bytes: &[u8]) -> usize {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    to.write_all(bytes).unwrap();
    to.finish().unwrap().len()
}

/// First load of a page: its own bytes and those of the files that it names, plain and compressed.
async fn bytes(world: &World, cookie: &str, path: &str) {
    let page = world.ask("GET", path, &[("cookie", cookie)], "").await;
    assert_eq!(page.status, 200, "{page:?}");
    let (mut raw, mut packed) = (page.body.len(), gzip(page.body.as_bytes()));
    let mut files: Vec<&str> = page
        .body
        .split('"')
        .filter(|s| s.starts_with("/assets/"))
        .collect();
    files.sort_unstable();
    files.dedup();
    for file in &files {
        let file = world.ask("GET", file, &[], "").await;
        raw += file.body.len();
        packed += gzip(file.body.as_bytes());
    }
    println!(
        "first load of {path}: {raw} bytes, {packed} compressed, {} files beside the page",
        files.len()
    );
}

/// The value of a script that the page's events are part of.
fn number(browser: &mut Browser, script: &str) -> f64 {
    browser.run(script).as_f64().unwrap()
}

struct Looks {
    paint: Vec<f64>,
    moved: f64,
    /// What moved in the load where most did.
    movers: String,
    csp: f64,
    foreign: f64,
}

fn load(browser: &mut Browser, site: &str, path: &str, looks: &mut Looks) {
    browser.go(&format!("{site}{path}"));
    let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
    let paint = browser.until("the first paint", paint);
    looks.paint.push(paint.as_f64().unwrap());
    let moved = number(browser, "moved");
    if moved > looks.moved {
        looks.moved = moved;
        looks.movers = browser
            .run("movers.join('; ')")
            .as_str()
            .unwrap()
            .to_owned();
    }
    looks.csp += number(browser, "csp");
    let foreign = "performance.getEntriesByType('resource').filter(e => !e.name.startsWith(location.origin)).length";
    looks.foreign += number(browser, foreign);
}

fn paints(browser: &mut Browser, site: &str, cpu: u32) {
    browser.call("Emulation.setCPUThrottlingRate", json!({ "rate": cpu }));
    for path in ["/login", "/control-panel", "/nodes", "/tasks"] {
        let mut looks = Looks {
            paint: Vec::new(),
            moved: 0.0,
            movers: String::new(),
            csp: 0.0,
            foreign: 0.0,
        };
        for _ in 0..LOADS {
            load(browser, site, path, &mut looks);
        }
        let all = sorted(std::mem::take(&mut looks.paint));
        println!(
            "{path} at {cpu} x CPU: first paint p50 {:.0} ms, most {:.0} ms; layout shift {:.4}; {} CSP reports; {} foreign requests",
            percent(&all, 50),
            all[all.len() - 1],
            looks.moved,
            looks.csp,
            looks.foreign
        );
        if !looks.movers.is_empty() {
            println!("  what moved: {}", looks.movers);
        }
    }
    browser.call("Emulation.setCPUThrottlingRate", json!({"rate": 1}));
}

/// Streams that an account has open, by how many more it may open.
async fn streams(world: &World, cookie: &str) -> usize {
    let mut open = Vec::new();
    loop {
        let fields = [("cookie", cookie)];
        let tcp = world.send(("GET", "/events"), &fields, "", 0).await;
        let mut head = [0; 12];
        let mut tcp = tcp;
        tokio::io::AsyncReadExt::read_exact(&mut tcp, &mut head)
            .await
            .unwrap();
        if &head[9..] != b"200" {
            return 16 - open.len();
        }
        open.push(tcp);
    }
}

/// What happens while a page is shown.
#[derive(Clone, Copy)]
enum What<'a> {
    /// Tasks come, from this number on.
    Tasks(usize),
    /// These nodes go out of service, one after the other.
    Nodes(&'a [Identity]),
}

/// Lets something happen while a page is shown, and prints the time from the commit of each to the page.
async fn events(
    world: &World,
    site: &str,
    (path, what): (&str, What<'_>),
    browser: Browser,
) -> Browser {
    let url = format!("{site}{path}");
    let opened = tokio::task::spawn_blocking(move || {
        let mut browser = browser;
        browser.go(&url);
        browser.until(
            "the stream",
            "document.querySelector('#ws-status')?.dataset.status === 'connected'",
        );
        browser.run("moved = 0; movers = []; shown = []; still = 0");
        browser
    });
    let mut browser = opened.await.unwrap();
    let user = identity(20);
    let mut told = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / RATE));
    let mut commits = Duration::ZERO;
    // What holds this process or the coordinator up, besides the panel.
    let lag = tokio::spawn(async {
        let mut most = Duration::ZERO;
        loop {
            let began = Instant::now();
            tokio::time::sleep(Duration::from_millis(10)).await;
            most = most.max(began.elapsed());
            LAG.store(most.as_millis() as u64, Ordering::Relaxed);
        }
    });
    for n in 0..RATE * SECONDS {
        ticks.tick().await;
        let began = Instant::now();
        match what {
            What::Tasks(from) => {
                let mut task = task_of(&user, from as u64 + n);
                (task.deadline, task.start, task.run_ms) = (now_ms() + 3_600_000, 0, 3_000_000);
                let task = Box::new(Signed::sign(task, &user).unwrap());
                let missing = None;
                let submit = Request::Submit { task, missing };
                let asked = world.handle().ask(caller(&user, false), submit);
                asked.await.unwrap();
            }
            What::Nodes(nodes) => {
                let id = nodes[n as usize % nodes.len()].public().node_id();
                let (to, until) = (NodeState::Maintenance, 0);
                let request = Request::State(id, StateRequest { to, until });
                world.local().ask(request).await.unwrap();
            }
        }
        commits = commits.max(began.elapsed());
        told.push((world.local().position(), now_ms()));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    lag.abort();
    let read = tokio::task::spawn_blocking(move || {
        let shown = browser.run("shown");
        let moved = number(&mut browser, "moved");
        let still = number(&mut browser, "still");
        let movers = browser.run("movers.slice(0, 4).join('; ')");
        (browser, shown, moved, still, movers)
    });
    let (browser, shown, moved, still, movers) = read.await.unwrap();
    let pair = |v: &Value| (v[0].as_u64().unwrap(), v[1].as_u64().unwrap());
    let shown: Vec<(u64, u64)> = shown.as_array().unwrap().iter().map(pair).collect();
    let late = told.iter().map(|(position, at)| {
        let seen = shown.iter().find(|(p, _)| p >= position);
        seen.map_or(f64::INFINITY, |(_, t)| t.saturating_sub(*at) as f64)
    });
    let late = sorted(late.collect());
    println!(
        "event to page on {path} at {RATE} a second: p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, most {:.0} ms of {}; shown {} times; layout shift {moved:.4}",
        percent(&late, 50),
        percent(&late, 90),
        percent(&late, 99),
        late[late.len() - 1],
        late.len(),
        shown.len()
    );
    println!(
        "  held up at most: a commit {} ms, this process {} ms, the browser {still:.0} ms",
        commits.as_millis(),
        LAG.load(Ordering::Relaxed)
    );
    if let Some(movers) = movers.as_str().filter(|m| !m.is_empty()) {
        println!("  what moved: {movers}");
    }
    let gaps = shown.windows(2).map(|w| (w[1].1 - w[0].1, w[1].1));
    let began = told[0].1;
    for (gap, at) in gaps.filter(|(gap, _)| *gap > 250) {
        println!(
            "  nothing was shown for {gap} ms until {:.1} s",
            (at.saturating_sub(began)) as f64 / 1000.0
        );
    }
    browser
}

pub(crate) async fn run(world: &World, nodes: &[Identity], tasks: usize) {
    let (cookie, _) = world.admin().await;
    let cookie = &*cookie;
    submit(world, 0, tasks).await;
    println!("{} nodes, {tasks} tasks", nodes.len());
    // Nodes that say nothing for a minute would be offline, and their tasks move.
    let mut seq = 1;
    let mut beat = async || {
        seq += 1;
        beats(world, nodes, seq).await;
    };
    beat().await;
    for path in ["/login", "/control-panel", "/nodes", "/tasks"] {
        bytes(world, cookie, path).await;
    }
    let site = world.origin();
    let (name, value) = cookie
        .split("; ")
        .filter_map(|c| c.split_once('='))
        .find(|(n, _)| !n.contains("device"))
        .unwrap();
    let set = json!({"name": name, "value": value, "url": site, "secure": true, "httpOnly": true, "sameSite": "Strict", "path": "/"});
    let at = site.clone();
    let measured = tokio::task::spawn_blocking(move || {
        let mut browser = Browser::start();
        browser.call("Network.enable", json!({}));
        browser.call("Network.setCacheDisabled", json!({"cacheDisabled": true}));
        browser.call("Network.setCookie", set);
        browser.call(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({"source": WATCH}),
        );
        for cpu in [1, 4] {
            paints(&mut browser, &at, cpu);
        }
        for n in 0..CHANGES {
            let path = ["/control-panel", "/nodes", "/tasks", "/jobs"][n % 4];
            browser.go(&format!("{at}{path}"));
        }
        browser
    });
    let measured = async { measured.await.unwrap() };
    let mut measured = std::pin::pin!(measured);
    let mut browser = loop {
        tokio::select! {
            browser = &mut measured => break browser,
            () = tokio::time::sleep(Duration::from_secs(20)) => beat().await,
        }
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!(
        "{CHANGES} changes of the page leave {} streams of events",
        streams(world, cookie).await
    );
    let looks = [
        ("/tasks", What::Tasks(tasks)),
        ("/control-panel", What::Tasks(tasks + 100_000)),
        ("/nodes", What::Nodes(nodes)),
    ];
    for look in looks {
        beat().await;
        browser = events(world, &site, look, browser).await;
    }
}
