//! The control group of this process, and what it and those around it allow.

use std::path::{Path, PathBuf};

use crate::Root;

const MOUNT: &str = "sys/fs/cgroup";
/// Groups within groups that are looked at.
const DEPTH: usize = 32;

/// Folders whose limits hold for this process, the innermost first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cgroup {
    /// Of the unified hierarchy.
    unified: Vec<PathBuf>,
    /// Of version 1, by controller.
    cpu: Vec<PathBuf>,
    memory: Vec<PathBuf>,
}

/// The folders from `path` up to that of the mount, as far as they are there.
fn upward(root: &Root, mount: &Path, path: &str) -> Vec<PathBuf> {
    let inner = Path::new(path.trim_start_matches('/'));
    // In a container the path may be that of the host.
    let plain = inner
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_)));
    let inner = if plain { inner } else { Path::new("") };
    let all = inner.ancestors().map(|p| mount.join(p)).take(DEPTH);
    all.filter(|p| root.exists(p)).collect()
}

impl Cgroup {
    pub(crate) fn read(root: &Root) -> Self {
        let mut found = Self::default();
        let text = root.text("proc/self/cgroup").unwrap_or_default();
        for line in text.lines().take(64) {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let has = |name: &str| controllers.split(',').any(|c| c == name);
            let v1 = |name: &str| upward(root, &Path::new(MOUNT).join(name), path);
            if controllers.is_empty() {
                found.unified = upward(root, Path::new(MOUNT), path);
            } else if has("cpu") {
                found.cpu = v1("cpu");
            } else if has("memory") {
                found.memory = v1("memory");
            }
        }
        found
    }

    /// The least processor time that a group has, in thousandths of a core.
    pub(crate) fn millicores(&self, root: &Root) -> Option<u64> {
        let share = |quota: u64, period: u64| {
            quota
                .saturating_mul(1000)
                .checked_div(period)
                .map(|n| n.max(1))
        };
        let unified = self.unified.iter().filter_map(|folder| {
            let text = root.text(folder.join("cpu.max"))?;
            let (quota, period) = text.split_once(' ')?;
            share(quota.parse().ok()?, period.parse().ok()?)
        });
        let v1 = self.cpu.iter().filter_map(|folder| {
            // −1 is no limit.
            let quota: u64 = root.number(folder.join("cpu.cfs_quota_us"))?;
            share(quota, root.number(folder.join("cpu.cfs_period_us"))?)
        });
        unified.chain(v1).min()
    }

    /// The least limit of memory, in bytes.
    pub(crate) fn limit(&self, root: &Root) -> Option<u64> {
        let of = |file: &'static str| move |folder: &PathBuf| root.number(folder.join(file));
        let unified = self.unified.iter().filter_map(of("memory.max"));
        let v1 = self.memory.iter().filter_map(of("memory.limit_in_bytes"));
        unified.chain(v1).min()
    }

    /// Bytes of memory that are left, and the limit, of the group with the least left. Groups without a limit do not count.
    pub(crate) fn memory(&self, root: &Root) -> Option<(u64, u64)> {
        let of = |folder: &PathBuf, limit: &str, used: &str, stat: &str| {
            let limit: u64 = root.number(folder.join(limit))?;
            let used: u64 = root.number(folder.join(used))?;
            let text = root.text(folder.join("memory.stat")).unwrap_or_default();
            // The kernel takes back copies of files where memory is short.
            let cached = text.lines().find_map(|l| {
                let (name, bytes) = l.split_once(' ')?;
                (name == stat).then(|| bytes.parse::<u64>().ok()).flatten()
            });
            let used = used.saturating_sub(cached.unwrap_or(0));
            Some((limit.saturating_sub(used), limit))
        };
        let unified = self.unified.iter();
        let unified =
            unified.filter_map(|f| of(f, "memory.max", "memory.current", "inactive_file"));
        let v1 = self.memory.iter().filter_map(|f| {
            let (limit, used) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
            of(f, limit, used, "total_inactive_file")
        });
        // No limit is a number near 2^63 in version 1.
        unified
            .chain(v1)
            .filter(|(_, limit)| *limit < 1 << 60)
            .min()
    }
}
