//! `betanet task run --local`: the program's output and exit code, and what is left of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{BETANET, code, run, text};

fn words() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../../crates/fog-worker/programs/words.wasm")
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a module with these options and the program's arguments.
    fn run(&self, module: &Path, options: &[&str], args: &[&str]) -> Output {
        Command::new(BETANET)
            .args(["task", "run", "--local"])
            .arg(module)
            .args(options)
            .arg("--")
            .args(args)
            .current_dir(self.0.path())
            .env("XDG_DATA_HOME", self.path("data"))
            .env("TMPDIR", self.path("tmp"))
            .output()
            .unwrap()
    }
}

#[test]
fn a_program_runs_here_with_its_files_and_ends_with_its_own_code() {
    let place = Place::new();
    std::fs::create_dir(place.path("tmp")).unwrap();
    std::fs::write(place.path("book.txt"), "the fog counts the words").unwrap();
    let out = place.run(&words(), &["--input", "book.txt"], &["count", "book.txt"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(text(&out.stdout), "counts 1\nfog 1\nthe 2\nwords 1\n");
    let out = place.run(&words(), &[], &["spin", "1"]);
    assert!(text(&out.stderr).starts_with("10 %\n20 %\n"), "{out:?}");
    let out = place.run(&words(), &[], &["exit", "42"]);
    assert_eq!(out.status.code(), Some(42), "{out:?}");
    let out = place.run(&words(), &["-o", "out"], &["file", "left", "behind"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(std::fs::read(place.path("out/left")).unwrap(), b"behind");
    // The clock and the randomness are those of the task: equal tasks see the same.
    let again = || place.run(&words(), &[], &["clock"]).stdout;
    let first = again();
    assert!(!first.is_empty());
    assert_eq!(first, again());
    assert_eq!(std::fs::read_dir(place.path("tmp")).unwrap().count(), 0);
}

#[test]
fn each_wrong_program_is_named_and_leaves_nothing() {
    let place = Place::new();
    std::fs::create_dir(place.path("tmp")).unwrap();
    let (text_file, empty) = (place.path("text.wasm"), place.path("empty.wasm"));
    std::fs::write(&text_file, "no program").unwrap();
    std::fs::write(&empty, b"\0asm\x01\0\0\0").unwrap();
    let words = words();
    type Case<'a> = (&'a Path, &'a [&'a str], &'a [&'a str], i32, &'a str);
    let cases: [Case<'_>; 7] = [
        (&text_file, &[], &[], 1, "module"),
        (&empty, &[], &[], 1, "_start"),
        (
            &words,
            &["--set", "output=1000"],
            &["flood", "5000"],
            1,
            "output",
        ),
        (
            &words,
            &["--set", "fuel=100000"],
            &["spin", "10"],
            1,
            "fuel",
        ),
        (
            &words,
            &["--set", "timeout=300 ms"],
            &["spin", "100000"],
            1,
            "time",
        ),
        (
            &words,
            &["--input", "missing.txt"],
            &["count"],
            2,
            "missing.txt",
        ),
        (Path::new("missing.wasm"), &[], &[], 2, "missing.wasm"),
    ];
    for (module, options, args, code, said) in cases {
        let out = place.run(module, options, args);
        let told = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{said}: {told}");
        assert!(told.contains(said), "{said}: {told}");
    }
    assert_eq!(std::fs::read_dir(place.path("tmp")).unwrap().count(), 0);
}

#[test]
fn the_roles_under_betanet_read_their_settings() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state").display().to_string();
    for role in ["coordinator", "worker"] {
        let out = run(&[role, "check"], home.path(), b"");
        assert!(matches!(code(&out), 0 | 2), "{role}: {}", text(&out.stderr));
        let flags = [
            "--log",
            "info",
            "--state",
            &state,
            "--listen",
            "127.0.0.1:0",
        ];
        let out = run(&[&[role, "check"], &flags[..]].concat(), home.path(), b"");
        assert!(matches!(code(&out), 0 | 2), "{role}: {}", text(&out.stderr));
    }
}
