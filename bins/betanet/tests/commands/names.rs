//! A ledger of names on a test network: from a claim to a file that is fetched by its alias.

use std::sync::Arc;

use betanet_journal::{Journal, Kind, Lead, MemoryStore, Record};
use betanet_log::Split;
use betanet_naming::DOMAIN;
use betanet_naming::testkit::{Network, T0, owner};
use betanet_naming_service::{NameService, PREFIX, Running, Settings};
use betanet_runtime::{Gateway, GatewayConfig};
use betanet_wire::cbor;

use super::updown::Net;
use super::*;

pub(super) fn json(output: &Output) -> Value {
    assert_eq!(code(output), 0, "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_alias_is_claimed_signed_published_resolved_and_fetched_from() {
    let net = Net::with(&["--relays", "1", "--signers", "3"]);
    assert_eq!(code(&net.run(&["network", "up", "net", "--detach"])), 0);
    let network = ["--network", "net/NETWORK.toml"];
    let name = |args: &[&str]| net.run(&[&["name"], args, &network].concat());
    let checked = json(&net.run(&["network", "check", "net/NETWORK.toml", "--json"]));
    assert_eq!(checked["signers"].as_array().map(Vec::len), Some(3));
    assert_eq!(checked["ledgers"].as_array().map(Vec::len), Some(3));

    let unknown = name(&["resolve", "files.example"]);
    assert_eq!(code(&unknown), 1);
    assert!(text(&unknown.stderr).contains("no record of this alias"));
    let nowhere = net.run(&[&["get", "bar://files.example/hello.txt"], &network[..]].concat());
    assert_eq!(code(&nowhere), 1);
    assert!(text(&nowhere.stderr).contains("no record of this alias"));
    // Without a network, an alias is only a text.
    let alone = net.run(&["get", "bar://files.example/hello.txt"]);
    assert_eq!(code(&alone), 2);
    assert!(text(&alone.stderr).contains("--network"));

    let claim = [
        "claim",
        "Files.Example",
        "--key",
        "net/relay1/node.pem",
        "-o",
        "f.claim",
    ];
    let claimed = json(&name(&[&claim[..], &["--json"]].concat()));
    assert_eq!(
        (claimed["alias"].as_str(), claimed["seq"].as_u64()),
        (Some("files.example"), Some(1))
    );
    let early = name(&["publish", "f.claim"]);
    assert_eq!(code(&early), 3, "{}", text(&early.stderr));
    for n in ["1", "2"] {
        let (key, memory) = (format!("net/keys/signer{n}.pem"), format!("memory{n}"));
        let sign = [
            "sign", "f.claim", "--signer", &key, "--memory", &memory, "--json",
        ];
        // A missing memory is no empty one.
        let missing = name(&sign);
        assert_eq!(code(&missing), 2, "{}", text(&missing.stderr));
        let signed = json(&name(&[&sign[..], &["--new-memory"]].concat()));
        assert_eq!(signed["signed_by"].as_array().map(Vec::len), n.parse().ok());
        assert_eq!(signed["mixed_scripts"], Value::Bool(false));
        // Not another record of this seq, for whomever.
        let other = [
            "claim",
            "files.example",
            "--key",
            "net/seed5/node.pem",
            "-o",
            "g.claim",
        ];
        assert_eq!(code(&name(&other)), 0);
        let twice = ["sign", "g.claim", "--signer", &key, "--memory", &memory];
        let twice = name(&twice);
        assert_eq!(code(&twice), 3);
        assert!(
            text(&twice.stderr).contains("not signed"),
            "{}",
            text(&twice.stderr)
        );
    }
    let published = json(&name(&["publish", "f.claim", "--json"]));
    assert_eq!(published["final"], Value::Bool(true));
    let again = json(&name(&["publish", "f.claim", "--json"]));
    assert_eq!(again["index"], published["index"]);

    let resolved = json(&name(&["resolve", "files.example", "--json"]));
    assert_eq!(resolved["status"], "bound");
    let got = net.run(&[&["get", "bar://files.example/hello.txt"], &network[..]].concat());
    assert_eq!(
        text(&got.stdout),
        "hello from relay1\n",
        "{}",
        text(&got.stderr)
    );
    let told = text(&got.stderr);
    assert!(told.contains(resolved["node"].as_str().unwrap()), "{told}");

    every_verb_takes_the_alias(&net, resolved["node"].as_str().unwrap());

    let proved = name(&["prove", "files.example", "-o", "f.proof"]);
    assert_eq!(code(&proved), 0, "{}", text(&proved.stderr));
    let verified = json(&name(&["verify", "f.proof", "--json"]));
    assert_eq!(verified["digest"], resolved["digest"]);
    let mut bytes = std::fs::read(net.path("f.proof")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(net.path("g.proof"), bytes).unwrap();
    assert_eq!(code(&name(&["verify", "g.proof"])), 3);
    let history = json(&name(&["history", "files.example", "--json"]));
    assert_eq!(history["records"].as_array().map(Vec::len), Some(1));
    let audited = json(&name(&["audit", "--json"]));
    assert_eq!(audited["split"], Value::Bool(false));
    assert_eq!(audited["nodes"].as_array().map(Vec::len), Some(3));
    assert_eq!(code(&net.run(&["network", "down", "net"])), 0);
}

/// Commands that take a name dial the node of the alias. Their errors are that node's answers.
fn every_verb_takes_the_alias(net: &Net, node: &str) {
    let network = ["--network", "net/NETWORK.toml"];
    let run = |args: &[&str]| net.run(&[args, &network].concat());
    let told = format!("files.example is {node}");
    let probed = json(&run(&["probe", "files.example", "--json"]));
    assert_eq!(probed["name"], node);
    assert_eq!(code(&run(&["ping", "files.example", "-c", "1"])), 0);
    let seed = json(&net.run(&["id", "show", "--key", "net/seed5/node.pem", "--json"]));
    let seed = seed["name"].as_str().unwrap();
    let over = run(&["ping", seed, "-c", "1", "--via", "files.example"]);
    assert_eq!(code(&over), 0, "{}", text(&over.stderr));
    assert!(text(&over.stderr).contains(&told), "{}", text(&over.stderr));

    let (wallet, password) = (net.path("wallet"), net.path("password"));
    std::fs::write(&password, "secret\n").unwrap();
    std::fs::write(net.path("new"), "new").unwrap();
    let purse = [
        "--wallet",
        wallet.to_str().unwrap(),
        "--password-file",
        password.to_str().unwrap(),
    ];
    let made = net.run(&[&["pay", "new"], &purse[..]].concat());
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let url = "bar://files.example/new.txt";
    let pay = |args: &[&'static str]| [&["pay"], args, &purse[..]].concat();
    for (args, exit, answer) in [
        (vec!["put", "new", url], 1, "40"),
        (vec!["post", "new", url], 1, "40"),
        (vec!["del", url], 1, "40"),
        (pay(&["mint", "files.example"]), 1, "404"),
        // The payee is known; what it would be paid from is not there.
        (pay(&["redeem", "1", "--to", "files.example"]), 2, "keyset"),
    ] {
        let refused = run(&args);
        let said = text(&refused.stderr);
        assert_eq!(code(&refused), exit, "{args:?}: {said}");
        assert!(
            said.contains(&told) && said.contains(answer),
            "{args:?}: {said}"
        );
    }
    let fog = [
        "node",
        "ls",
        "--coordinator",
        "files.example",
        "--patience",
        "0",
    ];
    let key = net.path("net/relay1/node.pem");
    let fog = run(&[&fog[..], &["--key", key.to_str().unwrap()]].concat());
    assert_ne!(code(&fog), 0);
    assert!(text(&fog.stderr).contains(&told), "{}", text(&fog.stderr));
}

/// Claims an alias with these arguments, lets two signers sign, and publishes it.
fn bind(net: &Net, claim: &[&str]) -> Value {
    bind_as(net, "files.example", claim)
}

/// The same of any alias.
pub(super) fn bind_as(net: &Net, alias: &str, claim: &[&str]) -> Value {
    let name = |args: &[&str]| {
        let network = ["--network", "net/NETWORK.toml"];
        json(&net.run(&[&["name"], args, &network, &["--json"]].concat()))
    };
    name(&[&["claim", alias, "-o", "f.claim"], claim].concat());
    for n in [1, 2] {
        let (key, memory) = (format!("net/keys/signer{n}.pem"), format!("memory{n}"));
        let sign = ["sign", "f.claim", "--signer", &key, "--memory", &memory];
        let new: &[&str] = match net.path(&memory).exists() {
            true => &[],
            false => &["--new-memory"],
        };
        name(&[&sign[..], new].concat());
    }
    name(&["publish", "f.claim"])
}

#[test]
fn an_alias_moves_with_the_key_of_its_node_and_is_found_over_the_mix() {
    let net = Net::with(&["--relays", "1", "--mixnodes", "3", "--signers", "3"]);
    assert_eq!(code(&net.run(&["network", "up", "net", "--detach"])), 0);
    let network = ["--network", "net/NETWORK.toml"];
    let (old, new) = ("net/relay1/node.pem", "net/seed5/node.pem");
    assert_eq!(bind(&net, &["--key", old])["final"], Value::Bool(true));
    // Without the old node's signature, nobody signs for the new one.
    let claim = [
        "name",
        "claim",
        "files.example",
        "-o",
        "g.claim",
        "--key",
        new,
    ];
    assert_eq!(code(&net.run(&[&claim[..], &network].concat())), 0);
    let sign = [
        "name",
        "sign",
        "g.claim",
        "--signer",
        "net/keys/signer1.pem",
    ];
    let sign = [&sign[..], &["--memory", "memory1"], &network].concat();
    let refused = net.run(&sign);
    assert_eq!(code(&refused), 3);
    assert!(text(&refused.stderr).contains("not signed"));
    let moved = bind(&net, &["--key", new, "--prev-key", old]);
    assert_eq!(moved["final"], Value::Bool(true));
    let shown = json(&net.run(&["id", "show", "--key", new, "--json"]));
    let asked = |more: &[&str]| {
        let args = [
            &["name", "resolve", "files.example", "--json"],
            more,
            &network,
        ];
        json(&net.run(&args.concat()))
    };
    for way in [&[][..], &["--mix", "2"]] {
        let found = asked(way);
        assert_eq!(
            (&found["status"], found["seq"].as_u64()),
            (&"bound".into(), Some(2))
        );
        assert_eq!(found["node"], shown["name"], "{way:?}");
    }
    let history = ["name", "history", "files.example", "--json", "--mix", "2"];
    let history = json(&net.run(&[&history[..], &network].concat()));
    assert_eq!(history["records"].as_array().map(Vec::len), Some(2));
    assert_eq!(code(&net.run(&["network", "down", "net"])), 0);
}

/// A ledger node that has these names as its whole history, final by the first two signers.
async fn historian(home: &Path, network: &Network, names: &[&str], ts: u64) -> (Gateway, Running) {
    let mut ledger = network.ledger();
    for name in names {
        let record = network.bound(name, &owner(1), 1, ts);
        ledger.apply(ts, record).unwrap();
    }
    let records: Vec<&[u8]> = ledger.waiting().map(AsRef::as_ref).collect();
    let (finals, head) = (cbor::to_vec(&records), network.head(&ledger, ts, &[0, 1]));
    let journal: Arc<dyn Journal> = Arc::new(MemoryStore::new().open("one"));
    let Ok(Lead::Leads(term)) = journal.lead().await else {
        panic!("nobody else has it")
    };
    let record = |kind, body| Record::new(Kind::new(kind).unwrap(), body);
    let kept = vec![record("final", finals), record("head", head.to_bytes())];
    journal.append(term.epoch, kept).await.unwrap();
    journal.resign(term.epoch).await.unwrap();
    let mut config = GatewayConfig::in_state(home.join("state"));
    config.listener.listen = vec!["127.0.0.1:0".into()];
    let identity = betanet_runtime::load_or_new_identity(&config.node.key).unwrap();
    let service = NameService::new(Settings::new(network.genesis())).unwrap();
    let gateway = Gateway::builder(identity.clone(), &config)
        .service(PREFIX, service.service())
        .stream_type(NameService::STREAMS, service.streams())
        .start()
        .await
        .unwrap();
    let running = service
        .start(&identity, journal, |node| node)
        .await
        .unwrap();
    running.leads().await;
    (gateway, running)
}

#[test]
fn an_audit_of_nodes_that_show_two_histories_keeps_the_evidence() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let signers = network.genesis().signers;
    let keys: Vec<String> = signers.keys().iter().map(ToString::to_string).collect();
    let file = home.path().join("signers");
    std::fs::write(&file, keys.join("\n")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = |name: &str, names: &[&str]| {
        runtime.block_on(historian(&home.path().join(name), &network, names, T0))
    };
    let nodes = [
        start("1", &["a", "b"]),
        start("2", &["a", "x", "c"]),
        start("3", &["a"]),
    ];
    let peer = |n: usize| nodes[n].0.listening().peer().to_string();
    let evidence = home.path().join("evidence");
    let audit = |of: [usize; 2]| {
        let mut command = Command::new(BETANET);
        command
            .args(["name", "audit", "--json", "--signers"])
            .arg(&file);
        command.arg("--evidence").arg(&evidence);
        for n in of {
            command.args(["--from", &peer(n)]);
        }
        command.current_dir(home.path()).output().unwrap()
    };
    // One history is the beginning of the other.
    let fine = json(&audit([0, 2]));
    assert_eq!(fine["split"], Value::Bool(false), "{fine}");
    assert!(!evidence.exists());
    let split = audit([0, 1]);
    assert_eq!(code(&split), 6, "{}", text(&split.stderr));
    let told: Value = serde_json::from_slice(&split.stdout).unwrap();
    assert_eq!(told["split"], Value::Bool(true));
    assert_eq!(told["evidence"].as_array().map(Vec::len), Some(3));
    let kept = std::fs::read(evidence.join("names-split.cbor")).unwrap();
    let kept = Split::from_bytes(&kept).unwrap();
    assert_eq!(kept.check(DOMAIN, &signers, &signers), Ok(()));
    assert_eq!((kept.older().head().size, kept.newer().head().size), (2, 3));
    assert_eq!(kept.culprits(DOMAIN, &signers, &signers).len(), 2);
    runtime.block_on(async {
        for (gateway, running) in nodes {
            running.stop().await;
            gateway.shutdown().await;
        }
    });
}

#[test]
fn an_alias_that_can_be_taken_for_another_is_told_before_it_is_used() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let signers = network.genesis().signers;
    let keys: Vec<String> = signers.keys().iter().map(ToString::to_string).collect();
    std::fs::write(home.path().join("signers"), keys.join("\n")).unwrap();
    // A Cyrillic `а` among Latin letters, and letters that are all Cyrillic.
    let (mixed, whole) = ("p\u{430}ypal", "\u{440}\u{430}\u{443}");
    let text_of = |unicode: &str| {
        unicode
            .parse::<betanet_naming::Alias>()
            .unwrap()
            .to_string()
    };
    let names = [text_of(mixed), text_of(whole), "files".to_owned()];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let of: Vec<&str> = names.iter().map(String::as_str).collect();
    let now = betanet_runtime::Clock::start().now().unix_ms;
    let state = home.path().join("1");
    let node = historian(&state, &network, &of, now);
    let (gateway, running) = runtime.block_on(node);
    let peer = gateway.listening().peer().to_string();
    let run = |args: &[&str]| {
        let mut command = Command::new(BETANET);
        let command = command.args(args).current_dir(home.path());
        command.output().unwrap()
    };
    assert_eq!(code(&run(&["id", "new", "--key", "me.pem"])), 0);
    let resolve = |name: &str| {
        let from = ["--from", &peer, "--signers", "signers", "--json"];
        run(&[&["name", "resolve", name], &from[..]].concat())
    };
    let claim = |name: &str, file: &str| {
        let claim = [
            "name", "claim", name, "--key", "me.pem", "-o", file, "--seq", "1",
        ];
        run(&[&claim[..], &["--signers", "signers", "--json"]].concat())
    };
    for (name, file, warnings) in [
        (
            mixed,
            "a",
            ["mixes scripts: Cyrillic, Latin", "can be taken for paypal"],
        ),
        (
            &names[0],
            "b",
            ["mixes scripts: Cyrillic, Latin", "can be taken for paypal"],
        ),
        (whole, "c", ["can be taken for pay", "warning"]),
    ] {
        for told in [resolve(name), claim(name, file)] {
            let stderr = text(&told.stderr);
            assert!(
                warnings.iter().all(|w| stderr.contains(w)),
                "{name}: {stderr}"
            );
        }
    }
    // The answer stands all the same, and names the look for programs.
    let bound = json(&resolve(mixed));
    assert_eq!(
        (&bound["status"], &bound["alias"]),
        (&"bound".into(), &names[0].as_str().into())
    );
    let claimed = json(&claim(mixed, "d"));
    assert_eq!(claimed["looks_like"], "paypal");
    assert_eq!(claimed["mixed_scripts"], Value::Bool(true));
    let plain = resolve("files");
    assert!(
        !text(&plain.stderr).contains("warning"),
        "{}",
        text(&plain.stderr)
    );
    runtime.block_on(async {
        running.stop().await;
        gateway.shutdown().await;
    });
}
