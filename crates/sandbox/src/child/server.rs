//! The process that children are forks of: it has loaded the program and made the engine once, so that a child begins sooner.
//!
//! It runs no guest, reads nothing of one, and has no thread. All its children have their memory at the same addresses. Each child closes
//! a cage of its own.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid},
};

use super::raw;

/// What a request asks for, in its one byte.
pub(crate) const CLOSED: u8 = 0;
/// A child that may connect.
pub(crate) const NETWORK: u8 = 1;

/// A child's socket, and whether it may connect.
pub(super) struct Born {
    pub(super) socket: OwnedFd,
    pub(super) network: bool,
}

/// Forks a child for each request. Returns in each child; `None` in this process, once the parent's end of the socket is closed and all
/// children have ended, for they end with it.
pub(super) fn serve(control: BorrowedFd<'_>) -> io::Result<Option<Born>> {
    let mut children: Vec<(Pid, OwnedFd)> = Vec::new();
    let mut open = true;
    while open || !children.is_empty() {
        let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(children.len() + 1);
        let handles = children.iter().map(|(_, handle)| handle);
        polled.extend(handles.map(|handle| PollFd::new(handle, PollFlags::IN)));
        if open {
            polled.push(PollFd::new(&control, PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        let asked = open && polled.last().is_some_and(|at| !at.revents().is_empty());
        drop(polled);
        // An ended child is waited for, so that its number is free again.
        children.retain(|(pid, _)| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
        if !asked {
            continue;
        }
        let born = match request(control)? {
            Asked::Child(born) => born,
            Asked::Nothing => {
                reply(control, None);
                continue;
            }
            Asked::End => {
                open = false;
                continue;
            }
        };
        match raw::fork() {
            Ok(None) => return Ok(Some(born)),
            // It was not waited for yet, so the number is still its own.
            Ok(Some(pid)) => match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(handle) => {
                    reply(control, Some(handle.as_fd()));
                    children.push((pid, handle));
                }
                Err(_) => {
                    let _ = kill_process(pid, Signal::KILL);
                    let _ = waitpid(Some(pid), WaitOptions::empty());
                    reply(control, None);
                }
            },
            Err(_) => reply(control, None),
        }
    }
    Ok(None)
}

/// What came over the socket.
enum Asked {
    Child(Born),
    /// A request whose descriptor this process had no room for.
    Nothing,
    End,
}

fn request(control: BorrowedFd<'_>) -> io::Result<Asked> {
    let mut kind = [0_u8; 1];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut given = RecvAncillaryBuffer::new(&mut space);
    let read = rustix::io::retry_on_intr(|| {
        recvmsg(
            control,
            &mut [IoSliceMut::new(&mut kind)],
            &mut given,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let socket = given.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok(match socket {
        _ if read.bytes == 0 => Asked::End,
        None => Asked::Nothing,
        Some(socket) => Asked::Child(Born {
            socket,
            network: kind == [NETWORK],
        }),
    })
}

/// A byte, with the child's handle if there is a child. A parent that does not take it has closed its end, which the next request tells.
fn reply(control: BorrowedFd<'_>, handle: Option<BorrowedFd<'_>>) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut handed = SendAncillaryBuffer::new(&mut space);
    let handles: Vec<BorrowedFd<'_>> = handle.into_iter().collect();
    let done = !handles.is_empty() && handed.push(SendAncillaryMessage::ScmRights(&handles));
    let done = [u8::from(done)];
    let _ = sendmsg(
        control,
        &[IoSlice::new(&done)],
        &mut handed,
        SendFlags::NOSIGNAL,
    );
}
