//! Accounts get another key, and are closed, with a real process.

use super::tokens::{Town, with};
use super::*;

#[test]
fn an_account_gets_another_key_and_is_closed_once_it_is_empty() {
    let town = Town::new();
    let lead = town.coordinate("lead", "127.0.0.1:0", &["--economy-signer", "second.pem"]);
    let ledger = lead.facts["peer"].as_str().unwrap();
    let until = |args: &[&str], key: &str| town.until(&with(args, ledger, key));
    let refused = |args: &[&str], key: &str, want| town.refused(&with(args, ledger, key), want);
    let made = town.run(&["id", "new", "--key", "new.pem"]);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let (bob, key) = (town.fact("bob", "name"), town.fact("bob", "public_key"));
    let alice = town.fact("alice", "name");
    until(&["token", "open", &key, "--wait"], "alice.pem");
    until(&["token", "send", "5", "--to", &bob, "--wait"], "alice.pem");

    // Only a key that is there is taken, and only another one.
    let none = refused(&["token", "rekey", "none.pem"], "bob.pem", 3);
    assert!(none.contains("none.pem"), "{none}");
    let same = refused(&["token", "rekey", "bob.pem"], "bob.pem", 2);
    assert!(same.contains("signs now"), "{same}");
    let told = until(&["token", "rekey", "new.pem", "--wait"], "bob.pem");
    assert_eq!(told["account"], bob.as_str());
    assert_eq!(told["public_key"], town.fact("new", "public_key").as_str());

    // The old key counts no more; the new one does, for the account that is named.
    let send = ["token", "send", "1", "--to", &alice];
    let old = refused(&send, "bob.pem", 1);
    assert!(old.contains("BAD_SIGNATURE"), "{old}");
    let unnamed = refused(&send, "new.pem", 1);
    assert!(unnamed.contains("UNKNOWN_SIGNER"), "{unnamed}");
    let as_bob = ["--account", &bob];
    let gift = ["token", "send", "1", "--to", "treasury"];
    let other = [&gift[..], &["--account", &alice]].concat();
    let other = refused(&other, "new.pem", 1);
    assert!(other.contains("BAD_SIGNATURE"), "{other}");
    until(&[&send[..], &as_bob, &["--wait"]].concat(), "new.pem");
    let available = || {
        let facts = until(&["token", "balance", &bob], "alice.pem");
        facts["fog_micro"]["available"].as_str().unwrap().to_owned()
    };
    // Less 1 FOG, and the fees of two requests.
    assert_eq!(available(), "3999800");

    // What has something is not closed; what has nothing is, for ever.
    let close = [&["token", "close", "--wait"][..], &as_bob].concat();
    let full = refused(&close, "new.pem", 1);
    assert!(full.contains("NOT_EMPTY"), "{full}");
    let all = ["token", "send", "3.9997", "--to", &alice, "--wait"];
    until(&[&all[..], &as_bob].concat(), "new.pem");
    assert_eq!(available(), "0");
    let closed = until(&close, "new.pem");
    assert_eq!(closed["account"], bob.as_str());
    let gone = refused(&[&send[..], &as_bob].concat(), "new.pem", 1);
    assert!(gone.contains("UNKNOWN_SIGNER"), "{gone}");
    let payee = refused(&["token", "send", "1", "--to", &bob], "alice.pem", 1);
    assert!(payee.contains("CLOSED"), "{payee}");
    let again = refused(&["token", "open", &key], "alice.pem", 1);
    assert!(again.contains("EXISTS"), "{again}");
}
