//! The order, and the files that come with it.

use std::{
    io::{IoSliceMut, Read as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

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
    // Without all its files a program would run on other inputs than those of its job.
    if read.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Gone::Order);
    }
    let mut socket = socket;
    socket.read_exact(head.get_mut(read.bytes..).ok_or(Gone::Order)?)?;
    let len = u32::from_le_bytes(head) as usize;
    if read.bytes == 0 || len > ORDER_MAX {
        return Err(Gone::Order);
    }
    let mut body = vec![0; len];
    socket.read_exact(&mut body)?;
    let order = Order::decode(&body).map_err(|_| Gone::Order)?;
    let expected = match &order {
        Order::Run(run) => 1 + run.inputs.len(),
        Order::Compile => 1,
        Order::SelfTest => 0,
    };
    if files.len() != expected {
        return Err(Gone::Order);
    }
    Ok((order, files))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{IoSlice, Write as _},
        os::fd::{AsFd as _, BorrowedFd},
    };

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;
    use crate::wire::Run;

    fn order_of(inputs: usize) -> Order {
        Order::Run(Box::new(Run {
            component: false,
            args: Vec::new(),
            env: Vec::new(),
            inputs: (0..inputs).map(|n| (n.to_string(), 0)).collect(),
            limits: crate::Limits {
                fuel: 1,
                wall: std::time::Duration::from_secs(1),
                memory: 1,
                output: 1,
                files: 1,
            },
            clock: false,
            random: false,
            hosts: None,
            seed: [0; 32],
            start_ms: 0,
            share: 100,
        }))
    }

    /// How many files come with an order that was sent with so many.
    fn sent(order: &Order, files: usize) -> Option<usize> {
        let (parent, child) = UnixStream::pair().unwrap();
        let body = order.encode();
        let head = u32::try_from(body.len()).unwrap().to_le_bytes();
        let files: Vec<BorrowedFd<'_>> = (0..files).map(|_| parent.as_fd()).collect();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(128))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(files.is_empty() || control.push(SendAncillaryMessage::ScmRights(&files)));
        let slices = &[IoSlice::new(&head)];
        sendmsg(&parent, slices, &mut control, SendFlags::NOSIGNAL).unwrap();
        (&parent).write_all(&body).unwrap();
        super::order(&child).ok().map(|(_, files)| files.len())
    }

    #[test]
    fn an_order_comes_with_its_files_or_not_at_all() {
        assert_eq!(sent(&order_of(2), 3), Some(3));
        assert_eq!(
            sent(&order_of(INPUTS_MAX), INPUTS_MAX + 1),
            Some(INPUTS_MAX + 1)
        );
        for files in [0, 1, 2, 4] {
            assert_eq!(sent(&order_of(2), files), None, "{files} files");
        }
        assert_eq!(sent(&Order::Compile, 0), None);
        assert_eq!(sent(&Order::SelfTest, 1), None);
        // As many as the order names arrive, and others are cut off. An even number has room, for numbers come in pairs.
        assert_eq!(sent(&order_of(INPUTS_MAX + 1), INPUTS_MAX + 8), None);
    }
}
