//! A child, from its start to its end.

use std::{
    io::{ErrorKind, IoSlice},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream as Socket,
    },
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::UnixStream,
};

use crate::{
    Error,
    child::Layer,
    job::INPUTS_MAX,
    wire::{Frame, Frames, Order},
};

/// How long a child may take to get ready. It takes some milliseconds.
const READY: Duration = Duration::from_secs(30);

fn pidfd(pid: u32) -> Result<OwnedFd, Error> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Error::NotReady)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| Error::Spawn(errno.into()))
}

/// A process, ended at the latest when this is dropped. The fork server waits for its end.
pub(crate) struct Life {
    process: OwnedFd,
}

impl Life {
    pub(crate) fn signal(&self, signal: Signal) {
        // Only this handle names the process, whoever has its number by now.
        let _ = pidfd_send_signal(&self.process, signal);
    }

    /// Whether the process has not ended: only then does its handle get readable.
    pub(crate) fn alive(&self) -> bool {
        let mut handles = [PollFd::new(&self.process, PollFlags::IN)];
        matches!(poll(&mut handles, Some(&Timespec::default())), Ok(0))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// A child whose cage is closed.
pub(crate) struct Kid {
    socket: UnixStream,
    life: Arc<Life>,
    layers: u32,
    key: [u8; 32],
}

impl Kid {
    /// A child that was just forked, once its cage is closed.
    pub(super) async fn born(socket: Socket, process: OwnedFd) -> Result<Self, Error> {
        // From here on a drop ends it.
        let life = Arc::new(Life { process });
        socket.set_nonblocking(true).map_err(Error::Spawn)?;
        let mut kid = Self {
            socket: UnixStream::from_std(socket).map_err(Error::Spawn)?,
            life,
            layers: 0,
            key: [0; 32],
        };
        tokio::time::timeout(READY, kid.ready())
            .await
            .map_err(|_| Error::NotReady)??;
        Ok(kid)
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let mut frames = Frames::default();
        let mut pid = None;
        let mut bytes = [0; 1024];
        loop {
            let n = self.socket.read(&mut bytes).await.map_err(Error::Spawn)?;
            if n == 0 {
                return Err(Error::NotReady);
            }
            frames.push(&bytes[..n]);
            while let Some(frame) = frames.next_frame().map_err(|_| Error::NotReady)? {
                match frame {
                    Frame::Pid(number) => pid = Some(number),
                    Frame::Ready { layers, key } => (self.layers, self.key) = (layers, key),
                    _ => return Err(Error::NotReady),
                }
            }
            let relayed = self.layers & Layer::Pid.bit() != 0;
            if self.key != [0; 32] && (pid.is_some() || !relayed) {
                break;
            }
        }
        if let Some(number) = pid {
            // No guest has run yet: the number is that of the process which says so.
            let process = pidfd(number)?;
            let life = Arc::get_mut(&mut self.life).ok_or(Error::NotReady)?;
            life.process = process;
        }
        Ok(())
    }

    pub(crate) fn layers(&self) -> u32 {
        self.layers
    }

    pub(crate) fn key(&self) -> [u8; 32] {
        self.key
    }

    pub(crate) fn life(&self) -> Arc<Life> {
        self.life.clone()
    }

    /// Gives the order, with its files.
    pub(crate) async fn order(
        &mut self,
        order: &Order,
        files: &[BorrowedFd<'_>],
    ) -> std::io::Result<()> {
        let body = order.encode();
        let head = u32::try_from(body.len())
            .map_err(|_| ErrorKind::InvalidInput)?
            .to_le_bytes();
        let socket = &self.socket;
        let sent = socket
            .async_io(Interest::WRITABLE, || {
                let mut space = [std::mem::MaybeUninit::uninit();
                    rustix::cmsg_space!(ScmRights(INPUTS_MAX + 1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
                    return Err(ErrorKind::InvalidInput.into());
                }
                Ok(sendmsg(
                    socket.as_fd(),
                    &[IoSlice::new(&head)],
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?)
            })
            .await?;
        self.socket.write_all(&head[sent..]).await?;
        self.socket.write_all(&body).await
    }

    /// Reads some of what it says; 0 at its end. Dropping the future loses nothing.
    pub(crate) async fn hear(&self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            self.socket.readable().await?;
            match self.socket.try_read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// Tells a guest that runs its share. `false` where the socket is full: the guest has read nothing for long, and
    /// [`Kid::listens`] waits until it does.
    pub(crate) fn share(&self, percent: u8) -> bool {
        match self.socket.try_write(&[percent]) {
            Err(error) => error.kind() != ErrorKind::WouldBlock,
            Ok(written) => written > 0,
        }
    }

    /// Waits until it can be told something, or is gone.
    pub(crate) async fn listens(&self) {
        let _ = self.socket.writable().await;
    }
}
