//! The same tricks by preview 2: paths that lead elsewhere, the clock and randomness.

use betanet_sandbox::Status;

use super::{Case, case, file};
use crate::support::{Bench, left, program};

const GUEST: &str = include_str!("p2.wat");

/// Errors, as the guest tells them.
const ACCESS: u32 = 100;
const INVALID: u32 = 112;
const LOOP: u32 = 115;
const NAME_TOO_LONG: u32 = 118;
const NO_ENTRY: u32 = 120;
const NOT_PERMITTED: u32 = 131;
const READ_ONLY: u32 = 133;

/// Texts, as the guest's data, and where each is.
fn data(texts: &[&str]) -> (String, Vec<String>) {
    let (mut at, mut data, mut places) = (1024, Vec::new(), Vec::new());
    for text in texts {
        let bytes: String = text.bytes().map(|b| format!("\\{b:02x}")).collect();
        data.push(format!("(data (i32.const {at}) \"{bytes}\")"));
        places.push(format!("(i32.const {at}) (i32.const {})", text.len()));
        at += text.len().next_multiple_of(8);
    }
    (data.concat(), places)
}

fn guest(data: &str, body: &str, expected: u32) -> String {
    GUEST
        .replace("DATA", data)
        .replace("BODY", body)
        .replace("EXPECTED", &expected.to_string())
}

/// Ends well where the call fails with this error.
fn fails(
    name: &str,
    texts: &[&str],
    expected: u32,
    body: impl FnOnce(&[String]) -> String,
) -> Case {
    let (data, places) = data(texts);
    let text = guest(&data, &body(&places), expected);
    case(&format!("preview 2: {name}"), text, Status::Ok, "returned")
}

pub(super) fn all() -> Vec<Case> {
    let open = |name: &str, path: &str, expected: u32| {
        fails(name, &[path], expected, |at| {
            format!("(call $open {} (i32.const 0) (i32.const 1))", at[0])
        })
    };
    let link = |name: &str, to: &str, then: &str, expected: u32| {
        fails(name, &[to, "link", then], expected, |at| {
            format!(
                "(if (result i32) (call $link {} {}) (then (call $done)) (else (call $open {} (i32.const 0) (i32.const 1))))",
                at[0], at[1], at[2]
            )
        })
    };
    vec![
        open("the folder above", "..", NOT_PERMITTED),
        open("a file above", "../../../../etc/passwd", NOT_PERMITTED),
        open("an absolute path", "/etc/passwd", NOT_PERMITTED),
        open("the kernel's files", "/proc/self/environ", NOT_PERMITTED),
        open("down and above", "./.././../x", NOT_PERMITTED),
        open("a zero byte", "a\0b", INVALID),
        open("a name without end", &"x".repeat(300), NAME_TOO_LONG),
        open("a path without end", &"x/".repeat(2000), NAME_TOO_LONG),
        open("no path", "", NO_ENTRY),
        link(
            "a link to an absolute path",
            "/etc",
            "link/passwd",
            NOT_PERMITTED,
        ),
        link("a link above", "..", "link/x", NOT_PERMITTED),
        link("a link far above", "a/../../..", "link", NO_ENTRY),
        link("a link to itself", "link", "link/x", LOOP),
        fails("in place of standard output", &["stdout"], ACCESS, |at| {
            format!("(call $open {} (i32.const 1) (i32.const 2))", at[0])
        }),
        fails("a folder above", &["../x"], NOT_PERMITTED, |at| {
            format!("(call $create {})", at[0])
        }),
        fails(
            "a folder moved above",
            &["a", "../a"],
            NOT_PERMITTED,
            |at| {
                format!(
                    "(if (result i32) (call $create {0}) (then (i32.const 1)) (else (call $rename {0} {1})))",
                    at[0], at[1]
                )
            },
        ),
        fails("writing an input", &["in"], READ_ONLY, |at| {
            format!("(call $open {} (i32.const 0) (i32.const 2))", at[0])
        })
        .with(|job| job.inputs = vec![file("in", "/etc/hostname")]),
        fails("the machine's clock", &[], 1, |_| {
            // The job's own clock, which has hardly begun.
            "(i64.eq (call $seconds) (i64.const 1700000000))".to_owned()
        }),
    ]
}

#[tokio::test]
async fn randomness_by_preview_2_is_drawn_from_the_seed_as_that_of_preview_1() {
    let bench = Bench::new().await;
    let draw = program(
        &["random_get", "fd_write"],
        r#"(data (i32.const 8) "\40\00\00\00\08\00\00\00")"#,
        "(drop (call $random_get (i32.const 64) (i32.const 8)))
         (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))",
    );
    let job = bench.job();
    let output = job.output.clone();
    assert_eq!(bench.run(&draw, job).await.status, Status::Ok);
    let drawn = left(&output).remove("stdout").unwrap();
    let drawn = i64::from_le_bytes(drawn.try_into().unwrap());
    let body = format!("(i64.eq (call $u64) (i64.const {drawn}))");
    for (seed, expected) in [([7; 32], 1), ([8; 32], 0)] {
        let mut job = bench.job();
        job.seed = seed;
        let ended = bench.run(&guest("", &body, expected), job).await;
        assert_eq!(ended.status, Status::Ok, "{seed:?}: {}", ended.reason);
    }
}
