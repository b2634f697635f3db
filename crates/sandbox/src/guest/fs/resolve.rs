//! From a path to a node: never above the folder that it starts in.

use super::{Fs, Kind, NodeId};
use crate::{
    guest::stop::{Answer, Errno},
    job::{NAME_MAX, PATH_MAX},
};

/// Most links that one path may lead through.
const LINKS_MAX: usize = 40;
/// Most bytes of a path, links put in their place.
const WALK_MAX: usize = 16 * PATH_MAX;

/// The place that a path leads to.
pub(super) struct Found {
    /// The folder that holds the last name.
    pub(super) folder: NodeId,
    /// The last name; empty if the path leads to where it starts, or back.
    pub(super) name: String,
    /// The node of that name, if it exists.
    pub(super) node: Option<NodeId>,
    /// Whether the path ends with a slash.
    pub(super) must_be_folder: bool,
}

impl Fs {
    pub(super) fn find(&self, base: NodeId, path: &str, follow: bool) -> Answer<Found> {
        if path.is_empty() {
            return Err(Errno::NoEnt.into());
        }
        if path.len() > PATH_MAX {
            return Err(Errno::NameTooLong.into());
        }
        if path.starts_with('/') {
            return Err(Errno::Perm.into());
        }
        if path.contains('\0') {
            return Err(Errno::Inval.into());
        }
        let mut must_be_folder = path.ends_with('/');
        // Folders from the start down, and the parts still to go, last first.
        let mut walked = vec![base];
        let mut parts: Vec<String> = split(path);
        let (mut links, mut length) = (0, path.len());
        while let Some(part) = parts.pop() {
            let folder = walked.last().copied().unwrap_or(base);
            self.names(folder)?;
            let last = parts.is_empty();
            match part.as_str() {
                "." => {
                    must_be_folder |= last;
                    continue;
                }
                ".." => {
                    walked.pop();
                    if walked.is_empty() {
                        return Err(Errno::Perm.into());
                    }
                    must_be_folder |= last;
                    continue;
                }
                name if name.len() > NAME_MAX => return Err(Errno::NameTooLong.into()),
                _ => {}
            }
            let Some(&id) = self.names(folder)?.get(&part) else {
                if last {
                    return Ok(Found {
                        folder,
                        name: part,
                        node: None,
                        must_be_folder,
                    });
                }
                return Err(Errno::NoEnt.into());
            };
            match &self.node(id)?.kind {
                Kind::Link(to) if !last || follow || must_be_folder => {
                    links += 1;
                    length += to.len();
                    if links > LINKS_MAX || length > WALK_MAX {
                        return Err(Errno::Loop.into());
                    }
                    must_be_folder |= last && to.ends_with('/');
                    parts.extend(split(to));
                }
                Kind::Folder { .. } if !last => walked.push(id),
                _ if last => {
                    return Ok(Found {
                        folder,
                        name: part,
                        node: Some(id),
                        must_be_folder,
                    });
                }
                _ => return Err(Errno::NotDir.into()),
            }
        }
        let id = walked.last().copied().unwrap_or(base);
        Ok(Found {
            folder: self.parent(id)?,
            name: String::new(),
            node: Some(id),
            must_be_folder: true,
        })
    }
}

fn split(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|p| !p.is_empty())
        .rev()
        .map(str::to_owned)
        .collect()
}
