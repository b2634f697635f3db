//! `get`: what stands under the final name is what was asked for, or the command fails.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{BETANET, Serving, code, text};

fn content(len: u32) -> Vec<u8> {
    (0..len / 4).flat_map(u32::to_le_bytes).collect()
}

/// A small file system in memory, gone when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf, bytes: &str) -> Self {
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(
            mounted.success(),
            "this test mounts a tmpfs: run it as root, with CAP_SYS_ADMIN"
        );
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn facts(out: &std::process::Output) -> Value {
    assert_eq!(code(out), 0, "{}", text(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| text(e.unwrap().file_name().as_encoded_bytes()))
        .collect();
    names.sort();
    names
}

#[test]
fn a_full_medium_is_a_failure_and_nothing_gets_its_name() {
    let s = Serving::start(&[]);
    let bytes = content(62_000);
    s.keep("f", &bytes);
    let small = Small::mount(s.path("small"), "64k");
    let file = small.0.join("f");
    let url = s.url("/f");
    let args = [
        "get",
        &url,
        "--peer",
        s.fact("peer"),
        "-o",
        file.to_str().unwrap(),
        "--json",
    ];
    let full = s.run(&args);
    assert_eq!((code(&full), text(&full.stdout)), (3, String::new()));
    assert!(
        text(&full.stderr).contains("No space left"),
        "{}",
        text(&full.stderr)
    );
    assert!(!file.exists());
    // The same with a limit of the process in place of one of the medium.
    let out = s.path("f");
    let args = ["get", &url, "-o", out.to_str().unwrap(), "--json"];
    let limited = s.run_within(100, &args);
    assert_eq!((code(&limited), text(&limited.stdout)), (3, String::new()));
    assert!(
        text(&limited.stderr).contains("File too large"),
        "{}",
        text(&limited.stderr)
    );
    assert!(!out.exists());
    // To a pipe or a device as to a file.
    for device in ["/dev/full", "/dev/stdout"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = Command::new(BETANET)
            .args(["get", &url, "-o", device])
            .env("XDG_DATA_HOME", s.path("client"))
            .stdout(full)
            .stderr(Stdio::null())
            .status();
        assert_eq!(child.unwrap().code(), Some(3), "{device}");
    }
}

#[test]
fn a_cut_download_goes_on_where_it_stood_or_begins_anew() {
    let s = Serving::start(&[]);
    let bytes = content(8_000_000);
    s.keep("big.bin", &bytes);
    let url = s.url("/big.bin");
    let (out, part) = (s.path("big.bin"), s.path("big.bin.part"));
    let args = [
        "get",
        &url,
        "--peer",
        s.fact("peer"),
        "-o",
        out.to_str().unwrap(),
        "--json",
    ];
    let whole = facts(&s.run(&args));
    assert!(fs::read(&out).unwrap() == bytes);
    let resume = [&args[..], &["--continue"]].concat();
    let cut = |args: &[&str]| {
        let _ = fs::remove_file(&out);
        assert_eq!(code(&s.run_within(2000, args)), 3);
        assert_eq!(fs::metadata(&part).unwrap().len(), 1_024_000);
    };
    let resumed = |fetched: u64| {
        let got = facts(&s.run(&resume));
        assert_eq!(got["sha256"], whole["sha256"]);
        assert_eq!(got["fetched"], fetched);
        assert!(fs::read(&out).unwrap() == bytes);
        assert!(!part.exists() && !s.path("big.bin.part.json").exists());
    };
    cut(&args);
    resumed(8_000_000 - 1_024_000);
    // Whole already: not fetched again, which the file system's attributes tell.
    resumed(0);
    // Cut after the last byte.
    cut(&args);
    fs::write(&part, &bytes).unwrap();
    resumed(0);
    // Another range than what is asked for now, no note, another resource, too long: begun anew.
    cut(&[&args[..], &["--range", "1000000-"]].concat());
    resumed(8_000_000);
    cut(&args);
    fs::remove_file(s.path("big.bin.part.json")).unwrap();
    resumed(8_000_000);
    cut(&args);
    fs::write(&part, vec![0; 9_000_000]).unwrap();
    resumed(8_000_000);
    // What is there is given up for something better alone.
    cut(&args);
    let nobody = format!("{}@127.0.0.1:1#{}", s.fact("public_key"), s.fact("pin"));
    let gone = s.run(&["get", &url, "--peer", &nobody, "-o", out.to_str().unwrap()]);
    assert_eq!(code(&gone), 1);
    resumed(8_000_000 - 1_024_000);
    // So it is where the resource is not there for a while.
    cut(&args);
    fs::rename(s.path("served/big.bin"), s.path("aside")).unwrap();
    assert_eq!(code(&s.run(&resume)), 1);
    fs::rename(s.path("aside"), s.path("served/big.bin")).unwrap();
    resumed(8_000_000 - 1_024_000);
    // The resource changed, and is shorter than what was fetched of it.
    cut(&args);
    s.keep("big.bin", &bytes[..1_000_000]);
    let got = facts(&s.run(&resume));
    assert_eq!(got["bytes"], 1_000_000);
    assert!(fs::read(&out).unwrap() == bytes[..1_000_000]);
    s.keep("big.bin", &bytes);
    assert_eq!(facts(&s.run(&resume))["fetched"], 8_000_000);
    // A range goes on as a range.
    let range = [&resume[..], &["--range", "1000000-"]].concat();
    cut(&range);
    assert_eq!(facts(&s.run(&range))["fetched"], 7_000_000 - 1_024_000);
    assert!(fs::read(&out).unwrap() == bytes[1_000_000..]);
}

#[test]
fn two_at_once_write_no_file_together() {
    let s = Serving::start(&[]);
    let bytes = content(4_000_000);
    s.keep("big.bin", &bytes);
    let (url, out) = (s.url("/big.bin"), s.path("big.bin"));
    let args = [
        "get",
        &url,
        "--peer",
        s.fact("peer"),
        "-o",
        out.to_str().unwrap(),
        "--continue",
    ];
    let held = File::create(s.path("big.bin.part")).unwrap();
    held.lock().unwrap();
    let second = s.run(&args);
    assert_eq!(code(&second), 3);
    assert!(text(&second.stderr).contains("another process writes it"));
    drop(held);
    let spawn = || {
        let mut command = Command::new(BETANET);
        command.args(args).env("XDG_DATA_HOME", s.path("client"));
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let mut all: Vec<_> = (0..6).map(|_| spawn()).collect();
    let codes: Vec<_> = all
        .iter_mut()
        .map(|c| c.wait().unwrap().code().unwrap())
        .collect();
    assert!(
        codes.contains(&0) && codes.iter().all(|c| [0, 3].contains(c)),
        "{codes:?}"
    );
    assert!(fs::read(&out).unwrap() == bytes);
    assert!(!s.path("big.bin.part").exists());
}

#[test]
fn where_it_goes_is_looked_at_before_anything_is_fetched() {
    let s = Serving::start(&[]);
    let (peer, url) = (s.fact("peer"), s.url("/hello.txt"));
    let here = s.path("here");
    fs::create_dir_all(here.join("dir")).unwrap();
    let nobody = format!("{}@127.0.0.1:1#{}", s.fact("public_key"), s.fact("pin"));
    let get = |url: &str, peer: &str, output: &str| {
        let output = here.join(output);
        s.run(&["get", url, "--peer", peer, "-o", output.to_str().unwrap()])
    };
    // Told without a peer.
    for output in ["none/", "none/x", "dir/hello.txt/x"] {
        assert_eq!(code(&get(&url, &nobody, output)), 3, "{output}");
    }
    assert_eq!(
        code(&get(&s.url("/"), &nobody, "dir")),
        2,
        "no name to give it"
    );
    assert_eq!(code(&get(&s.url("/nope"), peer, "nope")), 1);
    assert_eq!(code(&get(&url, &nobody, "nope")), 1);
    assert_eq!(names(&here), ["dir"], "nothing is left");
    assert_eq!(names(&here.join("dir")), [""; 0]);
    // Into a folder, under the URL's name; through a link; under the longest name.
    let hello = b"hello, betanet\n";
    for output in ["dir", "dir/"] {
        assert_eq!(code(&get(&url, peer, output)), 0, "{output}");
        assert_eq!(fs::read(here.join("dir/hello.txt")).unwrap(), hello);
        fs::remove_file(here.join("dir/hello.txt")).unwrap();
    }
    symlink("dir/target", here.join("link")).unwrap();
    for _ in 0..2 {
        assert_eq!(code(&get(&url, peer, "link")), 0);
        assert!(here.join("link").is_symlink());
        assert_eq!(fs::read(here.join("dir/target")).unwrap(), hello);
        fs::write(here.join("dir/target"), "older").unwrap();
    }
    for len in [250, 251, 255] {
        let long = "x".repeat(len);
        assert_eq!(code(&get(&url, peer, &long)), 0, "{len}");
        assert_eq!(fs::read(here.join(&long)).unwrap(), hello);
        fs::remove_file(here.join(&long)).unwrap();
    }
    assert_eq!(names(&here), ["dir", "link"]);
    assert_eq!(names(&here.join("dir")), ["target"]);
}

#[test]
fn a_digest_that_was_named_is_held_to() {
    let s = Serving::start(&[]);
    let out = s.path("hello");
    let (url, peer) = (s.url("/hello.txt"), s.fact("peer"));
    let get = |digest: &str| {
        s.run(&[
            "get",
            &url,
            "--peer",
            peer,
            "-o",
            out.to_str().unwrap(),
            "--sha256",
            digest,
        ])
    };
    let wrong = get(&"00".repeat(32));
    assert_eq!(code(&wrong), 1);
    assert!(text(&wrong.stderr).contains("--sha256"));
    assert!(!out.exists() && !s.path("hello.part").exists());
    assert_eq!(code(&get("00")), 2);
    let digest = Command::new("sha256sum")
        .arg(s.path("served/hello.txt"))
        .output()
        .unwrap();
    assert_eq!(code(&get(&text(&digest.stdout)[..64])), 0);
    assert_eq!(fs::read(&out).unwrap(), b"hello, betanet\n");
}

#[test]
fn a_pipe_is_written_when_its_reader_comes() {
    let s = Serving::start(&[]);
    let pipe = s.path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let mut child = Command::new(BETANET)
        .args(["get", &s.url("/hello.txt"), "--peer", s.fact("peer"), "-o"])
        .arg(&pipe)
        .env("XDG_DATA_HOME", s.path("client"))
        .spawn()
        .unwrap();
    assert_eq!(fs::read(&pipe).unwrap(), b"hello, betanet\n");
    assert!(child.wait().unwrap().success());
    // A reader who leaves wants no more.
    s.keep("big.bin", &content(4_000_000));
    let child = Command::new(BETANET)
        .args(["get", &s.url("/big.bin"), "-o"])
        .arg(&pipe)
        .env("XDG_DATA_HOME", s.path("client"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(File::open(&pipe).unwrap());
    let out = child.wait_with_output().unwrap();
    assert_eq!((code(&out), text(&out.stderr)), (0, String::new()));
}
