//! The corpora of the fuzz targets, and what the targets do with them.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use std::path::Path;

use betanet_auth::testkit;

/// Runs a target over its corpus and the inputs one bit away; the names of the files that a parser took.
fn replay(name: &str, target: fn(&[u8]) -> usize) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let mut taken = Vec::new();
    for file in files {
        let input = std::fs::read(&file).unwrap();
        for n in 0..target(&input) {
            let name = file.file_name().unwrap().to_string_lossy();
            taken.push(format!("{name}/{n}"));
        }
        for at in 0..input.len() {
            let mut near = input.clone();
            near[at] ^= 1 << (at % 8);
            target(&near);
            target(&input[..at]);
        }
    }
    taken
}

#[test]
fn tokens_and_other_texts() {
    let good = [
        "account_id/0",
        "api/0",
        "api_id/0",
        "cookie/0",
        // Its last address is a network too.
        "forwarded/0",
        "head/0",
        "networks/0",
        "networks/1",
        "networks/2",
        "networks/3",
        "origin/0",
        "path/0",
        "path_rest/0",
        "refresh/0",
        "scopes/0",
    ];
    assert_eq!(replay("auth_tokens", testkit::tokens), good);
}

#[test]
fn access_tokens() {
    let good = [
        "own/0",
        "payload/0",
        "payload_no_scope/0",
        "payload_scopes/0",
    ];
    assert_eq!(replay("auth_jwt", testkit::jwt), good);
}

#[test]
fn passkeys() {
    let good = [
        "extension_eddsa/0",
        "extension_es256/0",
        "login_eddsa/0",
        "login_eddsa/1",
        "login_es256/0",
        "login_es256/1",
        "nested_eddsa/0",
        "nested_es256/0",
        "register_eddsa/0",
        "register_es256/0",
    ];
    assert_eq!(replay("auth_passkeys", testkit::passkeys), good);
}

#[test]
fn records() {
    let good = [
        "account/0",
        "account_passkeys/0",
        "api/0",
        "api_used/0",
        "audit/0",
        "audit_next/0",
        "family/0",
        "session/0",
    ];
    assert_eq!(replay("auth_records", testkit::records), good);
}
