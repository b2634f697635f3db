//! The process that children are forks of: it has loaded this executable and made the engine once, so that a child begins sooner.
//!
//! It runs no guest, reads nothing of one, and has no thread. All its children have their memory at the same addresses. Each child closes
//! a cage of its own.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
    },
    process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid},
};

use super::raw;

/// Pause where the machine cannot say what came.
const PAUSE: Duration = Duration::from_millis(10);

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
pub(super) fn serve(control: BorrowedFd<'_>) -> Option<Born> {
    let mut children: Vec<(Pid, OwnedFd)> = Vec::new();
    let mut open = true;
    while open || !children.is_empty() {
        let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(children.len() + 1);
        let handles = children.iter().map(|(_, handle)| handle);
        polled.extend(handles.map(|handle| PollFd::new(handle, PollFlags::IN)));
        if open {
            polled.push(PollFd::new(&control, PollFlags::IN));
        }
        if poll(&mut polled, None).is_err() {
            // A signal, or a machine that is short of memory. An end here would be that of all children.
            thread::sleep(PAUSE);
            continue;
        }
        let asked = open && polled.last().is_some_and(|at| !at.revents().is_empty());
        drop(polled);
        // An ended child is waited for, so that its number is free again.
        children.retain(|(pid, _)| matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None)));
        if !asked {
            continue;
        }
        let born = match request(control) {
            Ok(Asked::Child(born)) => born,
            Ok(Asked::Nothing) => {
                reply(control, None);
                continue;
            }
            Ok(Asked::End) | Err(_) => {
                // Where a request could not be read, the parent waits for no answer to it.
                let _ = shutdown(control, Shutdown::Both);
                open = false;
                continue;
            }
        };
        match raw::fork() {
            Ok(None) => return Some(born),
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
    None
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

/// A byte, with the child's handle if there is a child. A handle that cannot be sent ends its child, for the parent closes that one's
/// socket. A parent that does not take the byte has closed its end, which the next request tells.
fn reply(control: BorrowedFd<'_>, handle: Option<BorrowedFd<'_>>) {
    if handle.is_none_or(|handle| say(control, Some(handle)).is_err()) {
        let _ = say(control, None);
    }
}

fn say(control: BorrowedFd<'_>, handle: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut handed = SendAncillaryBuffer::new(&mut space);
    let handles: Vec<BorrowedFd<'_>> = handle.into_iter().collect();
    let done = !handles.is_empty() && handed.push(SendAncillaryMessage::ScmRights(&handles));
    let done = [u8::from(done)];
    sendmsg(
        control,
        &[IoSlice::new(&done)],
        &mut handed,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn a_parent_that_goes_without_its_answer_ends_the_requests_and_no_more() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || serve(theirs.as_fd()).is_none());
        // A request without a descriptor: it is answered, and forks nothing.
        ours.write_all(&[CLOSED]).unwrap();
        let mut answered = [PollFd::new(&ours, PollFlags::IN)];
        poll(&mut answered, None).unwrap();
        // An answer that was not read: the server's next read is an error.
        drop(ours);
        assert!(server.join().unwrap());
    }

    #[test]
    fn a_request_that_cannot_be_read_is_answered_by_the_end_of_the_stream() {
        // Not connected, so every read of it is an error.
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            None,
        );
        assert!(serve(socket.unwrap().as_fd()).is_none());
    }
}
