//! Calls on descriptors.

use super::{Mem, What};
use crate::guest::{
    Guest,
    fs::{self, Fs, Stat},
    lock,
    stop::{Answer, Errno, Fail},
};

const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;
const APPEND: i32 = 1;

pub(super) fn advise(
    _: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    _: i64,
    len: i64,
    advice: i32,
) -> Answer<()> {
    match guest.files.get(fd)? {
        _ if len < 0 || !(0..6).contains(&advice) => Err(Errno::Inval.into()),
        What::File { .. } => Ok(()),
        _ => Err(Errno::Badf.into()),
    }
}

pub(super) fn allocate(
    _: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    at: i64,
    len: i64,
) -> Answer<()> {
    let What::File {
        node, write: true, ..
    } = guest.files.get(fd)?
    else {
        return Err(Errno::Badf.into());
    };
    let end = at
        .cast_unsigned()
        .checked_add(len.cast_unsigned())
        .ok_or(Errno::FBig)?;
    let mut fs = lock(&guest.fs);
    if end > fs.size(node)? {
        fs.resize(node, end)
    } else {
        Ok(())
    }
}

pub(super) fn close(_: &mut Mem<'_>, guest: &mut Guest, fd: i32) -> Answer<()> {
    let what = guest.files.remove(fd)?;
    drop_of(&mut lock(&guest.fs), what);
    Ok(())
}

fn drop_of(fs: &mut Fs, what: What) {
    if let What::File { node, .. }
    | What::Folder {
        node,
        preopened: false,
    } = what
    {
        fs.release(node);
    }
}

pub(super) fn sync(_: &mut Mem<'_>, guest: &mut Guest, fd: i32) -> Answer<()> {
    match guest.files.get(fd)? {
        What::File { .. } | What::Folder { .. } => Ok(()),
        _ => Err(Errno::Inval.into()),
    }
}

pub(super) fn fdstat_get(mem: &mut Mem<'_>, guest: &mut Guest, fd: i32, out: i32) -> Answer<()> {
    let (kind, flags, rights) = match guest.files.get(fd)? {
        What::Input => (2, 0, READ),
        What::Output | What::Log => (2, 0, WRITE),
        What::File {
            append,
            read,
            write,
            ..
        } => {
            let rights = if read { READ } else { 0 } | if write { WRITE } else { 0 };
            // Seek, tell, sizes, times and advice go with every file.
            (4, u16::from(append), rights | 0x0860_01bd)
        }
        // All that concern paths, and all of what is opened by them.
        What::Folder { .. } => (3, 0, 0x0fff_fe00),
    };
    let mut stat = [0_u8; 24];
    stat[0] = kind;
    stat[2..4].copy_from_slice(&flags.to_le_bytes());
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    let inheriting: u64 = if kind == 3 { 0x1fff_ffff } else { 0 };
    stat[16..].copy_from_slice(&inheriting.to_le_bytes());
    mem.put(out, &stat)
}

pub(super) fn fdstat_set_flags(
    _: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    flags: i32,
) -> Answer<()> {
    match guest.files.get_mut(fd)? {
        // Nothing here blocks, and all is as synchronous as memory is.
        What::File { append, .. } if (0..32).contains(&flags) => {
            *append = flags & APPEND != 0;
            Ok(())
        }
        What::Input | What::Output | What::Log => Ok(()),
        _ => Err(Errno::Inval.into()),
    }
}

pub(super) fn fdstat_set_rights(
    _: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    base: i64,
    _: i64,
) -> Answer<()> {
    // Rights only shrink, and only these two say something here.
    if let What::File { read, write, .. } = guest.files.get_mut(fd)? {
        *read &= base.cast_unsigned() & READ != 0;
        *write &= base.cast_unsigned() & WRITE != 0;
    }
    Ok(())
}

/// `stat` as preview 1 lays it out.
pub(super) fn filestat(stat: &Stat) -> [u8; 64] {
    let mut out = [0_u8; 64];
    let mut put = |at: usize, value: u64| out[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, 1);
    put(8, stat.node);
    put(24, stat.links);
    put(32, stat.size);
    put(40, stat.accessed);
    put(48, stat.modified);
    put(56, stat.modified);
    out[16] = kind(stat.what);
    out
}

pub(super) fn kind(what: fs::What) -> u8 {
    match what {
        fs::What::Folder => 3,
        fs::What::File => 4,
        fs::What::Link => 7,
    }
}

pub(super) fn filestat_get(mem: &mut Mem<'_>, guest: &mut Guest, fd: i32, out: i32) -> Answer<()> {
    let stat = match guest.files.get(fd)? {
        What::File { node, .. } | What::Folder { node, .. } => {
            filestat(&lock(&guest.fs).stat(node)?)
        }
        What::Input | What::Output | What::Log => {
            let mut stat = [0; 64];
            (stat[16], stat[24]) = (2, 1);
            stat
        }
    };
    mem.put(out, &stat)
}

pub(super) fn filestat_set_size(
    _: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    size: i64,
) -> Answer<()> {
    let What::File {
        node, write: true, ..
    } = guest.files.get(fd)?
    else {
        return Err(Errno::Badf.into());
    };
    lock(&guest.fs).resize(node, size.cast_unsigned())
}

pub(super) fn filestat_set_times(
    _: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    accessed: i64,
    modified: i64,
    flags: i32,
) -> Answer<()> {
    let (What::File { node, .. } | What::Folder { node, .. }) = guest.files.get(fd)? else {
        return Err(Errno::Badf.into());
    };
    let (accessed, modified) = times(guest, accessed, modified, flags)?;
    lock(&guest.fs).set_times(node, accessed, modified)
}

/// Times to set: given ones, the clock's or none.
pub(super) fn times(
    guest: &Guest,
    accessed: i64,
    modified: i64,
    flags: i32,
) -> Answer<(Option<u64>, Option<u64>)> {
    let one = |given: i64, flags: i32| match flags & 3 {
        0 => Ok(None),
        1 => Ok(Some(given.cast_unsigned())),
        2 => Ok(Some(lock(&guest.clock).wall())),
        _ => Err(Fail::Errno(Errno::Inval)),
    };
    Ok((one(accessed, flags)?, one(modified, flags >> 2)?))
}

pub(super) fn pread(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    list: i32,
    len: i32,
    at: i64,
    out: i32,
) -> Answer<()> {
    match guest.files.get(fd)? {
        What::File {
            node, read: true, ..
        } => {
            let read = read_at(mem, guest, node, at.cast_unsigned(), list, len)?;
            mem.put_u32(out, read)
        }
        What::Input | What::Output | What::Log => Err(Errno::SPipe.into()),
        What::Folder { .. } => Err(Errno::IsDir.into()),
        What::File { .. } => Err(Errno::Badf.into()),
    }
}

pub(super) fn read(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    list: i32,
    len: i32,
    out: i32,
) -> Answer<()> {
    match guest.files.get(fd)? {
        What::Input => {
            mem.buffers(list, len)?;
            mem.put_u32(out, 0)
        }
        What::File {
            node,
            at,
            read: true,
            ..
        } => {
            let read = read_at(mem, guest, node, at, list, len)?;
            move_on(guest, fd, at + u64::from(read))?;
            mem.put_u32(out, read)
        }
        What::Folder { .. } => Err(Errno::IsDir.into()),
        _ => Err(Errno::Badf.into()),
    }
}

fn read_at(
    mem: &mut Mem<'_>,
    guest: &Guest,
    node: u64,
    mut at: u64,
    list: i32,
    len: i32,
) -> Answer<u32> {
    let fs = lock(&guest.fs);
    let mut total = 0_u32;
    for (buffer, len) in mem.buffers(list, len)? {
        let read = fs.read(node, at, mem.get_mut(buffer, len)?)?;
        let read = u32::try_from(read).map_err(|_| Errno::Overflow)?;
        total += read;
        at = at.saturating_add(u64::from(read));
        if read < len.cast_unsigned() {
            break;
        }
    }
    Ok(total)
}

fn move_on(guest: &mut Guest, fd: i32, to: u64) -> Answer<()> {
    if let What::File { at, .. } = guest.files.get_mut(fd)? {
        *at = to;
    }
    Ok(())
}

pub(super) fn pwrite(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    list: i32,
    len: i32,
    at: i64,
    out: i32,
) -> Answer<()> {
    match guest.files.get(fd)? {
        What::File {
            node, write: true, ..
        } => {
            let written = write_at(mem, guest, node, at.cast_unsigned(), list, len)?;
            mem.put_u32(out, written)
        }
        What::Input | What::Output | What::Log => Err(Errno::SPipe.into()),
        _ => Err(Errno::Badf.into()),
    }
}

pub(super) fn write(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    list: i32,
    len: i32,
    out: i32,
) -> Answer<()> {
    let written = match guest.files.get(fd)? {
        What::File {
            node,
            at,
            append,
            write: true,
            ..
        } => {
            let at = if append {
                lock(&guest.fs).size(node)?
            } else {
                at
            };
            let written = write_at(mem, guest, node, at, list, len)?;
            move_on(guest, fd, at + u64::from(written))?;
            written
        }
        what @ (What::Output | What::Log) => {
            let mut fs = lock(&guest.fs);
            let mut total = 0;
            for (buffer, len) in mem.buffers(list, len)? {
                let bytes = mem.get(buffer, len)?;
                if what == What::Output {
                    fs.print(bytes)?;
                } else {
                    fs.log(bytes)?;
                }
                total += len.cast_unsigned();
            }
            total
        }
        _ => return Err(Errno::Badf.into()),
    };
    mem.put_u32(out, written)
}

fn write_at(
    mem: &mut Mem<'_>,
    guest: &Guest,
    node: u64,
    mut at: u64,
    list: i32,
    len: i32,
) -> Answer<u32> {
    let mut fs = lock(&guest.fs);
    let mut total = 0;
    for (buffer, len) in mem.buffers(list, len)? {
        fs.write(node, at, mem.get(buffer, len)?)?;
        total += len.cast_unsigned();
        at = at.saturating_add(u64::from(len.cast_unsigned()));
    }
    Ok(total)
}

pub(super) fn renumber(_: &mut Mem<'_>, guest: &mut Guest, fd: i32, to: i32) -> Answer<()> {
    // Only an open descriptor is replaced: others could be any number.
    guest.files.get(to)?;
    let what = guest.files.get(fd)?;
    if fd != to {
        guest.files.remove(fd)?;
        if let Some(old) = guest.files.set(to, what) {
            drop_of(&mut lock(&guest.fs), old);
        }
    }
    Ok(())
}

pub(super) fn seek(
    mem: &mut Mem<'_>,
    guest: &mut Guest,
    fd: i32,
    by: i64,
    whence: i32,
    out: i32,
) -> Answer<()> {
    let What::File { node, at, .. } = guest.files.get(fd)? else {
        return Err(if matches!(guest.files.get(fd)?, What::Folder { .. }) {
            Errno::Badf
        } else {
            Errno::SPipe
        }
        .into());
    };
    let from = match whence {
        0 => 0,
        1 => at,
        2 => lock(&guest.fs).size(node)?,
        _ => return Err(Errno::Inval.into()),
    };
    let to = from
        .checked_add_signed(by)
        .filter(|&to| i64::try_from(to).is_ok())
        .ok_or(Errno::Inval)?;
    move_on(guest, fd, to)?;
    mem.put_u64(out, to)
}

pub(super) fn tell(mem: &mut Mem<'_>, guest: &mut Guest, fd: i32, out: i32) -> Answer<()> {
    match guest.files.get(fd)? {
        What::File { at, .. } => mem.put_u64(out, at),
        What::Folder { .. } => Err(Errno::Badf.into()),
        _ => Err(Errno::SPipe.into()),
    }
}
