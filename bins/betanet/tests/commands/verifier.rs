//! The verifier in Python, which shares no code with this program, on journals of real coordinators.

use std::path::PathBuf;

use super::tokens::{Town, with};
use super::*;

/// Python with the one package that the verifier needs, as CI installs it.
fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let installed = cache.or(home).unwrap();
    let installed = installed.join("betanet-cryptography-50.0.2/bin/python3");
    assert!(
        installed.exists(),
        "{} is not there; run: python3 -m venv ~/.cache/betanet-cryptography-50.0.2 && \
         ~/.cache/betanet-cryptography-50.0.2/bin/pip install cryptography==50.0.2",
        installed.display()
    );
    installed
}

/// Runs the verifier in the folder of a town.
pub(super) fn verifier(town: &Town, args: &[&str]) -> Output {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../spec-vectors/verify_economy.py"
    );
    let mut command = Command::new(python());
    command.arg(script).args(args).current_dir(town.path(""));
    command.output().unwrap()
}

/// A saved ledger holds, and a flipped bit in each of some bytes of it is found; in all bytes, if `flips` is 0.
pub(super) fn holds(town: &Town, folder: &str, flips: usize) {
    let flips = flips.to_string();
    let out = verifier(town, &[folder, "--genesis", "GENESIS", "--flip", &flips]);
    let (said, why) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(code(&out), 0, "{said}{why}");
    let last = said.lines().last().unwrap();
    let words: Vec<&str> = last.split(' ').collect();
    let [tried, "flipped", "bits,", found, "found"] = words[..] else {
        panic!("{said}");
    };
    assert_eq!(tried, found);
    let bytes = ["journal.cbor", "head.cbor", "genesis.cbor"];
    let bytes = bytes.map(|name| std::fs::read(town.path(folder).join(name)).unwrap().len());
    let tried: usize = tried.parse().unwrap();
    match flips.as_str() {
        "0" => assert_eq!(tried, bytes.iter().sum::<usize>()),
        n => assert!(tried >= n.parse().unwrap(), "{said}"),
    }
}

#[test]
fn every_flipped_byte_of_a_journal_is_found_in_python() {
    let town = Town::new();
    let lead = town.coordinate("lead", "127.0.0.1:0", &["--economy-signer", "second.pem"]);
    let ledger = lead.facts["peer"].as_str().unwrap();
    let until = |args: &[&str]| town.until(&with(args, ledger, "alice.pem"));
    let key = town.fact("bob", "public_key");
    until(&["token", "open", &key, "--wait"]);
    until(&["token", "send", "1", "--to", &key, "--wait"]);
    until(&["ledger", "save", "audit"]);
    holds(&town, "audit", 0);
    // A record less, two in another order, and one of another ledger's past.
    let whole = std::fs::read(town.path("audit/journal.cbor")).unwrap();
    let list = betanet_economy_service::body::records(&whole).unwrap();
    let n = list.len();
    let mut turned = list.clone();
    turned.swap(n - 1, n - 2);
    let again = [&list[..], &list[n - 1..]].concat();
    for (what, bent) in [
        ("cut", list[..n - 1].concat()),
        ("turned", turned.concat()),
        ("twice", again.concat()),
        ("empty", Vec::new()),
    ] {
        std::fs::write(town.path("audit/journal.cbor"), bent).unwrap();
        let out = verifier(&town, &["audit"]);
        assert_eq!(code(&out), 1, "{what}: {}", text(&out.stdout));
        assert!(text(&out.stderr).contains("WRONG"), "{what}");
    }
    let none = verifier(&town, &["nowhere"]);
    assert_eq!(code(&none), 2);
}
