//! Captures and comparisons of what is sent.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{BETANET, run, text};

#[test]
fn a_capture_of_this_very_program_is_what_it_sends_and_a_browsers_is_where_it_was_built_so() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("own.json");
    let file = file.to_str().unwrap();
    let mut capture = Command::new(BETANET)
        .args(["template", "capture", "-n", "2", "--listen", "127.0.0.1:0"])
        .args(["-o", file, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(capture.stderr.as_mut().unwrap())
        .read_line(&mut said)
        .unwrap();
    let port = said.split("localhost:").nth(1).unwrap();
    let port = port.split('/').next().unwrap();
    for _ in 0..2 {
        let seen = run(&["probe", &format!("localhost:{port}")], home.path(), b"");
        assert!(seen.status.success(), "{}", text(&seen.stderr));
    }
    let out = capture.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let facts: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&facts["hellos"], &facts["flights"]),
        (&2.into(), &2.into())
    );
    let ja4 = facts["ja4"][0].as_str().unwrap();
    assert!(ja4.starts_with("t13d"), "{ja4}");
    let same = run(&["template", "check", file], home.path(), b"");
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stderr));
    let browser = run(&["template", "check", "--json"], home.path(), b"");
    let said: Value = serde_json::from_slice(&browser.stdout).unwrap();
    let mimics = cfg!(feature = "mimic");
    assert_eq!(said["same"], mimics, "{said}");
    assert_eq!(browser.status.code(), Some(i32::from(!mimics)));
    assert!(mimics || text(&browser.stderr).contains("these differ: ciphers"));
    // What is no capture is said, by its file.
    let text_of = std::fs::read_to_string(file).unwrap();
    for (bad, why) in [
        ("{}", "missing field `hellos`"),
        ("{\"hellos\": [], \"flights\": []}", "no hello in it"),
        (
            "{\"hellos\": [\"16030100\"], \"flights\": []}",
            "hello 0: cut short",
        ),
        (
            "{\"hellos\": [\"474554\"], \"flights\": []}",
            "not a handshake record",
        ),
        (&text_of[..900], "EOF while parsing"),
    ] {
        std::fs::write(home.path().join("bad.json"), bad).unwrap();
        let bad = home.path().join("bad.json");
        let out = run(
            &["template", "check", bad.to_str().unwrap()],
            home.path(),
            b"",
        );
        assert_eq!(out.status.code(), Some(3), "{why}");
        let said = text(&out.stderr);
        assert!(said.contains("bad.json: ") && said.contains(why), "{said}");
    }
    // Nobody comes.
    let nobody = [
        "template",
        "capture",
        "--listen",
        "127.0.0.1:0",
        "--wait",
        "0",
    ];
    let out = run(&nobody, home.path(), b"");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("0 of 2 clients came"));
}
