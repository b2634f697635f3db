//! Calls on folders' descriptors.

use super::{Mem, What, files::kind};
use crate::guest::{
    Guest, fs, lock,
    stop::{Answer, Errno},
};

pub(super) fn prestat_get(mem: &mut Mem<'_>, guest: &mut Guest, fd: i32, out: i32) -> Answer<()> {
    match guest.files.get(fd)? {
        // Kind 0 is a folder; its name, `/`, has one byte.
        What::Folder {
            preopened: true, ..
        } => mem.put(out, &[0, 0, 0, 0, 1, 0, 0, 0]),
        _ => Err(Errno::Badf.into()),
    }
}

pub(super) fn prestat_dir_name(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    into: i32,
    len: i32,
) -> Answer<()> {
    match guest.files.get(fd)? {
        What::Folder {
            preopened: true, ..
        } if len.cast_unsigned() < 1 => Err(Errno::NameTooLong.into()),
        What::Folder {
            preopened: true, ..
        } => mem.put(into, b"/"),
        _ => Err(Errno::Badf.into()),
    }
}

pub(super) fn readdir(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    into: i32,
    len: i32,
    cookie: i64,
    out: i32,
) -> Answer<()> {
    let node = guest.files.folder(fd)?;
    let fs = lock(&guest.fs);
    let parent = fs.parent(node)?;
    let dots = [
        (".", node, fs::What::Folder),
        ("..", parent, fs::What::Folder),
    ];
    let entries = dots.into_iter().chain(fs.entries(node)?);
    let room = len.cast_unsigned() as usize;
    let mut bytes = Vec::new();
    let skip = usize::try_from(cookie).map_err(|_| Errno::Inval)?;
    for (at, (name, node, what)) in entries.enumerate().skip(skip) {
        bytes.extend_from_slice(&(at as u64 + 1).to_le_bytes());
        bytes.extend_from_slice(&node.to_le_bytes());
        bytes.extend_from_slice(
            &u32::try_from(name.len())
                .map_err(|_| Errno::Overflow)?
                .to_le_bytes(),
        );
        bytes.extend_from_slice(&[kind(what), 0, 0, 0]);
        bytes.extend_from_slice(name.as_bytes());
        if bytes.len() >= room {
            break;
        }
    }
    bytes.truncate(room);
    mem.put(into, &bytes)?;
    mem.put_u32(
        out,
        u32::try_from(bytes.len()).map_err(|_| Errno::Overflow)?,
    )
}
