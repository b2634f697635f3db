//! The files of a guest: a value in the child's memory, so that no call of a guest reaches the machine's files.
//!
//! Names are sorted, numbers of nodes count up and times are the virtual clock's start, so every run sees the same.

use std::{collections::BTreeMap, fs::File, ops::Bound, os::unix::fs::FileExt as _};

use super::stop::{Answer, Errno, Stop};
use crate::job::{FILES_MAX, NAME_MAX, PATH_MAX, plain, plain_name};

mod names;
mod resolve;

pub(crate) type NodeId = u64;
pub(crate) const ROOT: NodeId = 1;
/// Most bytes of standard error that are passed on.
pub(crate) const LOG_MAX: u64 = 16 << 20;
/// Name of standard output among the files.
pub(crate) const STDOUT: &str = "stdout";

/// Takes standard error; false if nobody listens any more.
pub(crate) type Log = Box<dyn FnMut(&[u8]) -> bool + Send>;

pub(crate) enum Kind {
    File(Vec<u8>),
    Input {
        file: File,
        size: u64,
    },
    Folder {
        names: BTreeMap<String, NodeId>,
        parent: NodeId,
    },
    Link(String),
}

struct Node {
    kind: Kind,
    /// Whether it came with the job: then one of its names is not the guest's.
    given: bool,
    names: u32,
    opened: u32,
    accessed: u64,
    modified: u64,
}

/// What `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) node: NodeId,
    pub(crate) what: What,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    File,
    Folder,
    Link,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Open {
    pub(crate) follow: bool,
    pub(crate) create: bool,
    pub(crate) folder: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    pub(crate) write: bool,
}

pub(crate) struct Fs {
    nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    time: u64,
    bytes: u64,
    bytes_max: u64,
    files: u32,
    files_max: u32,
    stdout: Vec<u8>,
    log: Log,
    logged: u64,
}

impl Fs {
    pub(crate) fn new(bytes_max: u64, files_max: u32, time: u64, log: Log) -> Self {
        let root = Kind::Folder {
            names: BTreeMap::new(),
            parent: ROOT,
        };
        let root = Node {
            kind: root,
            given: true,
            names: 1,
            opened: 0,
            accessed: time,
            modified: time,
        };
        let files_max = files_max.min(FILES_MAX);
        let nodes = BTreeMap::from([(ROOT, root)]);
        Self {
            nodes,
            next: ROOT + 1,
            time,
            bytes: 0,
            bytes_max,
            files: 0,
            files_max,
            stdout: Vec::new(),
            log,
            logged: 0,
        }
    }

    /// Adds an input, with its folders. They do not count as the guest's.
    pub(crate) fn add_input(&mut self, path: &str, file: File, size: u64) -> Answer<()> {
        let mut folder = ROOT;
        let (folders, name) = path.rsplit_once('/').map_or(("", path), |(f, n)| (f, n));
        for part in folders.split('/').filter(|p| !p.is_empty()) {
            folder = match self.names(folder)?.get(part) {
                Some(&id) => id,
                None => self.insert(
                    folder,
                    part,
                    Kind::Folder {
                        names: BTreeMap::new(),
                        parent: folder,
                    },
                    true,
                )?,
            };
        }
        self.insert(folder, name, Kind::Input { file, size }, true)?;
        Ok(())
    }

    // --- standard streams

    pub(crate) fn print(&mut self, bytes: &[u8]) -> Answer<()> {
        self.claim(bytes.len() as u64)?;
        grow(&mut self.stdout, self.bytes_max, bytes.len())?;
        self.stdout.extend_from_slice(bytes);
        Ok(())
    }

    /// Passes standard error on, up to a bound. Bytes beyond it are dropped: a guest cannot tell.
    pub(crate) fn log(&mut self, bytes: &[u8]) -> Answer<()> {
        let room = usize::try_from(LOG_MAX - self.logged)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.logged += room as u64;
        if room > 0 && !(self.log)(&bytes[..room]) {
            return Err(Stop::Parent.into());
        }
        Ok(())
    }

    // --- open files

    pub(crate) fn open(&mut self, base: NodeId, path: &str, how: Open) -> Answer<NodeId> {
        let found = self.find(base, path, how.follow)?;
        let id = match found.node {
            Some(_) if how.create && how.exclusive => return Err(Errno::Exist.into()),
            Some(id) => id,
            None if !how.create => return Err(Errno::NoEnt.into()),
            None if how.folder => return Err(Errno::Inval.into()),
            None if found.must_be_folder => return Err(Errno::IsDir.into()),
            None => self.make(found.folder, &found.name, Kind::File(Vec::new()))?,
        };
        match &mut self.node_mut(id)?.kind {
            Kind::Link(_) => return Err(Errno::Loop.into()),
            Kind::Folder { .. } if how.write || how.truncate => return Err(Errno::IsDir.into()),
            Kind::File(_) | Kind::Input { .. } if how.folder || found.must_be_folder => {
                return Err(Errno::NotDir.into());
            }
            Kind::Input { .. } if how.write || how.truncate => return Err(Errno::RoFs.into()),
            Kind::File(bytes) if how.truncate => {
                let freed = bytes.len() as u64;
                *bytes = Vec::new();
                self.bytes -= freed;
            }
            _ => {}
        }
        self.retain(id)?;
        Ok(id)
    }

    pub(crate) fn retain(&mut self, id: NodeId) -> Answer<()> {
        self.node_mut(id)?.opened += 1;
        Ok(())
    }

    pub(crate) fn release(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opened = node.opened.saturating_sub(1);
            self.forget(id);
        }
    }

    pub(crate) fn read(&self, id: NodeId, at: u64, into: &mut [u8]) -> Answer<usize> {
        match &self.node(id)?.kind {
            Kind::File(bytes) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let n = into.len().min(bytes.len() - from);
                into[..n].copy_from_slice(&bytes[from..from + n]);
                Ok(n)
            }
            Kind::Input { file, size } => {
                let n = usize::try_from(size.saturating_sub(at))
                    .unwrap_or(usize::MAX)
                    .min(into.len());
                // A read that is cut short by a signal would show in the guest's results.
                file.read_exact_at(&mut into[..n], at)
                    .map_err(|_| Errno::Io)?;
                Ok(n)
            }
            Kind::Folder { .. } => Err(Errno::IsDir.into()),
            Kind::Link(_) => Err(Errno::Badf.into()),
        }
    }

    pub(crate) fn write(&mut self, id: NodeId, at: u64, bytes: &[u8]) -> Answer<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = at.checked_add(bytes.len() as u64).ok_or(Errno::FBig)?;
        if end > self.size(id)? {
            self.resize(id, end)?;
        }
        let Kind::File(file) = &mut self.node_mut(id)?.kind else {
            return Err(Errno::RoFs.into());
        };
        let from = usize::try_from(at).map_err(|_| Errno::FBig)?;
        file[from..from + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn resize(&mut self, id: NodeId, size: u64) -> Answer<()> {
        let old = match &self.node(id)?.kind {
            Kind::File(bytes) => bytes.len() as u64,
            Kind::Input { .. } => return Err(Errno::RoFs.into()),
            Kind::Folder { .. } => return Err(Errno::IsDir.into()),
            Kind::Link(_) => return Err(Errno::Badf.into()),
        };
        if size > old {
            self.claim(size - old)?;
        } else {
            self.bytes -= old - size;
        }
        let max = self.bytes_max;
        let new = usize::try_from(size).map_err(|_| Errno::FBig)?;
        if let Kind::File(bytes) = &mut self.node_mut(id)?.kind {
            if new > bytes.len() {
                grow(bytes, max, new - bytes.len())?;
            }
            bytes.resize(new, 0);
            if new == 0 {
                *bytes = Vec::new();
            }
        }
        Ok(())
    }

    pub(crate) fn size(&self, id: NodeId) -> Answer<u64> {
        Ok(self.stat(id)?.size)
    }

    pub(crate) fn stat(&self, id: NodeId) -> Answer<Stat> {
        let node = self.node(id)?;
        let (what, size) = match &node.kind {
            Kind::File(bytes) => (What::File, bytes.len() as u64),
            Kind::Input { size, .. } => (What::File, *size),
            Kind::Folder { .. } => (What::Folder, 0),
            Kind::Link(to) => (What::Link, to.len() as u64),
        };
        let (accessed, modified) = (node.accessed, node.modified);
        Ok(Stat {
            node: id,
            what,
            links: u64::from(node.names),
            size,
            accessed,
            modified,
        })
    }

    pub(crate) fn set_times(
        &mut self,
        id: NodeId,
        accessed: Option<u64>,
        modified: Option<u64>,
    ) -> Answer<()> {
        let node = self.node_mut(id)?;
        node.accessed = accessed.unwrap_or(node.accessed);
        node.modified = modified.unwrap_or(node.modified);
        Ok(())
    }

    /// Names of a folder with what they name, ascending.
    pub(crate) fn entries(&self, id: NodeId) -> Answer<impl Iterator<Item = (&str, NodeId, What)>> {
        self.entries_after(id, "")
    }

    /// The same from the name after `after` on.
    pub(crate) fn entries_after(
        &self,
        id: NodeId,
        after: &str,
    ) -> Answer<impl Iterator<Item = (&str, NodeId, What)>> {
        let names = self.names(id)?;
        let after = (Bound::Excluded(after), Bound::Unbounded);
        Ok(names
            .range::<str, _>(after)
            .filter_map(|(name, &id)| Some((name.as_str(), id, self.stat(id).ok()?.what))))
    }

    pub(crate) fn parent(&self, id: NodeId) -> Answer<NodeId> {
        match &self.node(id)?.kind {
            Kind::Folder { parent, .. } => Ok(*parent),
            _ => Err(Errno::NotDir.into()),
        }
    }

    // --- the end

    /// The files that the guest left, ascending by path, standard output among them.
    pub(crate) fn into_files(mut self) -> Answer<Vec<(String, Vec<u8>)>> {
        let mut files = BTreeMap::from([(STDOUT.to_owned(), std::mem::take(&mut self.stdout))]);
        let mut folders = vec![(String::new(), ROOT)];
        while let Some((path, folder)) = folders.pop() {
            for (name, id) in std::mem::take(self.names_mut(folder)?) {
                let path = if path.is_empty() {
                    name
                } else {
                    format!("{path}/{name}")
                };
                let node = self.node_mut(id)?;
                match &mut node.kind {
                    Kind::Folder { .. } if path.len() > PATH_MAX => return Err(Stop::Path.into()),
                    Kind::Folder { .. } => folders.push((path, id)),
                    Kind::File(_) if !plain(&path) => return Err(Stop::Path.into()),
                    Kind::File(bytes) if node.names == 1 => {
                        drop(files.insert(path, std::mem::take(bytes)));
                    }
                    // A file with several names counts for each of them; the last gets the bytes themselves.
                    Kind::File(bytes) => {
                        let bytes = bytes.clone();
                        node.names -= 1;
                        self.claim(bytes.len() as u64)?;
                        files.insert(path, bytes);
                    }
                    Kind::Input { .. } | Kind::Link(_) => {}
                }
            }
        }
        Ok(files.into_iter().collect())
    }

    // --- inside

    fn node(&self, id: NodeId) -> Answer<&Node> {
        Ok(self.nodes.get(&id).ok_or(Errno::Badf)?)
    }

    fn node_mut(&mut self, id: NodeId) -> Answer<&mut Node> {
        Ok(self.nodes.get_mut(&id).ok_or(Errno::Badf)?)
    }

    fn names(&self, id: NodeId) -> Answer<&BTreeMap<String, NodeId>> {
        match &self.node(id)?.kind {
            Kind::Folder { names, .. } => Ok(names),
            _ => Err(Errno::NotDir.into()),
        }
    }

    fn names_mut(&mut self, id: NodeId) -> Answer<&mut BTreeMap<String, NodeId>> {
        match &mut self.node_mut(id)?.kind {
            Kind::Folder { names, .. } => Ok(names),
            _ => Err(Errno::NotDir.into()),
        }
    }

    fn may_name(&self, folder: NodeId, name: &str) -> Answer<()> {
        if name.len() > NAME_MAX {
            return Err(Errno::NameTooLong.into());
        }
        if !plain_name(name) {
            return Err(Errno::Inval.into());
        }
        // The place of standard output.
        if folder == ROOT && name == STDOUT {
            return Err(Errno::Acces.into());
        }
        // A folder that was removed while it was open has no place in the tree.
        if self.node(folder)?.names == 0 {
            return Err(Errno::NoEnt.into());
        }
        Ok(())
    }

    fn make(&mut self, folder: NodeId, name: &str, kind: Kind) -> Answer<NodeId> {
        self.may_name(folder, name)?;
        self.count()?;
        self.insert(folder, name, kind, false)
    }

    fn insert(&mut self, folder: NodeId, name: &str, kind: Kind, given: bool) -> Answer<NodeId> {
        let id = self.next;
        self.names_mut(folder)?.insert(name.to_owned(), id);
        self.next += 1;
        let node = Node {
            kind,
            given,
            names: 1,
            opened: 0,
            accessed: self.time,
            modified: self.time,
        };
        self.nodes.insert(id, node);
        Ok(id)
    }

    fn drop_name(&mut self, folder: NodeId, name: &str, id: NodeId) -> Answer<()> {
        self.names_mut(folder)?.remove(name);
        let node = self.node_mut(id)?;
        node.names -= 1;
        // The last name of an input or its folder was not counted; others are the guest's.
        if !node.given || node.names > 0 {
            self.files = self.files.saturating_sub(1);
        }
        self.forget(id);
        Ok(())
    }

    fn forget(&mut self, id: NodeId) {
        let gone = |n: &Node| n.names == 0 && n.opened == 0;
        if self.nodes.get(&id).is_some_and(gone)
            && let Some(Node {
                kind: Kind::File(bytes),
                ..
            }) = self.nodes.remove(&id)
        {
            self.bytes -= bytes.len() as u64;
        }
    }

    fn count(&mut self) -> Answer<()> {
        // Nodes that are open without a name are held too.
        if self.files >= self.files_max || self.nodes.len() > 2 * FILES_MAX as usize {
            return Err(Stop::Files(self.files_max).into());
        }
        self.files += 1;
        Ok(())
    }

    fn claim(&mut self, bytes: u64) -> Answer<()> {
        let sum = self.bytes.saturating_add(bytes);
        if sum > self.bytes_max {
            return Err(Stop::Bytes(self.bytes_max).into());
        }
        self.bytes = sum;
        Ok(())
    }
}

/// Reserves in steps that keep appending cheap, and never more than the limit.
fn grow(bytes: &mut Vec<u8>, max: u64, more: usize) -> Answer<()> {
    if bytes.capacity() - bytes.len() >= more {
        return Ok(());
    }
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let want = more
        .max(bytes.len() / 2)
        .min(max.saturating_sub(bytes.len()))
        .max(more);
    bytes
        .try_reserve_exact(want)
        .map_err(|_| Stop::Machine.into())
}

#[cfg(test)]
mod tests;
