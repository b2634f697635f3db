//! Components: WASI preview 2. Streams, arguments and sockets are the library's; files, clocks and randomness are the guest's own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::io::AsyncWrite;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::{
    WasiCtx,
    cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _},
    p2::bindings::{cli, clocks, filesystem, random, sockets as wasi_sockets},
    sockets::{SocketAddrUse, WasiSockets, WasiSocketsView as _},
};
use wasmtime_wasi_io::IoView;

use super::{Guest, Host, fs::Fs};

mod clock;
mod convert;
mod files;
mod names;
mod sockets;
mod streams;

pub(super) use clock::Waiting;
pub(super) use files::Table;
use streams::{Channel, Stream};

/// Most resources of a guest: streams, files, sockets, events.
pub(super) const RESOURCES_MAX: usize = 4096;

impl IoView for Guest {
    fn table(&mut self) -> &mut wasmtime_wasi::ResourceTable {
        &mut self.table
    }
}

/// Arguments, standard streams and, with the grant, connections to the hosts of the policy.
pub(super) fn context(
    args: &[String],
    env: &[(String, String)],
    hosts: Option<&[Host]>,
    fs: &Arc<Mutex<Fs>>,
) -> WasiCtx {
    let mut wasi = WasiCtx::builder();
    wasi.args(args).envs(env);
    wasi.stdout(Standard {
        fs: fs.clone(),
        channel: Channel::Output,
    });
    wasi.stderr(Standard {
        fs: fs.clone(),
        channel: Channel::Log,
    });
    wasi.allow_tcp(hosts.is_some())
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    let allowed: BTreeMap<_, ()> = hosts
        .unwrap_or_default()
        .iter()
        .flat_map(|host| {
            host.addresses
                .iter()
                .map(|address| ((*address, host.port), ()))
        })
        .collect();
    let allowed = Arc::new(allowed);
    wasi.socket_addr_check(move |address, what| {
        let connect = matches!(what, SocketAddrUse::TcpConnect)
            && allowed.contains_key(&(address.ip().to_canonical(), address.port()));
        // A socket is bound to no address before it connects.
        let bind = matches!(what, SocketAddrUse::TcpBind)
            && address.ip().is_unspecified()
            && address.port() == 0
            && !allowed.is_empty();
        Box::pin(async move { connect || bind })
    });
    wasi.build()
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    cli::environment::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::exit::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    wasi_sockets::instance_network::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    let network = wasi_sockets::network::LinkOptions::default();
    wasi_sockets::network::add_to_linker::<Guest, WasiSockets>(linker, &network, Guest::sockets)?;
    wasi_sockets::tcp::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    wasi_sockets::tcp_create_socket::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    sockets::bound(linker)?;
    wasi_sockets::udp::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    wasi_sockets::udp_create_socket::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    wasi_sockets::ip_name_lookup::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    clocks::wall_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    clocks::monotonic_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    random::random::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    random::insecure::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    random::insecure_seed::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    filesystem::types::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    filesystem::preopens::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    Ok(())
}

/// A standard stream.
struct Standard {
    fs: Arc<Mutex<Fs>>,
    channel: Channel,
}

impl IsTerminal for Standard {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Standard {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Preview 3 alone asks for this, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn wasmtime_wasi::p2::OutputStream> {
        Box::new(Stream::new(self.fs.clone(), self.channel))
    }
}
