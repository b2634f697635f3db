//! Folders: listed, and taken with all that is below them.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::{Serving, code, text};

#[test]
fn a_folder_is_listed_where_the_server_was_told_to() {
    let closed = Serving::start(&[]);
    let url = format!("bar://{}/", closed.fact("peer"));
    let out = closed.run(&["get", &url]);
    assert_eq!(code(&out), 1);
    assert!(text(&out.stderr).contains("--listing"));
    let place = closed.path("place");
    let out = closed.run(&["get", "-r", &url, "-o", place.to_str().unwrap()]);
    assert_eq!(code(&out), 1);
    assert!(text(&out.stderr).contains("--listing") && !place.exists());

    let s = Serving::start(&["--listing"]);
    fs::create_dir(s.path("served/many")).unwrap();
    fs::write(s.path("served/.hidden"), "x").unwrap();
    let names: Vec<String> = (0..2500).map(|n| format!("{n:04}\n")).collect();
    for name in &names {
        fs::write(s.path("served/many").join(name.trim()), "x").unwrap();
    }
    // The peer string stands for the name that it tells.
    let url = format!("bar://{}/", s.fact("peer"));
    let root = s.run(&["get", &url]);
    assert_eq!(text(&root.stdout), "hello.txt\nmany/\n");
    let many = s.run(&["get", &s.url("/many/")]);
    assert!(
        text(&many.stdout) == names.concat(),
        "three pages are one list"
    );
    let wrong = s.run(&["get", &format!("bar://{}/", &s.fact("peer")[..40])]);
    assert_eq!(code(&wrong), 2);
}

#[test]
fn a_folder_is_taken_once_and_nothing_is_written_elsewhere() {
    let s = Serving::start(&["--listing"]);
    fs::create_dir_all(s.path("served/a/b/c")).unwrap();
    for (name, bytes) in [
        ("a/one", 10),
        ("a/index.html", 3_000_000),
        ("a/b/c/deep", 70_000),
    ] {
        s.keep(name, &vec![7; bytes]);
    }
    let out = s.path("out");
    let url = format!("bar://{}/a", s.fact("peer"));
    let args = ["get", "-r", &url, "-o", out.to_str().unwrap(), "--json"];
    let taken = |fetched: u64| {
        let got = s.run(&args);
        assert_eq!(code(&got), 0, "{}", text(&got.stderr));
        let facts: Value = serde_json::from_slice(&got.stdout).unwrap();
        assert_eq!(facts["bytes"], 3_070_010);
        assert_eq!(
            (facts["files"].as_u64(), facts["folders"].as_u64()),
            (Some(3), Some(3))
        );
        assert_eq!(facts["fetched"], fetched);
        for name in ["one", "index.html", "b/c/deep"] {
            let (there, here) = (s.path("served/a").join(name), out.join(name));
            assert!(
                fs::read(there).unwrap() == fs::read(here).unwrap(),
                "{name}"
            );
        }
    };
    // A run that was cut goes on where it was.
    let cut = s.run_within(2000, &args);
    assert_eq!(code(&cut), 3, "{}", text(&cut.stderr));
    let there = fs::metadata(out.join("index.html.part")).unwrap().len();
    assert_eq!(there, 1_024_000);
    let one = fs::metadata(out.join("one")).map_or(0, |m| m.len());
    taken(3_070_010 - there - one);
    taken(0);
    s.keep("a/one", b"0123456789");
    taken(10);
    // What leads elsewhere on this machine is not written through.
    fs::remove_file(out.join("one")).unwrap();
    fs::write(s.path("elsewhere"), "mine").unwrap();
    symlink(s.path("elsewhere"), out.join("one")).unwrap();
    let refused = s.run(&args);
    assert_eq!(code(&refused), 3);
    assert_eq!(fs::read(s.path("elsewhere")).unwrap(), b"mine");
    fs::remove_file(out.join("one")).unwrap();
    fs::remove_dir_all(out.join("b")).unwrap();
    fs::create_dir(s.path("other")).unwrap();
    symlink(s.path("other"), out.join("b")).unwrap();
    assert_eq!(code(&s.run(&args)), 3);
    assert_eq!(fs::read_dir(s.path("other")).unwrap().count(), 0);
}

#[test]
fn names_that_get_in_each_others_way_are_the_peers_fault() {
    let s = Serving::start(&["--listing"]);
    fs::create_dir_all(s.path("served/odd/c.part")).unwrap();
    s.keep("odd/c", b"file");
    s.keep("odd/c.part/d", b"in the way of its part");
    let out = s.path("out");
    let url = format!("bar://{}/odd", s.fact("peer"));
    for _ in 0..2 {
        let got = s.run(&["get", "-r", &url, "-o", out.to_str().unwrap()]);
        let said = text(&got.stderr);
        assert_eq!(code(&got), 1, "{said}");
        assert!(said.contains("left out: \"c.part/\""), "{said}");
        assert_eq!(fs::read(out.join("c")).unwrap(), b"file");
    }
}

#[test]
fn more_files_than_a_peer_may_ask_for_at_once_are_all_taken() {
    let s = Serving::start(&["--listing"]);
    fs::create_dir(s.path("served/many")).unwrap();
    let count = 260;
    for n in 0..count {
        s.keep(&format!("many/{n}"), n.to_string().as_bytes());
    }
    let out = s.path("out");
    let url = format!("bar://{}/many", s.fact("peer"));
    let got = s.run(&["get", "-r", &url, "-o", out.to_str().unwrap(), "--json"]);
    assert_eq!(code(&got), 0, "{}", text(&got.stderr));
    let facts: Value = serde_json::from_slice(&got.stdout).unwrap();
    assert_eq!(
        (&facts["files"], &facts["resumed"]),
        (&count.into(), &0.into())
    );
    for n in 0..count {
        assert_eq!(
            fs::read_to_string(out.join(n.to_string())).unwrap(),
            n.to_string()
        );
    }
}
