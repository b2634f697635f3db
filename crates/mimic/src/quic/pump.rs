//! Moves datagrams between a socket and a QUIC connection, driven by its poller.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_carrier::Error;
use quiche::{Connection, RecvInfo};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, Sleep};

use super::dress::Dress;
use super::{export, other};

/// Maximum number of datagrams per system call.
const BATCH: usize = 16;
/// Maximum length of a datagram.
const DATAGRAM: usize = 1500;
/// Number of datagrams received before other tasks get a turn.
const TURN: usize = 256;
/// Interval of Chromium's PINGs on a connection with an open request.
const PING: Duration = Duration::from_secs(15);

/// A connection, its socket and its timers.
pub(super) struct Pump {
    /// Locked only for the exporter, which has a shared reference.
    connection: Mutex<Connection>,
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    to: SocketAddr,
    dress: Dress,
    /// Datagrams of equal size, except the last, that the socket has not accepted yet.
    leaving: Vec<u8>,
    segment: usize,
    /// A datagram that does not fit after those.
    next: Option<Vec<u8>>,
    incoming: Vec<u8>,
    /// Number of received datagrams.
    came: u64,
    timer: Pin<Box<Sleep>>,
    beat: Pin<Box<Sleep>>,
}

impl Pump {
    pub(super) fn new(
        connection: Connection,
        socket: std::net::UdpSocket,
        to: SocketAddr,
        dress: Dress,
    ) -> Result<Self, Error> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(Error::Connect)?;
        let local = socket.local_addr().map_err(Error::Connect)?;
        Ok(Self {
            connection: Mutex::new(connection),
            socket: UdpSocket::from_std(socket).map_err(Error::Connect)?,
            incoming: vec![0; DATAGRAM * state.gro_segments().max(1)],
            came: 0,
            state,
            local,
            to,
            dress,
            leaving: Vec::new(),
            segment: 0,
            next: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            beat: Box::pin(tokio::time::sleep(PING)),
        })
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn export(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        export(&mut connection, label, context, out)
    }

    /// Ready once the handshake is done.
    pub(super) fn poll_established(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.drive(cx)?;
        if self.connection().is_established() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Receives and sends all pending datagrams.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.receive(cx)?;
        if self.beat.as_mut().poll(cx).is_ready() {
            self.beat.as_mut().reset(Instant::now() + PING);
            let _ = self.beat.as_mut().poll(cx);
            // Refused by a finished connection, which is noticed below.
            let _ = self.connection().send_ack_eliciting();
        }
        self.flush(cx)?;
        let connection = self.connection();
        if !connection.is_closed() && !connection.is_draining() {
            return Ok(());
        }
        let why = match (connection.peer_error(), connection.local_error()) {
            _ if connection.is_timed_out() => "it has timed out".to_owned(),
            (Some(e), _) => format!("the server ended it with {:#x}", e.error_code),
            (None, Some(e)) => format!("it was ended with {:#x}", e.error_code),
            (None, None) => return Err(Error::Gone),
        };
        Err(Error::Quic(io::Error::other(why)))
    }

    /// Sends pending datagrams, and sets the timer.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.send(cx)?;
        // Sending may have moved the timeout, which may already be due and cause more output.
        while let Some(after) = self.connection().timeout() {
            if !after.is_zero() {
                self.timer.as_mut().reset(Instant::now() + after);
                if self.timer.as_mut().poll(cx).is_pending() {
                    break;
                }
            }
            self.connection().on_timeout();
            self.send(cx)?;
        }
        Ok(())
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut taken = 0;
        loop {
            if self
                .socket
                .poll_recv_ready(cx)
                .map_err(Error::Connect)?
                .is_pending()
            {
                return Ok(());
            }
            if taken >= TURN {
                cx.waker().wake_by_ref();
                return Ok(());
            }
            let mut meta = [RecvMeta::default()];
            let mut bufs = [IoSliceMut::new(&mut self.incoming)];
            let received = self.socket.try_io(Interest::READABLE, || {
                self.state
                    .recv(UdpSockRef::from(&self.socket), &mut bufs, &mut meta)
            });
            match received {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(Error::Connect(e)),
            }
            let info = RecvInfo {
                from: self.to,
                to: self.local,
            };
            let len = meta[0].len;
            let connection = self
                .connection
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            for datagram in self.incoming[..len].chunks_mut(meta[0].stride.max(1)) {
                taken += 1;
                self.came += 1;
                let early = datagram.first().is_some_and(|b| b & 0x80 != 0);
                let mut seen = early.then(|| self.dress.take_off(datagram)).flatten();
                // Undecryptable packets are dropped; the connection's state shows its end.
                let _ = connection.recv(seen.as_deref_mut().unwrap_or(datagram), info);
            }
        }
    }

    /// Sends waiting datagrams, then the connection's.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        loop {
            if self.poll_leave(cx)?.is_pending() {
                return Ok(());
            }
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Collects datagrams of equal size from the connection, with a shorter one at the end. Returns whether there are any.
    fn fill(&mut self) -> Result<bool, Error> {
        let connection = self
            .connection
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let most = self.state.max_gso_segments().clamp(1, BATCH);
        let mut buf = [0; DATAGRAM];
        self.segment = 0;
        for _ in 0..most {
            let mut datagram = match self.next.take() {
                Some(kept) => kept,
                None => match connection.send(&mut buf) {
                    Ok((n, _)) => buf[..n].to_vec(),
                    Err(quiche::Error::Done) => break,
                    Err(e) => return Err(other(e)),
                },
            };
            // Long headers mean a handshake.
            let early = datagram.first().is_some_and(|b| b & 0x80 != 0);
            if early && self.segment == 0 {
                self.dress.put_on(&mut datagram);
            }
            let len = datagram.len();
            if self.segment == 0 {
                self.segment = len;
            } else if early || len > self.segment {
                self.next = Some(datagram);
                break;
            }
            self.leaving.append(&mut datagram);
            if early || len < self.segment {
                break;
            }
        }
        Ok(!self.leaving.is_empty())
    }

    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.leaving.is_empty() {
            ready!(self.socket.poll_send_ready(cx)).map_err(Error::Connect)?;
            let several = self.leaving.len() > self.segment;
            let transmit = Transmit {
                destination: self.to,
                ecn: None,
                contents: &self.leaving,
                segment_size: several.then_some(self.segment),
                src_ip: None,
            };
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                self.state.send(UdpSockRef::from(&self.socket), &transmit)
            });
            match sent {
                Ok(()) => self.leaving.clear(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(Error::Connect(e))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Number of datagrams received so far.
    pub(super) const fn datagrams(&self) -> u64 {
        self.came
    }

    /// Whether everything that may leave now has left.
    pub(super) fn is_empty(&self) -> bool {
        self.leaving.is_empty() && self.next.is_none()
    }

    /// Closes the connection; the close leaves if the socket accepts it.
    pub(super) fn close(&mut self) {
        /// `H3_NO_ERROR`.
        const NO_ERROR: u64 = 0x100;
        // Refused by a finished connection.
        let _ = self.connection().close(true, NO_ERROR, b"");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.send(&mut cx);
    }
}
