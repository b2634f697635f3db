//! Settings from files, variables and flags, and the reports of their faults.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use std::collections::BTreeSet;
use std::path::Path;

use betanet_runtime::{Form, GatewayConfig, Given, Kind, Knob, Looked, Problem};

fn of(text: &str) -> (tempfile::TempDir, Vec<Problem>, Vec<Problem>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    let read = Given::from_file(&file).unwrap().read();
    let Looked { problems, warnings } = read.config.faults(&read.origins);
    let mut all = read.problems;
    all.extend(problems);
    (dir, all, warnings)
}

fn keys(problems: &[Problem]) -> Vec<&str> {
    let mut keys: Vec<&str> = problems.iter().map(|p| p.key.as_ref()).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn everything_wrong_is_said_at_once() {
    let (dir, problems, _) = of(
        "listen = [\"here\"]\nserve = \"/no/such/folder\"\nadmin = \"0.0.0.0:9\"\nlog_format = \"xml\"\nallow = [\"bob\"]\njitter = 1001\ncertificate = \"a.pem\"\n[limits]\nmax_sessions = 0\n",
    );
    let all = [
        "admin",
        "allow",
        "certificate",
        "jitter",
        "key",
        "limits.max_sessions",
        "listen",
        "log_format",
        "serve",
    ];
    assert_eq!(keys(&problems), all);
    let said = problems.iter().find(|p| p.key == "listen").unwrap();
    let said = said.to_string().replace(dir.path().to_str().unwrap(), "");
    assert_eq!(
        said,
        "/gateway.toml: line 1: listen = \"here\": an address is HOST:PORT, as node.example:443 or [2001:db8::1]:443"
    );
}

#[test]
fn a_half_names_itself_and_not_its_neighbour() {
    let base = "key = \"k.pem\"\nserve = \".\"\n";
    for (half, key) in [
        ("certificate = \"c.pem\"\n", "certificate"),
        ("certificate_key = \"c.pem\"\n", "certificate_key"),
        ("compat11_tickets = \"t.key\"\n", "compat11_tickets"),
        ("opens_per_second = 0\n", "opens_per_second"),
    ] {
        let (_dir, problems, _) = of(&format!("{base}{half}"));
        assert_eq!(keys(&problems), [key]);
    }
    // The other half could not be parsed, which does not make it missing.
    let halves = "certificate = 3\ncertificate_key = \"c.pem\"\n";
    let (_dir, problems, _) = of(&format!("{base}{halves}"));
    assert_eq!(keys(&problems), ["certificate"]);
}

#[test]
fn settings_that_do_nothing_are_told() {
    let base = "key = \"k.pem\"\nserve = \".\"\n";
    let (_dir, problems, warnings) = of(&format!("{base}quota = 5\nentries = 6\n"));
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(keys(&warnings), ["entries", "quota"]);
    let (_dir, _, warnings) = of(&format!("{base}quota = 5\nwritable = true\n"));
    assert!(warnings.is_empty(), "{warnings:?}");
    let quic = format!("{base}advertise = [\"quic:a.example:443\"]\n");
    assert_eq!(keys(&of(&quic).1), ["advertise"]);
    assert!(of(&format!("{quic}quic = true\n")).1.is_empty());
}

#[test]
fn each_setting_is_declared_once_and_reads_its_own_default() {
    let knobs = GatewayConfig::knobs();
    let distinct = |of: fn(&Knob) -> String| knobs.iter().map(of).collect::<BTreeSet<_>>();
    let all = knobs.len();
    assert_eq!(distinct(|k| k.name.into()).len(), all);
    assert_eq!(distinct(|k| k.flag.clone()).len(), all);
    assert_eq!(distinct(|k| format!("{}.{}", k.table, k.field)).len(), all);
    // No table has the name of a setting, which may be at the top level too.
    assert!(
        knobs
            .iter()
            .all(|k| knobs.iter().all(|o| o.name != k.table))
    );
    for knob in &knobs {
        assert!(!knob.help.is_empty(), "{}", knob.name);
        assert_eq!(
            knob.value.is_empty(),
            knob.kind == Kind::Switch,
            "{}",
            knob.name
        );
        let Some(default) = &knob.default else {
            continue;
        };
        let mut given = Given::new("test");
        given.put(knob.name, "test", [default.into()]);
        assert!(given.read().problems.is_empty(), "{}", knob.name);
    }
}

/// Returns the lines of a file of `dist`, including those that only show a default or a sample.
fn shown_settings(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist");
    let text = std::fs::read_to_string(path.join(file)).unwrap();
    let knobs = GatewayConfig::knobs();
    let is_one = |line: &str| {
        let key = line.split_once(" = ").map(|(key, _)| key);
        key.is_some_and(|key| knobs.iter().any(|k| k.field == key))
    };
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_one(rest) => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_files_of_dist_show_every_setting_in_its_table() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["gateway.toml", "mixnode.toml"] {
        let path = dir.path().join(file);
        std::fs::write(&path, shown_settings(file)).unwrap();
        let given = Given::from_file_beside(&path, &["mint", "names", "accounts"]).unwrap();
        if file == "gateway.toml" {
            for knob in GatewayConfig::knobs() {
                assert!(given.has(knob.name), "{}", knob.name);
            }
        }
        // Samples such as bn1:… and missing files are invalid values, but each key is valid.
        for problem in given.read().problems {
            let samples = ["allow", "ban", "onward", "to", "dial", "shape"];
            let field = problem.key.rsplit('.').next().unwrap();
            assert!(samples.contains(&field), "{file}: {problem}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn settings_read_alike_from_a_table_a_name_and_a_flag(
        which in 0..GatewayConfig::knobs().len(),
        text in "[a-z0-9:./,-]{0,12}",
        number in 0_i64..70_000,
        on: bool,
    ) {
        let knob = &GatewayConfig::knobs()[which];
        let (toml, flag) = match knob.form {
            Form::Switch => (on.to_string(), on.to_string()),
            Form::Number => (number.to_string(), number.to_string()),
            Form::Text => (format!("{text:?}"), text),
        };
        let many = knob.kind == Kind::Many;
        let parts = flag.split(',').map(|part| format!("{part:?}")).collect::<Vec<_>>();
        let toml = if many { format!("[{}]", parts.join(", ")) } else { toml };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("g.toml");
        let of_file = |text: String| {
            std::fs::write(&file, text).unwrap();
            Given::from_file(&file).unwrap().read()
        };
        let table = of_file(format!("[{}]\n{} = {toml}\n", knob.table, knob.field));
        let name = of_file(format!("{} = {toml}\n", knob.name));
        let mut given = Given::new("flags");
        given.put(knob.name, "flags", [flag.into()]);
        let flags = given.read();
        let config = format!("{:?}", table.config);
        for other in [&name, &flags] {
            proptest::prop_assert_eq!(&config, &format!("{:?}", other.config));
            proptest::prop_assert_eq!(table.problems.len(), other.problems.len());
        }
    }
}

#[test]
fn defaults_lack_a_key_alone() {
    let problems = GatewayConfig::default().check().unwrap_err().0;
    assert_eq!(keys(&problems), ["key"]);
    GatewayConfig::in_state("./not/there").check().unwrap();
    assert!(!problems[0].to_string().starts_with(':'));
}

fn written(text: &str) -> (tempfile::TempDir, Given) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g.toml");
    std::fs::write(&file, text).unwrap();
    let given = Given::from_file(&file).unwrap();
    (dir, given)
}

#[test]
fn every_key_that_cannot_be_used_is_named_with_its_line() {
    let text = "quota = 7\nlisen = [\"a:1\"]\n# listen\nlisten = \"a:1\"\npq = 3\n\n[mix]\nx = 1\nrate = -1\n\n[mux]\nrate = 1\n";
    let (_dir, given) = written(text);
    let read = given.read();
    assert_eq!(read.config.folder.quota, 7);
    let mut said: Vec<_> = read
        .problems
        .iter()
        .map(|p| (p.origin.rsplit(": ").next().unwrap(), p.key.as_ref()))
        .collect();
    said.sort_unstable();
    let all = [
        ("line 11", "mux"),
        ("line 2", "lisen"),
        ("line 4", "listen"),
        ("line 5", "pq"),
        ("line 8", "mix.x"),
        ("line 9", "mix.rate"),
    ];
    assert_eq!(said, all);
    assert!(read.problems.iter().all(|p| !p.allowed.is_empty()));
}

#[test]
fn a_table_and_a_name_of_the_top_level_give_the_same_and_not_both() {
    let (_dir, flat) = written("mix_rate = 7\nquota = 8\n");
    let (_dir, tables) = written("[mix]\nrate = 7\n[folder]\nquota = 8\n");
    for given in [flat, tables] {
        let read = given.read();
        assert!(read.problems.is_empty(), "{:?}", read.problems);
        assert_eq!((read.config.mix.rate, read.config.folder.quota), (7, 8));
    }
    let (_dir, both) = written("mix_rate = 7\n[mix]\nrate = 9\n");
    let problems = both.read().problems;
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].allowed.contains("gives it already"),
        "{problems:?}"
    );
}

#[test]
fn flags_and_variables_win_over_the_file_and_are_named() {
    let (_dir, mut given) = written("quota = 2\nadmin = \"x\"\n[node]\npq = false\n");
    given.put("quota", "command line", ["1".into()]);
    given.put("mix_rate", "BETANET_MIX_RATE", ["much".into()]);
    given.put("listen", "BETANET_LISTEN", ["a:1,b:2".into()]);
    let read = given.read();
    assert_eq!(read.config.folder.quota, 1);
    assert!(!read.config.node.pq);
    assert_eq!(read.config.listener.listen, ["a:1", "b:2"]);
    let places: Vec<_> = read.problems.iter().map(|p| p.origin.as_str()).collect();
    assert!(places[0].ends_with("g.toml: line 2") && places[1] == "BETANET_MIX_RATE");
    // A warning names the source of the value that applies.
    let warnings = read.config.faults(&read.origins).warnings;
    let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(
        said[0].starts_with("command line: quota = \"1\": "),
        "{said:?}"
    );
}

#[test]
fn roles_that_nothing_acts_on_are_refused_by_name() {
    for (roles, why) in [
        ("[\"worker\"]", "no node acts on the role worker yet"),
        (
            "[\"entry\", \"coordinator\"]",
            "no node acts on the role coordinator yet",
        ),
        ("[\"exit\"]", "no node acts on the role exit yet"),
        ("[\"king\"]", "king is no role"),
    ] {
        let (_dir, given) = written(&format!("roles = {roles}\n"));
        let problems = given.read().problems;
        assert!(problems[0].allowed.contains(why), "{problems:?}");
    }
    let (_dir, given) = written("roles = [\"entry\", \"core\", \"mix\", \"gateway\", \"seed\"]\n");
    assert!(given.read().problems.is_empty());
}
