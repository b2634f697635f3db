//! Moves datagrams between a socket and a QUIC connection, driven by whoever polls.

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

/// Datagrams that leave, or come in, by one system call.
const BATCH: usize = 16;
/// Longest datagram.
const DATAGRAM: usize = 1500;
/// Datagrams taken in before others get a turn.
const TURN: usize = 256;
/// Cadence of Chromium's PINGs on a connection with an open request.
const PING: Duration = Duration::from_secs(15);

/// A connection, its socket and its timers.
pub(super) struct Pump {
    /// In a lock for the exporter alone, which asks through a shared reference.
    connection: Mutex<Connection>,
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    to: SocketAddr,
    dress: Dress,
    /// Datagrams of one size but for the last, which the socket has not taken yet.
    leaving: Vec<u8>,
    segment: usize,
    /// One that does not fit behind those.
    next: Option<Vec<u8>>,
    incoming: Vec<u8>,
    /// Datagrams that came.
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

    /// Until the handshake is done.
    pub(super) fn poll_established(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.drive(cx)?;
        if self.connection().is_established() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Takes in what has come, and sends what there is to send.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.receive(cx)?;
        if self.beat.as_mut().poll(cx).is_ready() {
            self.beat.as_mut().reset(Instant::now() + PING);
            let _ = self.beat.as_mut().poll(cx);
            // Refused by a connection that is over, which is seen below.
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

    /// Sends what there is to send, and sets the timer to when there is more to do.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.send(cx)?;
        // What was sent may have set it nearer; it may be due already, and its work something to send.
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
                // What does not open is dropped; what ends the connection is seen by its state.
                let _ = connection.recv(seen.as_deref_mut().unwrap_or(datagram), info);
            }
        }
    }

    /// Sends what waits, then what the connection has.
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

    /// Takes datagrams from the connection: as many of one size as go together, and a shorter one behind them. Whether there are any.
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
            // Long headers are a handshake's.
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

    /// Datagrams that came so far.
    pub(super) const fn datagrams(&self) -> u64 {
        self.came
    }

    /// Whether all has left that may leave now.
    pub(super) fn is_empty(&self) -> bool {
        self.leaving.is_empty() && self.next.is_none()
    }

    /// Ends the connection; what has to be said of it is said, if the socket takes it.
    pub(super) fn close(&mut self) {
        /// `H3_NO_ERROR`.
        const NO_ERROR: u64 = 0x100;
        // Refused by one that has ended.
        let _ = self.connection().close(true, NO_ERROR, b"");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.send(&mut cx);
    }
}
