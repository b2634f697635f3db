//! Children: what they may, how they end, and that they wait when they are told to.

use std::{fs, os::fd::AsRawFd as _, path::PathBuf, time::Duration};

use betanet_sandbox::{ChildProgram, Error, Sandbox, Status};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, geteuid, getpgid, getpgrp, getrlimit, kill_process,
    pidfd_open, pidfd_send_signal, setrlimit,
};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Bench, left, program, settings};

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse::<u32>()
        .ok()
}

/// Whether a process descends from this one.
fn mine(pid: u32) -> bool {
    let mut above = Some(pid);
    while let Some(pid) = above.and_then(parent) {
        if pid == std::process::id() {
            return true;
        }
        above = (pid > 1).then_some(pid);
    }
    false
}

/// Ends a process of this one, and no other that has got its number meanwhile.
fn kill(pid: u32) {
    let number = Pid::from_raw(pid.cast_signed()).unwrap();
    let Ok(process) = pidfd_open(number, PidfdFlags::empty()) else {
        return;
    };
    if mine(pid) {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}

/// Ends children that have used more processor time than a start takes.
pub(crate) fn kill_those_that_work() {
    let servers = servers();
    for pid in descendants() {
        if !servers.contains(&pid) && field::<u64>(pid, 14).is_some_and(|ticks| ticks > 3) {
            kill(pid);
        }
    }
}

/// Processes of guests that this process has, at any depth.
fn descendants() -> Vec<u32> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let all: Vec<u32> = pids.collect();
    all.into_iter().filter(|&pid| mine(pid)).collect()
}

/// The processes that children are forks of.
fn servers() -> Vec<u32> {
    let mine = |pid: &u32| parent(*pid) == Some(std::process::id());
    descendants().into_iter().filter(mine).collect()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} does not come to be");
}

fn endless(job: &mut betanet_sandbox::Job) {
    job.limits.fuel = u64::MAX / 4;
}

#[tokio::test]
async fn the_cage_holds_against_what_a_guest_that_broke_out_would_try() {
    let bench = Bench::new().await;
    let attempts = bench.sandbox.self_test().await.unwrap();
    assert!(attempts.len() > 60);
    for name in [
        "read /etc/passwd",
        "connect to this machine",
        "shared memory",
        "change the flags of a file",
        "standard descriptors of others",
        "be inspected by others",
        "memory that grows downwards, with the network's grant",
        "keep memory that cannot be written to",
        "open a socket of UDP, with the network's grant",
        "a filter of packets, with the network's grant",
        "connect while sending, with the network's grant",
    ] {
        assert!(attempts.iter().any(|a| a.name == name), "{name}");
    }
    let open: Vec<_> = attempts
        .iter()
        .filter(|a| !a.held)
        .map(|a| a.name.as_str())
        .collect();
    assert!(open.is_empty(), "{open:?}");
    let layers = bench.sandbox.layers();
    assert!(layers.contains(&"seccomp"), "{layers:?}");
    let missing = bench.sandbox.missing_layers();
    assert_eq!(layers.len() + missing.len(), 8);
    if geteuid().is_root() {
        // A namespace of users is what others need to have the rest.
        assert!(missing.iter().all(|layer| *layer == "user"), "{missing:?}");
    }
}

#[tokio::test]
async fn dropping_a_run_ends_its_process_and_removes_what_it_left() {
    let bench = Bench::new().await;
    let loops = bench.text(&program(&[], "", "(loop (br 0))"));
    let mut job = bench.job();
    endless(&mut job);
    let output = job.output.clone();
    let before = descendants().len();
    let run = bench.sandbox.run(loops, job, |_: &[u8]| {});
    assert!(timeout(Duration::from_millis(700), run).await.is_err());
    drop(bench.sandbox);
    until("the end of all processes", || descendants().is_empty()).await;
    assert!(before > 0);
    assert!(left(&output).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_killed_is_a_fault_of_the_machine() {
    let bench = Bench::new().await;
    let ready = descendants();
    let loops = bench.text(&program(&[], "", "(loop (br 0))"));
    let mut job = bench.job();
    endless(&mut job);
    let sandbox = bench.sandbox.clone();
    let run = tokio::spawn(async move { sandbox.run(loops, job, |_: &[u8]| {}).await });
    sleep(Duration::from_millis(500)).await;
    for pid in descendants() {
        kill(pid);
    }
    let ended = run.await.unwrap();
    assert_eq!(
        (ended.status, ended.reason.as_str()),
        (Status::Internal, "its child ended without a word")
    );
    assert!(!ready.is_empty());
    // A child that was born meanwhile ends with its server.
    let mut before = Vec::new();
    for _ in 0..250 {
        let now = descendants();
        if now == before {
            break;
        }
        before = now;
        sleep(Duration::from_millis(20)).await;
    }
    // Those that were ready are gone too, and no task gets one of them.
    for _ in 0..3 {
        let ended = bench.run(&program(&[], "", ""), bench.job()).await;
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
    }
}

/// A field of a process's `stat`, by the manual's number.
fn field<T: std::str::FromStr>(pid: u32, number: usize) -> Option<T> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(')')?.1;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

/// The scheduling policy of a process.
fn policy(pid: u32) -> Option<u64> {
    field(pid, 41)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_has_run_long_yields_to_those_that_have_just_begun() {
    let bench = Bench::new().await;
    let nice = || -> Vec<i32> {
        let all = descendants().into_iter();
        all.filter_map(|pid| field(pid, 19)).collect()
    };
    assert!(nice().iter().all(|n| *n == 0), "{:?}", nice());
    let loops = bench.text(&program(&[], "", "(loop (br 0))"));
    let mut job = bench.job();
    endless(&mut job);
    let sandbox = bench.sandbox.clone();
    let run = tokio::spawn(async move { sandbox.run(loops, job, |_: &[u8]| {}).await });
    until("one guest that yields", || {
        nice().iter().filter(|n| **n == 10).count() == 1
    })
    .await;
    run.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_idle_time_is_lent_every_child_leaves_the_processor_to_others() {
    const IDLE: u64 = 5;
    for (idle, expected) in [(true, IDLE), (false, 0)] {
        let bench = Bench::with(|settings| settings.idle = idle).await;
        let loops = bench.text(&program(&[], "", "(loop (br 0))"));
        let mut job = bench.job();
        endless(&mut job);
        let sandbox = bench.sandbox.clone();
        let run = tokio::spawn(async move { sandbox.run(loops, job, |_: &[u8]| {}).await });
        // A child that has just been started may not have come so far.
        until("the policy of all children", || {
            // The fork server runs no guest.
            let guests = descendants()
                .into_iter()
                .filter(|pid| parent(*pid) != Some(std::process::id()));
            let all: Vec<u64> = guests.filter_map(policy).collect();
            !all.is_empty() && all.iter().all(|p| *p == expected)
        })
        .await;
        run.abort();
        drop(bench);
        until("the end of all processes", || descendants().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_stops_the_guest_and_its_time() {
    let bench = Bench::new().await;
    // Compiled before the clock matters.
    let wat = program(&["clock_time_get"], "", "(loop (br 0))");
    let mut job = bench.job();
    job.limits.fuel = 1000;
    assert_eq!(bench.run(&wat, job).await.status, Status::Fuel);
    let mut job = bench.job();
    endless(&mut job);
    job.limits.wall = Duration::from_millis(600);
    let sandbox = bench.sandbox.clone();
    let loops = bench.text(&wat);
    let began = Instant::now();
    let run = tokio::spawn(async move { sandbox.run(loops, job, |_: &[u8]| {}).await });
    sleep(Duration::from_millis(200)).await;
    bench.sandbox.pause(true);
    let time = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest: Vec<u64> = stat
            .rsplit_once(')')
            .map(|(_, r)| {
                r.split_whitespace()
                    .filter_map(|f| f.parse().ok())
                    .collect()
            })
            .unwrap_or_default();
        rest.get(10).copied().unwrap_or(0)
    };
    sleep(Duration::from_millis(100)).await;
    let stopped: u64 = descendants().into_iter().map(time).sum();
    sleep(Duration::from_millis(900)).await;
    assert!(!run.is_finished(), "the time of the pause counted");
    assert_eq!(
        descendants().into_iter().map(time).sum::<u64>(),
        stopped,
        "a guest went on"
    );
    bench.sandbox.pause(false);
    let ended = run.await.unwrap();
    assert_eq!(ended.status, Status::Time);
    assert!(began.elapsed() >= Duration::from_millis(1500));
    // Nor does the pause count in the time that it is said to have run.
    assert!(ended.ran >= Duration::from_millis(100), "{:?}", ended.ran);
    assert!(ended.ran + Duration::from_millis(900) <= began.elapsed());
}

/// The process whose guest works: of all, the one with the most processor time.
fn busiest() -> u32 {
    let servers = servers();
    let guests = descendants().into_iter().filter(|p| !servers.contains(p));
    guests.max_by_key(|pid| field::<u64>(*pid, 14)).unwrap()
}

/// Processor time of a process.
fn used(pid: u32) -> Duration {
    let ticks: u64 = field::<u64>(pid, 14).unwrap() + field::<u64>(pid, 15).unwrap();
    Duration::from_millis(10 * ticks)
}

/// Starts a guest without an end, and waits until it works.
async fn spinning(bench: &Bench) -> (tokio::task::JoinHandle<betanet_sandbox::Ended>, u32) {
    let loops = bench.text(&program(&[], "", "(loop (br 0))"));
    let mut job = bench.job();
    endless(&mut job);
    let sandbox = bench.sandbox.clone();
    let run = tokio::spawn(async move { sandbox.run(loops, job, |_: &[u8]| {}).await });
    until("a guest that works", || {
        let servers = servers();
        let mut guests = descendants().into_iter().filter(|p| !servers.contains(p));
        guests.any(|pid| field::<i32>(pid, 19) == Some(10))
    })
    .await;
    (run, busiest())
}

/// Waits until a guest has wanted the processor at each of many looks: it does not sleep in between.
async fn never_sleeps(pid: u32) {
    let mut awake = 0;
    until("a guest that does not sleep", || {
        awake = match field::<char>(pid, 3) {
            Some('R') => awake + 1,
            _ => 0,
        };
        awake > 50
    })
    .await;
}

/// Checks that a guest uses at most 35 % of a core, and sleeps in between.
async fn has_a_quarter(pid: u32) {
    // What it owes from before is paid first.
    sleep(Duration::from_millis(300)).await;
    let (began, before) = (Instant::now(), used(pid));
    let mut asleep = 0;
    while began.elapsed() < Duration::from_secs(2) {
        asleep += u32::from(field::<char>(pid, 3) == Some('S'));
        sleep(Duration::from_millis(10)).await;
    }
    let (took, all) = (used(pid) - before, began.elapsed());
    assert!(took <= all * 35 / 100, "{took:?} of {all:?}");
    assert!(asleep > 0, "it never slept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_a_core_holds_for_a_guest_that_runs_until_it_has_all_again() {
    let bench = Bench::new().await;
    let (run, pid) = spinning(&bench).await;
    never_sleeps(pid).await;
    bench.sandbox.set_share(25);
    has_a_quarter(pid).await;
    assert!(!run.is_finished());
    bench.sandbox.set_share(100);
    never_sleeps(pid).await;
    run.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_a_stopped_guest_cannot_be_told_is_told_when_it_goes_on() {
    let bench = Bench::new().await;
    let (run, pid) = spinning(&bench).await;
    bench.sandbox.pause(true);
    until("a guest that is stopped", || {
        field::<char>(pid, 3) == Some('T')
    })
    .await;
    // More than its socket takes.
    for n in 0..3_000_u32 {
        bench.sandbox.set_share(if n % 2 == 0 { 99 } else { 100 });
        sleep(Duration::from_micros(100)).await;
    }
    bench.sandbox.set_share(25);
    sleep(Duration::from_millis(50)).await;
    bench.sandbox.pause(false);
    has_a_quarter(pid).await;
    run.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_in_which_the_log_is_taken_slowly_counts() {
    let bench = Bench::new().await;
    let data = r#"(data (i32.const 8) "\00\00\00\00\00\00\01\00")"#;
    let call = "(call $fd_write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 0))";
    let text = program(&["fd_write"], data, &format!("(loop (drop {call}) (br 0))"));
    let mut job = bench.job();
    job.limits.fuel = 1000;
    assert_eq!(bench.run(&text, job).await.status, Status::Fuel);
    let mut job = bench.job();
    endless(&mut job);
    job.limits.wall = Duration::from_millis(400);
    let began = Instant::now();
    let slow = |_: &[u8]| std::thread::sleep(Duration::from_millis(50));
    let ended = bench.sandbox.run(bench.text(&text), job, slow).await;
    assert_eq!(ended.status, Status::Time, "{}", ended.reason);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_begins_in_a_pause_waits_for_its_end() {
    let bench = Bench::new().await;
    bench.run(&program(&[], "", ""), bench.job()).await;
    bench.sandbox.pause(true);
    let (sandbox, job, nothing) = (
        bench.sandbox.clone(),
        bench.job(),
        bench.text(&program(&[], "", "")),
    );
    let run = tokio::spawn(async move { sandbox.run(nothing, job, |_: &[u8]| {}).await });
    sleep(Duration::from_millis(300)).await;
    assert!(!run.is_finished());
    bench.sandbox.pause(false);
    assert_eq!(run.await.unwrap().status, Status::Ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_children_are_forks_of_one_server_and_a_lost_one_is_replaced() {
    let bench = Bench::new().await;
    let before = servers();
    assert_eq!(before.len(), 1);
    for _ in 0..3 {
        let ended = bench.run(&program(&[], "", ""), bench.job()).await;
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
        assert_eq!(servers(), before);
    }
    kill(before[0]);
    // Its children end with it.
    until("the end of all processes", || {
        descendants().into_iter().all(|pid| pid == before[0])
    })
    .await;
    let ended = bench.run(&program(&[], "", ""), bench.job()).await;
    assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
    assert_ne!(servers(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_with_fewer_layers_than_the_first_takes_no_program() {
    let flags = tempfile::tempdir().unwrap();
    let none = flags.path().join("no-namespaces");
    let bench = Bench::with(|settings| {
        settings.child.args.push(none.clone().into());
        settings.spare = 0;
    })
    .await;
    let had = bench.sandbox.layers();
    assert!(had.contains(&"ipc"), "{had:?}");
    let nothing = program(&[], "", "");
    assert_eq!(bench.run(&nothing, bench.job()).await.status, Status::Ok);
    fs::write(&none, "").unwrap();
    kill(servers()[0]);
    let ended = bench.run(&nothing, bench.job()).await;
    assert_eq!(ended.status, Status::Internal);
    assert!(ended.reason.contains("lacks the layer"), "{}", ended.reason);
    // A machine that gives none from the start is named, and programs run.
    let bench = Bench::with(|settings| settings.child.args.push(none.clone().into())).await;
    let missing = bench.sandbox.missing_layers();
    assert!(missing.contains(&"ipc"), "{missing:?}");
    assert_eq!(bench.run(&nothing, bench.job()).await.status, Status::Ok);
}

#[test]
fn runs_hold_none_of_the_threads_that_others_need() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bench = Bench::new().await;
        let loops = bench.text(&program(&[], "", "(loop (br 0))"));
        let runs: Vec<_> = (0..3)
            .map(|_| {
                let (sandbox, loops, mut job) = (bench.sandbox.clone(), loops.clone(), bench.job());
                endless(&mut job);
                tokio::spawn(async move { sandbox.run(loops, job, |_: &[u8]| {}).await })
            })
            .collect();
        until("three guests that run", || {
            let used = |pid: &u32| field::<u64>(*pid, 14).is_some_and(|ticks| ticks > 2);
            let own = |pid: &u32| parent(*pid) != Some(std::process::id());
            descendants()
                .iter()
                .filter(|pid| own(pid) && used(pid))
                .count()
                >= 3
        })
        .await;
        let free = tokio::task::spawn_blocking(|| ());
        timeout(Duration::from_secs(20), free)
            .await
            .unwrap()
            .unwrap();
        assert!(runs.iter().all(|run| !run.is_finished()));
        // What one leaves is written beside them.
        let ended = bench.run(&program(&[], "", ""), bench.job()).await;
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
        runs.iter().for_each(tokio::task::JoinHandle::abort);
    });
}

/// A limit of a process, as the kernel shows it.
fn shown(pid: u32, limit: &str) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(limit))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_has_all_its_memories_and_its_process_no_more_addresses_than_they_need() {
    let bench = Bench::new().await;
    let memories = "(memory 1)".repeat(31);
    let touch: String = (0..32)
        .map(|n| format!("(i32.store {n} (i32.const 65532) (i32.const 1))"))
        .collect();
    let wat = |then: &str| {
        format!(
            "(module (memory (export \"memory\") 1) {memories} (func (export \"_start\") {touch} {then}))"
        )
    };
    let ended = bench.run(&wat(""), bench.job()).await;
    assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
    let loops = bench.text(&wat("(loop (br 0))"));
    let mut job = bench.job();
    endless(&mut job);
    let sandbox = bench.sandbox.clone();
    let run = tokio::spawn(async move { sandbox.run(loops, job, |_: &[u8]| {}).await });
    until("a guest with these limits", || {
        descendants().into_iter().any(|pid| {
            shown(pid, "Max address space").is_some_and(|most| most <= 256 << 30)
                && shown(pid, "Max stack size").is_some_and(|most| most <= 8 << 20)
        })
    })
    .await;
    run.abort();
}

#[tokio::test]
async fn a_signal_of_the_terminal_reaches_no_guest() {
    let bench = Bench::new().await;
    let own = getpgrp();
    let all = descendants();
    assert!(all.len() > 1, "{all:?}");
    for pid in all {
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        // One that has just ended has none.
        assert_ne!(getpgid(Some(pid)).ok(), Some(own));
    }
    drop(bench);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_is_replaced_and_its_guests_go_on() {
    let bench = Bench::new().await;
    let loops = bench.text(&program(&["clock_time_get"], "", "(loop (br 0))"));
    let mut job = bench.job();
    endless(&mut job);
    let sandbox = bench.sandbox.clone();
    let run = tokio::spawn(async move { sandbox.run(loops, job, |_: &[u8]| {}).await });
    sleep(Duration::from_millis(300)).await;
    let servers = servers();
    assert_eq!(servers.len(), 1);
    let server = Pid::from_raw(servers[0].cast_signed()).unwrap();
    kill_process(server, Signal::STOP).unwrap();
    // Those that are ready are used up first.
    for _ in 0..4 {
        let ended = bench.run(&program(&[], "", ""), bench.job()).await;
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
    }
    assert!(!run.is_finished(), "a guest ended with the server");
    kill_process(server, Signal::CONT).unwrap();
    run.abort();
    // Without children the old one ends, and the next start of a child finds that.
    for left in (0..100).rev() {
        let ended = bench.run(&program(&[], "", ""), bench.job()).await;
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
        if !self::servers().contains(&servers[0]) {
            break;
        }
        assert!(left > 0, "the old server stays");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn want_of_descriptors_costs_no_server() {
    let bench = Bench::new().await;
    let before = servers();
    let limit = getrlimit(Resource::Nofile);
    let nothing = bench.text(&program(&[], "", ""));
    let jobs: Vec<_> = (0..8).map(|_| bench.job()).collect();
    let high = rustix::io::dup(std::io::stdin()).unwrap();
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(u64::try_from(high.as_raw_fd()).unwrap()),
            ..limit
        },
    )
    .unwrap();
    let mut refused = 0;
    for job in jobs {
        // Numbers below the limit become free while starts fail: each is taken.
        let taken: Vec<_> = std::iter::from_fn(|| rustix::io::dup(std::io::stdin()).ok()).collect();
        let ended = bench.sandbox.run(nothing.clone(), job, |_: &[u8]| {}).await;
        refused += u32::from(ended.status != Status::Ok);
        drop(taken);
    }
    // One that a child was ready for may run.
    assert!(refused > 0, "no run met the limit");
    drop(high);
    setrlimit(Resource::Nofile, limit).unwrap();
    let ended = bench.run(&program(&[], "", ""), bench.job()).await;
    assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
    assert_eq!(servers(), before);
}

#[tokio::test]
async fn a_program_that_is_no_child_is_named() {
    let home = tempfile::tempdir().unwrap();
    let mut settings = settings(home.path());
    settings.child = ChildProgram {
        path: PathBuf::from("/bin/true"),
        args: Vec::new(),
    };
    assert!(matches!(
        Sandbox::open(settings.clone()).await,
        Err(Error::NotReady)
    ));
    settings.child.path = PathBuf::from("/nowhere");
    assert!(matches!(
        Sandbox::open(settings).await,
        Err(Error::Spawn(_))
    ));
}

#[tokio::test]
async fn runs_do_not_see_each_other() {
    let bench = Bench::new().await;
    let data = r#"(data (i32.const 100) "here")"#;
    let make = "(call $proc_exit (call $path_open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 5) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 0)))";
    for _ in 0..3 {
        // Exclusive: it fails if the file is there already.
        let ended = bench
            .run(
                &program(&["path_open", "proc_exit"], data, make),
                bench.job(),
            )
            .await;
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
    }
}
