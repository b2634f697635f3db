//! Bootstrap peers from the ledger of names: nodes and clients whose network file names seeds that are gone.

use super::updown::Net;
use super::*;

/// Peers that a client reached within some seconds; none if no seed answered.
fn reached(net: &Net, network: &str, seconds: &str) -> usize {
    let out = net.run(&["peers", "--network", network, "--wait", seconds, "--json"]);
    if code(&out) == 1 {
        let said = text(&out.stderr);
        assert!(said.contains("no seed of"), "{said}");
        return 0;
    }
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    let view: Value = serde_json::from_slice(&out.stdout).unwrap();
    let peers = view["peers"].as_array().unwrap();
    peers.iter().filter(|p| !p["reached"].is_null()).count()
}

/// Makes a record, and lets so many maintainers sign it. Returns the last answer.
fn record(net: &Net, file: &str, more: &[&str], maintainers: u8) -> Value {
    let network = ["--network", "net/NETWORK.toml", "--json"];
    let mut last = Value::Null;
    for n in 1..=maintainers {
        let key = format!("net/keys/maintainer{n}.pem");
        let first = if n == 1 { more } else { &[] };
        let sign = ["network", "bootstrap", file, "--maintainer", &key];
        let out = net.run(&[&sign[..], first, &network].concat());
        assert_eq!(code(&out), 0, "{}", text(&out.stderr));
        last = serde_json::from_slice(&out.stdout).unwrap();
    }
    last
}

#[test]
fn a_network_whose_seeds_are_gone_is_joined_over_its_registry() {
    let net = Net::with(&["--relays", "1", "--signers", "3"]);
    let up = net.run(&["network", "up", "net", "--detach", "--json"]);
    assert_eq!(code(&up), 0, "{}", text(&up.stderr));
    let up: Value = serde_json::from_slice(&up.stdout).unwrap();
    let nodes = up["nodes"].as_array().unwrap();
    let relay = nodes.iter().find(|n| n["node"] == "relay1").unwrap();
    let (peer, relay) = (
        relay["facts"]["peer"].as_str().unwrap(),
        relay["facts"]["name"].as_str().unwrap(),
    );
    // The same network by an old file: nobody is at the addresses of its seeds. The ledger's nodes are where they were.
    let file = std::fs::read_to_string(net.path("net/NETWORK.toml")).unwrap();
    let old = |line: &str| match line.starts_with("addrs = ") {
        true => "addrs = [\"/ip4/127.200.0.1/tcp/1/tls\"]".to_owned(),
        false => line.to_owned(),
    };
    let file: Vec<String> = file.lines().map(old).collect();
    std::fs::write(net.path("OLD.toml"), file.join("\n")).unwrap();
    assert_eq!(reached(&net, "OLD.toml", "8"), 0);

    // Four maintainers are too few, and nothing is given to the ledger.
    let few = record(&net, "few", &["--peer", peer], 4);
    assert_eq!(
        (&few["final"], &few["signed"]),
        (&Value::Bool(false), &4.into())
    );
    assert_eq!(reached(&net, "OLD.toml", "8"), 0);
    let listed = record(&net, "record", &["--peer", peer], 5);
    assert_eq!(listed["final"], Value::Bool(true), "{listed}");
    assert!(reached(&net, "OLD.toml", "20") > 0);

    // A gateway with that file joins, so that a client with that file finds it by its name alone.
    std::fs::create_dir(net.path("public")).unwrap();
    std::fs::write(net.path("public/hello.txt"), "found\n").unwrap();
    let serve = [
        "serve",
        "public",
        "--key",
        "late.pem",
        "--listen",
        "127.0.0.1:0",
        "--network",
        "OLD.toml",
        "--json",
    ];
    let mut serving = net.command(&serve).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(serving.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let facts: Value = serde_json::from_str(&line).unwrap();
    for (name, content) in [
        (facts["name"].as_str().unwrap(), "found\n"),
        (relay, "hello from relay1\n"),
    ] {
        let url = format!("bar://{name}/hello.txt");
        let got = net.run(&["get", &url, "--network", "OLD.toml", "--state", "fresh"]);
        let (said, told) = (text(&got.stdout), text(&got.stderr));
        assert_eq!((code(&got), said.as_str()), (0, content), "{told}");
    }
    serving.kill().unwrap();
    serving.wait().unwrap();

    // A later record takes the peer out again.
    let gone = record(&net, "gone", &["--peer", peer, "--withdraw"], 5);
    assert_eq!(gone["final"], Value::Bool(true), "{gone}");
    assert_eq!(reached(&net, "OLD.toml", "8"), 0);

    // What is wrong is named.
    let network = ["--network", "net/NETWORK.toml"];
    let run = |args: &[&str]| net.run(&[&["network", "bootstrap"], args, &network].concat());
    std::fs::write(net.path("garbage"), "garbage").unwrap();
    for (args, says) in [
        (&["none"][..], "--peer PEER"),
        (&["record", "--peer", peer], "is there already"),
        (&["garbage"], "garbage"),
        (&["new", "--peer", "127.0.0.1:1"], "--peer"),
        (
            &["record", "--maintainer", "net/keys/signer1.pem"],
            "does not list this key",
        ),
    ] {
        let out = run(args);
        let said = text(&out.stderr);
        assert!(code(&out) == 2 && said.contains(says), "{args:?}: {said}");
    }
    let alone = net.run(&["network", "bootstrap", "record"]);
    assert!(code(&alone) == 2 && text(&alone.stderr).contains("--network"));
    assert_eq!(code(&net.run(&["network", "down", "net"])), 0);
}
