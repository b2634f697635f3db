//! What this process is: its build, and the files that it has open.

use std::fs;

/// What this build is: its version, and what it was built with and for.
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

/// File descriptors that are open, and as many as there may be; nothing where the system does not tell.
pub(crate) fn descriptors() -> (Option<u64>, Option<u64>) {
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    // The one that the look itself holds is not counted.
    let open = open.and_then(|n| u64::try_from(n.saturating_sub(1)).ok());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    (open, limit.current)
}
