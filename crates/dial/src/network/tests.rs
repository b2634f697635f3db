use std::fmt::Write as _;

use betanet_keys::Identity;

use super::*;

fn key(n: u8) -> String {
    Identity::from_seed(&[n; 32]).public().to_string()
}

fn text(seeds: u8, signers: u8, maintainers: u8) -> String {
    let list = |from: u8, n: u8| {
        let keys: Vec<String> = (from..from + n)
            .map(|k| format!("\"{}\"", key(k)))
            .collect();
        keys.join(", ")
    };
    let mut out = format!(
        "name = \"test\"\nsigners = [{}]\nmaintainers = [{}]\n",
        list(50, signers),
        list(100, maintainers)
    );
    for n in 0..seeds {
        let pin = "ab".repeat(32);
        let _ = write!(
            out,
            "\n[[seed]]\nkey = \"{}\"\naddrs = [\"/ip4/192.0.2.{n}/tcp/443/tls\"]\npin = \"{pin}\"\n",
            key(n + 1)
        );
    }
    out
}

fn said(text: &str) -> String {
    Network::parse(Path::new("N.toml"), text)
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

#[test]
fn a_whole_file_reads() {
    let with = text(5, 3, 5) + "\n[policy]\nlinks = 8\ngossip_every_s = [1, 2]\nprivate = true\n";
    let network = Network::parse(Path::new("N.toml"), &with).unwrap();
    assert_eq!(
        (
            network.seeds.len(),
            network.signers.len(),
            network.maintainers.len()
        ),
        (5, 3, 5)
    );
    assert_eq!((network.policy.links, network.policy.private), (8, true));
    assert_eq!(network.policy.per_prefix, 2);
}

#[test]
fn signers_are_not_asked_for_and_read_where_they_are_named() {
    let with = text(5, 3, 5);
    let without: String =
        with.lines()
            .filter(|l| !l.starts_with("signers"))
            .fold(String::new(), |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            });
    let signers = |text: &str| {
        Network::parse(Path::new("N.toml"), text)
            .unwrap()
            .signers
            .len()
    };
    assert_eq!((signers(&with), signers(&without)), (3, 0));
}

#[test]
fn too_few_and_repeated_keys_are_refused_with_their_line() {
    assert_eq!(
        said(&text(4, 3, 5)),
        "N.toml:20: 4 seeds, where at least 5 are needed"
    );
    assert_eq!(
        said(&text(5, 2, 5)),
        "N.toml:2: 2 signers, where at least 3 are needed"
    );
    assert_eq!(
        said(&text(5, 3, 4)),
        "N.toml:3: 4 maintainers, where at least 5 are needed"
    );
    let twice = text(5, 3, 5).replace(&key(51), &key(1));
    assert!(
        said(&twice).starts_with("N.toml:2: the key "),
        "{}",
        said(&twice)
    );
    assert!(
        said(&twice).contains("stands in line 6 already"),
        "{}",
        said(&twice)
    );
}

#[test]
fn every_other_fault_is_named_with_its_line() {
    let good = text(5, 3, 5);
    for (from, to, why) in [
        (
            "name = \"test\"",
            "name = \"Te st\"",
            "N.toml:1: name = \"Te st\": 1 to 32 of a-z, 0-9 and -",
        ),
        (
            "/ip4/192.0.2.0/tcp/443/tls",
            "192.0.2.0:443",
            "N.toml:7: \"192.0.2.0:443\": an address is",
        ),
        ("pin = \"ab", "pin = \"xb", "N.toml:8: \"xb"),
        ("signers", "singers", "unknown field `singers`"),
        (
            "addrs = [\"/ip4/192.0.2.0/tcp/443/tls\"]",
            "addrs = []",
            "N.toml:5: a seed without an address",
        ),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(said(&bad).contains(why), "{} / {why}", said(&bad));
    }
    let short = good.replacen(&key(1), "abc", 1);
    assert_eq!(said(&short), "N.toml:6: \"abc\": a key is 64 hex digits");
    let zero = good.replacen(&key(1), &"00".repeat(32), 1);
    assert!(said(&zero).starts_with("N.toml:6: "), "{}", said(&zero));
    let policy = good.clone() + "\n[policy]\nlinks = 0\n";
    assert_eq!(said(&policy), "N.toml:31: links = 0: 1 to 256");
    let bans = format!("banned = [\"bob\"]\n{good}");
    assert!(
        said(&bans).starts_with("N.toml:1: \"bob\": "),
        "{}",
        said(&bans)
    );
}

#[test]
fn signers_may_name_the_node_of_their_ledger() {
    let peer = format!("{}@127.0.0.1:8443", key(9));
    let mut with = text(5, 0, 5).replace("signers = []\n", "");
    for n in 60..63 {
        let _ = write!(with, "\n[[signer]]\nkey = \"{}\"\n", key(n));
        if n > 60 {
            let _ = writeln!(with, "peer = \"{peer}\"");
        }
    }
    let network = Network::parse(Path::new("N.toml"), &with).unwrap();
    assert_eq!((network.signers.len(), network.ledgers.len()), (3, 2));
    assert_eq!(network.ledgers[0].signer.to_string(), key(61));
    assert_eq!(network.ledgers[1].peer.key.to_string(), key(9));
    let two = with.rsplit_once("\n[[signer]]").unwrap().0;
    assert!(said(two).contains("2 signers, where at least 3 are needed"));
    let wrong = with.replacen(&peer, "nobody", 1);
    assert!(said(&wrong).contains("\"nobody\""));
    let twice = with.replacen(&key(62), &key(61), 1);
    assert!(said(&twice).contains("each key has one task"));
}
