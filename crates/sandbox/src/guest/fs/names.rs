//! Names: what makes, moves and removes them.

use std::collections::BTreeMap;

use super::{Fs, Kind, NodeId, ROOT, Stat, What};
use crate::{
    guest::stop::{Answer, Errno},
    job::PATH_MAX,
};

impl Fs {
    pub(crate) fn stat_at(&self, base: NodeId, path: &str, follow: bool) -> Answer<Stat> {
        self.stat(self.must_find(base, path, follow)?)
    }

    pub(crate) fn must_find(&self, base: NodeId, path: &str, follow: bool) -> Answer<NodeId> {
        let found = self.find(base, path, follow)?;
        let id = found.node.ok_or(Errno::NoEnt)?;
        if found.must_be_folder && self.stat(id)?.what != What::Folder {
            return Err(Errno::NotDir.into());
        }
        Ok(id)
    }

    pub(crate) fn make_folder(&mut self, base: NodeId, path: &str) -> Answer<()> {
        let found = self.find(base, path, false)?;
        if found.node.is_some() {
            return Err(Errno::Exist.into());
        }
        self.make(
            found.folder,
            &found.name,
            Kind::Folder {
                names: BTreeMap::new(),
                parent: found.folder,
            },
        )?;
        Ok(())
    }

    pub(crate) fn make_link(&mut self, to: &str, base: NodeId, path: &str) -> Answer<()> {
        if to.is_empty() || to.len() > PATH_MAX {
            return Err(if to.is_empty() {
                Errno::NoEnt
            } else {
                Errno::NameTooLong
            }
            .into());
        }
        // As elsewhere in WASI, a link may not even name an absolute path.
        if to.starts_with('/') {
            return Err(Errno::Perm.into());
        }
        let found = self.find(base, path, false)?;
        if found.node.is_some() || found.must_be_folder {
            return Err(if found.node.is_some() {
                Errno::Exist
            } else {
                Errno::NoEnt
            }
            .into());
        }
        self.make(found.folder, &found.name, Kind::Link(to.to_owned()))?;
        Ok(())
    }

    pub(crate) fn read_link(&self, base: NodeId, path: &str) -> Answer<&str> {
        match &self.node(self.must_find(base, path, false)?)?.kind {
            Kind::Link(to) => Ok(to),
            _ => Err(Errno::Inval.into()),
        }
    }

    /// Gives a file one more name.
    pub(crate) fn link(
        &mut self,
        from: NodeId,
        old: &str,
        follow: bool,
        to: NodeId,
        new: &str,
    ) -> Answer<()> {
        let id = self.must_find(from, old, follow)?;
        if self.stat(id)?.what == What::Folder {
            return Err(Errno::Perm.into());
        }
        let found = self.find(to, new, false)?;
        if found.node.is_some() {
            return Err(Errno::Exist.into());
        }
        if found.must_be_folder {
            return Err(Errno::NotDir.into());
        }
        self.may_name(found.folder, &found.name)?;
        self.count()?;
        self.names_mut(found.folder)?.insert(found.name, id);
        self.node_mut(id)?.names += 1;
        Ok(())
    }

    pub(crate) fn unlink(&mut self, base: NodeId, path: &str) -> Answer<()> {
        let found = self.find(base, path, false)?;
        let id = found.node.ok_or(Errno::NoEnt)?;
        if self.stat(id)?.what == What::Folder {
            return Err(Errno::IsDir.into());
        }
        if found.must_be_folder {
            return Err(Errno::NotDir.into());
        }
        self.drop_name(found.folder, &found.name, id)
    }

    pub(crate) fn remove_folder(&mut self, base: NodeId, path: &str) -> Answer<()> {
        let found = self.find(base, path, false)?;
        let id = found.node.ok_or(Errno::NoEnt)?;
        if !self.names(id)?.is_empty() {
            return Err(Errno::NotEmpty.into());
        }
        if found.name.is_empty() {
            return Err(Errno::Inval.into());
        }
        self.drop_name(found.folder, &found.name, id)
    }

    pub(crate) fn rename(&mut self, from: NodeId, old: &str, to: NodeId, new: &str) -> Answer<()> {
        let source = self.find(from, old, false)?;
        let target = self.find(to, new, false)?;
        let id = source.node.ok_or(Errno::NoEnt)?;
        if source.name.is_empty() || target.name.is_empty() {
            return Err(Errno::Inval.into());
        }
        let folder = self.stat(id)?.what == What::Folder;
        if (source.must_be_folder || target.must_be_folder) && !folder {
            return Err(Errno::NotDir.into());
        }
        if let Some(other) = target.node {
            if other == id {
                return Ok(());
            }
            match (folder, self.stat(other)?.what == What::Folder) {
                (true, false) => return Err(Errno::NotDir.into()),
                (false, true) => return Err(Errno::IsDir.into()),
                (true, true) if !self.names(other)?.is_empty() => {
                    return Err(Errno::NotEmpty.into());
                }
                _ => {}
            }
        }
        // A folder may not move into itself.
        let mut above = target.folder;
        while folder && above != ROOT {
            if above == id {
                return Err(Errno::Inval.into());
            }
            above = self.parent(above)?;
        }
        self.may_name(target.folder, &target.name)?;
        if let Some(other) = target.node {
            self.drop_name(target.folder, &target.name, other)?;
        }
        self.names_mut(source.folder)?.remove(&source.name);
        self.names_mut(target.folder)?.insert(target.name, id);
        if let Kind::Folder { parent, .. } = &mut self.node_mut(id)?.kind {
            *parent = target.folder;
        }
        Ok(())
    }
}
