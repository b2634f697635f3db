//! A worker without a task, on one core: what an edge device has to give for it.

use std::time::Duration;

use betanet_fog::Kind;

use crate::Fog;
use crate::process::Worker;

/// Most memory of the worker and of its children together.
const MEMORY_KIB: u64 = 40 << 10;
/// Time for which it is watched.
const WATCHED: Duration = Duration::from_secs(8);

/// A field of a file in `/proc`, in its unit. 0 where there is none.
fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    let value = line.and_then(|l| l.strip_prefix(':')?.split_whitespace().next());
    value.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// How often the threads of a process have gone to sleep.
fn slept(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .map(|thread| {
            let status = thread.unwrap().path().join("status");
            field(status.to_str().unwrap(), "voluntary_ctxt_switches")
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_task_is_small_and_sleeps_between_its_beats() {
    let fog = Fog::start().await;
    let token = fog.token("edge", Kind::Compute).await;
    let mut worker = Worker::new("edge").on_one_core();
    let facts = worker.start(&["--token", &token]);
    // What it announces is what it has: one core, seven eighths of the memory, half of what the disk has left.
    let announced = |what: &str| facts["announced"][what].as_u64().unwrap();
    assert_eq!(announced("cpu").div_ceil(1_000), 1, "{facts}");
    let total = 1_024 * field("/proc/meminfo", "MemTotal");
    let memory = announced("memory");
    let most = total / 8 * 7;
    let has_limit = std::fs::read_to_string("/proc/self/cgroup").is_ok_and(|all| {
        let own = all.lines().find_map(|l| l.strip_prefix("0::"));
        let limit = own.map(|own| format!("/sys/fs/cgroup{own}/memory.max"));
        limit.is_some_and(|l| std::fs::read_to_string(l).is_ok_and(|l| l.trim() != "max"))
    });
    assert!(memory == most || has_limit && memory < most, "{facts}");
    let disk = rustix::fs::statvfs(worker.state()).unwrap();
    let free = disk.f_bavail * disk.f_frsize / 2;
    assert!(announced("storage").abs_diff(free) < free / 4, "{facts}");
    assert_eq!((announced("gpu"), announced("relay")), (0, 0));
    let core = std::fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
    assert!(core.contains("Cpus_allowed_list:\t0\n"), "{core}");
    // Its beats have begun.
    while worker.status()["counts"]["beats"] == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let pid = worker.pid();
    let (ticks, switches) = (worker.ticks() + worker.own_ticks(), slept(pid));
    tokio::time::sleep(WATCHED).await;
    let ticks = worker.ticks() + worker.own_ticks() - ticks;
    let switches = slept(pid) - switches;
    let alone = field(&format!("/proc/{pid}/status"), "VmRSS");
    // A page that several have counts once.
    let below = worker.below();
    let all: u64 = below
        .iter()
        .chain([&pid])
        .map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), "Pss"))
        .sum();
    eprintln!(
        "a worker without a task: {alone} KiB resident, {all} KiB with its {} children; {} ms of a core and {switches} wake-ups in {} s",
        below.len(),
        10 * ticks,
        WATCHED.as_secs()
    );
    assert!(!below.is_empty());
    assert!(alone > 0 && alone <= MEMORY_KIB, "{alone} KiB");
    assert!(all > 0 && all <= MEMORY_KIB, "{all} KiB");
    let used = Duration::from_millis(10 * ticks);
    assert!(used <= WATCHED / 20, "{used:?}");
    // It wakes for timers, and does not spin.
    let a_second = switches / WATCHED.as_secs();
    assert!(
        switches > 0 && a_second <= 100,
        "{a_second} wake-ups a second"
    );
    fog.stop().await;
}
