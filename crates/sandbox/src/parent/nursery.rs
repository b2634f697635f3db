//! The thread that asks the fork server for children.
//!
//! It lives as long as the sandbox: the kernel ends the server when the thread that started it ends, and threads of an executor come
//! and go. With the server end its children.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as Socket,
    },
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::sync::oneshot;

use super::kid::Kid;
use crate::{
    ChildProgram, Error,
    child::{CLOSED, IDLE_ARGUMENT, NETWORK},
};

/// How long the server may take to answer. A fork takes less than a millisecond, the start of the server some.
const ANSWER: Duration = Duration::from_secs(30);

/// Most servers that do not answer and whose children may still run.
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
            .spawn(move || work(&program, &asked))
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

fn work(program: &ChildProgram, asked: &Receiver<Ask>) {
    let mut server: Option<Server> = None;
    // Children end with their server, so one that does not answer is left to them.
    let mut silent: Vec<Server> = Vec::new();
    while let Ok(Ask { network, answer }) = asked.recv() {
        let forked = server.as_ref().and_then(|server| server.fork(network).ok());
        let forked = forked.map_or_else(
            || {
                // There was none, or it ended, or could not fork: a new one may.
                silent.retain_mut(|server| matches!(server.process.try_wait(), Ok(None)));
                silent.extend(server.take());
                if silent.len() > SILENT_MAX {
                    drop(silent.remove(0));
                }
                let new = Server::start(program).map_err(Error::Spawn)?;
                let forked = new.fork(network).map_err(|_| Error::NotReady)?;
                server = Some(new);
                Ok(forked)
            },
            Ok,
        );
        let _ = answer.send(forked);
    }
}

/// The process that children are forks of.
struct Server {
    process: Child,
    control: Socket,
}

impl Server {
    fn start(program: &ChildProgram) -> io::Result<Self> {
        let (control, theirs) = Socket::pair()?;
        control.set_read_timeout(Some(ANSWER))?;
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
            .spawn()?;
        Ok(Self { process, control })
    }

    fn fork(&self, network: bool) -> io::Result<Forked> {
        let (ours, theirs) = Socket::pair()?;
        let theirs = [theirs.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut handed = SendAncillaryBuffer::new(&mut space);
        if !handed.push(SendAncillaryMessage::ScmRights(&theirs)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let kind = [if network { NETWORK } else { CLOSED }];
        sendmsg(
            &self.control,
            &[IoSlice::new(&kind)],
            &mut handed,
            SendFlags::NOSIGNAL,
        )?;
        let mut done = [0_u8; 1];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut given = RecvAncillaryBuffer::new(&mut space);
        rustix::io::retry_on_intr(|| {
            recvmsg(
                &self.control,
                &mut [IoSliceMut::new(&mut done)],
                &mut given,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        let handle = given.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        // Without a handle there is no child: the server ended, or the system lets it make none.
        let handle = handle.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((ours, handle))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
