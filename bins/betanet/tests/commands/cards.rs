//! The numbers on the cards of the panel: the page, the API and a command tell the same at the same position of a journal.
//!
//! | page | cards | API | command |
//! |---|---|---|---|
//! | `/control-panel` | `overview-nodes`, `overview-tasks`, edge devices | `/api/v1/overview` | `node ls`, `task ls` |
//! | `/nodes` | total, active, resources, load | `/api/v1/nodes` | `node ls` |
//! | `/tasks` | the tabs | `/api/v1/tasks` | `task ls` |
//! | `/tokens` | issued, cap, burned, held, ledger | `/api/v1/tokens` | `token supply`, `ledger verify` |
//! | `/governance` | proposals, parameters, ledger | `/api/v1/governance` | `gov show`, `ledger verify` |
//! | `/network` | peers, mix relays, programs, banned | `/api/v1/peers` | `peers` |
//! | `/names` | records, root | `/api/v1/names` | `name audit` |
//! | `/vouchers` | keysets, alarms, issued | `/api/v1/keysets` | none: `pay mint` prices a wallet's own units; the mint's admin address |
//!
//! Commands of the fog tell no position. The API tells the same one before and after them, so theirs is that.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::tokens::Town;
use super::updown::Net;
use super::*;

const PASSWORD: &str = "xK9!rQ2#vB7z";

/// A coordinator's process, with a panel and its administrator.
struct Coordinating {
    child: Child,
    facts: Value,
    authority: String,
    cookie: String,
    token: String,
}

impl Drop for Coordinating {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request to a panel; the answer's status, its head and its body.
fn send(authority: &str, line: &str, fields: &str, body: &str) -> (u16, String, String) {
    let mut tcp = TcpStream::connect(authority).unwrap();
    write!(
        tcp,
        "{line} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

impl Coordinating {
    /// Reads the first line of a coordinator, and makes the panel's administrator.
    fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).unwrap();
        let fact = |key: &str| facts[key].as_str().unwrap().to_owned();
        let panel = fact("panel");
        let authority = panel.strip_prefix("http://").unwrap();
        let authority = authority.trim_end_matches('/').to_owned();
        let password = PASSWORD.replace('#', "%23");
        let form = format!("code={}&name=root&password={password}", fact("panel_code"));
        let fields = format!(
            "origin: http://{authority}\r\ncontent-type: application/x-www-form-urlencoded\r\n"
        );
        let (status, head, _) = send(&authority, "POST /login/first", &fields, &form);
        assert_eq!(status, 303, "{head}");
        let set = head.lines().filter_map(|l| l.split_once(": "));
        let set = set.filter(|(n, _)| n.eq_ignore_ascii_case("set-cookie"));
        let pairs: Vec<&str> = set.map(|(_, v)| v.split(';').next().unwrap()).collect();
        let cookie = pairs.join("; ");
        let mut this = Self {
            child,
            facts,
            authority,
            cookie,
            token: String::new(),
        };
        let login = json!({"name": "root", "password": PASSWORD});
        let tokens = this.api("POST /api/v1/login", &login);
        this.token = tokens["access_token"].as_str().unwrap().to_owned();
        this
    }

    fn api(&self, line: &str, body: &Value) -> Value {
        let bearer = match &*self.token {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let fields = format!("{bearer}content-type: application/json\r\n");
        let (status, _, answer) = send(&self.authority, line, &fields, &body);
        assert!((200..300).contains(&status), "{line}: {status} {answer}");
        serde_json::from_str(&answer).unwrap_or_default()
    }

    fn get(&self, path: &str) -> Value {
        self.api(&format!("GET {path}"), &Value::Null)
    }

    fn page(&self, path: &str) -> Page {
        let fields = format!("cookie: {}\r\n", self.cookie);
        let (status, _, body) = send(&self.authority, &format!("GET {path}"), &fields, "");
        assert_eq!(status, 200, "{path}: {body}");
        Page(body)
    }
}

/// A page of the panel.
struct Page(String);

impl Page {
    /// The position of a journal that it is of.
    fn position(&self) -> Option<u64> {
        let (_, rest) = self.0.split_once("data-position=\"")?;
        rest.split('"').next()?.parse().ok()
    }

    /// What follows a mark, without its tags.
    fn text(&self, mark: &str) -> String {
        let found = self.0.split_once(mark);
        let (_, rest) = found.unwrap_or_else(|| panic!("{mark}: {}", self.0));
        let mut out = String::new();
        let mut inside = true;
        for c in rest.chars().take(2000) {
            match c {
                '<' => inside = true,
                '>' => {
                    inside = false;
                    out.push(' ');
                }
                c if !inside && c != '\u{202f}' => out.push(c),
                _ => {}
            }
        }
        out
    }

    /// The first numbers of a card, by its test ID.
    fn numbers<const N: usize>(&self, id: &str) -> [String; N] {
        let text = self.text(&format!("data-testid=\"{id}\""));
        let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
        let words = words.map(|w| w.trim_matches('.'));
        let all: Vec<String> = words
            .filter(|w| !w.is_empty())
            .take(N)
            .map(str::to_owned)
            .collect();
        all.try_into()
            .unwrap_or_else(|all| panic!("{id}: {all:?} of {text}"))
    }
}

/// Tries until something is the same on all sides, or fails.
fn settle<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(90), "{what} moves on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lines(out: &Output) -> Vec<Value> {
    assert_eq!(code(out), 0, "{}", text(&out.stderr));
    let text = text(&out.stdout);
    let all = text.lines().map(|l| serde_json::from_str(l).unwrap());
    all.collect()
}

fn sum(all: &[&Value], of: &str, what: &str) -> u64 {
    all.iter().map(|n| n[of][what].as_u64().unwrap()).sum()
}

/// The number that a command, the API and a page tell.
fn same(what: &str, command: impl ToString, api: &Value, page: &str) {
    let (command, api) = (command.to_string(), api.to_string());
    let api = api.trim_matches('"');
    assert_eq!((&*command, api), (page, page), "{what}: command, API; page");
}

/// The figures of nodes and tasks as the commands tell them.
struct Told {
    nodes: Vec<Value>,
    tasks: Vec<Value>,
}

fn compare(page: &dyn Fn(&str) -> Page, overview: &Value, lists: (&Value, &Value), told: &Told) {
    let position = overview["position"].as_u64();
    let active: Vec<&Value> = told
        .nodes
        .iter()
        .filter(|n| n["state"] == "active")
        .collect();
    let (n, m) = (told.nodes.len(), active.len());
    let ended = ["succeeded", "failed", "cancelled", "expired", "dead"];
    let mut states = BTreeMap::<&str, usize>::new();
    for task in &told.tasks {
        *states.entry(task["state"].as_str().unwrap()).or_default() += 1;
    }
    let control = page("/control-panel");
    assert_eq!(control.position(), position);
    let [all, active_shown] = control.numbers("overview-nodes");
    same("nodes", n, &overview["nodes"], &all);
    let cards = &overview["node_cards"];
    same("active nodes", m, &cards["active"], &active_shown);
    let [all, going] = control.numbers("overview-tasks");
    same("tasks", told.tasks.len(), &overview["tasks"], &all);
    let going_told = told.tasks.iter();
    let going_told = going_told.filter(|t| !ended.contains(&t["state"].as_str().unwrap()));
    let api = &overview["task_cards"]["not_ended"];
    same("tasks that go on", going_told.count(), api, &going);
    let edge = told.nodes.iter().filter(|n| n["kind"] == "edge_device");
    let edge: Vec<&Value> = edge.collect();
    let edge_active = edge.iter().filter(|n| n["state"] == "active").count();
    let text = format!("{edge_active} of {} active", edge.len());
    assert!(
        control
            .text("data-testid=\"service-status-edge\"")
            .contains(&text),
        "{text}"
    );
    let services = overview["services"].as_array().unwrap();
    let service = services.iter().find(|s| s["id"] == "edge").unwrap();
    assert_eq!(service["text"], *text);

    let nodes = page("/nodes");
    assert_eq!(nodes.position(), position);
    let (nodes_api, tasks_api) = lists;
    assert_eq!(&nodes_api["cards"], cards);
    let [all] = nodes.numbers("total-nodes-card");
    same("nodes", n, &nodes_api["total"], &all);
    let [active_shown] = nodes.numbers("active-nodes-card");
    same("active nodes", m, &cards["active"], &active_shown);
    let (cpu, memory) = (sum(&active, "cap", "cpu"), sum(&active, "cap", "memory"));
    assert_eq!(
        (cards["cpu"].as_u64(), cards["memory"].as_u64()),
        (Some(cpu), Some(memory))
    );
    let [cores, gib] = nodes.numbers("total-resources-card");
    assert_eq!(
        (cpu % 1000, memory % (1 << 30)),
        (0, 0),
        "whole cores and GiB"
    );
    assert_eq!(
        (cores, gib),
        ((cpu / 1000).to_string(), (memory >> 30).to_string())
    );
    let free = sum(&active, "free", "cpu");
    let load = (cpu - free) * 100 / cpu;
    let [shown] = nodes.numbers("avg-load-card");
    same("load", load, &cards["load_percent"], &shown);

    let tasks = page("/tasks");
    assert_eq!(tasks.position(), position);
    let [all] = tasks.numbers("tab-all");
    same("tasks", told.tasks.len(), &tasks_api["total"], &all);
    for (state, api) in tasks_api["cards"]["by_state"].as_object().unwrap() {
        let [shown] = tasks.numbers(&format!("tab-{state}"));
        let n = states.remove(&**state).unwrap_or(0);
        same(state, n, api, &shown);
    }
    assert!(states.is_empty(), "{states:?}");
}

#[test]
fn the_cards_of_the_fog_are_the_numbers_of_the_api_and_the_commands() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(BETANET);
        command.args(args).current_dir(home.path());
        command.env("XDG_DATA_HOME", home.path().join("data"));
        command
    };
    let made = run(&["id", "new", "--key", "user.pem"]).output().unwrap();
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let key = run(&["id", "show", "--json", "--key", "user.pem"]);
    let key = lines(&{ key }.output().unwrap())[0]["public_key"].clone();
    let key = key.as_str().unwrap();
    let user = format!("lab={key}");
    let args = [
        "coordinator",
        "--json",
        "--state",
        "state",
        "--listen",
        "127.0.0.1:0",
    ];
    let more = ["--panel", "127.0.0.1:0", "--user", &user, "--operator", key];
    let coordinator = Coordinating::of(&mut run(&[&args[..], &more].concat()));
    let order = json!({"name": "seed", "scope": "look read-work submit operate", "days": 1});
    let token = coordinator.api("POST /api/v1/me/tokens", &order);
    let file = home.path().join("token");
    std::fs::write(&file, token["token"].as_str().unwrap()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    let origin = format!("http://{}", coordinator.authority);
    let args = ["seed", "--api", &origin, "--token-file", "token", "--json"];
    let few = ["--devices", "3", "--mixnodes", "2", "--tasks", "6"];
    let mut seed = run(&[&args[..], &few].concat());
    let mut seed = seed.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(seed.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let peer = coordinator.facts["peer"].as_str().unwrap();
    let list = |what: &[&str]| {
        let with = [
            "--json",
            "--key",
            "user.pem",
            "--coordinator",
            peer,
            "-n",
            "1000",
        ];
        lines(&run(&[what, &with].concat()).output().unwrap())
    };
    settle("the fog", || {
        let before = coordinator.get("/api/v1/overview");
        let told = Told {
            nodes: list(&["node", "ls"]),
            tasks: list(&["task", "ps"]),
        };
        let lists = ["/api/v1/nodes", "/api/v1/tasks"].map(|path| coordinator.get(path));
        let pages = ["/control-panel", "/nodes", "/tasks"];
        let mut pages: BTreeMap<&str, Page> =
            pages.map(|path| (path, coordinator.page(path))).into();
        let after = coordinator.get("/api/v1/overview");
        let position = &before["position"];
        let still = [&after, &lists[0], &lists[1]];
        let still = still.iter().all(|a| a["position"] == *position)
            && pages.values().all(|p| p.position() == position.as_u64());
        // Nodes that do not work yet have no load.
        if !still || before["node_cards"]["active"] != 5 {
            return None;
        }
        let pages = std::cell::RefCell::new(std::mem::take(&mut pages));
        let page = |path: &str| pages.borrow_mut().remove(path).unwrap();
        compare(&page, &before, (&lists[0], &lists[1]), &told);
        Some(())
    });
    let _ = seed.kill();
    let _ = seed.wait();
}

#[test]
fn the_cards_of_the_ledger_are_the_numbers_of_the_api_and_the_commands() {
    let town = Town::with_a_fog();
    let args = [
        "coordinator",
        "--json",
        "--key",
        "lead.pem",
        "--state",
        "state-lead",
    ];
    let economy = [
        "--economy",
        "GENESIS",
        "--economy-head",
        "1",
        "--economy-signer",
        "second.pem",
    ];
    let more = ["--listen", "127.0.0.1:0", "--panel", "127.0.0.1:0"];
    let all = [&args[..], &economy, &more].concat();
    let coordinator = Coordinating::of(&mut town.command(&all));
    let peer = coordinator.facts["peer"].as_str().unwrap();
    let ask = |args: &[&str]| town.until(&[args, &["--ledger", peer]].concat());
    // Something that is no zero: a fee is burned, and somebody proposes.
    ask(&["stake", "bond", "800", "--wait", "--key", "node.pem"]);
    let propose = [
        "gov",
        "propose",
        "--param",
        "fee_tx=200",
        "--wait",
        "--key",
        "node.pem",
    ];
    let made = ask(&propose);
    let pid = made["proposal"].as_str().unwrap();
    let micro = |fog: &str| {
        let (whole, part) = fog.split_once('.').unwrap_or((fog, ""));
        let digits = format!("{whole}{part:0<6}");
        digits.trim_start_matches('0').to_owned()
    };
    settle("the ledger", || {
        let supply = ask(&["token", "supply"]);
        let verified = town.until(&["ledger", "verify", peer]);
        let shown = ask(&["gov", "show", pid]);
        let (tokens, votes) = (
            coordinator.get("/api/v1/tokens"),
            coordinator.get("/api/v1/governance"),
        );
        let (page, gov) = (coordinator.page("/tokens"), coordinator.page("/governance"));
        let size = &supply["size"];
        let of = [
            &verified["covered"],
            &shown["size"],
            &tokens["position"],
            &votes["position"],
        ];
        let still = of.iter().all(|s| *s == size)
            && [&page, &gov].iter().all(|p| p.position() == size.as_u64());
        if !still {
            return None;
        }
        for (id, command, api) in [
            ("issued-card", &supply["issued_micro"], &tokens["issued"]),
            ("cap-card", &supply["cap_micro"], &tokens["cap"]),
            ("burned-card", &supply["burned_micro"], &tokens["burned"]),
        ] {
            let [number] = page.numbers(id);
            assert_eq!(api, &*number, "{id}");
            assert_eq!(command.as_str().unwrap(), micro(&number), "{id}");
        }
        assert_ne!(supply["burned_micro"], "0");
        let [held] = page.numbers("held-card");
        same("holds", &verified["holds"], &tokens["holds"], &held);
        let (api, accounts) = (&tokens["accounts"], &verified["accounts"]);
        let (_, rest) = page.0.split_once("id=\"accounts\"").unwrap();
        let all = Page(rest.to_owned());
        assert!(all.0.contains(&format!("<span>{api} in all")), "{}", all.0);
        assert_eq!(accounts, api);
        let [_, final_records] = page.numbers("ledger-records");
        same(
            "records",
            size,
            &tokens["ledger"]["final_records"],
            &final_records,
        );
        let root = verified["root"].as_str().unwrap();
        assert_eq!(tokens["ledger"]["root"], root);
        assert!(page.0.contains(root) && gov.0.contains(root));
        assert_eq!(supply["epoch"], tokens["ledger"]["epoch"]);

        let item = &votes["items"][0];
        assert_eq!(
            (&item["id"], &item["state"]),
            (&json!(pid), &shown["stage"])
        );
        assert_eq!(
            (&votes["total"], &verified["proposals"]),
            (&json!(1), &json!(1))
        );
        let id = format!("proposal-{pid}");
        let text = gov.text(&format!("data-testid=\"{id}\""));
        for (field, of, word) in [
            ("for", "for_micro", "For"),
            ("against", "against_micro", "Against"),
            ("abstain", "abstain_micro", "Abstain"),
            ("quorum", "need_micro", " of"),
        ] {
            let number = item[field].as_str().unwrap();
            let command = shown[of].as_str().unwrap();
            assert_eq!(command.trim_start_matches('0'), micro(number), "{field}");
            let near = text
                .split(word)
                .skip(1)
                .any(|t| t.trim_start().starts_with(number));
            assert!(near, "{field} {number}: {text}");
        }
        let fee = votes["parameters"]["fee_tx"].to_string();
        assert!(gov.text("fee_tx</th>").trim_start().starts_with(&fee));
        Some(())
    });
}

#[test]
fn the_cards_of_sources_are_the_numbers_of_the_api_and_the_commands() {
    let net = Net::with(&["--relays", "1", "--mixnodes", "2", "--signers", "3"]);
    assert_eq!(code(&net.run(&["network", "up", "net", "--detach"])), 0);
    let checked = lines(&net.run(&["network", "check", "net/NETWORK.toml", "--json"]));
    let ledger = checked[0]["ledgers"][0].as_str().unwrap().to_owned();
    let status = lines(&net.run(&["network", "status", "net", "--json"]));
    let nodes = status[0]["nodes"].as_array().unwrap();
    let named = |n: &&Value| n["status"]["name"] == *ledger || n["status"]["peer"] == *ledger;
    let node = nodes.iter().find(named);
    let node = node.unwrap_or_else(|| panic!("{ledger}: {}", status[0]));
    let admin = node["admin"].as_str().unwrap();
    // A coupon was made, and nothing was issued yet.
    let key = net.path("shop.pem");
    let key = key.to_str().unwrap();
    assert_eq!(code(&net.run(&["id", "new", "--key", key])), 0);
    let init = ["pay", "mint-init", "mint", "--spender", key];
    assert_eq!(code(&net.run(&init)), 0);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mint_admin = free.local_addr().unwrap().to_string();
    drop(free);
    let mint = net.path("mint");
    let own = [
        "--key",
        key,
        "--mint",
        mint.to_str().unwrap(),
        "--admin",
        &mint_admin,
    ];
    let _mint = Serving::start(&own);
    let sources = [
        format!("net=http://{admin}"),
        format!("mint=http://{mint_admin}"),
    ];
    let args = [
        "coordinator",
        "--json",
        "--state",
        "state",
        "--listen",
        "127.0.0.1:0",
    ];
    let more = [
        "--panel",
        "127.0.0.1:0",
        "--panel-source",
        &sources[0],
        "--panel-source",
        &sources[1],
    ];
    let coordinator = Coordinating::of(&mut net.command(&[&args[..], &more].concat()));

    settle("the network", || {
        let look = || lines(&net.run(&["peers", "--admin", admin, "--json"])).remove(0);
        let (before, api) = (look(), coordinator.get("/api/v1/peers"));
        let (page, after) = (coordinator.page("/network"), look());
        let names = |view: &Value| {
            let all = view["peers"].as_array().unwrap().iter();
            let facts = all.map(|p| {
                (
                    p["name"].to_string(),
                    (p["roles"].clone(), p["linked"] == true),
                )
            });
            facts.collect::<BTreeMap<String, (Value, bool)>>()
        };
        let peers = names(&before);
        let [all, linked] = page.numbers("total-peers-card");
        // What a source told in the second before is shown again.
        if peers != names(&after) || peers.len() < 4 || *all != peers.len().to_string() {
            return None;
        }
        let cards = &api["cards"];
        let linked_told = peers.values().filter(|(_, linked)| *linked).count();
        if cards["linked"] != linked_told || *linked != linked_told.to_string() {
            return None;
        }
        same("peers", peers.len(), &cards["peers"], &all);
        let mix = |roles: &Value| roles.as_array().unwrap().contains(&json!("mix"));
        let mixes = peers.values().filter(|(roles, _)| mix(roles)).count();
        let [shown] = page.numbers("mix-relays-card");
        same("mix relays", mixes, &cards["mix_relays"], &shown);
        let banned = |what: &str| before[what].as_array().unwrap().len();
        let [shown] = page.numbers("banned-card");
        same(
            "banned",
            banned("banned") + banned("excluded"),
            &cards["banned"],
            &shown,
        );
        let [programs, part] = page.numbers("networks-card");
        // The panel's own process, the network's node and the mint.
        same("programs", 3, &cards["programs"], &programs);
        same("programs in a network", 1, &cards["in_networks"], &part);
        Some(())
    });

    settle("the ledger of names", || {
        let audit = ["name", "audit", "--network", "net/NETWORK.toml", "--json"];
        let audited = lines(&net.run(&audit)).remove(0);
        let (api, page) = (coordinator.get("/api/v1/names"), coordinator.page("/names"));
        let all = audited["nodes"].as_array().unwrap();
        let told = all.iter().find(|n| n["node"] == *ledger).unwrap();
        let card = &api["cards"]["net"]["figures"];
        let text = page.text("data-testid=\"source-net\"");
        let (_, rest) = text.split_once("Final records").unwrap();
        let shown = rest.split_whitespace().next().unwrap();
        if told["root"] != card["root"] || told["size"].as_u64() != shown.parse().ok() {
            return None;
        }
        same(
            "final records",
            &told["size"],
            &card["final_records"],
            shown,
        );
        let root = told["root"].as_str().unwrap_or("none yet");
        assert!(text.contains(root), "{text}");
        assert_eq!(api["total"].to_string(), "0");
        Some(())
    });

    let (api, page) = (
        coordinator.get("/api/v1/keysets"),
        coordinator.page("/vouchers"),
    );
    let card = &api["cards"]["mint"]["figures"];
    let (_, _, told) = send(&mint_admin, "GET /vouchers/1/keysets", "", "");
    let told: Value = serde_json::from_str(&told).unwrap();
    let keysets = told["keysets"].as_array().unwrap();
    let alarms = keysets.iter().filter(|k| k["alarm"] == true).count();
    let text = page.text("data-testid=\"source-mint\"");
    let shown = |what: &str| {
        let (_, rest) = text.split_once(what).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    };
    same(
        "keysets",
        keysets.len(),
        &card["keysets"],
        &shown("Keysets"),
    );
    same("alarms", alarms, &card["alarms"], &shown("Alarms"));
    same(
        "keysets",
        keysets.len(),
        &api["total"],
        &keysets.len().to_string(),
    );
    assert_eq!(card["node"], told["node"]);
}
