//! A ledger of names on a test network: from a claim to a file that is fetched by its alias.

use super::updown::Net;
use super::*;

fn json(output: &Output) -> Value {
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
