//! The commands of users and operators of a fog, against a coordinator and real workers: what they print, filters, pages, refusals.

use std::process::{Command, Output};
use std::time::Duration;

use betanet_fog_worker::programs::WORDS;
use serde_json::{Value, json};

use crate::Fog;
use crate::process::{binary, clean};

/// Tries until a node has beaten, or a task has gone on.
const TRIES: usize = 600;
/// A task's program and namespace.
const PROGRAM: [&str; 3] = ["words.wasm", "--ns", "lab"];
/// A demand that no worker of the tests can meet.
const HUGE: [&str; 2] = ["--cpu", "100 cores"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(out: &Output) -> String {
    format!("{}{}", text(&out.stdout), text(&out.stderr))
}

fn lines(out: &Output) -> Vec<Value> {
    assert_eq!(out.status.code(), Some(0), "{}", said(out));
    let text = text(&out.stdout);
    let all = text.lines().map(|line| serde_json::from_str(line).unwrap());
    all.collect()
}

fn word<'v>(of: &'v Value, key: &str) -> &'v str {
    of[key].as_str().unwrap_or_else(|| panic!("{key}: {of}"))
}

/// A folder in which somebody with a key runs commands.
struct Line<'f> {
    fog: &'f Fog,
    home: tempfile::TempDir,
}

impl<'f> Line<'f> {
    fn new(fog: &'f Fog) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("words.wasm"), WORDS).unwrap();
        Self { fog, home }
    }

    /// A command that asks no coordinator.
    fn alone(&self, args: &[&str]) -> Output {
        let mut command = clean(Command::new(binary("betanet")));
        command
            .args(args)
            .env("XDG_DATA_HOME", self.home.path().join("client"))
            .current_dir(self.home.path());
        command.output().unwrap()
    }

    /// A command with the key of this file, whose program has these arguments.
    fn with(&self, key: &str, args: &[&str], program: &[&str]) -> Output {
        let peer = self.fog.peer.to_string();
        let mut all = args.to_vec();
        all.extend(["--coordinator", &peer, "--key", key]);
        if !program.is_empty() {
            all.push("--");
            all.extend(program);
        }
        self.alone(&all)
    }

    fn run(&self, args: &[&str], program: &[&str]) -> Output {
        let key = self.fog.home.path().join("user.pem");
        self.with(key.to_str().unwrap(), args, program)
    }

    /// What a command prints as JSON.
    fn json(&self, args: &[&str]) -> Vec<Value> {
        lines(&self.run(&[args, &["--json"]].concat(), &[]))
    }

    fn one(&self, args: &[&str]) -> Value {
        let mut all = self.json(args);
        assert_eq!(all.len(), 1, "{args:?}: {all:?}");
        all.remove(0)
    }

    /// Asks again and again until the answer passes the test.
    async fn until(&self, args: &[&str], test: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        for _ in 0..TRIES {
            let all = self.json(args);
            if test(&all) {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{args:?}: {:?}", self.json(args));
    }

    /// Waits until so many nodes are active.
    async fn active(&self, n: usize) -> Vec<Value> {
        let asked = ["node", "ls", "--only", "active"];
        self.until(&asked, |all| all.len() == n).await
    }

    /// A command that is refused. Returns what it says.
    fn refused(&self, code: i32, args: &[&str]) -> String {
        let out = self.run(args, &[]);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", said(&out));
        text(&out.stderr)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_planned_run_listed_followed_and_cancelled() {
    let fog = Fog::start().await;
    let _workers = [fog.worker("one").await, fog.worker("two").await];
    let line = Line::new(&fog);
    line.active(2).await;

    // A plan names a node, or says why none takes the task.
    let plan = line.one(&[&["task", "plan"][..], &PROGRAM].concat());
    assert_eq!(plan["copies"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(plan["why"], json!([]));
    let huge = [&["task", "plan"][..], &PROGRAM, &HUGE].concat();
    let plan = line.one(&huge);
    assert_eq!(plan["copies"], json!([]));
    assert_eq!(plan["why"], json!([["cpu_total", 2]]));
    let told = text(&line.run(&huge, &[]).stdout);
    assert!(told.contains("has less cpu than the task needs"), "{told}");

    // A task that succeeds, and what is known of it.
    let run = [&["task", "run"][..], &PROGRAM, &["--json"]].concat();
    let all = lines(&line.run(&run, &["spin", "1"]));
    let [first, last] = &all[..] else {
        panic!("{all:?}");
    };
    let done = word(first, "task");
    assert_eq!(word(last, "state"), "succeeded");
    let shown = line.one(&["task", "show", done]);
    assert_eq!(shown, *last);
    let copies = shown["copies"].as_array().unwrap();
    assert_eq!((copies.len(), &copies[0][2]), (1, &json!("ok")), "{shown}");
    let log = line.run(&["task", "logs", done], &[]);
    let log = text(&log.stdout);
    assert!(
        log.starts_with("10 %\n") && log.ends_with("100 %\n"),
        "{log}"
    );
    let (mut hex, mut off) = (String::new(), 0);
    for piece in line.json(&["task", "logs", done]) {
        assert_eq!(
            (&piece["fence"], &piece["off"]),
            (&copies[0][0], &json!(off))
        );
        let bytes = word(&piece, "bytes");
        off += bytes.len() / 2;
        hex.push_str(bytes);
    }
    let wanted: String = log.bytes().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, wanted);
    let history = line.json(&["task", "history", done]);
    let kinds: Vec<&str> = history.iter().map(|event| word(event, "kind")).collect();
    assert_eq!(
        kinds,
        [
            "accepted", "ready", "assigned", "started", "returned", "ended"
        ]
    );
    let at = history[2]["at"].to_string();
    let rest = line.json(&["task", "history", done, "--after", &at, "-n", "2"]);
    assert_eq!(rest, history[3..5]);

    // One that fails is a dead letter, and its exit code is the command's.
    let fails = line.run(&[&["task", "run"][..], &PROGRAM].concat(), &["exit", "7"]);
    assert_eq!(fails.status.code(), Some(7), "{}", said(&fails));
    let dead = line.one(&["fog", "dead", "--ns", "lab"]);
    assert_eq!(
        (word(&dead, "state"), word(&dead, "reason")),
        ("failed", "exit")
    );
    assert_ne!(word(&dead, "id"), done);

    // One that waits says why, and is cancelled once.
    let detached = [&["task", "run"][..], &PROGRAM, &HUGE, &["--detach"]].concat();
    let waits = line.one(&detached);
    let waits = word(&waits, "task");
    let shown = line.one(&["task", "show", waits]);
    assert_eq!(word(&shown, "state"), "queued");
    assert_eq!(shown["why"], json!([["cpu_total", 2]]));
    let queued = line.one(&["task", "ps", "--ns", "lab", "--only", "queued"]);
    assert_eq!(word(&queued, "id"), waits);
    let cancelled = line.one(&["task", "cancel", waits]);
    assert_eq!(cancelled["cancelled"], true);
    let shown = line.one(&["task", "show", waits]);
    assert_eq!(word(&shown, "state"), "cancelled");
    assert!(line.json(&["task", "ps", "--only", "queued"]).is_empty());

    // The pages of a list are all of it.
    let all = line.json(&["task", "ps"]);
    assert_eq!(all.len(), 3);
    let page = line.run(&["task", "ps", "-n", "2", "--json"], &[]);
    let first = lines(&page);
    assert_eq!(first, all[..2]);
    let after = word(&first[1], "id");
    let note = text(&page.stderr);
    assert!(
        note.contains(&format!("--after {after} continues")),
        "{note}"
    );
    assert_eq!(line.json(&["task", "ps", "--after", after]), all[2..]);

    // Refusals have their code, and say what is allowed.
    let none = "00".repeat(32);
    let told = line.refused(1, &["task", "show", &none]);
    assert!(told.contains("unknown"), "{told}");
    let told = line.refused(2, &["task", "show", "12"]);
    assert!(told.contains("64 hex digits"), "{told}");
    let told = line.refused(1, &["task", "run", "words.wasm", "--ns", "other"]);
    assert!(
        told.contains("role") && told.contains("must list your key"),
        "{told}"
    );
    let wrong = ["--set", "prio=10", "--set", "speed=9"];
    let told = line.refused(2, &[&["task", "run"][..], &PROGRAM, &wrong].concat());
    assert!(
        told.contains("0 to 9") && told.contains("unknown key"),
        "{told}"
    );
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_shown_and_taken_out_of_service_and_the_cluster_is_seen() {
    let fog = Fog::start().await;
    let _workers = [fog.worker("one").await, fog.worker("two").await];
    let line = Line::new(&fog);
    let all = line.active(2).await;
    assert!(line.json(&["node", "ls", "--only", "offline"]).is_empty());
    let page = line.run(&["node", "ls", "-n", "1", "--json"], &[]);
    let first = lines(&page);
    let id = word(&all[0], "id");
    assert_eq!((first.len(), word(&first[0], "id")), (1, id));
    let note = text(&page.stderr);
    assert!(note.contains(&format!("--after {id} continues")), "{note}");
    let second = line.one(&["node", "ls", "--after", id]);
    assert_eq!(second["id"], all[1]["id"]);
    for node in &all {
        let shown = line.one(&["node", "show", word(node, "id")]);
        assert_eq!((&shown["id"], &shown["org"]), (&node["id"], &node["org"]));
        assert_eq!(shown["cap"]["cpu"], 8_000);
    }
    let told = line.refused(1, &["node", "show", &"11".repeat(20)]);
    assert!(told.contains("knows no node"), "{told}");

    // A node that is drained gets nothing new, one in maintenance neither, and both come back.
    let state = async |wanted: &str| {
        let is = |all: &[Value]| word(&all[0], "state") == wanted;
        line.until(&["node", "show", id], is).await
    };
    let drained = line.one(&["node", "drain", id, "--within", "1 h"]);
    assert_eq!(word(&drained, "to"), "draining");
    state("draining").await;
    let plan = line.one(&[&["task", "plan"][..], &PROGRAM].concat());
    assert_eq!(plan["copies"][0][0], all[1]["id"], "{plan}");
    line.one(&["node", "maintain", word(&all[1], "id")]);
    let plan = line.one(&[&["task", "plan"][..], &PROGRAM].concat());
    assert_eq!(plan["why"], json!([["state", 2]]));
    line.one(&["node", "undrain", id]);
    state("active").await;
    let plan = line.one(&[&["task", "plan"][..], &PROGRAM].concat());
    assert_eq!(plan["copies"][0][0], *id, "{plan}");
    line.one(&["node", "undrain", word(&all[1], "id")]);
    line.active(2).await;

    // Who is neither an operator nor the node may not.
    let made = line.alone(&["id", "new", "--key", "other.pem"]);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let out = line.with("other.pem", &["node", "drain", id], &[]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&out).contains("not_yours"), "{}", said(&out));
    let out = line.with("other.pem", &["node", "token", "--org", "three"], &[]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&out).contains("must list your key"), "{}", said(&out));
    let token = line.one(&["node", "token", "--org", "three"]);
    assert!(word(&token, "token").starts_with("bnj1"), "{token}");
    let revoked = line.one(&["node", "token", "--revoke", word(&token, "id")]);
    assert_eq!(revoked["revoked"], true);
    let told = line.refused(1, &["node", "token", "--revoke", &"22".repeat(16)]);
    assert!(told.contains("unknown"), "{told}");

    // Events go on at a position, and are filtered.
    let events = line.json(&["fog", "events"]);
    assert!(events.is_sorted_by_key(|event| event["at"].as_u64()));
    let some = line.json(&["fog", "events", "-n", "3"]);
    assert_eq!(some, events[..3]);
    let at = some[1]["at"].to_string();
    let next = line.one(&["fog", "events", "--after", &at, "-n", "1"]);
    assert_eq!(next, events[2]);
    let joined = line.json(&["fog", "events", "--only", "joined"]);
    assert_eq!(joined.len(), 2, "{joined:?}");
    let of_one = line.one(&["fog", "events", "--only", "joined", "--node", id]);
    assert_eq!(of_one["node"], *id);

    // The views of the whole.
    let topology = line.one(&["fog", "topology", "-n", "1"]);
    let [last] = &topology["items"].as_array().unwrap()[..] else {
        panic!("{topology}");
    };
    let at = last["at"].to_string();
    let later = line.one(&["fog", "topology", "--after", &at]);
    let later = later["items"].as_array().unwrap();
    assert!(
        later
            .iter()
            .all(|one| one["at"].as_u64() > last["at"].as_u64())
    );
    let price = line.one(&["fog", "price"]);
    assert!(price["factor"]["cpu"].as_u64() >= Some(500_000), "{price}");
    let top = line.one(&["top"]);
    assert_eq!(top["nodes"].as_array().unwrap().len(), 2, "{top}");
    assert_eq!(top["price"]["factor"], price["factor"]);
    let screen = text(&line.run(&["top", "--once"], &[]).stdout);
    assert!(screen.contains("demand factors:"), "{screen}");
    assert_eq!(screen.matches("bn1:").count(), 2, "{screen}");
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_checked_planned_run_replaced_reverted_and_stopped() {
    let fog = Fog::start().await;
    let _workers = [fog.worker("one").await, fog.worker("two").await];
    let line = Line::new(&fog);
    line.active(2).await;
    let write = |name: &str, text: &str| std::fs::write(line.home.path().join(name), text).unwrap();
    write(
        "wrong.toml",
        "ns = \"lab\"\nname = \"two\"\ncolour = \"red\"\n[task.a]\nmodule = \"words.wasm\"\nafter = [\"b\"]\n\
         resources = { cpu = -1 }\n[task.b]\nmodule = \"words.wasm\"\nafter = [\"a\"]\n",
    );
    let wrong = line.alone(&["job", "validate", "wrong.toml", "--json"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
    let told: Value = serde_json::from_slice(&wrong.stdout).unwrap();
    assert_eq!(told["ok"], false);
    let keys = told["problems"].as_array().unwrap().iter();
    let keys = keys.map(|problem| word(problem, "key"));
    let keys: std::collections::BTreeSet<&str> = keys.collect();
    for key in ["colour", "task.a.resources.cpu", "task.a.after"] {
        assert!(keys.contains(key), "{key}: {told}");
    }
    // Nothing of it reaches the coordinator.
    let told = line.refused(2, &["job", "run", "wrong.toml"]);
    assert!(
        told.contains("colour") && told.contains("no cycle"),
        "{told}"
    );
    assert!(line.json(&["task", "ps"]).is_empty());

    write(
        "job.toml",
        "ns = \"lab\"\nname = \"two\"\n[defaults]\nmodule = \"words.wasm\"\nargs = [\"spin\", \"1\"]\n\
         [task.a]\n[task.b]\nafter = [\"a\"]\n",
    );
    let valid = line.alone(&["job", "validate", "job.toml", "--json"]);
    assert_eq!(
        lines(&valid),
        [json!({ "ok": true, "problems": [], "tasks": ["a", "b"] })]
    );
    let plans = line.json(&["job", "plan", "job.toml"]);
    assert_eq!(plans.len(), 2);
    assert!(
        plans
            .iter()
            .all(|plan| plan["copies"].as_array().unwrap().len() == 1)
    );
    assert!(
        line.json(&["task", "ps"]).is_empty(),
        "a plan changes nothing"
    );
    let proposed = line.one(&[
        "job",
        "plan",
        "job.toml",
        "--together",
        "--weights",
        "0,0,1,0",
    ]);
    let places = proposed["tasks"].as_array().unwrap().iter();
    let places: Vec<&Value> = places.map(|task| &task["nodes"][0]).collect();
    assert_eq!(places.len(), 2);
    assert_ne!(places[0], places[1], "the load is even: {proposed}");
    assert!(proposed["plans"].as_u64() > Some(0), "{proposed}");
    let told = line.refused(
        2,
        &["job", "plan", "job.toml", "--together", "--weights", "1,2"],
    );
    assert!(told.contains("four numbers"), "{told}");
    let first = line.one(&["job", "run", "job.toml", "--wait"]);
    assert_eq!((word(&first, "job"), &first["ver"]), ("lab/two", &json!(1)));
    let ids = |job: &Value| -> Vec<String> {
        let all = job["tasks"].as_array().unwrap().iter();
        all.map(|task| task[1].as_str().unwrap().to_owned())
            .collect()
    };
    let state = |id: &str| word(&line.one(&["task", "show", id]), "state").to_owned();
    for id in ids(&first) {
        assert_eq!(state(&id), "succeeded");
    }

    // The next version waits for a node that is large enough. What replaces it cancels its tasks alone.
    write(
        "job.toml",
        "ns = \"lab\"\nname = \"two\"\n[task.large]\nmodule = \"words.wasm\"\nresources = { cpu = 100 }\n",
    );
    let second = line.one(&["job", "run", "job.toml"]);
    assert_eq!(second["ver"], 2);
    let large = &ids(&second)[0];
    assert_eq!(state(large), "queued");
    let third = line.one(&["job", "revert", "lab/two"]);
    assert_eq!((&third["ver"], ids(&third).len()), (&json!(3), 2));
    assert_eq!(state(large), "cancelled");
    assert_ne!(ids(&third), ids(&first));
    let last = ids(&third).remove(1);
    let ended = |all: &[Value]| word(&all[0], "state") == "succeeded";
    line.until(&["task", "show", &last], ended).await;
    for id in ids(&first) {
        assert_eq!(state(&id), "succeeded", "an end stays");
    }

    let fourth = line.one(&["job", "run", "job.toml"]);
    let stopped = line.one(&["job", "stop", "lab/two"]);
    assert_eq!(stopped["stopped"], true);
    assert_eq!(state(&ids(&fourth)[0]), "cancelled");
    let told = line.refused(1, &["job", "revert", "lab/two"]);
    assert!(told.contains("unknown"), "{told}");
    let told = line.refused(2, &["job", "stop", "lab"]);
    assert!(told.contains("NS/NAME"), "{told}");
    fog.stop().await;
}
