//! The outer layer of a session: TLS 1.3 and HTTP/2 or QUIC and HTTP/3, the ticket, and the web site for all other visitors.
//!
//! **Promises.** Before any HTTP byte the client has checked the certificate, by pin or by web PKI. A visitor without a valid
//! ticket sees only a web site, of static files or of a front origin. Every POST is decided at its header section, and not by
//! its body. The memory that a visitor can make a connection hold is bounded.
//!
//! **Below:** `htx` for tickets and message lengths, the operating system's sockets. **Above:** `runtime`.
//! **Source:** profile chapter 2, from "Stack" to "Ticket" (`spec-vectors/PROFILE.md`), RFC 8446, RFC 9000, RFC 9113, RFC 9114.
//!
//! Two interfaces: a [`Carrier`] is everything that a session's driver needs from the outer layer, whatever the transport. A
//! [`Fingerprint`] is the appearance of a client's TLS or QUIC to an observer.

mod calibrate;
mod came;
mod capture;
mod cert;
pub mod client;
mod cover;
mod error;
mod files;
mod floor;
mod frames;
#[doc(hidden)]
pub mod http1;
mod http2;
mod jitter;
mod link;
mod look;
mod padded;
mod plain;
mod progress;
mod queue;
mod quic;
mod roots;
mod server;
mod shaped;
mod shared;
mod site;
#[cfg(test)]
mod taker;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
mod tunnel;
mod unsent;
mod verify;
mod watch;
mod web_pki;

pub use betanet_htx::ticket::EXPORTER_LABEL;
pub use betanet_store::disk;
pub use calibrate::{OriginSeen, calibrate, calibrate_quic};
pub use capture::{CHROMIUM_156, Capture, CaptureError, Captured, FIREFOX_153, QuicCapture};
pub use cert::{CertFacts, CertSource, Certificate, pin_of};
pub use cover::{Cover, OriginError, OriginProxy, make_site};
pub use error::Error;
pub use files::{Folder, SEGMENT_MAX, content_type, file_in, served, served_name};
pub use floor::{exactly, spin, until};
pub use frames::Http2Look;
pub use jitter::Jitter;
pub use padded::Padded;
pub use plain::Plain;
pub use quic::{Greeted, QuicListener, Visitor};
pub use roots::Roots;
pub use server::serve;
pub use shaped::{Cost, Shaped};
pub use site::{BoxFuture, Limits, SessionGate, Site, Stats, Tunnel};
pub use watch::Watch;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_traffic::shape::Pauses;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use zeroize::Zeroizing;

use client::{Facts, Trust};

/// Input from a carrier to a session.
#[derive(Debug)]
pub enum Received {
    /// Body bytes, in order.
    Bytes(Bytes),
    /// The peer accepts no new requests on this carrier.
    GoAway,
    /// The peer's body has ended.
    End,
}

/// Limit on reading a connection. Unread data stays in its window and reduces the peer's room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reads {
    /// No limit.
    #[default]
    All,
    /// This many bytes and no more, or the nearest number of the carrier's read pieces.
    AtMost(usize),
    /// Until about this many more bytes have arrived than are there now, as reading makes room for them.
    About(usize),
}

/// Moves one session's bytes both ways, and exports its keying material.
pub trait Carrier: Send {
    /// Receives the next input from the peer. This also drives the connection.
    ///
    /// # Errors
    ///
    /// The carrier is gone.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Error>>;

    /// Whether bytes are accepted now.
    ///
    /// # Errors
    ///
    /// The carrier is gone.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    /// Sends body bytes, after [`Carrier::poll_ready`] succeeded.
    ///
    /// # Errors
    ///
    /// The carrier is gone.
    fn send(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Flushes sent bytes: called at the end of a session's turn, so that bytes that belong together leave together.
    fn push(&mut self, cx: &mut Context<'_>);

    /// Ends the body.
    fn end(&mut self);

    /// Aborts the body.
    fn reset(&mut self);

    /// Tells the peer that no new requests are accepted.
    fn go_away(&mut self);

    /// Exports keying material that fills `out`, with a label and a context (RFC 8446 §7.5, RFC 9001).
    ///
    /// # Errors
    ///
    /// The carrier is gone, or has nothing to export.
    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error>;

    /// Exports 32 bytes for this context with the session's label.
    ///
    /// # Errors
    ///
    /// As [`Carrier::export_as`].
    fn export(&self, context: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
        exported(|label, out| self.export_as(label, context, out))
    }

    /// Cuts bytes sent from now on into records with these plaintext lengths, after the records requested earlier, if the
    /// carrier has records. Bytes beyond them are sent uncut. An empty list cancels earlier requests.
    fn cut(&mut self, plaintexts: &[usize]) {
        let _ = plaintexts;
    }

    /// Sets the limit on reading, if the carrier supports it.
    fn reads(&mut self, reads: Reads) {
        let _ = reads;
    }

    /// Time of the first read of data under a partial limit, since the last such report; before that, the arrival time of the
    /// answer that opens the tunnel. `None` if the carrier cannot tell.
    fn heard(&self) -> Option<Instant> {
        None
    }

    /// Schedules the next push at a time, and this long after the previous output: for waits shorter than any timer's. Bytes
    /// become records meanwhile. A client's records leave only after `None` marks the end of the schedule; a server schedules
    /// only its next output. Returns whether this is supported: if not, pushed bytes leave at once.
    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        let _ = when;
        false
    }

    /// Number of PADDING bytes wanted now, to be sent at once.
    fn lacks(&mut self) -> usize {
        0
    }

    /// Sends requested PADDING, as [`Carrier::send`] sends data.
    ///
    /// # Errors
    ///
    /// As [`Carrier::send`].
    fn fill(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.send(bytes)
    }

    /// Sets whether PADDING is available.
    fn padded(&mut self, can: bool) {
        let _ = can;
    }

    /// Number of signs of life of the peer's carrier so far, if it gives any by itself, as QUIC's does by acknowledgements.
    fn signs(&self) -> u64 {
        0
    }

    /// Cost of following a shape so far; `None` if none is followed.
    fn cost(&self) -> Option<Cost> {
        None
    }

    /// Whether all sent bytes have left.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A handshake under way.
pub type Handshake<'a> = Pin<Box<dyn Future<Output = Result<Secured, Error>> + Send + 'a>>;

/// Appearance of a client's TLS to an observer.
pub trait Fingerprint: std::fmt::Debug + Send + Sync {
    /// Makes a TLS 1.3 connection over `tcp` that offers HTTP/2, and checks the certificate for `host` according to `trust`.
    ///
    /// # Errors
    ///
    /// The handshake failed: [`Error::Pin`] or [`Error::Certificate`] if the certificate is not trusted.
    fn handshake<'a>(&'a self, tcp: TcpStream, host: &'a str, trust: &'a Trust) -> Handshake<'a>;

    /// Makes a QUIC connection that offers HTTP/3, and checks the certificate.
    ///
    /// # Errors
    ///
    /// The handshake failed: [`Error::Pin`] or [`Error::Certificate`] if the certificate is not trusted.
    fn quic<'a>(&'a self, to: ToQuic<'a>) -> QuicHandshake<'a>;

    /// A fingerprint with these delays; `None` if that is not supported.
    fn pausing(&self, pauses: Pauses) -> Option<Arc<dyn Fingerprint>> {
        let _ = pauses;
        None
    }
}

/// Destination of a QUIC connection.
#[derive(Clone, Copy, Debug)]
pub struct ToQuic<'a> {
    /// The remote address.
    pub to: SocketAddr,
    /// The local address; `None` lets the system choose.
    pub from: Option<IpAddr>,
    /// The host for SNI and the certificate check.
    pub host: &'a str,
    /// Check of the certificate.
    pub trust: &'a Trust,
}

/// A QUIC handshake under way.
pub type QuicHandshake<'a> = Pin<Box<dyn Future<Output = Result<SecuredQuic, Error>> + Send + 'a>>;

/// A QUIC connection with a checked certificate.
pub struct SecuredQuic {
    /// The connection.
    pub quic: Box<dyn Quic>,
    /// Properties of the connection.
    pub facts: Facts,
}

/// A carrier being opened.
pub type BoxedCarrier = Pin<Box<dyn Future<Output = Result<Box<dyn Carrier>, Error>> + Send>>;

/// The awaited head of an answer.
pub type Visited = Pin<Box<dyn Future<Output = Result<http::Response<()>, Error>> + Send>>;

/// A client's QUIC connection, before its first request.
pub trait Quic: Send {
    /// As [`Secure::export_as`], by RFC 9001's exporter.
    ///
    /// # Errors
    ///
    /// [`Error::Export`].
    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error>;

    /// Sends a request's head; the bodies of the request and the answer carry the session.
    ///
    /// # Errors
    ///
    /// The connection failed.
    fn open(self: Box<Self>, request: http::Request<()>) -> BoxedCarrier;

    /// Sends a request without a body and waits for the head of its answer.
    ///
    /// # Errors
    ///
    /// The connection failed.
    fn visit(self: Box<Self>, request: http::Request<()>) -> Visited;
}

/// A TLS connection with a checked certificate.
pub struct Secured {
    /// The connection.
    pub tls: Box<dyn Secure>,
    /// Properties of the connection.
    pub facts: Facts,
}

/// A client's TLS stream.
pub trait Secure: AsyncRead + AsyncWrite + Send + Unpin {
    /// Sets whether records are gathered, so that those that belong together leave together. While they are, a write either
    /// goes into the gathering buffer or is refused without waking a task; after it, a flush sends the gathered records.
    fn hold(&mut self, held: bool);

    /// Sets the limit on reading the socket, if supported. No task is woken for the rest.
    fn reads(&mut self, reads: Reads) {
        let _ = reads;
    }

    /// See [`Carrier::heard`].
    fn heard(&self) -> Option<Instant> {
        None
    }

    /// See [`Carrier::leaves`]; applies to records gathered from now on.
    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        let _ = when;
        false
    }

    /// Sets the length of the first request's record, if it can be padded.
    fn first_record(&mut self, size: u16) {
        let _ = size;
    }

    /// Exports keying material that fills `out`, with a label and a context that is always passed, even if empty (RFC 8446 §7.5).
    ///
    /// # Errors
    ///
    /// [`Error::Export`].
    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error>;
}

/// Bytes that the kernel accepts for a socket beyond those sent (`TCP_NOTSENT_LOWAT`). A later write, such as a PING, waits
/// behind these at most. Sent but unacknowledged bytes do not count.
const UNSENT: u32 = 128 << 10;

/// Sets the common options of all TCP sockets.
fn tuned(tcp: &TcpStream) {
    // Both fail only on a broken connection, which the handshake reports.
    let _ = tcp.set_nodelay(true);
    let _ = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT);
}

/// Exports 32 bytes with the session's label.
fn exported(
    export: impl FnOnce(&str, &mut [u8]) -> Result<(), Error>,
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut out = Zeroizing::new([0; 32]);
    export(EXPORTER_LABEL, &mut out[..])?;
    Ok(out)
}
