//! Disks that are full, files that are none, keys that others may read, and how a node stops.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{BETANET, Serving, code, run, text};

/// Runs a shell's line and then `betanet`, whose files are below `data`.
fn after(line: &str, args: &[&str], data: &Path) -> Output {
    Command::new("sh")
        .args(["-c", &format!("{line}; exec \"$@\""), "sh", BETANET])
        .args(args)
        .env("XDG_DATA_HOME", data)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A disk that takes no byte.
const FULL: &str = "trap '' XFSZ; ulimit -f 0";

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_full_disk_leaves_no_half_made_file_and_the_next_start_is_a_first_one() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = home.path().join("served");
    std::fs::create_dir(&served).unwrap();
    let site = home.path().join("site");
    std::fs::create_dir(&site).unwrap();
    let serve = [
        "serve",
        served.to_str().unwrap(),
        "--cover",
        site.to_str().unwrap(),
        "--json",
    ];
    // The lock of the state folder holds nothing, and is no half of anything.
    let lock = data.join("betanet/id.state/lock");
    // The identity cannot be written, then the certificate.
    for args in [&["id", "new"][..], &serve] {
        let out = after(FULL, args, &data);
        assert_eq!(code(&out), 3, "{args:?}: {}", text(&out.stderr));
        let left = files(&data).into_iter().filter(|f| *f != lock);
        assert_eq!(left.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "{args:?}");
    }
    let made = run(&["id", "new", "--json"], &data, b"");
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let out = after(FULL, &serve, &data);
    assert_eq!(code(&out), 3, "{}", text(&out.stderr));
    let left = files(&data).into_iter().filter(|f| *f != lock);
    assert_eq!(left.collect::<Vec<_>>(), [data.join("betanet/id.pem")]);
    let mut child = Command::new(BETANET)
        .args(serve)
        .env("XDG_DATA_HOME", &data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert!(line.contains("peer"), "{line}");
    signal("-TERM", child.id());
    assert!(child.wait().unwrap().success());
}

#[test]
fn keys_are_the_owners_alone_whatever_the_umask() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let s = Serving::start(&[]);
    for umask in ["umask 0", "umask 0022"] {
        let out = after(umask, &["id", "new"], &data);
        assert_eq!(code(&out), 0, "{}", text(&out.stderr));
        let url = s.url("/hello.txt");
        let get = after(umask, &["get", &url, "--peer", s.fact("peer")], &data);
        assert_eq!(code(&get), 0, "{}", text(&get.stderr));
        for file in files(&data) {
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        std::fs::remove_dir_all(&data).unwrap();
    }
    let kept = files(&s.path("server/betanet"));
    let keys = kept
        .iter()
        .filter(|f| f.extension().is_some_and(|e| e == "pem"));
    for key in keys.clone() {
        let mode = key.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", key.display());
    }
    assert_eq!(keys.count(), 2);
}

#[test]
fn a_key_that_others_may_read_is_refused_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = home.path().join("served");
    std::fs::create_dir(&served).unwrap();
    let served = served.to_str().unwrap();
    let key = data.join("betanet/id.pem");
    let tls = data.join("betanet/id.pem.tls.pem");
    let chain = home.path().join("chain.pem");
    let cover = home.path().join("site");
    std::fs::create_dir(&cover).unwrap();
    let serve = ["serve", served, "--cover", cover.to_str().unwrap()];
    let certified = {
        let chain = chain.to_str().unwrap();
        [
            &serve[..],
            &["--certificate", chain, "--certificate-key", chain],
        ]
        .concat()
    };
    // Stops at once where it starts: its output ends with the first line.
    let start = |args: &[&str]| {
        let mut child = Command::new(BETANET)
            .args(args)
            .env("XDG_DATA_HOME", &data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        if out.read_line(&mut line).unwrap() > 0 {
            signal("-TERM", child.id());
        }
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (child.wait().unwrap().code(), said)
    };
    assert_eq!(start(&serve).0, Some(0));
    std::fs::copy(&tls, &chain).unwrap();
    for (file, mode, args, want) in [
        (&key, 0o644, &serve[..], 3),
        (&key, 0o640, &serve[..], 3),
        (&key, 0o400, &serve[..], 0),
        (&tls, 0o604, &serve[..], 3),
        (&tls, 0o640, &serve[..], 3),
        (&tls, 0o600, &serve[..], 0),
        (&chain, 0o644, &certified[..], 3),
        (&chain, 0o640, &certified[..], 0),
    ] {
        chmod(file, mode);
        let (code, said) = start(args);
        assert_eq!(code, Some(want), "{mode:o} {}: {said}", file.display());
        if want == 3 {
            for part in [file.to_str().unwrap(), &format!("{mode:04o}"), "chmod 6"] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }
    std::fs::remove_file(&key).unwrap();
    mkfifo(&key);
    let (code, said) = start(&serve);
    assert_eq!(code, Some(3));
    assert!(said.contains("not a regular file"), "{said}");
}

#[test]
fn a_fifo_in_the_folder_or_the_cover_holds_nothing_up() {
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site");
    std::fs::create_dir(&site).unwrap();
    mkfifo(&site.join("index.html"));
    let s = Serving::start(&["--cover", site.to_str().unwrap()]);
    mkfifo(&s.path("served/fifo"));
    for _ in 0..3 {
        let got = s.run(&["get", &s.url("/fifo"), "--peer", s.fact("peer")]);
        assert!(text(&got.stderr).contains("404"), "{}", text(&got.stderr));
        let at = s.facts["addresses"][0].as_str().unwrap();
        let probe = s.run(&["probe", at, "--json"]);
        assert_eq!(code(&probe), 0, "{}", text(&probe.stderr));
    }
    let got = s.run(&["get", &s.url("/hello.txt"), "--peer", s.fact("peer")]);
    assert_eq!(text(&got.stdout), "hello, betanet\n");
    // Dropped, it stops when it is told to.
}

#[test]
fn a_log_whose_disk_is_full_ends_nothing() {
    let s = Serving::start(&[]);
    let peer = s.fact("peer");
    let home = tempfile::tempdir().unwrap();
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let mut child = Command::new(BETANET)
        .args(["serve", s.path("served").to_str().unwrap()])
        .env("XDG_DATA_HOME", home.path())
        .stdout(Stdio::piped())
        .stderr(full())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    signal("-TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // Nor does a command that fails, or that logs all that it does.
    for (args, want) in [
        (vec!["get", "bar://nobody/x"], 2),
        (
            vec![
                "--log",
                "trace",
                "get",
                &s.url("/hello.txt"),
                "--peer",
                peer,
            ],
            0,
        ),
    ] {
        let ended = Command::new(BETANET)
            .args(&args)
            .env("XDG_DATA_HOME", home.path())
            .stdout(Stdio::null())
            .stderr(full())
            .status();
        assert_eq!(ended.unwrap().code(), Some(want), "{args:?}");
    }
}

#[test]
fn a_node_leaves_no_core_file() {
    let s = Serving::start(&[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", s.child.id())).unwrap();
    let core = limits
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    let words: Vec<&str> = core.split_whitespace().skip(4).collect();
    assert_eq!(words, ["0", "0", "bytes"], "{core}");
}

#[test]
fn a_stop_is_orderly_though_peers_are_silent() {
    let home = tempfile::tempdir().unwrap();
    let served = home.path().join("served");
    std::fs::create_dir(&served).unwrap();
    std::fs::File::create(served.join("big.bin"))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let mut serving = Command::new(BETANET)
        .args(["serve", served.to_str().unwrap(), "--json"])
        .env("XDG_DATA_HOME", home.path().join("server"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(serving.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let facts: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = format!("bar://{}/big.bin", facts["name"].as_str().unwrap());
    // Reads on only as its output is read, which it is not.
    let mut client = Command::new(BETANET)
        .args(["get", &url, "--peer", facts["peer"].as_str().unwrap()])
        .env("XDG_DATA_HOME", home.path().join("client"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 1 << 16];
    client
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut some)
        .unwrap();
    signal("-STOP", client.id());
    signal("-TERM", serving.id());
    let ended = serving.wait_with_output().unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    let said = text(&ended.stderr);
    // That the peer is silent is found at about the time when it would be cut.
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(said.is_empty() || said.contains("cut"), "{said}");
}

#[test]
fn serve_without_a_usable_state_folder_fails_and_names_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let served = home.path().join("served");
    std::fs::create_dir(&served).unwrap();
    std::fs::create_dir_all(data.join("betanet")).unwrap();
    let state = data.join("betanet/id.state");
    std::fs::write(&state, "a file").unwrap();
    let out = run(&["serve", served.to_str().unwrap()], &data, b"");
    assert_eq!(code(&out), 3, "{}", text(&out.stderr));
    let said = text(&out.stderr);
    assert!(said.contains(state.to_str().unwrap()), "{said}");
}
