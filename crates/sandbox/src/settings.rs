//! Settings that a sandbox needs from its owner.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Settings of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Folder of the cache of compiled modules and its key. It is made if it is missing.
    pub folder: PathBuf,
    /// How a child is started.
    pub child: ChildProgram,
    /// Children that are kept ready.
    pub spare: usize,
    /// Most bytes of the cache.
    pub cache_max: u64,
    /// Whether children run only while no other program wants the processor (`SCHED_IDLE`), as on a machine that lends its idle time.
    pub idle: bool,
}

/// How a child is started: a program that calls [`child_main`](crate::child_main) when [`is_child`](crate::is_child) says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildProgram {
    /// The program.
    pub path: PathBuf,
    /// Its first arguments.
    pub args: Vec<OsString>,
}

impl ChildProgram {
    /// This very program, with the hidden argument that [`is_child`](crate::is_child) looks for.
    ///
    /// # Errors
    /// The system does not tell where this program is.
    pub fn this() -> std::io::Result<Self> {
        // The link stays right when the file is replaced by a newer version while this process runs.
        let link = Path::new("/proc/self/exe");
        let path = if link.exists() {
            link.to_owned()
        } else {
            std::env::current_exe()?
        };
        Ok(Self {
            path,
            args: vec![OsString::from(crate::CHILD_ARGUMENT)],
        })
    }
}
