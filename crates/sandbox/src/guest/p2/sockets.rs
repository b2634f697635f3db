//! Sockets whose buffers in the kernel are bounded: no limit of a process counts them.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    p2::{
        SocketError, SocketResult, TcpSocket,
        bindings::sockets::{
            network::{ErrorCode, IpAddressFamily},
            tcp::HostTcpSocket as _,
            tcp_create_socket::Host,
        },
    },
    sockets::WasiSocketsView as _,
};

use crate::guest::Guest;

/// Most bytes that the kernel keeps for one direction of a connection, as the guest counts them. The kernel counts twice as many.
pub(crate) const BUFFER_MAX: u64 = 128 * 1024;

/// The interface of the library's sockets, as its bindings name it.
const TCP: &str = "wasi:sockets/tcp@0.2.12";

impl Host for Guest {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        let mut sockets = self.sockets();
        let socket = sockets.create_tcp_socket(family)?;
        // A buffer whose size was set does not grow by itself.
        sockets.set_receive_buffer_size(Resource::new_borrow(socket.rep()), BUFFER_MAX)?;
        sockets.set_send_buffer_size(Resource::new_borrow(socket.rep()), BUFFER_MAX)?;
        Ok(socket)
    }
}

/// Puts calls that keep to the bound in the place of the library's own.
pub(super) fn bound(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut tcp = linker.instance(TCP)?;
    tcp.func_wrap(
        "[method]tcp-socket.set-receive-buffer-size",
        |mut store: StoreContextMut<'_, Guest>, (socket, size): (Resource<TcpSocket>, u64)| {
            let mut sockets = store.data_mut().sockets();
            told(sockets.set_receive_buffer_size(socket, size.min(BUFFER_MAX)))
        },
    )?;
    tcp.func_wrap(
        "[method]tcp-socket.set-send-buffer-size",
        |mut store: StoreContextMut<'_, Guest>, (socket, size): (Resource<TcpSocket>, u64)| {
            let mut sockets = store.data_mut().sockets();
            told(sockets.set_send_buffer_size(socket, size.min(BUFFER_MAX)))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// An answer as the guest is told it.
fn told(answer: SocketResult<()>) -> wasmtime::Result<(Result<(), ErrorCode>,)> {
    match answer.map_err(SocketError::downcast) {
        Ok(()) => Ok((Ok(()),)),
        Err(code) => Ok((Err(code?),)),
    }
}
