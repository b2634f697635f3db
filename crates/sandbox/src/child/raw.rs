//! Calls without a safe binding: the places where this crate has `unsafe` code.
#![expect(
    unsafe_code,
    reason = "the calls below have no safe binding; each says why it is sound"
)]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use rustix::thread::UnshareFlags;
use wasmtime::{Engine, Module, component::Component};

/// Closes all descriptors from 3 on.
pub(super) fn close_rest() -> io::Result<()> {
    // SAFETY: the caller is at the start of `main` and holds no descriptor but the standard ones, so none that something
    // owns is closed.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes descriptor 0.
pub(super) fn close_stdin() {
    // SAFETY: nothing in this process owns descriptor 0 or reads from it again; it waits for another process and ends.
    unsafe { libc::close(0) };
}

/// Puts a socket in the place of descriptor 0.
pub(super) fn take_as_stdin(socket: &OwnedFd) -> io::Result<()> {
    place(socket, 0)
}

/// Opens nothing anew in the place of descriptors 1 and 2: those that were inherited are other children's too, which could see
/// a change of their flags.
pub(super) fn own_nothing() -> io::Result<()> {
    // Appending tells it from the one that was inherited.
    let nothing = File::options().append(true).open("/dev/null")?.into();
    place(&nothing, 1)?;
    place(&nothing, 2)
}

/// Puts a file in the place of a standard descriptor.
fn place(file: &OwnedFd, standard: libc::c_int) -> io::Result<()> {
    // SAFETY: nothing in this process owns one of the standard descriptors; both are of the same file afterwards.
    match unsafe { libc::dup2(file.as_raw_fd(), standard) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lets this process and those that it starts run only while no other wants the processor.
pub(super) fn idle() -> io::Result<()> {
    // SAFETY: zero is a valid value of each field of the structure.
    let mut none: libc::sched_param = unsafe { std::mem::zeroed() };
    none.sched_priority = 0;
    // SAFETY: the structure lives until the call returns, and 0 names this process.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves namespaces of the parent.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: this process has one thread, and `flags` has no `FILES`: no other thread's descriptors change.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// A second process. `None` in the new one.
pub(super) fn fork() -> io::Result<Option<rustix::process::Pid>> {
    // SAFETY: this process has one thread, so the new one has all locks in a state that it can go on from.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(rustix::process::Pid::from_raw(pid)),
    }
}

/// Compiled code of a module.
pub(super) fn module(engine: &Engine, file: File) -> wasmtime::Result<Module> {
    // SAFETY: the parent took the file from a child that compiled it and did nothing else, or verified its authenticator,
    // and sealed it, so that nobody changes it while it is mapped.
    unsafe { Module::deserialize_open_file(engine, file) }
}

/// Compiled code of a component.
pub(super) fn component(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: as for a module.
    unsafe { Component::deserialize(engine, bytes) }
}

/// One system call with up to three numbers, for the self-test.
pub(super) fn system_call(
    number: libc::c_long,
    a: libc::c_long,
    b: libc::c_long,
    c: libc::c_long,
) -> io::Result<i64> {
    // All six arguments are passed, so that none is what a register happens to hold.
    let none: libc::c_long = 0;
    // SAFETY: the self-test passes no address but null and numbers that name nothing of this process's memory.
    match unsafe { libc::syscall(number, a, b, c, none, none, none) } {
        -1 => Err(io::Error::last_os_error()),
        done => Ok(done),
    }
}

/// Maps a page that nobody uses, for the self-test.
pub(super) fn map(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no address is asked for, so the kernel takes one that is free, and no other mapping changes.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
