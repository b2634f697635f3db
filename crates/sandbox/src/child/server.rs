//! The process that children are forks of: it has loaded the program and made the engine once, so that a child begins sooner.
//!
//! It runs no guest, reads nothing of one, and has no thread. What it hands on to its children is the same in all of them: their
//! memory begins at the same places. They close their cages one by one, each its own.

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
    process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid},
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

/// Forks a child for each request, until the parent's end of the socket closes. Returns in each child; `None` in this process.
pub(super) fn serve(control: BorrowedFd<'_>) -> io::Result<Option<Born>> {
    let mut children: Vec<(Pid, OwnedFd)> = Vec::new();
    loop {
        let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(children.len() + 1);
        polled.push(PollFd::new(&control, PollFlags::IN));
        polled.extend(
            children
                .iter()
                .map(|(_, handle)| PollFd::new(handle, PollFlags::IN)),
        );
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        let asked = polled.first().is_some_and(|at| !at.revents().is_empty());
        drop(polled);
        // An ended child is waited for, so that its number is free again.
        children.retain(|(pid, _)| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
        if !asked {
            continue;
        }
        let Some(born) = request(control)? else {
            return Ok(None);
        };
        match raw::fork() {
            Ok(None) => return Ok(Some(born)),
            Ok(Some(pid)) => {
                // It was not waited for yet, so the number is still its own.
                let handle = pidfd_open(pid, PidfdFlags::empty())?;
                reply(control, Some(handle.as_fd()))?;
                children.push((pid, handle));
            }
            Err(_) => reply(control, None)?,
        }
    }
}

fn request(control: BorrowedFd<'_>) -> io::Result<Option<Born>> {
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
    Ok(socket.filter(|_| read.bytes > 0).map(|socket| Born {
        socket,
        network: kind == [NETWORK],
    }))
}

/// A byte, with the child's handle if there is a child.
fn reply(control: BorrowedFd<'_>, handle: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control_data = SendAncillaryBuffer::new(&mut space);
    let handles: Vec<BorrowedFd<'_>> = handle.into_iter().collect();
    if !handles.is_empty() && !control_data.push(SendAncillaryMessage::ScmRights(&handles)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let done = u8::from(!handles.is_empty());
    sendmsg(
        control,
        &[IoSlice::new(&[done])],
        &mut control_data,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}
