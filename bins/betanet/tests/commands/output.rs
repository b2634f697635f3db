//! What is printed arrives, or the command fails; who reads may leave.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use crate::{BETANET, Serving, code, run, text};

const CBOR: &str = "a2627071f56770616464696e67f5";

fn to(s: &Serving, args: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(BETANET);
    command.args(args).env("XDG_DATA_HOME", s.path("client"));
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn();
    child.unwrap().wait_with_output().unwrap()
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_reader_who_leaves_is_none() {
    let s = Serving::start(&["--listing"]);
    let made = run(&["id", "new"], &s.path("client"), b"");
    assert_eq!(code(&made), 0);
    let peer = s.fact("peer");
    let known = s.run(&["get", &s.url("/hello.txt"), "--peer", peer]);
    assert_eq!(code(&known), 0);
    let (hello, root, file) = (s.url("/hello.txt"), s.url("/"), s.path("f"));
    let network = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/NETWORK.toml");
    let commands: &[&[&str]] = &[
        &["id", "show"],
        &["id", "show", "--json"],
        &["inspect", CBOR],
        &["inspect", CBOR, "--json"],
        &["completions", "bash"],
        &["--help"],
        &["get", "--help"],
        &["--version"],
        &["network", "check", network],
        &["get", &hello],
        &["get", &root],
        &["get", &hello, "-o", file.to_str().unwrap(), "--json"],
        &["ping", peer],
        &["probe", peer, "--json"],
    ];
    for args in commands {
        let out = to(
            &s,
            args,
            File::options().write(true).open("/dev/full").unwrap(),
        );
        let said = text(&out.stderr);
        assert_eq!(code(&out), 3, "{args:?}: {said}");
        assert!(
            said.contains("standard output: No space left"),
            "{args:?}: {said}"
        );

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = to(&s, args, writer);
        assert_eq!(
            (code(&out), text(&out.stderr)),
            (0, String::new()),
            "{args:?}"
        );
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let s = Serving::start(&[]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child = Command::new(BETANET)
        .args([
            "serve",
            s.path("served").to_str().unwrap(),
            "--log",
            "trace",
        ])
        .env("XDG_DATA_HOME", s.path("other"))
        .stdout(Stdio::piped())
        .stderr(full)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let peer = lines
        .find_map(|l| Some(l.unwrap().strip_prefix("peer")?.trim().to_owned()))
        .unwrap();
    let url = format!("bar://{peer}/hello.txt");
    let got = s.run(&["get", &url]);
    assert_eq!(
        (code(&got), text(&got.stdout)),
        (0, "hello, betanet\n".into())
    );
    let pid = child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn no_bar_is_drawn_into_a_terminal_that_the_text_goes_to() {
    let s = Serving::start(&[]);
    s.keep("long.txt", "one line\n".repeat(200_000).as_bytes());
    let known = s.run(&["get", &s.url("/hello.txt"), "--peer", s.fact("peer")]);
    assert_eq!(code(&known), 0);
    // script(1) makes a terminal for the command.
    let command = format!("{BETANET} get {}", s.url("/long.txt"));
    let out = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("XDG_DATA_HOME", s.path("client"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout) == "one line\r\n".repeat(200_000));
}
