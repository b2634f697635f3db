//! The thread that asks the fork server for children.
//!
//! It lives as long as the sandbox: the kernel ends the server when the thread that started it ends, and threads of an executor come
//! and go. With the server end its children.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{net::UnixStream as Socket, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use tokio::sync::oneshot;

use super::kid::Kid;
use crate::{
    ChildProgram, Error,
    child::{CLOSED, IDLE_ARGUMENT, NETWORK},
};

/// How long a server may take to answer.
#[derive(Clone, Copy)]
struct Patience {
    /// The first time: it is started and makes the engine meanwhile.
    first: Duration,
    /// From then on. A fork takes less than a millisecond.
    then: Duration,
}

const PATIENCE: Patience = Patience {
    first: Duration::from_secs(30),
    then: Duration::from_secs(10),
};

/// Most servers that do not answer and whose children may still run. Beyond it, the oldest ends, and its children with it.
const SILENT_MAX: usize = 4;

struct Ask {
    network: bool,
    answer: oneshot::Sender<Result<Forked, Error>>,
}

/// A child's socket and handle.
type Forked = (Socket, OwnedFd);

/// Asks for children.
#[derive(Clone)]
pub(crate) struct Nursery {
    asks: Sender<Ask>,
}

impl Nursery {
    pub(crate) fn open(mut program: ChildProgram, idle: bool) -> Result<Self, Error> {
        if idle {
            program.args.push(IDLE_ARGUMENT.into());
        }
        let (asks, asked) = channel();
        thread::Builder::new()
            .name("sandbox".to_owned())
            .spawn(move || work(|| Server::start(&program), &asked))
            .map_err(Error::Spawn)?;
        Ok(Self { asks })
    }

    /// Starts a child and waits until its cage is closed.
    pub(crate) async fn kid(&self, network: bool) -> Result<Kid, Error> {
        let (answer, started) = oneshot::channel();
        self.asks
            .send(Ask { network, answer })
            .map_err(|_| Error::Ended)?;
        let (socket, process) = started.await.map_err(|_| Error::Ended)??;
        Kid::born(socket, process).await
    }
}

fn work(mut start: impl FnMut() -> Result<Server, Error>, asked: &Receiver<Ask>) {
    let mut server: Option<Server> = None;
    // Children end with their server, so one that does not answer is left to them.
    let mut silent: Vec<Process> = Vec::new();
    while let Ok(Ask { network, answer }) = asked.recv() {
        if answer.is_closed() {
            continue;
        }
        silent.retain_mut(Process::runs);
        let forked = match server.as_mut().map(|server| server.fork(network)) {
            None | Some(Err(NotForked::Silent)) => {
                // With its socket closed it ends by itself after its last child. One that never answered has none.
                let left = server.take().filter(|server| server.answered);
                silent.extend(left.map(|server| server.process));
                if silent.len() > SILENT_MAX {
                    drop(silent.remove(0));
                }
                start().map(|new| server.insert(new).fork(network))
            }
            Some(forked) => Ok(forked),
        };
        let forked = match forked {
            Ok(Ok(forked)) => Ok(forked),
            Ok(Err(NotForked::Refused(error))) => Err(Error::Spawn(error)),
            Ok(Err(NotForked::Silent)) => {
                // A new one. It ends, for its late answer would be taken for the one to the next request.
                server = None;
                Err(Error::NotReady)
            }
            Err(error) => Err(error),
        };
        let _ = answer.send(forked);
    }
}

/// Why there is no child.
enum NotForked {
    /// This process or the server has no room for one more now.
    Refused(io::Error),
    /// The server does not answer, or has ended.
    Silent,
}

/// A process that ends when this is dropped.
struct Process(Child);

impl Process {
    fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process that children are forks of.
struct Server {
    process: Process,
    control: Socket,
    patience: Patience,
    /// Whether it has answered a request.
    answered: bool,
}

impl Server {
    fn start(program: &ChildProgram) -> Result<Self, Error> {
        let (control, theirs) = Socket::pair().map_err(Error::Spawn)?;
        // An allocator that starts a thread would keep the children from leaving its namespaces.
        let quiet = "background_thread:false";
        let process = Command::new(&program.path)
            .args(&program.args)
            .env_clear()
            .env("MALLOC_CONF", quiet)
            .env("_RJEM_MALLOC_CONF", quiet)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A terminal signals the group in front: it is to reach the parent, which lets its programs end.
            .process_group(0)
            .spawn()
            .map_err(Error::Spawn)?;
        Self::new(Process(process), control, PATIENCE)
    }

    fn new(process: Process, control: Socket, patience: Patience) -> Result<Self, Error> {
        control
            .set_read_timeout(Some(patience.first))
            .map_err(Error::Spawn)?;
        Ok(Self {
            process,
            control,
            patience,
            answered: false,
        })
    }

    fn fork(&mut self, network: bool) -> Result<Forked, NotForked> {
        let (ours, theirs) = Socket::pair().map_err(NotForked::Refused)?;
        let theirs = [theirs.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut handed = SendAncillaryBuffer::new(&mut space);
        if !handed.push(SendAncillaryMessage::ScmRights(&theirs)) {
            return Err(NotForked::Refused(io::ErrorKind::InvalidInput.into()));
        }
        let kind = [if network { NETWORK } else { CLOSED }];
        sendmsg(
            &self.control,
            &[IoSlice::new(&kind)],
            &mut handed,
            SendFlags::NOSIGNAL,
        )
        .map_err(|errno| match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => NotForked::Silent,
            // Nothing was sent, so no answer will come.
            errno => NotForked::Refused(errno.into()),
        })?;
        let mut done = [0_u8; 1];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut given = RecvAncillaryBuffer::new(&mut space);
        let read = rustix::io::retry_on_intr(|| {
            recvmsg(
                &self.control,
                &mut [IoSliceMut::new(&mut done)],
                &mut given,
                RecvFlags::CMSG_CLOEXEC,
            )
        })
        .map_err(|_| NotForked::Silent)?;
        if read.bytes > 0 && !self.answered {
            self.answered = true;
            // Where this fails, the longer time holds.
            let _ = self.control.set_read_timeout(Some(self.patience.then));
        }
        let handle = given.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        match handle {
            Some(handle) => Ok((ours, handle)),
            None if read.bytes == 0 => Err(NotForked::Silent),
            // It could make none, or this process has no room for the handle.
            None => Err(NotForked::Refused(io::ErrorKind::WouldBlock.into())),
        }
    }
}

#[cfg(test)]
mod tests;
