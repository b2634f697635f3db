//! WASI preview 1 over the guest's own files.
//!
//! The library's version reads the machine's file system, whose times, numbers and order differ from run to run.

use std::collections::BTreeMap;

use wasmtime::{Caller, Extern, Linker};

use super::{
    Guest,
    fs::{NodeId, ROOT},
    lock,
    stop::{Answer, Errno, Fail, Stop},
};

mod files;
mod folders;
mod memory;
mod paths;
mod rest;

use memory::Mem;

/// Most descriptors of a guest.
pub(crate) const DESCRIPTORS_MAX: usize = 1024;
/// Fuel that a call burns beside its instructions, and the number of moved bytes that burn one unit more.
const CALL: u64 = 50;
const BYTES: u64 = 16;
const WASI: &str = "wasi_snapshot_preview1";

/// The stream, file or folder that a descriptor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Input,
    Output,
    Log,
    File {
        node: NodeId,
        at: u64,
        append: bool,
        read: bool,
        write: bool,
    },
    Folder {
        node: NodeId,
        preopened: bool,
    },
}

/// A guest's descriptors: 0 to 2 are the standard streams, 3 is its folder.
pub(crate) struct Table(BTreeMap<u32, What>);

impl Table {
    pub(crate) fn new() -> Self {
        let root = What::Folder {
            node: ROOT,
            preopened: true,
        };
        Self(BTreeMap::from([
            (0, What::Input),
            (1, What::Output),
            (2, What::Log),
            (3, root),
        ]))
    }

    fn get(&self, fd: i32) -> Answer<What> {
        Ok(*self.0.get(&fd.cast_unsigned()).ok_or(Errno::Badf)?)
    }

    fn get_mut(&mut self, fd: i32) -> Answer<&mut What> {
        Ok(self.0.get_mut(&fd.cast_unsigned()).ok_or(Errno::Badf)?)
    }

    fn folder(&self, fd: i32) -> Answer<NodeId> {
        match self.get(fd)? {
            What::Folder { node, .. } => Ok(node),
            _ => Err(Errno::NotDir.into()),
        }
    }

    fn add(&mut self, what: What) -> Answer<u32> {
        if self.0.len() >= DESCRIPTORS_MAX {
            return Err(Errno::MFile.into());
        }
        let free = (0..)
            .find(|fd| !self.0.contains_key(fd))
            .unwrap_or(u32::MAX);
        self.0.insert(free, what);
        Ok(free)
    }

    fn set(&mut self, fd: i32, what: What) -> Option<What> {
        self.0.insert(fd.cast_unsigned(), what)
    }

    fn remove(&mut self, fd: i32) -> Answer<What> {
        Ok(self.0.remove(&fd.cast_unsigned()).ok_or(Errno::Badf)?)
    }
}

/// Runs one call: with the guest's memory and state, and its fuel charged for what it moves.
fn call(
    mut caller: Caller<'_, Guest>,
    run: impl FnOnce(&mut Mem<'_>, &mut Guest) -> Answer<()>,
) -> wasmtime::Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(Stop::NoMemory.into());
    };
    let (bytes, guest) = memory.data_and_store_mut(&mut caller);
    let mut mem = Mem::new(bytes);
    let answer = run(&mut mem, guest);
    let burned = CALL + mem.moved() / BYTES;
    match caller.get_fuel()?.checked_sub(burned) {
        Some(left) => {
            caller.set_fuel(left)?;
            lock(&caller.data().meter).called(left);
        }
        None => {
            caller.set_fuel(0)?;
            return Err(wasmtime::Trap::OutOfFuel.into());
        }
    }
    match answer {
        Ok(()) => Ok(0),
        Err(Fail::Errno(errno)) => Ok(errno.number()),
        Err(Fail::Stop(stop)) => Err(stop.into()),
    }
}

/// Defines functions: the name in WASI, the arguments, what runs.
macro_rules! functions {
    ($linker:ident: $($name:literal ($($arg:ident: $type:ty),*) $run:path;)*) => {
        $($linker.func_wrap(WASI, $name, |caller: Caller<'_, Guest>, $($arg: $type),*| -> wasmtime::Result<i32> {
            call(caller, |mem, guest| $run(mem, guest, $($arg),*))
        })?;)*
    };
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    functions! { linker:
        "args_get"(list: i32, text: i32) rest::args_get;
        "args_sizes_get"(count: i32, size: i32) rest::args_sizes_get;
        "environ_get"(list: i32, text: i32) rest::environ_get;
        "environ_sizes_get"(count: i32, size: i32) rest::environ_sizes_get;
        "clock_res_get"(id: i32, out: i32) rest::clock_res_get;
        "clock_time_get"(id: i32, precision: i64, out: i32) rest::clock_time_get;
        "random_get"(into: i32, len: i32) rest::random_get;
        "poll_oneoff"(subscriptions: i32, events: i32, count: i32, out: i32) rest::poll_oneoff;
        "sock_accept"(fd: i32, flags: i32, out: i32) rest::sock_accept;
        "sock_recv"(fd: i32, list: i32, len: i32, flags: i32, out: i32, out_flags: i32) rest::sock_recv;
        "sock_send"(fd: i32, list: i32, len: i32, flags: i32, out: i32) rest::sock_send;
        "sock_shutdown"(fd: i32, how: i32) rest::sock_shutdown;
        "fd_advise"(fd: i32, at: i64, len: i64, advice: i32) files::advise;
        "fd_allocate"(fd: i32, at: i64, len: i64) files::allocate;
        "fd_close"(fd: i32) files::close;
        "fd_datasync"(fd: i32) files::sync;
        "fd_fdstat_get"(fd: i32, out: i32) files::fdstat_get;
        "fd_fdstat_set_flags"(fd: i32, flags: i32) files::fdstat_set_flags;
        "fd_fdstat_set_rights"(fd: i32, base: i64, inheriting: i64) files::fdstat_set_rights;
        "fd_filestat_get"(fd: i32, out: i32) files::filestat_get;
        "fd_filestat_set_size"(fd: i32, size: i64) files::filestat_set_size;
        "fd_filestat_set_times"(fd: i32, accessed: i64, modified: i64, flags: i32) files::filestat_set_times;
        "fd_pread"(fd: i32, list: i32, len: i32, at: i64, out: i32) files::pread;
        "fd_prestat_dir_name"(fd: i32, into: i32, len: i32) folders::prestat_dir_name;
        "fd_prestat_get"(fd: i32, out: i32) folders::prestat_get;
        "fd_pwrite"(fd: i32, list: i32, len: i32, at: i64, out: i32) files::pwrite;
        "fd_read"(fd: i32, list: i32, len: i32, out: i32) files::read;
        "fd_readdir"(fd: i32, into: i32, len: i32, cookie: i64, out: i32) folders::readdir;
        "fd_renumber"(fd: i32, to: i32) files::renumber;
        "fd_seek"(fd: i32, by: i64, whence: i32, out: i32) files::seek;
        "fd_sync"(fd: i32) files::sync;
        "fd_tell"(fd: i32, out: i32) files::tell;
        "fd_write"(fd: i32, list: i32, len: i32, out: i32) files::write;
        "path_create_directory"(fd: i32, path: i32, len: i32) paths::create_directory;
        "path_filestat_get"(fd: i32, flags: i32, path: i32, len: i32, out: i32) paths::filestat_get;
        "path_filestat_set_times"(fd: i32, flags: i32, path: i32, len: i32, accessed: i64, modified: i64, which: i32)
            paths::filestat_set_times;
        "path_link"(fd: i32, flags: i32, old: i32, old_len: i32, to: i32, new: i32, new_len: i32) paths::link;
        "path_open"(fd: i32, follow: i32, path: i32, len: i32, how: i32, base: i64, inheriting: i64, flags: i32, out: i32)
            paths::open;
        "path_readlink"(fd: i32, path: i32, len: i32, into: i32, into_len: i32, out: i32) paths::readlink;
        "path_remove_directory"(fd: i32, path: i32, len: i32) paths::remove_directory;
        "path_rename"(fd: i32, old: i32, old_len: i32, to: i32, new: i32, new_len: i32) paths::rename;
        "path_symlink"(to: i32, to_len: i32, fd: i32, path: i32, len: i32) paths::symlink;
        "path_unlink_file"(fd: i32, path: i32, len: i32) paths::unlink_file;
    }
    linker.func_wrap(WASI, "sched_yield", || 0_i32)?;
    linker.func_wrap(WASI, "proc_exit", |code: i32| -> wasmtime::Result<()> {
        Err(Stop::Exit(code).into())
    })?;
    linker.func_wrap(WASI, "proc_raise", |_: i32| -> wasmtime::Result<i32> {
        Err(Stop::Raised.into())
    })?;
    Ok(())
}
