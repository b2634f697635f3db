//! A program, and the job of one run: its arguments, inputs, limits and grants.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

/// Most bytes of a module.
pub const MODULE_MAX: u64 = 1 << 26;
/// Most inputs of a job.
pub const INPUTS_MAX: usize = 64;
/// Most bytes of one input. Those of tasks are blobs, which have no more.
pub(crate) const INPUT_MAX: u64 = 1 << 32;
/// Most bytes of all arguments and variables of a job together.
pub const TEXT_MAX: usize = 256 * 1024;
/// Most bytes of a path.
pub const PATH_MAX: usize = 1024;
/// Most bytes of one segment of a path.
pub const NAME_MAX: usize = 255;
/// Most hosts that a policy names.
pub const HOSTS_MAX: usize = 64;
/// Most bytes of a host's name.
pub const HOST_MAX: usize = 255;
/// Most files and folders that a job may leave, whatever its limit says.
pub const FILES_MAX: u32 = 1 << 16;

/// A WebAssembly module or component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// Where its bytes are. They are read when the cache does not hold the compiled form.
    pub file: PathBuf,
}

/// A file that the program may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where the program finds it: relative, without `..`.
    pub path: String,
    /// The file on this machine.
    pub file: PathBuf,
}

/// One run of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Files to read.
    pub inputs: Vec<Input>,
    /// Limits that end the run.
    pub limits: Limits,
    /// Grants that give verification up.
    pub grants: Grants,
    /// Seed of what the program takes for randomness.
    pub seed: [u8; 32],
    /// Where the virtual clock starts, in milliseconds since 1970.
    pub start_ms: u64,
    /// An empty folder for what the program leaves.
    pub output: PathBuf,
}

/// Limits that end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instructions, as the engine counts them.
    pub fuel: u64,
    /// Time that passes, pauses excepted.
    pub wall: Duration,
    /// Bytes of memories and tables.
    pub memory: u64,
    /// Bytes of all files and of standard output.
    pub output: u64,
    /// Files, folders and links that exist at one time, inputs excepted.
    pub files: u32,
}

/// Sources that a program may use although they differ from run to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The machine's clocks.
    pub clock: bool,
    /// The machine's randomness.
    pub random: bool,
    /// Connections. They bring the machine's clocks with them, because a peer's time is real.
    pub network: Option<NetworkPolicy>,
}

/// Where a program with the network's grant may connect to, over TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Names or addresses, each with its port. Private addresses and those of this machine are refused, whatever a name resolves to.
    pub hosts: Vec<(String, u16)>,
    /// Addresses that are not refused for being private or this machine's own. They are for whoever runs the sandbox to name, not
    /// for the owner of a job.
    pub private: Vec<IpAddr>,
}

/// A fault of a job, found before anything runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("input path {0:?} is not a relative path of plain names")]
    Path(String),
    #[error("input path {0:?} is given twice, or is a folder of another")]
    Twice(String),
    #[error("{0} inputs; at most {INPUTS_MAX} are taken")]
    Inputs(usize),
    #[error("arguments and variables have {0} bytes; at most {TEXT_MAX} are taken")]
    Text(usize),
    #[error(
        "an argument or a variable holds a zero byte, or a variable's name is empty or holds '='"
    )]
    Variable,
    #[error("the policy names {0} hosts; at most {HOSTS_MAX} are taken")]
    Hosts(usize),
    #[error("a host's name in the policy has {0} bytes; at most {HOST_MAX} are taken")]
    Host(usize),
}

impl Job {
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        if self.inputs.len() > INPUTS_MAX {
            return Err(Wrong::Inputs(self.inputs.len()));
        }
        let mut paths = Paths::default();
        for input in &self.inputs {
            if !plain(&input.path) || input.path == "stdout" {
                return Err(Wrong::Path(input.path.clone()));
            }
            if !paths.add(&input.path) {
                return Err(Wrong::Twice(input.path.clone()));
            }
        }
        let text = self.args.iter().map(|a| a.len() + 16).sum::<usize>()
            + self
                .env
                .iter()
                .map(|(k, v)| k.len() + v.len() + 16)
                .sum::<usize>();
        if text > TEXT_MAX {
            return Err(Wrong::Text(text));
        }
        let zero = |t: &str| t.bytes().any(|b| b == 0);
        if self.args.iter().any(|a| zero(a))
            || self
                .env
                .iter()
                .any(|(k, v)| zero(k) || zero(v) || k.is_empty() || k.contains('='))
        {
            return Err(Wrong::Variable);
        }
        let Some(policy) = &self.grants.network else {
            return Ok(());
        };
        if policy.hosts.len() > HOSTS_MAX {
            return Err(Wrong::Hosts(policy.hosts.len()));
        }
        let longest = policy.hosts.iter().map(|(name, _)| name.len()).max();
        match longest {
            Some(len) if len > HOST_MAX => Err(Wrong::Host(len)),
            _ => Ok(()),
        }
    }

    /// Folders that hold the inputs.
    pub(crate) fn folders(&self) -> u64 {
        let mut paths = Paths::default();
        for input in &self.inputs {
            paths.add(&input.path);
        }
        paths.folders()
    }
}

/// Whether a path is relative and made of plain names.
pub(crate) fn plain(path: &str) -> bool {
    path.len() <= PATH_MAX && path.split('/').all(plain_name) && path.split('/').count() <= 64
}

pub(crate) fn plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != "."
        && name != ".."
        && !name.contains(['/', '\0'])
}

/// Paths of files, none twice and none the folder of another.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl Paths {
    pub(crate) fn add(&mut self, path: &str) -> bool {
        if self.folders.contains(path) || self.files.contains(path) {
            return false;
        }
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        if folders.clone().any(|f| self.files.contains(f)) {
            return false;
        }
        for folder in folders {
            self.folders.insert(folder.to_owned());
        }
        self.files.insert(path.to_owned())
    }

    /// Folders that the files are in.
    pub(crate) fn folders(&self) -> u64 {
        self.folders.len() as u64
    }
}

/// Whether an address is of the public internet.
pub(crate) fn public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => public_v4(ip),
        IpAddr::V6(ip) => public_v6(ip),
    }
}

fn public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = (a, b, c) == (192, 0, 0);
    let benchmark = a == 198 && (b == 18 || b == 19);
    let relays = (a, b, c) == (192, 88, 99);
    // A cloud's service for its own machines, which hands out their secrets.
    let host = ip == Ipv4Addr::new(168, 63, 129, 16);
    let other = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation();
    !(other || shared || protocol || benchmark || relays || host || a == 0 || a >= 224)
}

fn public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Global unicast is 2000::/3; of it, documentation and 6to4 lead elsewhere, and protocols as Teredo and the control of ports of a
    // router, which have 2001::/23.
    let protocol = a == 0x2001 && b < 0x0200;
    let documentation = (a == 0x2001 && b == 0x0db8) || (a == 0x3fff && b < 0x1000);
    a & 0xe000 == 0x2000 && !protocol && !documentation && a != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_taken() {
        for path in ["a", "a/b", "a.b/c-d", "...", "a/..b"] {
            assert!(plain(path), "{path}");
        }
        let long = "x".repeat(NAME_MAX + 1);
        for path in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.",
            "a\0b",
            long.as_str(),
        ] {
            assert!(!plain(path), "{path}");
        }
    }

    #[test]
    fn no_path_is_given_twice_or_is_a_folder_of_another() {
        let mut paths = Paths::default();
        assert!(paths.add("a/b"));
        assert!(paths.add("a/c"));
        assert!(paths.add("b"));
        for path in ["a/b", "a", "b/c", "a/b/c"] {
            assert!(!paths.add(path), "{path}");
        }
    }

    #[test]
    fn private_addresses_are_not_public() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "168.63.129.16",
            "::",
            "::127.0.0.1",
            "64:ff9b::127.0.0.1",
            "2001::7f00:1",
            "2001:1::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(public(ip.parse().unwrap()), "{ip}");
        }
    }
}
