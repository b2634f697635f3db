//! A sandbox in a folder that goes with it, and programs written as text.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use betanet_sandbox::{
    CHILD_ARGUMENT, ChildProgram, Ended, Grants, Input, Job, Limits, Program, Sandbox, Settings,
};
use sha2::{Digest as _, Sha256};

pub(crate) struct Bench {
    pub(crate) home: tempfile::TempDir,
    pub(crate) sandbox: Sandbox,
}

pub(crate) fn settings(home: &Path) -> Settings {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_betanet-sandbox-child"));
    let child = ChildProgram {
        path,
        args: vec![OsString::from(CHILD_ARGUMENT)],
    };
    Settings {
        folder: home.join("sandbox"),
        child,
        spare: 2,
        cache_max: 1 << 30,
        idle: false,
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut settings = settings(home.path());
        change(&mut settings);
        let sandbox = Sandbox::open(settings).await.unwrap();
        Self { home, sandbox }
    }

    pub(crate) fn program(&self, bytes: &[u8]) -> Program {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let name: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        let file = self.home.path().join(name);
        fs::write(&file, bytes).unwrap();
        Program { digest, file }
    }

    pub(crate) fn text(&self, wat: &str) -> Program {
        self.program(&wat::parse_str(wat).unwrap())
    }

    pub(crate) fn job(&self) -> Job {
        let output = tempfile::tempdir_in(self.home.path()).unwrap().keep();
        Job {
            args: Vec::new(),
            env: Vec::new(),
            inputs: Vec::new(),
            limits: Limits {
                fuel: 20_000_000,
                wall: Duration::from_secs(60),
                memory: 64 << 20,
                output: 4 << 20,
                files: 100,
            },
            grants: Grants::default(),
            seed: [7; 32],
            start_ms: 1_700_000_000_000,
            output,
        }
    }

    pub(crate) async fn run(&self, wat: &str, job: Job) -> Ended {
        self.sandbox.run(self.text(wat), job, |_: &[u8]| {}).await
    }

    pub(crate) fn input(&self, name: &str, bytes: &[u8]) -> Input {
        let file = self.home.path().join(name);
        fs::write(&file, bytes).unwrap();
        Input {
            path: name.to_owned(),
            file,
        }
    }
}

/// Files in a folder, by path.
pub(crate) fn left(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Imports of preview 1 by name, with their types.
pub(crate) fn wasi(names: &[&str]) -> String {
    let one = |name: &&str| {
        let params = match *name {
            "args_get" | "args_sizes_get" | "environ_sizes_get" | "random_get"
            | "fd_prestat_get" | "fd_fdstat_get" | "fd_filestat_get" | "fd_renumber" => "i32 i32",
            "fd_write" | "fd_read" | "poll_oneoff" => "i32 i32 i32 i32",
            "fd_pwrite" => "i32 i32 i32 i64 i32",
            "fd_readdir" => "i32 i32 i32 i64 i32",
            "fd_seek" => "i32 i64 i32 i32",
            "fd_close" | "proc_exit" | "proc_raise" => "i32",
            "fd_filestat_set_size" => "i32 i64",
            "fd_allocate" => "i32 i64 i64",
            "clock_time_get" => "i32 i64 i32",
            "path_open" => "i32 i32 i32 i32 i32 i64 i64 i32 i32",
            "path_create_directory" | "path_unlink_file" => "i32 i32 i32",
            "path_symlink" => "i32 i32 i32 i32 i32",
            "path_rename" => "i32 i32 i32 i32 i32 i32",
            "path_link" => "i32 i32 i32 i32 i32 i32 i32",
            "path_filestat_get" => "i32 i32 i32 i32 i32",
            "sched_yield" => "",
            other => panic!("{other} has no type here"),
        };
        let result = if *name == "proc_exit" {
            ""
        } else {
            "(result i32)"
        };
        format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {params}) {result}))"
        )
    };
    names.iter().map(one).collect()
}

/// A module with one page of memory that calls preview 1.
pub(crate) fn module(names: &[&str], body: &str) -> String {
    format!(
        "(module {} (memory (export \"memory\") 1) {body})",
        wasi(names)
    )
}

/// A module whose program is one expression without a value.
pub(crate) fn program(names: &[&str], data: &str, start: &str) -> String {
    module(
        names,
        &format!("{data} (func (export \"_start\") (local $i i32) (local $j i64) {start})"),
    )
}

/// A component whose program is a core function that returns whether it failed.
pub(crate) fn component(body: &str) -> String {
    format!(
        r#"(component
            (core module $m (func (export "run") (result i32) {body}))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $made (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $made)))"#
    )
}
