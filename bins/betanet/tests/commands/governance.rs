//! Votes, an execution after its time lock, and the guardians' veto, over sockets: on a ledger with a simulated past, whose proposals
//! are at the stages that these need.

use super::tokens::{Town, with};
use super::verifier::{holds, verifier};
use super::*;

#[test]
fn a_vote_counts_a_passed_proposal_is_executed_and_another_is_vetoed() {
    let (town, told) = Town::with_a_past();
    let one = town.coordinate("one", "127.0.0.1:0", &["--economy-signer", "two.pem"]);
    let ledger = one.facts["peer"].as_str().unwrap();
    let until = |args: &[&str], key: &str| town.until(&with(args, ledger, key));
    let refused = |args: &[&str], key: &str| town.refused(&with(args, ledger, key), 1);
    let proposals = told["proposals"].as_array().unwrap();
    assert_eq!(proposals.len(), 5);
    let pid = |stage: &str| {
        let mut of = proposals.iter().filter(|p| p["stage"] == stage);
        of.next().unwrap()["proposal"].as_str().unwrap()
    };
    let show = |pid: &str| until(&["gov", "show", pid], "alice.pem");
    let stages = [
        "executed",
        "defeated",
        "passed, to be executed",
        "passed, in its time lock",
        "open",
    ];
    let [executed, defeated, ready, locked, open] = stages.map(pid);
    let shown = [executed, defeated, ready, locked, open].map(|pid| show(pid)["stage"].clone());
    assert_eq!(shown, ["executed", "defeated", "passed", "passed", "open"]);

    // A node votes with its own stake and what is lent to it, and the lender's own vote takes that back.
    let [node, carol] = ["node3", "carol"].map(|name| town.fact(name, "name"));
    let tally = || until(&["gov", "tally", open], "alice.pem");
    let of = |tally: &Value, who: &str| {
        let votes = tally["votes"].as_array().unwrap();
        let vote = votes.iter().find(|v| v["account"] == who)?;
        let fact = |name: &str| vote[name].as_str().unwrap().to_owned();
        Some((fact("vote"), fact("own_micro"), fact("lent_micro")))
    };
    let vote = |v, own: u64, lent: u64| {
        let micro = |fog: u64| (fog * 1_000_000).to_string();
        Some((String::from(v), micro(own), micro(lent)))
    };
    assert_eq!(of(&tally(), &node), None);
    until(&["gov", "vote", open, "for", "--wait"], "node3.pem");
    assert_eq!(of(&tally(), &node), vote("for", 1_500, 400));
    until(&["gov", "vote", open, "against", "--wait"], "carol.pem");
    let counted = tally();
    assert_eq!(of(&counted, &node), vote("for", 1_500, 0));
    assert_eq!(of(&counted, &carol), vote("against", 400, 0));
    assert_eq!(counted["for_micro"], "5300000000");
    assert_eq!(counted["against_micro"], "1000000000");
    let twice = refused(&["gov", "vote", open, "for"], "carol.pem");
    assert!(twice.contains("ONCE"), "{twice}");
    let late = refused(&["gov", "vote", ready, "against"], "node3.pem");
    assert!(late.contains("OVER"), "{late}");

    // The execution pays what was voted, once.
    let balance = || {
        let facts = until(&["token", "balance"], "carol.pem");
        let available = facts["fog_micro"]["available"].as_str().unwrap();
        available.parse::<u64>().unwrap()
    };
    let before = balance();
    let early = refused(&["gov", "execute", locked], "alice.pem");
    assert!(early.contains("TOO_EARLY"), "{early}");
    until(&["gov", "execute", ready, "--wait"], "alice.pem");
    assert_eq!(balance() - before, 25_000_000);
    assert_eq!(show(ready)["stage"], "executed");
    let again = refused(&["gov", "execute", ready], "alice.pem");
    assert!(again.contains("OVER"), "{again}");

    // Both guardians stop the other one before its lock ends.
    let veto = ["gov", "brake", "--veto", locked];
    let alone = refused(&veto, "one.pem");
    assert!(alone.contains("NOT_ALLOWED"), "{alone}");
    let both = [&veto[..], &["--guardian", "two.pem", "--wait"]].concat();
    until(&both, "one.pem");
    assert_eq!(show(locked)["stage"], "vetoed");
    let stopped = refused(&["gov", "execute", locked], "alice.pem");
    assert!(stopped.contains("OVER"), "{stopped}");

    // Whoever audits it finds that it holds, by this program and by one that is not ours.
    until(&["ledger", "save", "audit"], "alice.pem");
    assert_eq!(code(&town.run(&["ledger", "verify", "audit"])), 0);
    holds(&town, "audit", 400);
    let genesis = std::fs::read(town.path("GENESIS")).unwrap();
    let mut other = genesis;
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(town.path("OTHER"), other).unwrap();
    let trusted = verifier(&town, &["audit", "--genesis", "OTHER"]);
    assert_eq!(trusted.status.code(), Some(1), "{}", text(&trusted.stdout));
}

#[test]
fn a_saved_ledger_is_restored_once_and_only_if_it_verifies() {
    let (town, _) = Town::with_a_past();
    let restore = |dir: &str, state: &str, want| {
        town.refused(&["ledger", "restore", dir, "--state", state], want)
    };
    let again = restore("past", "state-one", 3);
    assert!(again.contains("records already"), "{again}");
    let journal = town.path("past/journal.cbor");
    let mut flipped = std::fs::read(&journal).unwrap();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&journal, flipped).unwrap();
    restore("past", "state-two", 6);
    assert!(!town.path("state-two").exists());
    let twice = town.refused(&["seed", "--ledger", "past"], 3);
    assert!(twice.contains("past"), "{twice}");
    let neither = town.refused(&["seed"], 2);
    assert!(neither.contains("--ledger"), "{neither}");
}
