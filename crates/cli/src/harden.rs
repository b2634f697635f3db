//! Protects the keys in this process's memory.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Disables core files, and prevents other processes of the same user from reading this one's memory (`ptrace`, `/proc/PID/mem`).
///
/// Processes that this one starts have no core files either.
pub(crate) fn harden() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(why) = setrlimit(Resource::Core, none) {
        note!("warning: a crash may leave a core file, with keys in it: {why}");
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(why) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            note!("warning: processes of the same user can read this one's keys: {why}");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    #[test]
    fn nothing_leaves_the_process() {
        super::harden();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
