//! How commands end: what they leave standing at the peer, and what they do when it vanishes.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{BETANET, Serving, code, text};

const QUIC: &[&str] = &["--quic"];

#[test]
fn commands_that_fail_leave_no_session_behind() {
    let s = Serving::start(QUIC);
    let (peer, url) = (s.fact("peer"), s.url("/nope"));
    for transport in ["quic", "tcp"] {
        for n in 1..=12 {
            let args = ["get", &url, "--peer", peer, "--transport", transport];
            let out = s.run(&args);
            let said = text(&out.stderr);
            assert_eq!(code(&out), 1, "{transport} {n}: {said}");
            assert!(said.contains("404"), "{transport} {n}: {said}");
            let args = ["put", "/etc/hostname", &url, "--transport", transport];
            let said = text(&s.run(&args).stderr);
            assert!(said.contains("403"), "{transport} {n}: {said}");
        }
        let out = s.run(&["get", &s.url("/hello.txt"), "--transport", transport]);
        assert_eq!(code(&out), 0, "{transport}: {}", text(&out.stderr));
    }
}

fn signal(name: &str, pid: u32) {
    let pid = pid.to_string();
    assert!(
        Command::new("kill")
            .args([name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_download_that_is_interrupted_gives_its_place_back() {
    let s = Serving::start(QUIC);
    std::fs::write(s.path("served/big.bin"), vec![7; 300 << 20]).unwrap();
    // As Ctrl-C, `kill` and a terminal that is gone end it.
    for (transport, how, exit) in [
        ("quic", "-INT", 130),
        ("tcp", "-INT", 130),
        ("quic", "-TERM", 143),
        ("quic", "-HUP", 129),
    ] {
        for _ in 0..10 {
            let mut child = Command::new(BETANET)
                .args(["get", &s.url("/big.bin"), "--peer", s.fact("peer")])
                .args(["--transport", transport])
                .env("XDG_DATA_HOME", s.path("client"))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut out = child.stdout.take().unwrap();
            out.read_exact(&mut [0; 1000]).unwrap();
            signal(how, child.id());
            let reading = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
            let ended = child.wait().unwrap().code();
            assert_eq!(ended, Some(exit), "{transport} {how}");
            reading.join().unwrap().unwrap();
        }
        let out = s.run(&["get", &s.url("/hello.txt"), "--transport", transport]);
        assert_eq!(code(&out), 0, "{transport}: {}", text(&out.stderr));
    }
}

#[test]
fn a_signal_that_is_ignored_from_the_start_ends_nothing() {
    let s = Serving::start(&[]);
    let bytes = vec![7; 20 << 20];
    s.keep("big.bin", &bytes);
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh", BETANET, "get"])
        .args([&s.url("/big.bin"), "--peer", s.fact("peer")])
        .env("XDG_DATA_HOME", s.path("client"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut got = vec![0; 1000];
    out.read_exact(&mut got).unwrap();
    signal("-HUP", child.id());
    out.read_to_end(&mut got).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(got == bytes);
}

#[test]
fn a_server_that_stops_is_noticed_said_so_and_panics_nobody() {
    for (transport, how) in [
        ("quic", "-STOP"),
        ("tcp", "-STOP"),
        ("quic", "-KILL"),
        ("tcp", "-KILL"),
    ] {
        let s = Serving::start(QUIC);
        std::fs::write(s.path("served/big.bin"), vec![7; 300 << 20]).unwrap();
        let mut child = Command::new(BETANET)
            .args(["get", &s.url("/big.bin"), "--peer", s.fact("peer")])
            .args(["--transport", transport, "--retries", "0"])
            .env("XDG_DATA_HOME", s.path("client"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 1000]).unwrap();
        signal(how, s.child.id());
        let began = Instant::now();
        let reading = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let ended = child.wait_with_output().unwrap();
        let took = began.elapsed();
        if how == "-STOP" {
            signal("-CONT", s.child.id());
        }
        reading.join().unwrap().unwrap();
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{transport} {how}: {said}");
        assert!(!said.contains("panicked"), "{transport} {how}: {said}");
        // The peer's silence, the end's two seconds, and what this machine lacks.
        assert!(
            took < Duration::from_secs(20),
            "{transport} {how}: {took:?}"
        );
        if how == "-STOP" {
            assert!(
                said.contains("asking whether the peer is there"),
                "{transport}: {said}"
            );
        } else {
            s.goes_down();
        }
    }
}

#[test]
fn a_peer_that_is_dialled_again_later_is_told_with_the_reason() {
    let s = Serving::start(&[]);
    s.keep("big.bin", &vec![7; 300 << 20]);
    let mut child = Command::new(BETANET)
        .args(["get", &s.url("/big.bin"), "--peer", s.fact("peer")])
        // Pauses are drawn, and a short one is not told: among so many there is a long one.
        .args(["--retries", "6"])
        .env("XDG_DATA_HOME", s.path("client"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 1000]).unwrap();
    signal("-KILL", s.child.id());
    let reading = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let ended = child.wait_with_output().unwrap();
    reading.join().unwrap().unwrap();
    s.goes_down();
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let line = said.lines().find(|l| l.contains("dialled again in"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    let reasons = ["cut after", "cannot connect", "refused"];
    assert!(reasons.iter().any(|r| line.contains(r)), "{line}");
}
