//! Runs the fuzzers' committed corpora on stable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a test stops where it is surprised, and may look at the clock"
)]

use std::fs;
use std::path::Path;

use betanet_sim::fuzz;

fn replay(target: &str, run: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        println!("{}", path.display());
        run(&data);
        inputs += 1;
    }
    assert!(inputs >= 10, "{target}: {inputs} inputs");
}

#[test]
fn det_cbor() {
    replay("det_cbor", fuzz::det_cbor);
}

#[test]
fn frames() {
    replay("frames", fuzz::frames);
}

#[test]
fn mesh() {
    replay("mesh", fuzz::mesh);
}

#[test]
fn fog_records() {
    replay("fog_records", fuzz::fog_records);
}

#[test]
fn fog_bodies() {
    replay("fog_bodies", fuzz::fog_bodies);
}

#[test]
fn fog_texts() {
    replay("fog_texts", fuzz::fog_texts);
}

#[test]
fn mix() {
    replay("mix", fuzz::mix);
}

#[test]
fn directory() {
    replay("directory", fuzz::directory);
}

#[test]
fn legs() {
    replay("legs", fuzz::legs);
}

#[test]
fn initial() {
    replay("initial", fuzz::initial);
}

#[test]
fn shape() {
    replay("shape", fuzz::shape);
}

#[test]
fn front() {
    replay("front", fuzz::front);
}

#[test]
fn hello() {
    replay("hello", fuzz::hello);
}

#[test]
fn exchanges() {
    replay("exchanges", fuzz::exchanges);
}

#[test]
fn path() {
    replay("path", fuzz::path);
}

#[test]
fn ticket() {
    replay("ticket", fuzz::ticket);
}

#[test]
fn bar() {
    replay("bar", fuzz::bar);
}

#[test]
fn handshake() {
    replay("handshake", fuzz::handshake);
}

#[test]
fn sessions() {
    replay("sessions", fuzz::sessions);
}

#[test]
fn coordinator() {
    replay("coordinator", fuzz::coordinator);
}

#[test]
fn scheduler() {
    replay("scheduler", fuzz::scheduler);
}
