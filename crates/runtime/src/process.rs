//! Facts about this process: its build, and its open files.

use std::fs;

/// Labels of this build: version, profile, features and target.
pub(crate) const BUILD: [(&str, &str); 4] = [
    ("version", env!("CARGO_PKG_VERSION")),
    (
        "profile",
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
    ),
    (
        "features",
        if cfg!(feature = "mimic") { "mimic" } else { "" },
    ),
    (
        "target",
        if cfg!(target_os = "linux") {
            "linux"
        } else {
            "other"
        },
    ),
];

/// Returns the number of open file descriptors, and their limit. `None` if the system does not report it.
pub(crate) fn descriptors() -> (Option<u64>, Option<u64>) {
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    // Do not count the descriptor that this check holds.
    let open = open.and_then(|n| u64::try_from(n.saturating_sub(1)).ok());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    (open, limit.current)
}
