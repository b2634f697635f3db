//! Heads of the economy's ledger in the ledger of names, with real processes: three ledger nodes, two coordinators that have the keys of
//! maintainers, and a leader that shows other records afterwards.

use std::time::{Duration, Instant};

use betanet_runtime::Network;

use super::pay::Shop;
use super::tokens::Town;
use super::updown::Net;
use super::*;

#[test]
fn heads_stand_in_the_ledger_of_names_and_show_a_cut_journal_and_other_records() {
    let net = Net::with(&["--relays", "1", "--signers", "3"]);
    let up = net.run(&["network", "up", "net", "--detach"]);
    assert_eq!(code(&up), 0, "{}", text(&up.stderr));
    let file = net.path("net/NETWORK.toml");
    let network = Network::read(&file).unwrap();
    let names: Vec<String> = network.ledgers.iter().map(|l| l.peer.to_string()).collect();
    let key = |n: usize| {
        let path = net.path(&format!("net/keys/maintainer{n}.pem"));
        path.to_str().unwrap().to_owned()
    };
    let file = file.to_str().unwrap();
    let town = Town::new();

    // Two maintainers' keys are on the leader, and the others' on a coordinator that follows.
    let keys = [key(1), key(2)];
    let posts = [
        ["--network", file],
        ["--economy-names", &names[1]],
        ["--economy-names", &names[2]],
        ["--economy-maintainer", &keys[0]],
        ["--economy-maintainer", &keys[1]],
    ];
    let lead = town.coordinate("lead", "127.0.0.1:0", &posts.concat());
    let leader = lead.facts["peer"].as_str().unwrap().to_owned();
    let follows = ["--network", file, "--economy-leader", &leader];
    let rest: Vec<String> = (3..=network.maintainers.len()).map(key).collect();
    let signs = rest.iter().flat_map(|key| ["--economy-maintainer", key]);
    let second: Vec<&str> = follows.into_iter().chain(signs).collect();
    let second = town.coordinate("second", "127.0.0.1:0", &second);

    let at = ["--names", &names[0], "--network", file];
    let verify = [&["ledger", "verify", &leader], &at[..]].concat();
    let verified = town.until(&verify);
    let (posted, all) = (&verified["posted_records"], &verified["records"]);
    assert!(posted.as_u64() >= Some(1) && posted.as_u64() <= all.as_u64());
    // A later epoch's head replaces it.
    let begun = Instant::now();
    let later = loop {
        let later = town.until(&verify);
        if later["posted_epoch"].as_u64() > verified["posted_epoch"].as_u64()
            && later["posted_records"].as_u64() > Some(3)
        {
            break later;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{later}");
    };
    let covers = later["posted_records"].as_u64().unwrap();

    // A journal whose tail was cut, without a head that somebody kept.
    let save = ["ledger", "save", "audit", "--ledger", &leader];
    town.until(&save);
    let whole = std::fs::read(town.path("audit/journal.cbor")).unwrap();
    let list = betanet_economy_service::body::records(&whole).unwrap();
    let short = usize::try_from(covers).unwrap() - 1;
    std::fs::write(town.path("cut"), list[..short].concat()).unwrap();
    let cut = town.refused(&[&["ledger", "verify", "cut"], &at[..]].concat(), 6);
    assert!(cut.contains(&format!("ends after {short}")), "{cut}");

    // The same signers show other records to somebody who never saw the first.
    drop((lead, second));
    std::fs::copy(town.path("lead.pem"), town.path("other.pem")).unwrap();
    let signs = ["--economy-signer", "second.pem"];
    let other = town.coordinate("other", "127.0.0.1:0", &signs);
    let peer = other.facts["peer"].as_str().unwrap();
    let fresh = ["--state", "fresh"];
    let verify = [&["ledger", "verify", peer], &at[..], &fresh].concat();
    let alone = ["ledger", "verify", peer, "--state", "fresh"];
    town.until(&alone);
    let send = ["token", "send", "1", "--to", "treasury", "--ledger", peer];
    let send = [&send[..], &["--key", "alice.pem"], &fresh].concat();
    let begun = Instant::now();
    loop {
        let found = town.refused(&verify, 6);
        if found.contains("another root") {
            break;
        }
        // It has fewer records so far.
        assert!(found.contains("covers"), "{found}");
        assert!(begun.elapsed() < Duration::from_secs(90), "{found}");
        town.until(&send);
    }
    drop(other);
    assert_eq!(code(&net.run(&["network", "down", "net"])), 0);
}

#[test]
fn a_keyset_is_published_by_maintainers_and_a_wallet_takes_only_what_is_proven() {
    let net = Net::with(&["--relays", "1", "--signers", "3"]);
    let up = net.run(&["network", "up", "net", "--detach"]);
    assert_eq!(code(&up), 0, "{}", text(&up.stderr));
    let file = net.path("net/NETWORK.toml");
    let network = Network::read(&file).unwrap();
    let file = file.to_str().unwrap();
    let shop = Shop::start();
    shop.paid("mine", &["new", "--words", "12"]);
    let learn = ["mint", shop.peer(), "--registered", "--network", file];
    let unknown = shop.pay("mine", &learn, "");
    assert_eq!(code(&unknown), 1, "{}", text(&unknown.stderr));
    let said = text(&unknown.stderr);
    assert!(said.contains("has no record of a keyset"), "{said}");

    // The record goes from one maintainer to the next, and is published with the last signature that it needs.
    let (record, keyset) = (net.path("record"), shop.at("mint/keyset.cbor"));
    let record = record.to_str().unwrap();
    let sign = |n: usize, more: &[&str]| {
        let key = net.path(&format!("net/keys/maintainer{n}.pem"));
        let key = ["--maintainer", key.to_str().unwrap()];
        let args = ["pay", "publish", record, "--network", file, "--json"];
        let out = net.run(&[&args[..], &key, more].concat());
        assert_eq!(code(&out), 0, "{}", text(&out.stderr));
        serde_json::from_slice::<Value>(&out.stdout).unwrap()
    };
    let all = network.maintainers.len();
    let first = sign(1, &["--keyset", &keyset]);
    let needed = usize::try_from(first["needed"].as_u64().unwrap()).unwrap();
    assert_eq!(
        (&first["signed"], &first["final"]),
        (&1.into(), &false.into())
    );
    for n in 2..needed {
        assert_eq!(sign(n, &[])["final"], Value::Bool(false));
    }
    let last = sign(needed, &[]);
    assert_eq!(
        (&last["signed"], &last["final"]),
        (&needed.into(), &true.into())
    );
    assert!(needed <= all);
    let stranger = net.path("net/keys/signer1.pem");
    let stranger = ["--maintainer", stranger.to_str().unwrap()];
    let args = ["pay", "publish", record, "--network", file];
    assert_eq!(code(&net.run(&[&args[..], &stranger].concat())), 2);

    let learnt = shop.paid("mine", &[&learn[..], &["--json"]].concat());
    let learnt: Value = serde_json::from_str(&learnt).unwrap();
    assert_eq!(learnt["keyset"], last["keyset"]);
    assert_eq!(code(&net.run(&["network", "down", "net"])), 0);
}
