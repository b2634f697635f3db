//! Description of the machine.

use std::path::Path;

use serde::Serialize;

use crate::cgroup::Cgroup;
use crate::devices::{Device, devices};
use crate::network::{Interface, interfaces};
use crate::{Root, memory};

/// Description of a machine, within the limits of this process's control group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Machine {
    /// Processor time that this process may have, in thousandths of a core. 0 where nothing tells.
    pub millicores: u64,
    /// Cores that this process may run on.
    pub cores: u32,
    /// The processor's name.
    pub processor: Option<String>,
    /// Memory in bytes that this process may have. 0 where nothing tells.
    pub memory: u64,
    /// Free and total bytes of the disk below a folder.
    pub disk: Option<Disk>,
    /// Graphics and compute devices.
    pub devices: Vec<Device>,
    /// Network interfaces, without the loopback.
    pub interfaces: Vec<Interface>,
}

/// Bytes of a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Disk {
    /// Bytes that a process without privileges can still write.
    pub free: u64,
    /// All.
    pub total: u64,
}

/// Number of processors in a list such as `0-3,8`.
pub(crate) fn listed(list: &str) -> Option<u32> {
    let mut count = 0_u32;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

fn cores(root: &Root) -> u32 {
    let status = root.text("proc/self/status").unwrap_or_default();
    let allowed = status
        .lines()
        .find_map(|l| listed(l.strip_prefix("Cpus_allowed_list:")?));
    let online = || listed(&root.text("sys/devices/system/cpu/online")?);
    allowed.or_else(online).unwrap_or(0)
}

fn processor(root: &Root) -> Option<String> {
    let text = root.text("proc/cpuinfo")?;
    let named = ["model name", "Hardware", "Model"].iter().find_map(|key| {
        let line = text.lines().find(|l| l.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    // A board tells its name in the device tree.
    let board = || {
        let text = root.text("proc/device-tree/model")?;
        Some(text.trim_end_matches('\0').to_owned())
    };
    named.or_else(board).filter(|n| !n.is_empty())
}

/// Free and total bytes of the disk that holds `folder`.
#[must_use]
pub fn disk(folder: &Path) -> Option<Disk> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Disk {
        free: bytes(stat.f_bavail),
        total: bytes(stat.f_blocks),
    })
}

impl Machine {
    /// Looks at the machine, and at the disk below `folder`.
    #[must_use]
    pub fn read(root: &Root, folder: &Path) -> Self {
        let cgroup = Cgroup::read(root);
        let cores = cores(root);
        let millicores = u64::from(cores) * 1000;
        let text = root.text("proc/meminfo").unwrap_or_default();
        let total = memory::field(&text, "MemTotal").unwrap_or(0);
        let limit = cgroup.limit(root).unwrap_or(total);
        Self {
            millicores: cgroup
                .millicores(root)
                .map_or(millicores, |m| m.min(millicores)),
            cores,
            processor: processor(root),
            memory: total.min(limit),
            disk: disk(folder),
            devices: devices(root),
            interfaces: interfaces(root),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_lists() {
        for (list, count) in [
            ("0", Some(1)),
            ("0-3,8\n", Some(5)),
            ("3-1", None),
            ("", None),
            ("0-4294967295", None),
        ] {
            assert_eq!(listed(list), count, "{list:?}");
        }
    }
}
