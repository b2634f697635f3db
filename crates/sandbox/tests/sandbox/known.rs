//! Known answers: status, fuel and what is left.

use betanet_sandbox::{Status, is_child};
use sha2::{Digest as _, Sha256};

use crate::support::{Bench, component, left, program};

const HELLO: &str = r#"(data (i32.const 8) "\10\00\00\00\0c\00\00\00hello world\n")"#;
const SAY: &str = "(drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))";

#[tokio::test]
async fn a_program_says_hello() {
    let bench = Bench::new().await;
    let job = bench.job();
    let output = job.output.clone();
    let ended = bench.run(&program(&["fd_write"], HELLO, SAY), job).await;
    assert_eq!(
        (ended.status, ended.reason.as_str()),
        (Status::Ok, "it returned")
    );
    // 6 for the function and its instructions, 50 for the call, one for the bytes that it moves.
    assert_eq!(ended.fuel, 57);
    let [file] = ended.files.as_slice() else {
        panic!("{:?}", ended.files)
    };
    assert_eq!((file.path.as_str(), file.size), ("stdout", 12));
    assert_eq!(
        file.digest,
        <[u8; 32]>::from(Sha256::digest(b"hello world\n"))
    );
    assert_eq!(left(&output)["stdout"], b"hello world\n");
}

#[tokio::test]
async fn programs_exit_with_their_code_and_keep_their_files() {
    let bench = Bench::new().await;
    let job = bench.job();
    let output = job.output.clone();
    let start = format!("{SAY} (call $proc_exit (i32.const 3))");
    let ended = bench
        .run(&program(&["fd_write", "proc_exit"], HELLO, &start), job)
        .await;
    assert_eq!(ended.status, Status::Exit(3));
    assert_eq!(left(&output)["stdout"], b"hello world\n");
    let ended = bench
        .run(
            &program(&["proc_exit"], "", "(call $proc_exit (i32.const 0))"),
            bench.job(),
        )
        .await;
    assert_eq!(ended.status, Status::Ok);
}

#[tokio::test]
async fn an_input_is_read_and_a_file_written() {
    let bench = Bench::new().await;
    // Opens `in/put`, reads it, and writes what it read to `out`.
    let data = r#"(data (i32.const 100) "in-put") (data (i32.const 120) "out") (data (i32.const 8) "\00\04\00\00\40\00\00\00")"#;
    let start = "
        (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 6) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 0)))
        (drop (call $fd_read (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i32.const 12)))
        (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 120) (i32.const 3) (i32.const 9) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 0)))
        (drop (call $fd_write (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i32.const 16)))";
    let mut job = bench.job();
    job.inputs = vec![bench.input("in-put", b"what it says")];
    let output = job.output.clone();
    let ended = bench
        .run(
            &program(&["path_open", "fd_read", "fd_write"], data, start),
            job,
        )
        .await;
    assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
    let left = left(&output);
    assert_eq!(left.keys().collect::<Vec<_>>(), ["out", "stdout"]);
    assert_eq!(left["out"], b"what it says");
    assert_eq!(
        ended
            .files
            .iter()
            .map(|f| f.path.as_str())
            .collect::<Vec<_>>(),
        ["out", "stdout"]
    );
}

/// Writes both clocks and 16 random bytes to standard output.
fn probe() -> String {
    let data = r#"(data (i32.const 8) "\20\00\00\00\20\00\00\00")"#;
    let start = "
        (drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 32)))
        (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 40)))
        (drop (call $random_get (i32.const 48) (i32.const 16)))
        (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))";
    program(&["clock_time_get", "random_get", "fd_write"], data, start)
}

#[tokio::test]
async fn clocks_and_randomness_are_the_jobs_unless_granted() {
    let bench = Bench::new().await;
    let mut seen = Vec::new();
    for (seed, clock, random) in [
        (7, false, false),
        (7, false, false),
        (8, false, false),
        (7, true, false),
        (7, false, true),
    ] {
        let mut job = bench.job();
        job.seed = [seed; 32];
        (job.grants.clock, job.grants.random) = (clock, random);
        let output = job.output.clone();
        let ended = bench.run(&probe(), job).await;
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
        seen.push((left(&output)["stdout"].clone(), ended.fuel));
    }
    let [a, b, other, clock, random] = seen.as_slice() else {
        panic!()
    };
    assert_eq!(a, b);
    assert!(seen.iter().all(|(_, fuel)| *fuel == a.1));
    let wall = u64::from_le_bytes(a.0[..8].try_into().unwrap());
    assert_eq!(wall / 1_000_000, 1_700_000_000_000);
    assert_eq!((&a.0[..16], &random.0[..16]), (&other.0[..16], &a.0[..16]));
    assert_ne!(a.0[16..], other.0[16..]);
    assert_ne!(a.0[16..], random.0[16..]);
    assert_eq!(a.0[16..], clock.0[16..]);
    assert!(u64::from_le_bytes(clock.0[..8].try_into().unwrap()) > 1_704_067_200_000_000_000);
}

#[tokio::test]
async fn components_run() {
    let bench = Bench::new().await;
    for (body, status) in [
        ("i32.const 0", Status::Ok),
        ("i32.const 1", Status::Exit(1)),
        ("unreachable", Status::Trap),
        ("(loop br 0) i32.const 0", Status::Fuel),
    ] {
        let ended = bench.run(&component(body), bench.job()).await;
        assert_eq!(ended.status, status, "{body}: {}", ended.reason);
    }
}

#[tokio::test]
async fn standard_error_comes_as_log() {
    let bench = Bench::new().await;
    let program = program(
        &["fd_write"],
        HELLO,
        &SAY.replace("(i32.const 1) (i32.const 8)", "(i32.const 2) (i32.const 8)"),
    );
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = heard.clone();
    let log = move |bytes: &[u8]| sink.lock().unwrap().extend_from_slice(bytes);
    let ended = bench
        .sandbox
        .run(bench.text(&program), bench.job(), log)
        .await;
    assert_eq!(ended.status, Status::Ok);
    assert_eq!(*heard.lock().unwrap(), b"hello world\n");
    assert_eq!(ended.files[0].size, 0);
}

#[test]
fn only_the_hidden_argument_makes_a_child() {
    let args = |list: &[&str]| {
        list.iter()
            .map(Into::into)
            .collect::<Vec<std::ffi::OsString>>()
    };
    assert!(is_child(args(&["worker", betanet_sandbox::CHILD_ARGUMENT])));
    assert!(!is_child(args(&["worker"])));
    assert!(!is_child(args(&[
        "worker",
        "run",
        betanet_sandbox::CHILD_ARGUMENT
    ])));
}

#[test]
fn the_engine_is_named_as_it_is_locked() {
    let lock = include_str!("../../../../Cargo.lock");
    let version = lock
        .split("name = \"wasmtime\"\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    assert_eq!(
        Some(betanet_sandbox::ENGINE),
        version.map(|v| format!("wasmtime {v}")).as_deref()
    );
}
