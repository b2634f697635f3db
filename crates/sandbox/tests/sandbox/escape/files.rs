//! Output without end, and paths that lead elsewhere.

use betanet_sandbox::Status::{Exit, Fuel, Memory, Output};

use super::{Case, case};
use crate::support::program;

/// One buffer of a page at 8, and a name at 100.
const DATA: &str =
    r#"(data (i32.const 8) "\00\00\00\00\00\00\01\00") (data (i32.const 100) "file")"#;

fn open(path: i32, len: usize, flags: i32, rights: i64) -> String {
    format!(
        "(call $path_open (i32.const 3) (i32.const 1) (i32.const {path}) (i32.const {len}) (i32.const {flags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 0))"
    )
}

pub(super) fn all() -> Vec<Case> {
    output()
        .into_iter()
        .chain(paths())
        .chain(tricks())
        .chain(inflated())
        .collect()
}

fn output() -> Vec<Case> {
    let file = open(100, 4, 1, 0x40_0140);
    let endless =
        |names: &[&str], call: &str| program(names, DATA, &format!("(loop {call} (br 0))"));
    // Names of four letters from the counter's four half bytes.
    let letters = "(local.set $i (i32.add (local.get $i) (i32.const 1)))
        (i32.store8 (i32.const 100) (i32.add (i32.const 97) (i32.and (local.get $i) (i32.const 15))))
        (i32.store8 (i32.const 101) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $i) (i32.const 4)) (i32.const 15))))
        (i32.store8 (i32.const 102) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $i) (i32.const 8)) (i32.const 15))))
        (i32.store8 (i32.const 103) (i32.add (i32.const 97) (i32.and (i32.shr_u (local.get $i) (i32.const 12)) (i32.const 15))))";
    vec![
        case(
            "standard output without end",
            endless(
                &["fd_write"],
                "(drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))",
            ),
            Output,
            "more than",
        ),
        case(
            "standard error without end",
            endless(
                &["fd_write"],
                "(drop (call $fd_write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 0)))",
            ),
            Fuel,
            "fuel",
        )
        .with(|job| job.limits.fuel = 4_000_000),
        case(
            "a file without end",
            program(
                &["path_open", "fd_write"],
                DATA,
                &format!(
                    "(drop {file}) (local.set $i (i32.load (i32.const 0))) (loop (drop (call $fd_write (local.get $i) (i32.const 8) (i32.const 1) (i32.const 4))) (br 0))"
                ),
            ),
            Output,
            "more than",
        ),
        case(
            "a file with a hole",
            program(
                &["path_open", "fd_pwrite"],
                DATA,
                &format!(
                    "(drop {file}) (drop (call $fd_pwrite (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i64.const 0x10000000000) (i32.const 4)))"
                ),
            ),
            Output,
            "more than",
        ),
        case(
            "a file that is made long",
            program(
                &["path_open", "fd_filestat_set_size"],
                DATA,
                &format!(
                    "(drop {file}) (drop (call $fd_filestat_set_size (i32.load (i32.const 0)) (i64.const 0x4000000000000)))"
                ),
            ),
            Output,
            "more than",
        ),
        case(
            "a file that is reserved",
            program(
                &["path_open", "fd_allocate"],
                DATA,
                &format!(
                    "(drop {file}) (drop (call $fd_allocate (i32.load (i32.const 0)) (i64.const 0) (i64.const 0x4000000000000)))"
                ),
            ),
            Output,
            "more than",
        ),
        case(
            "a million files",
            endless(
                &["path_open", "fd_close"],
                &format!(
                    "{letters} (drop {file}) (drop (call $fd_close (i32.load (i32.const 0))))"
                ),
            ),
            Output,
            "files",
        ),
        case(
            "a million folders",
            endless(
                &["path_create_directory"],
                &format!(
                    "{letters} (drop (call $path_create_directory (i32.const 3) (i32.const 100) (i32.const 4)))"
                ),
            ),
            Output,
            "files",
        ),
        case(
            "a million links",
            endless(
                &["path_symlink"],
                &format!(
                    "{letters} (drop (call $path_symlink (i32.const 8) (i32.const 1) (i32.const 3) (i32.const 100) (i32.const 4)))"
                ),
            ),
            Output,
            "files",
        ),
        case(
            "a million names of one file",
            program(
                &["path_open", "path_link"],
                r#"(data (i32.const 100) "file") (data (i32.const 200) "file")"#,
                &format!(
                    "(drop {file}) (loop {letters} (drop (call $path_link (i32.const 3) (i32.const 0) (i32.const 200) (i32.const 4) (i32.const 3) (i32.const 100) (i32.const 4))) (br 0))"
                ),
            ),
            Output,
            "files",
        ),
        case(
            "a million open files",
            program(
                &["path_open", "proc_exit"],
                DATA,
                &format!(
                    "(loop (local.set $i {file}) (br_if 0 (i32.eqz (local.get $i)))) (call $proc_exit (local.get $i))"
                ),
            ),
            Exit(33),
            "exited",
        ),
    ]
}

/// Opens a path and exits with what the call answered.
fn paths() -> Vec<Case> {
    let path = |name: &str, path: &str, errno: i32| {
        let data = format!(
            "(data (i32.const 100) \"{}\")",
            path.bytes()
                .map(|b| format!("\\{b:02x}"))
                .collect::<String>()
        );
        let start = format!("(call $proc_exit {})", open(100, path.len(), 0, 2));
        case(
            name,
            program(&["path_open", "proc_exit"], &data, &start),
            Exit(errno),
            "exited",
        )
    };
    let made = |name: &str, path: &str, errno: i32| {
        let data = format!("(data (i32.const 100) \"{path}\")");
        let start = format!("(call $proc_exit {})", open(100, path.len(), 1, 64));
        case(
            name,
            program(&["path_open", "proc_exit"], &data, &start),
            Exit(errno),
            "exited",
        )
    };
    vec![
        path("the folder above", "..", 63),
        path("a file above", "../../../../etc/passwd", 63),
        path("an absolute path", "/etc/passwd", 63),
        path("the kernel's files", "/proc/self/environ", 63),
        path("down and above", "./.././../x", 63),
        path("a zero byte", "a\0b", 28),
        path("a name without end", &"x".repeat(300), 37),
        path("a path without end", &"x/".repeat(2000), 37),
        path("no path", "", 44),
        made("in place of standard output", "stdout", 2),
        made("in a folder that is none", "a/b", 44),
    ]
}

/// A few bytes of input say how much is to be made of them.
fn inflated() -> Vec<Case> {
    let read = format!(
        "(drop {}) (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 4))
         (drop (call $fd_read (i32.load (i32.const 0)) (i32.const 16) (i32.const 1) (i32.const 24)))",
        open(100, 2, 0, 2)
    );
    let names = ["path_open", "fd_read", "fd_write"];
    let data = r#"(data (i32.const 100) "in") (data (i32.const 8) "\00\00\00\00\00\00\01\00")"#;
    let less = "(i32.store (i32.const 64) (i32.sub (i32.load (i32.const 64)) (i32.const 1)))";
    let inflates = |name: &str, step: &str, status, reason| {
        let start = format!("{read} (loop {step} {less} (br_if 0 (i32.load (i32.const 64))))");
        case(name, program(&names, data, &start), status, reason).with(|job| {
            let path = job.output.parent().unwrap().join("in");
            std::fs::write(&path, [0xff, 0xff, 0, 0]).unwrap();
            job.inputs = vec![super::file("in", path.to_str().unwrap())];
        })
    };
    vec![
        inflates(
            "an input that becomes much output",
            "(drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))",
            Output,
            "more than",
        ),
        inflates(
            "an input that becomes much memory",
            "(drop (memory.grow (i32.const 4)))",
            Memory,
            "memories and tables",
        ),
        inflates(
            "an input that becomes much work",
            "(local.set $i (i32.const 1000)) (loop (br_if 0 (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))",
            Fuel,
            "fuel",
        ),
    ]
}

fn tricks() -> Vec<Case> {
    let link = |name: &str, to: &str, from: &str, then: &str, errno: i32| {
        let data = format!(
            "(data (i32.const 100) \"{to}\") (data (i32.const 200) \"{from}\") (data (i32.const 300) \"{then}\")"
        );
        let made = format!(
            "(call $path_symlink (i32.const 100) (i32.const {}) (i32.const 3) (i32.const 200) (i32.const {}))",
            to.len(),
            from.len()
        );
        let start = format!(
            "(local.set $i {made}) (if (local.get $i) (then (call $proc_exit (local.get $i)))) (call $proc_exit {})",
            open(300, then.len(), 0, 2)
        );
        case(
            name,
            program(&["path_open", "path_symlink", "proc_exit"], &data, &start),
            Exit(errno),
            "exited",
        )
    };
    let bytes = program(
        &["path_open", "proc_exit"],
        r#"(data (i32.const 100) "\ff\fe\fd")"#,
        &format!("(call $proc_exit {})", open(100, 3, 1, 64)),
    );
    let folder = |start: &str| {
        program(
            &["path_create_directory", "path_rename", "path_open", "proc_exit"],
            r#"(data (i32.const 100) "a/b") (data (i32.const 200) "a/b/c")"#,
            &format!(
                "(drop (call $path_create_directory (i32.const 3) (i32.const 100) (i32.const 1)))
                 (drop (call $path_create_directory (i32.const 3) (i32.const 100) (i32.const 3))) {start}"
            ),
        )
    };
    let input = program(
        &["path_open", "proc_exit"],
        r#"(data (i32.const 100) "in")"#,
        &format!("(call $proc_exit {})", open(100, 2, 0, 66)),
    );
    let removed = program(
        &["path_open", "path_unlink_file"],
        r#"(data (i32.const 100) "in") (data (i32.const 200) "ab")"#,
        &format!(
            "(drop {}) (drop (call $path_unlink_file (i32.const 3) (i32.const 100) (i32.const 2))) (drop {})",
            open(200, 1, 1, 64),
            open(201, 1, 1, 64)
        ),
    );
    vec![
        link(
            "a link to an absolute path",
            "/etc",
            "link",
            "link/passwd",
            63,
        ),
        link("a link above", "..", "link", "link/x", 63),
        link("a link far above", "a/../../..", "link", "link", 44),
        link("a link to itself", "link", "link", "link/x", 32),
        link("a link that doubles", "link/link", "link", "link/x", 32),
        case("a name that is no text", bytes, Exit(25), "exited"),
        case(
            "a folder in itself",
            folder(
                "(call $proc_exit (call $path_rename (i32.const 3) (i32.const 100) (i32.const 1) (i32.const 3) (i32.const 200) (i32.const 5)))",
            ),
            Exit(28),
            "exited",
        ),
        case("writing an input", input, Exit(69), "exited").with(|job| {
            job.inputs = vec![super::file("in", "/etc/hostname")];
        }),
        case(
            "removing an input to make room for one more file",
            removed,
            Output,
            "more than 1 files",
        )
        .with(|job| {
            job.inputs = vec![super::file("in", "/etc/hostname")];
            job.limits.files = 1;
        }),
    ]
}
