//! Stake that moves, is audited, weighs in the mix, is lost, and the guardians' brake, with a real process.

use std::time::{Duration, Instant};

use betanet_economy_service::body::domain;
use betanet_log::SignedHead;
use betanet_runtime::load_identity;

use super::tokens::{Town, with};
use super::*;

/// A town with officers, two nodes, and nodes that are jailed after one epoch without probes.
fn town() -> Town {
    let roles = "auditors = [\"{alice}\", \"{lead}\"]\nguardians = [\"{alice}\", \"{lead}\"]\n";
    let alloc = "[[alloc]]\nkey = \"{lead}\"\namount = 1\n\
                 [[alloc]]\nkey = \"{second}\"\namount = 100\nnode = true\n";
    Town::with_params(roles, "off_epochs = 1\n", alloc)
}

fn number(facts: &Value, name: &str) -> u64 {
    facts[name].as_str().unwrap().parse().unwrap()
}

#[test]
fn stake_moves_is_audited_is_lost_and_guardians_pause() {
    let town = town();
    let more = ["--economy-signer", "second.pem"];
    let lead = town.coordinate("lead", "127.0.0.1:0", &more);
    let ledger = lead.facts["peer"].as_str().unwrap();
    let until = |args: &[&str], key: &str| town.until(&with(args, ledger, key));
    let refused = |args: &[&str], key: &str| town.refused(&with(args, ledger, key), 1);
    let [node, second, bob] = ["node", "second", "bob"].map(|name| town.fact(name, "name"));
    let bob_key = town.fact("bob", "public_key");
    until(&["stake", "bond", "800", "--wait"], "node.pem");
    until(&["stake", "bond", "50", "--wait"], "second.pem");
    until(&["token", "open", &bob_key, "--wait"], "alice.pem");
    until(
        &["token", "send", "100", "--to", &bob, "--wait"],
        "alice.pem",
    );

    // A holder's stake: added, lent for votes, taken back, and moved.
    let lend = |amount: &str, what: [&str; 2]| {
        let args = [what[0], what[1], amount, "--node", &node, "--wait"];
        until(&args, "bob.pem");
    };
    let mine = |of: &str| number(&until(&["stake", "status", of], "bob.pem"), "mine_micro");
    lend("10", ["stake", "delegate"]);
    lend("5", ["gov", "delegate"]);
    assert_eq!(mine(&node), 15_000_000);
    lend("4", ["stake", "unbond"]);
    lend("1", ["gov", "undelegate"]);
    assert_eq!(mine(&node), 10_000_000);
    let moved = ["stake", "redelegate", "6", "--from", &node, "--to", &second];
    until(&[&moved[..], &["--wait"]].concat(), "bob.pem");
    assert_eq!((mine(&node), mine(&second)), (4_000_000, 6_000_000));
    let back = ["stake", "redelegate", "1", "--from", &second, "--to", &node];
    let on = refused(&back, "bob.pem");
    assert!(on.contains("LIMIT"), "{on}");
    let alone = refused(
        &["stake", "redelegate", "1", "--from", &node, "--to", &second],
        "node.pem",
    );
    assert!(alone.contains("NOT_ALLOWED"), "{alone}");
    // 15 FOG are stake or on their way out, and two requests had a fee.
    let has = |who: &str| {
        let balance = until(&["token", "balance", who], "bob.pem");
        number(&balance["fog_micro"], "available")
    };
    assert_eq!(has(&bob), 84_999_800);

    // The auditors' probes: who returns them is paid as the epoch ends, with its holders, and who does not is jailed.
    let before = has(&node);
    let good = refused(&["stake", "unjail"], "second.pem");
    assert!(good.contains("OVER"), "{good}");
    let (yes, no) = (format!("{node}=100/100"), format!("{second}=100/0"));
    let one = refused(&["stake", "audit", &yes], "alice.pem");
    assert!(one.contains("NOT_ALLOWED"), "{one}");
    let bad = town.refused(
        &with(
            &["stake", "audit", &format!("{node}=1/2")],
            ledger,
            "alice.pem",
        ),
        2,
    );
    assert!(bad.contains("no more come back"), "{bad}");
    let report = ["stake", "audit", &yes, &no, "--auditor", "lead.pem"];
    until(&[&report[..], &["--wait"]].concat(), "alice.pem");
    let begun = Instant::now();
    while has(&node) <= before || has(&bob) <= 84_999_800 {
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    // At most a thousandth of the stake an epoch.
    assert!(has(&node) - before <= 804_000);
    let standing = |of: &str| until(&["stake", "status", of], "bob.pem")["standing"].clone();
    assert_eq!(
        (standing(&node), standing(&second)),
        ("good".into(), "jailed".into())
    );
    let early = refused(&["stake", "unjail"], "second.pem");
    assert!(early.contains("TOO_EARLY"), "{early}");
    let more = ["stake", "delegate", "1", "--node", &second];
    let jailed = refused(&more, "bob.pem");
    assert!(jailed.contains("JAILED"), "{jailed}");

    // The ratings for the mix: the jailed node's stake counts for nothing.
    let written = until(&["stake", "standing", "-o", "standing.toml"], "bob.pem");
    assert_eq!(written["nodes"], 2);
    let ratings = std::fs::read_to_string(town.path("standing.toml")).unwrap();
    let table = |name: &str| {
        let (_, rest) = ratings.split_once(&format!("{name}\"]")).unwrap();
        rest.split("\n[").next().unwrap().to_owned()
    };
    assert!(table(&node).contains("stake = 804"), "{ratings}");
    assert!(table(&second).contains("stake = 0"), "{ratings}");
    assert!(ratings.contains("[others]"), "{ratings}");

    // A signer of two heads of one size is banned.
    until(&["ledger", "head", "-o", "one.head"], "bob.pem");
    let one = SignedHead::from_bytes(&std::fs::read(town.path("one.head")).unwrap()).unwrap();
    let mut other = *one.head();
    other.root = [7; 32];
    let mut other = SignedHead::new(other);
    let genesis = std::fs::read(town.path("GENESIS")).unwrap();
    let genesis = betanet_economy_service::client::Trust::new(&genesis).unwrap();
    let signer = load_identity(&town.path("second.pem")).unwrap();
    let signature = other.signature(domain(genesis.genesis().id()), &signer);
    other.add(signature);
    std::fs::write(town.path("other.head"), other.to_bytes()).unwrap();
    let same = ["stake", "evidence", "one.head", "one.head"];
    let same = town.refused(&with(&same, ledger, "bob.pem"), 2);
    assert!(same.contains("same records"), "{same}");
    let before = has(&bob);
    let proven = ["stake", "evidence", "one.head", "other.head", "--wait"];
    let proven = until(&proven, "bob.pem");
    assert_eq!(
        (&proven["node"], &proven["kind"]),
        (&second.as_str().into(), &3.into())
    );
    assert_eq!(standing(&second), "banned");
    assert!(has(&bob) >= before + 500_000, "a tenth of what it lost");
    let never = refused(&["stake", "unjail"], "second.pem");
    assert!(never.contains("JAILED"), "{never}");

    // The guardians.
    let pause = [
        "gov",
        "brake",
        "--pause",
        "--guardian",
        "lead.pem",
        "--wait",
    ];
    until(&["token", "swap", "1", "--wait"], "alice.pem");
    until(&pause, "alice.pem");
    let paused = refused(&["token", "swap", "1"], "alice.pem");
    assert!(paused.contains("PAUSED"), "{paused}");

    // Whoever did not vote can have that proven.
    let pid = "11".repeat(16);
    let proof = ["ledger", "proof", &bob, "--vote", &pid, "-o", "vote.proof"];
    let proven = until(&proof, "bob.pem");
    assert_eq!(proven["vote"], Value::Null);
    let verify = ["ledger", "verify", "vote.proof", "--json"];
    let verified = town.until(&verify[..3]);
    assert_eq!(verified["proposal"], pid);
    assert_eq!(verified["vote"], Value::Null);
}
