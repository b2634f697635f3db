//! A test network's folder: its nodes, and the files in `run` while it is running.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use betanet_runtime::{Given, Problems};

use crate::Fail;

/// One node of the folder.
#[derive(Clone, Debug)]
pub(super) struct NodeDir {
    pub(super) name: String,
    pub(super) config: PathBuf,
    /// Folder of its state.
    pub(super) state: PathBuf,
    /// Its admin address, if it has one.
    pub(super) admin: Option<String>,
    pub(super) mixes: bool,
}

/// A test network's folder.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) nodes: Vec<NodeDir>,
}

/// The lock of a running network.
#[derive(Debug)]
pub(super) struct Held(#[allow(dead_code, reason = "its lock is what it is for")] File);

/// Takes the lock of a node, which shows that its process is running. It is released when the process ends.
pub(crate) fn node_lock(config: &Path) -> Result<File, Fail> {
    let dir = config.parent().unwrap_or(Path::new("."));
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let path = dir.with_file_name("run").join(name);
    let file = File::create(&path).map_err(Fail::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Fail::Local(format!(
            "{}: another process runs this node",
            path.display()
        ))),
    }
}

impl Place {
    /// Reads the files that `betanet network new` wrote.
    pub(super) fn open(dir: &Path) -> Result<Self, Fail> {
        let dir = fs::canonicalize(dir).map_err(Fail::file(dir))?;
        let list = dir.join("COMMANDS");
        let commands = fs::read_to_string(&list).map_err(|e| {
            let dir = dir.display();
            Fail::Usage(format!(
                "{dir}: no network of `betanet network new`: COMMANDS: {e}"
            ))
        })?;
        let mut nodes = Vec::new();
        for command in commands.lines() {
            let Some((binary, config)) = command.split_once(" --config ") else {
                return Err(Fail::Local(format!("{}: {command}", list.display())));
            };
            let config = PathBuf::from(config);
            let given = Given::from_file_beside(&config, crate::listen::TABLES);
            let given = given.map_err(|e| Fail::Local(e.to_string()))?;
            let read = given.read();
            if !read.problems.is_empty() {
                return Err(Fail::Local(Problems(read.problems).to_string()));
            }
            let admin = read.config.operator.admin;
            let name = config.parent().and_then(Path::file_name);
            nodes.push(NodeDir {
                name: name.unwrap_or_default().to_string_lossy().into_owned(),
                state: read.config.state(),
                config,
                admin: admin.map(|a| a.to_string()),
                mixes: binary == "mixnode",
            });
        }
        Ok(Self { dir, nodes })
    }

    pub(super) fn network(&self) -> PathBuf {
        self.dir.join("NETWORK.toml")
    }

    pub(super) fn run(&self, name: &str) -> PathBuf {
        self.dir.join("run").join(name)
    }

    /// Takes the network's lock, unless the network is already running.
    pub(super) fn hold(&self) -> Result<Option<Held>, Fail> {
        let folder = self.dir.join("run");
        fs::create_dir_all(&folder).map_err(Fail::file(&folder))?;
        let path = self.run("lock");
        let file = File::create(&path).map_err(Fail::file(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(Fail::file(&path)(e)),
        }
    }

    /// Opens those of these lock files that exist.
    pub(super) fn locks(&self, names: &[String]) -> Result<Vec<File>, Fail> {
        let mut files = Vec::new();
        for name in names {
            let path = self.run(name);
            match File::options().write(true).open(&path) {
                Ok(file) => files.push(file),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(Fail::file(&path)(e)),
            }
        }
        Ok(files)
    }

    /// Returns the first of these locks that a process holds.
    pub(super) fn held(&self, names: &[String]) -> Result<Option<String>, Fail> {
        for name in names {
            for file in self.locks(std::slice::from_ref(name))? {
                if let Err(TryLockError::WouldBlock) = file.try_lock() {
                    return Ok(Some(name.clone()));
                }
            }
        }
        Ok(None)
    }

    /// Returns the process that a pid file names, if it is still the one that wrote it.
    pub(super) fn process(&self, name: &str, says: &str) -> Option<u32> {
        let pid = fs::read_to_string(self.run(name)).ok()?;
        let pid: u32 = pid.trim().parse().ok()?;
        is(pid, says).then_some(pid)
    }
}

/// Whether a process runs whose command has this word.
pub(super) fn is(pid: u32, says: &str) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|b| *b == 0).any(|w| w == says.as_bytes())
}
