//! The child's side: closes its cage, says so, and does the one thing that it is told.

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
    sync::Arc,
};

use crate::{
    Status,
    ended::short,
    wire::{Frame, Order},
};

mod cage;
mod compile;
mod filter;
mod raw;
mod receive;
mod run;
mod selftest;
mod server;
mod share;

pub(crate) use cage::Layer;
pub(crate) use compile::is_component;
pub(crate) use server::{CLOSED, NETWORK};

/// The hidden argument with which a program is started as a child.
pub const CHILD_ARGUMENT: &str = "--betanet-sandbox-child";

/// The argument after it for children that leave the processor to every other program.
pub(crate) const IDLE_ARGUMENT: &str = "--idle";

/// Whether a program was started as a child of a sandbox: then it calls [`child_main`] and nothing else.
#[must_use]
pub fn is_child(args: impl IntoIterator<Item = OsString>) -> bool {
    args.into_iter()
        .nth(1)
        .is_some_and(|arg| arg == OsStr::new(CHILD_ARGUMENT))
}

/// Runs as a child of a sandbox: call it first in `main`, before any runtime or thread exists.
///
/// Its descriptor 0 is a socket to the parent; all others are closed. The process that is started makes the engine and then a fork
/// of itself for each child that the parent asks for.
#[must_use]
pub fn child_main() -> ExitCode {
    match main() {
        Ok(()) => ExitCode::SUCCESS,
        // The parent sees that the socket ends; there is nobody else to tell.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Why a child ends early. Nobody reads it but a debugger.
#[derive(Debug, thiserror::Error)]
enum Gone {
    #[error("the system: {0}")]
    System(#[from] std::io::Error),
    #[error("the engine: {0}")]
    Engine(#[from] wasmtime::Error),
    #[error("the parent sent no order")]
    Order,
    #[error("the kernel did not take the ports of the policy")]
    Ports,
    #[error("the process that runs has its own end")]
    Relayed,
}

/// The child's end of the socket.
#[derive(Clone)]
struct Voice(Arc<UnixStream>);

impl Voice {
    fn say(&self, frame: &Frame) -> std::io::Result<()> {
        (&*self.0).write_all(&frame.encode())
    }

    /// Sends a file: its head, then its bytes in frames.
    fn file(&self, path: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.say(&Frame::File {
            size: bytes.len() as u64,
            path: path.to_owned(),
        })?;
        bytes
            .chunks(crate::wire::FRAME_MAX)
            .try_for_each(|part| self.say(&Frame::Data(part.to_vec())))
    }

    fn end(&self, status: Status, fuel: u64, reason: &str) -> std::io::Result<()> {
        self.say(&Frame::End {
            status,
            fuel,
            reason: short(reason.to_owned()),
        })
    }
}

fn main() -> Result<(), Gone> {
    raw::close_rest()?;
    cage::die_with_parent()?;
    cage::inspected(false)?;
    let idle = std::env::args_os().any(|arg| arg == OsStr::new(IDLE_ARGUMENT));
    let engine = crate::guest::engine::engine(false)?;
    let key = crate::guest::engine::key(&engine);
    let filter = filter::build();
    let Some(server::Born { socket, network }) = server::serve(std::io::stdin().as_fd()) else {
        return Ok(());
    };
    let mut before = selftest::Before::new();
    // From here on this is a child. The socket takes the place of the server's own.
    raw::take_as_stdin(&socket)?;
    raw::own_nothing()?;
    if idle {
        raw::idle()?;
    }
    let (socket, mut closed) = match cage::enter(UnixStream::from(socket), network)? {
        cage::Entered::Inside(socket, layers) => (socket, layers),
        cage::Entered::Relay => return Err(Gone::Relayed),
    };
    if filter.is_some() {
        closed |= Layer::Seccomp.bit();
    }
    let socket = Arc::new(socket);
    let voice = Voice(socket.clone());
    voice.say(&Frame::Ready {
        layers: closed,
        key,
    })?;

    let (order, files) = receive::order(&socket)?;
    let code = files.first().map(rustix::fs::fstat).transpose();
    let code = code.map_err(std::io::Error::from)?;
    let code = code.map_or(0, |code| code.st_size.unsigned_abs());
    let limits = match &order {
        Order::Run(run) => {
            let inputs = run.hosts.is_some().then_some(run.inputs.len());
            cage::Bounds::of_run(&run.limits, code, inputs)
        }
        Order::Compile | Order::SelfTest => cage::Bounds::of_compile(),
    };
    before.look();
    // Made here, because it opens descriptors for sockets and signals, which the filter forbids.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    cage::bound(&limits)?;
    let network = match &order {
        Order::Run(run) => run.hosts.is_some(),
        Order::SelfTest => network,
        Order::Compile => false,
    };
    let mut files = files.into_iter();
    // The engine asks for the length of a file by a path that is empty, and the filter cannot tell which one is.
    let code = match &order {
        Order::Run(run) => Some(run::load(
            &engine,
            run.component,
            files.next().ok_or(Gone::Order)?,
        )?),
        Order::Compile | Order::SelfTest => None,
    };
    if let Order::Run(run) = &order
        && let Some(hosts) = &run.hosts
    {
        cage::ports(hosts.iter().map(|host| host.port)).map_err(|_| Gone::Ports)?;
    }
    filter::apply(filter, network)?;
    match (order, code) {
        (Order::Run(run), Some(code)) => {
            run::run((&engine, &runtime), &voice, &socket, *run, (&code, files))
        }
        (Order::Run(_), None) => Err(Gone::Order),
        (Order::Compile, _) => compile::compile(&engine, &voice, files.next()),
        (Order::SelfTest, _) => selftest::run(&voice, &before, network),
    }
}

/// Reads a whole file that the parent handed over. Its position is shared with other children, so it is not used.
fn whole(file: &OwnedFd) -> std::io::Result<Vec<u8>> {
    let size = rustix::fs::fstat(file)?.st_size;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut at = 0;
    while at < bytes.len() {
        match rustix::io::pread(file, &mut bytes[at..], at as u64)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => at += n,
        }
    }
    Ok(bytes)
}
