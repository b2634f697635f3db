//! Calls on paths, each from a folder's descriptor.

use super::{Mem, What, files};
use crate::guest::{
    Guest,
    fs::{self, Open},
    lock,
    stop::{Answer, Errno},
};

const FOLLOW: i32 = 1;

pub(super) fn create_directory(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    path: i32,
    len: i32,
) -> Answer<()> {
    let path = mem.text(path, len)?;
    let folder = guest.files.folder(fd)?;
    lock(&guest.fs).make_folder(folder, &path)
}

pub(super) fn filestat_get(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    flags: i32,
    path: i32,
    len: i32,
    out: i32,
) -> Answer<()> {
    let path = mem.text(path, len)?;
    let folder = guest.files.folder(fd)?;
    let stat = lock(&guest.fs).stat_at(folder, &path, flags & FOLLOW != 0)?;
    mem.put(out, &files::filestat(&stat))
}

#[expect(clippy::too_many_arguments, reason = "these are the call's")]
pub(super) fn filestat_set_times(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    flags: i32,
    path: i32,
    len: i32,
    accessed: i64,
    modified: i64,
    which: i32,
) -> Answer<()> {
    let path = mem.text(path, len)?;
    let folder = guest.files.folder(fd)?;
    let (accessed, modified) = files::times(guest, accessed, modified, which)?;
    let mut fs = lock(&guest.fs);
    let node = fs.must_find(folder, &path, flags & FOLLOW != 0)?;
    fs.set_times(node, accessed, modified)
}

#[expect(clippy::too_many_arguments, reason = "these are the call's")]
pub(super) fn link(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    flags: i32,
    old: i32,
    old_len: i32,
    to: i32,
    new: i32,
    new_len: i32,
) -> Answer<()> {
    let (old, new) = (mem.text(old, old_len)?, mem.text(new, new_len)?);
    let (from, to) = (guest.files.folder(fd)?, guest.files.folder(to)?);
    lock(&guest.fs).link(from, &old, flags & FOLLOW != 0, to, &new)
}

#[expect(clippy::too_many_arguments, reason = "these are the call's")]
pub(super) fn open(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    follow: i32,
    path: i32,
    len: i32,
    how: i32,
    base: i64,
    _: i64,
    flags: i32,
    out: i32,
) -> Answer<()> {
    let path = mem.text(path, len)?;
    let folder = guest.files.folder(fd)?;
    let rights = base.cast_unsigned();
    // Reading, or listing; writing, allocating or setting the size.
    let (read, write) = (
        rights & (1 << 1 | 1 << 14) != 0,
        rights & (1 << 6 | 1 << 8 | 1 << 22) != 0,
    );
    let how = Open {
        follow: follow & FOLLOW != 0,
        create: how & 1 != 0,
        folder: how & 2 != 0,
        exclusive: how & 4 != 0,
        truncate: how & 8 != 0,
        write,
    };
    // A folder is opened with all rights that a program may want of what is in it.
    let how = Open {
        write: write && !how.folder,
        ..how
    };
    let mut fs = lock(&guest.fs);
    let node = fs.open(folder, &path, how)?;
    let what = match fs.stat(node)?.what {
        fs::What::Folder => What::Folder {
            node,
            preopened: false,
        },
        _ => What::File {
            node,
            at: 0,
            append: flags & 1 != 0,
            read,
            write,
        },
    };
    match guest.files.add(what) {
        Ok(new) => mem.put_u32(out, new),
        Err(fail) => {
            fs.release(node);
            Err(fail)
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "these are the call's")]
pub(super) fn readlink(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    path: i32,
    len: i32,
    into: i32,
    into_len: i32,
    out: i32,
) -> Answer<()> {
    let path = mem.text(path, len)?;
    let folder = guest.files.folder(fd)?;
    let fs = lock(&guest.fs);
    let to = fs.read_link(folder, &path)?.as_bytes();
    let to = &to[..to.len().min(into_len.cast_unsigned() as usize)];
    mem.put(into, to)?;
    mem.put_u32(out, u32::try_from(to.len()).map_err(|_| Errno::Overflow)?)
}

pub(super) fn remove_directory(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    path: i32,
    len: i32,
) -> Answer<()> {
    let path = mem.text(path, len)?;
    let folder = guest.files.folder(fd)?;
    lock(&guest.fs).remove_folder(folder, &path)
}

#[expect(clippy::too_many_arguments, reason = "these are the call's")]
pub(super) fn rename(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    old: i32,
    old_len: i32,
    to: i32,
    new: i32,
    new_len: i32,
) -> Answer<()> {
    let (old, new) = (mem.text(old, old_len)?, mem.text(new, new_len)?);
    let (from, to) = (guest.files.folder(fd)?, guest.files.folder(to)?);
    lock(&guest.fs).rename(from, &old, to, &new)
}

pub(super) fn symlink(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    to: i32,
    to_len: i32,
    fd: i32,
    path: i32,
    len: i32,
) -> Answer<()> {
    let (to, path) = (mem.text(to, to_len)?, mem.text(path, len)?);
    let folder = guest.files.folder(fd)?;
    lock(&guest.fs).make_link(&to, folder, &path)
}

pub(super) fn unlink_file(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    path: i32,
    len: i32,
) -> Answer<()> {
    let path = mem.text(path, len)?;
    let folder = guest.files.folder(fd)?;
    lock(&guest.fs).unlink(folder, &path)
}
