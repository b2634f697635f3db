//! The order, and the files that come with it.

use std::{
    io::{IoSliceMut, Read as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::Gone;
use crate::{
    job::INPUTS_MAX,
    wire::{ORDER_MAX, Order},
};

/// Waits for the order. The parent's end of the socket closes when it is not needed: then this process ends.
pub(super) fn order(socket: &UnixStream) -> Result<(Order, Vec<OwnedFd>), Gone> {
    let mut head = [0_u8; 4];
    let mut space =
        [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(INPUTS_MAX + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read = rustix::io::retry_on_intr(|| {
        recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut head)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })
    .map_err(std::io::Error::from)?;
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let files: Vec<OwnedFd> = files.flatten().collect();
    let mut socket = socket;
    socket.read_exact(head.get_mut(read.bytes..).ok_or(Gone::Order)?)?;
    let len = u32::from_le_bytes(head) as usize;
    if read.bytes == 0 || len > ORDER_MAX {
        return Err(Gone::Order);
    }
    let mut body = vec![0; len];
    socket.read_exact(&mut body)?;
    Ok((Order::decode(&body).map_err(|_| Gone::Order)?, files))
}
