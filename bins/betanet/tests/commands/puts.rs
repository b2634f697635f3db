//! `put`, `post` and `del`: as whom, what is sent, and how soon a refusal is told.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::{BETANET, Serving, code, run, text};

/// What is not there after so long does not come.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn who_is_allowed_puts_posts_and_removes() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("me.pem");
    let made = run(
        &["id", "new", "--key", key.to_str().unwrap(), "--json"],
        home.path(),
        b"",
    );
    let me: Value = serde_json::from_slice(&made.stdout).unwrap();
    let again = run(
        &["id", "new", "--key", key.to_str().unwrap()],
        home.path(),
        b"",
    );
    assert_eq!(code(&again), 3, "an identity is not written over");
    let s = Serving::start(&["--allow", me["name"].as_str().unwrap()]);
    let (peer, key) = (s.fact("peer"), key.to_str().unwrap());
    let url = s.url("/notes/a.txt");
    let with = |args: &[&str], input: &[u8]| {
        let all = [args, &["--peer", peer, "--key", key]].concat();
        run(&all, &s.path("client"), input)
    };
    let put = with(&["put", "-", &url, "--new"], b"one");
    assert_eq!(code(&put), 0, "{}", text(&put.stderr));
    assert_eq!(std::fs::read(s.path("served/notes/a.txt")).unwrap(), b"one");
    assert_eq!(
        code(&with(&["put", "-", &url, "--new"], b"two")),
        1,
        "it stands already"
    );
    let post = with(&["post", "-", &s.url("/inbox/")], b"mail");
    let place = text(&post.stdout);
    let got = s.run(&["get", &s.url(place.trim()), "--peer", peer]);
    assert_eq!(text(&got.stdout), "mail");
    assert_eq!(code(&with(&["del", &url], b"")), 0);
    assert_eq!(code(&with(&["del", &url], b"")), 1);
    let stranger = s.run(&["del", &url, "--peer", peer]);
    assert!(text(&stranger.stderr).contains("403"));
}

/// Waits for a child, which is killed when it does not end.
fn ended(mut child: Child) -> Output {
    let (told, ended) = std::sync::mpsc::channel();
    let pid = child.id().to_string();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE).is_err() {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
    });
    let stdin = child.stdin.take();
    let out = child.wait_with_output().unwrap();
    told.send(()).unwrap();
    watch.join().unwrap();
    drop(stdin);
    out
}

fn put(s: &Serving, args: &[&str]) -> Child {
    Command::new(BETANET)
        .arg("put")
        .args(args)
        .env("XDG_DATA_HOME", s.path("client"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn an_answer_before_the_bodys_end_is_told_at_once() {
    let s = Serving::start(&["--quic", "--writable", "--quota", "100000"]);
    let (peer, url) = (s.fact("peer"), s.url("/x"));
    std::fs::write(s.path("large"), vec![7; 150_000]).unwrap();
    let large = s.path("large");
    for transport in ["tcp", "quic"] {
        let args = [
            large.to_str().unwrap(),
            &url,
            "--peer",
            peer,
            "--transport",
            transport,
        ];
        let out = ended(put(&s, &args));
        let said = text(&out.stderr);
        assert_eq!(code(&out), 1, "{transport}: {said}");
        assert!(said.contains("403: the quota is used up"), "{said}");
    }
    // Who reads a pipe that is silent hears it too.
    let closed = Serving::start(&[]);
    let (peer, url) = (closed.fact("peer"), closed.url("/x"));
    let pipe = closed.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for from in ["-", pipe.to_str().unwrap()] {
        let out = ended(put(&closed, &[from, &url, "--peer", peer]));
        let said = text(&out.stderr);
        assert_eq!(code(&out), 1, "{from}: {said}");
        assert!(said.contains("403: not allowed to write here"), "{said}");
    }
}

#[test]
fn an_interrupt_waits_for_no_input() {
    let s = Serving::start(&["--writable"]);
    let mut child = put(&s, &["-", &s.url("/x"), "--peer", s.fact("peer")]);
    child.stdin.as_mut().unwrap().write_all(b"begun").unwrap();
    // The request has begun when the gateway keeps what came of it.
    let begun = || {
        let own = std::fs::read_dir(s.path("served/.betanet")).unwrap();
        own.flatten()
            .any(|e| e.metadata().is_ok_and(|m| m.len() == 5))
    };
    let clock = betanet_runtime::Clock::start();
    while !begun() && clock.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let out = ended(child);
    assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
    assert!(!s.path("served/x").exists());
}

#[test]
fn what_is_sent_is_as_long_as_was_said() {
    let s = Serving::start(&["--writable"]);
    let peer = s.fact("peer");
    for (file, least) in [("/proc/self/status", 500), ("/proc/kallsyms", 100_000)] {
        let out = s.run(&["put", file, &s.url("/proc"), "--peer", peer]);
        assert_eq!(code(&out), 0, "{file}: {}", text(&out.stderr));
        let got = std::fs::metadata(s.path("served/proc")).unwrap().len();
        assert!(got > least, "{file}: {got}");
    }
    // A log that is written on.
    let log = s.path("log");
    std::fs::write(&log, vec![b'.'; 5_000_000]).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = std::fs::File::options().append(true).open(&log).unwrap();
            while !over.load(Ordering::Relaxed) && file.metadata().unwrap().len() < 200_000_000 {
                file.write_all(&[b'.'; 4096]).unwrap();
            }
        });
        let out = s.run(&["put", log.to_str().unwrap(), &s.url("/log"), "--peer", peer]);
        over.store(true, Ordering::Relaxed);
        assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    });
    let got = std::fs::metadata(s.path("served/log")).unwrap().len();
    assert!(got >= 5_000_000, "{got}");
    assert!(got < std::fs::metadata(&log).unwrap().len());
}

#[test]
fn ones_own_identity_is_used_and_a_refusal_says_whom_it_saw() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("client");
    let missing = run(&["id", "show"], &data, b"");
    assert_eq!(code(&missing), 3);
    assert!(text(&missing.stderr).contains("betanet id new makes one"));
    let made = run(&["id", "new", "--json"], &data, b"");
    let me: Value = serde_json::from_slice(&made.stdout).unwrap();
    let me = me["name"].as_str().unwrap();
    let again = run(&["id", "new"], &data, b"");
    assert_eq!(code(&again), 3);
    assert!(text(&again.stderr).contains("betanet id show"));

    let s = Serving::start(&["--allow", me]);
    let (peer, url) = (s.fact("peer"), s.url("/a"));
    let as_me = run(&["put", "-", &url, "--peer", peer], &data, b"mine");
    assert_eq!((code(&as_me), text(&as_me.stderr)), (0, String::new()));
    assert_eq!(std::fs::read(s.path("served/a")).unwrap(), b"mine");
    let stranger = s.run(&["del", &url, "--peer", peer]);
    let said = text(&stranger.stderr);
    assert_eq!(code(&stranger), 1);
    assert!(
        said.contains("betanet id new") && said.contains("--allow"),
        "{said}"
    );

    let closed = Serving::start(&["--allow", "bn1:e24udde4j3w74dfs2yo2sq4yutpy6hbat44h3py"]);
    let url = closed.url("/a");
    let refused = run(&["del", &url, "--peer", closed.fact("peer")], &data, b"");
    let said = text(&refused.stderr);
    assert_eq!(code(&refused), 1);
    assert!(said.contains(me) && said.contains("--allow"), "{said}");
}

#[test]
fn variables_that_are_empty_are_not_set() {
    let s = Serving::start(&[]);
    let home = s.path("home");
    std::fs::create_dir(&home).unwrap();
    let command = |args: &[&str]| {
        Command::new(BETANET)
            .args(args)
            .current_dir(&home)
            .env("HOME", &home)
            .env("XDG_DATA_HOME", "")
            .env("BETANET_KEY", "")
            .env("BETANET_NETWORK", "")
            .env("BETANET_BOOK", "")
            .env("BETANET_LOG", "")
            .output()
            .unwrap()
    };
    let got = command(&["get", &s.url("/hello.txt"), "--peer", s.fact("peer")]);
    assert_eq!(code(&got), 0, "{}", text(&got.stderr));
    let made = command(&["id", "new"]);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    assert!(
        Path::new(&home)
            .join(".local/share/betanet/id.pem")
            .exists()
    );
    assert!(!Path::new(&home).join("betanet").exists());
}

#[test]
fn every_rate_of_padding_that_is_taken_carries_something() {
    let s = Serving::start(&["--quic", "--writable"]);
    let peer = s.fact("peer");
    for (rate, transport) in [("4m", "tcp"), ("64m", "tcp"), ("4m", "quic")] {
        let args = [
            "-",
            &s.url("/x"),
            "--peer",
            peer,
            "--padding",
            rate,
            "--transport",
            transport,
        ];
        let mut child = put(&s, &args);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&[7; 300_000]).unwrap();
        drop(stdin);
        let out = ended(child);
        assert_eq!(code(&out), 0, "{rate} {transport}: {}", text(&out.stderr));
        assert_eq!(
            std::fs::metadata(s.path("served/x")).unwrap().len(),
            300_000
        );
    }
    let out = s.run(&["get", &s.url("/x"), "--peer", peer, "--padding", "65m"]);
    assert_eq!(code(&out), 2);
    assert!(text(&out.stderr).contains("4k to 64m"));
}

#[test]
fn a_closed_standard_input_is_no_empty_file() {
    let s = Serving::start(&["--writable"]);
    let url = s.url("/x");
    let put = |input: &str| {
        let line = format!("exec \"$0\" put - \"$1\" --peer \"$2\" {input}");
        Command::new("sh")
            .args(["-c", &line, BETANET, &url, s.fact("peer")])
            .env("XDG_DATA_HOME", s.path("client"))
            .output()
            .unwrap()
    };
    let closed = put("<&-");
    assert_eq!(code(&closed), 3);
    assert!(text(&closed.stderr).contains("standard input is closed"));
    assert!(!s.path("served/x").exists());
    // A file that is empty is one.
    assert_eq!(code(&put("</dev/null")), 0);
    assert_eq!(std::fs::read(s.path("served/x")).unwrap(), b"");
}
