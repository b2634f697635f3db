//! The outside of a session: TLS 1.3 and HTTP/2 or QUIC and HTTP/3, the ticket, and the web site that everybody else sees.
//!
//! **Promises.** Before any HTTP byte the client has checked the certificate, by pin or by web PKI. Whoever cannot make
//! a ticket sees a web site, of static files or a front origin's, and nothing else: every POST is decided at its header section,
//! and not by its body. What a visitor can make a connection hold in memory is bounded.
//!
//! **Below:** `htx` for tickets and message lengths, the operating system's sockets. **Above:** `runtime`.
//! **Source:** profile chapter 2, from "Stack" to "Ticket" (`spec-vectors/PROFILE.md`), RFC 8446, RFC 9000, RFC 9113, RFC 9114.
//!
//! Two seams: a [`Carrier`] is all that what drives a session asks of the outside, whatever carries it; a [`Fingerprint`] is how a
//! client's TLS or QUIC looks to an observer.

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

/// What a carrier gives a session.
#[derive(Debug)]
pub enum Received {
    /// Body bytes, in order.
    Bytes(Bytes),
    /// The peer takes no new requests on this carrier.
    GoAway,
    /// The peer's body has ended.
    End,
}

/// How much of a connection is read. What is not stays in its window, and the peer has that much less room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reads {
    /// Whatever comes.
    #[default]
    All,
    /// So many bytes, or as many of the pieces that a carrier reads in, where that is about as much; and no more.
    AtMost(usize),
    /// Until about so many more bytes have come than there are now, as what is read makes room for them.
    About(usize),
}

/// Moves one session's bytes both ways, and exports its keying material.
pub trait Carrier: Send {
    /// The next thing from the peer. Also drives what has to be driven for anything to move.
    ///
    /// # Errors
    ///
    /// The carrier is gone.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Error>>;

    /// Whether bytes are taken now.
    ///
    /// # Errors
    ///
    /// The carrier is gone.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    /// Takes body bytes, after [`Carrier::poll_ready`] said so.
    ///
    /// # Errors
    ///
    /// The carrier is gone.
    fn send(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Sends what was taken: called when a turn of the session is over, so that what belongs together goes together.
    fn push(&mut self, cx: &mut Context<'_>);

    /// Ends the body.
    fn end(&mut self);

    /// Breaks the body off.
    fn reset(&mut self);

    /// Tells the peer that no new requests are taken.
    fn go_away(&mut self);

    /// Exports as many bytes as `out` has room for, with a label and a context (RFC 8446 §7.5, RFC 9001).
    ///
    /// # Errors
    ///
    /// The carrier is gone, or has nothing to export.
    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error>;

    /// Exports 32 bytes for this context, with the session's label.
    ///
    /// # Errors
    ///
    /// As [`Carrier::export_as`].
    fn export(&self, context: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
        exported(|label, out| self.export_as(label, context, out))
    }

    /// Cuts what is sent from now on into records with so much plaintext each, as far as the carrier has records, and behind those
    /// that were asked for before; what is beyond them is sent as it comes. With none, those before are forgotten.
    fn cut(&mut self, plaintexts: &[usize]) {
        let _ = plaintexts;
    }

    /// Reads the connection so from now on, as far as the carrier can.
    fn reads(&mut self, reads: Reads) {
        let _ = reads;
    }

    /// When the first was read of what was to be read in part only, since that was told last; and before that, when the answer came that
    /// opens a tunnel. As far as the carrier can tell.
    fn heard(&self) -> Option<Instant> {
        None
    }

    /// What is pushed next leaves then, and so long after what left before it: for times that are too short for any timer. It is made
    /// into records meanwhile, and none of a client's leaves before there is no more to say of when, which `None` tells; a server says
    /// it of what leaves next only. Whether the carrier can: where it cannot, what is pushed leaves at once.
    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        let _ = when;
        false
    }

    /// Bytes of PADDING that are wanted now, to be sent at once.
    fn lacks(&mut self) -> usize {
        0
    }

    /// Takes PADDING that was wanted, as [`Carrier::send`] takes what is said.
    ///
    /// # Errors
    ///
    /// As there.
    fn fill(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.send(bytes)
    }

    /// Whether PADDING can be had.
    fn padded(&mut self, can: bool) {
        let _ = can;
    }

    /// Signs of life of the peer's carrier so far, where it gives any by itself, as QUIC's does by its acknowledgements.
    fn signs(&self) -> u64 {
        0
    }

    /// What following a shape has cost so far, where one is followed.
    fn cost(&self) -> Option<Cost> {
        None
    }

    /// Whether all that was taken has left.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A handshake that is under way.
pub type Handshake<'a> = Pin<Box<dyn Future<Output = Result<Secured, Error>> + Send + 'a>>;

/// How a client's TLS looks from outside.
pub trait Fingerprint: std::fmt::Debug + Send + Sync {
    /// Makes a TLS 1.3 connection over `tcp` that offers HTTP/2, and checks the certificate for `host` as `trust` says.
    ///
    /// # Errors
    ///
    /// What failed: [`Error::Pin`] or [`Error::Certificate`] where the certificate is not trusted.
    fn handshake<'a>(&'a self, tcp: TcpStream, host: &'a str, trust: &'a Trust) -> Handshake<'a>;

    /// Makes a QUIC connection that offers HTTP/3, and checks the certificate.
    ///
    /// # Errors
    ///
    /// What failed: [`Error::Pin`] or [`Error::Certificate`] where the certificate is not trusted.
    fn quic<'a>(&'a self, to: ToQuic<'a>) -> QuicHandshake<'a>;

    /// The same, but a connection takes as long as this, where that can be done.
    fn pausing(&self, pauses: Pauses) -> Option<Arc<dyn Fingerprint>> {
        let _ = pauses;
        None
    }
}

/// Where a QUIC connection goes.
#[derive(Clone, Copy, Debug)]
pub struct ToQuic<'a> {
    /// The address.
    pub to: SocketAddr,
    /// The local address; without one the system chooses.
    pub from: Option<IpAddr>,
    /// The host, for SNI and the certificate's check.
    pub host: &'a str,
    /// How the certificate is checked.
    pub trust: &'a Trust,
}

/// A QUIC handshake that is under way.
pub type QuicHandshake<'a> = Pin<Box<dyn Future<Output = Result<SecuredQuic, Error>> + Send + 'a>>;

/// A QUIC connection whose certificate was checked.
pub struct SecuredQuic {
    /// The connection.
    pub quic: Box<dyn Quic>,
    /// What it turned out to be.
    pub facts: Facts,
}

/// A carrier that is being opened.
pub type BoxedCarrier = Pin<Box<dyn Future<Output = Result<Box<dyn Carrier>, Error>> + Send>>;

/// The head of an answer that is being waited for.
pub type Visited = Pin<Box<dyn Future<Output = Result<http::Response<()>, Error>> + Send>>;

/// A client's QUIC connection, before its first request.
pub trait Quic: Send {
    /// As [`Secure::export_as`], by RFC 9001's exporter.
    ///
    /// # Errors
    ///
    /// [`Error::Export`].
    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error>;

    /// Sends a request's head; its body, and the answer's, is the session's.
    ///
    /// # Errors
    ///
    /// The connection failed.
    fn open(self: Box<Self>, request: http::Request<()>) -> BoxedCarrier;

    /// Sends a request without a body, and waits for the head of its answer.
    ///
    /// # Errors
    ///
    /// The connection failed.
    fn visit(self: Box<Self>, request: http::Request<()>) -> Visited;
}

/// A TLS connection whose certificate was checked.
pub struct Secured {
    /// The connection.
    pub tls: Box<dyn Secure>,
    /// What it turned out to be.
    pub facts: Facts,
}

/// A client's TLS stream.
pub trait Secure: AsyncRead + AsyncWrite + Send + Unpin {
    /// Whether records are gathered for now, so that what belongs together leaves together. While they are, a write either goes
    /// into the gathering buffer or is refused without waking anybody; after it, a flush sends what was gathered.
    fn hold(&mut self, held: bool);

    /// Reads the socket so from now on, where it can be told. Nobody is woken for what is left.
    fn reads(&mut self, reads: Reads) {
        let _ = reads;
    }

    /// See [`Carrier::heard`].
    fn heard(&self) -> Option<Instant> {
        None
    }

    /// See [`Carrier::leaves`]; of what is gathered from now on.
    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        let _ = when;
        false
    }

    /// How long the record of the first request is to be, where it can be made longer.
    fn first_record(&mut self, size: u16) {
        let _ = size;
    }

    /// Exports as many bytes as `out` has room for, with a label and a context that is always passed, if empty (RFC 8446 §7.5).
    ///
    /// # Errors
    ///
    /// [`Error::Export`].
    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error>;
}

/// Bytes that the kernel takes for a socket beyond those that it has sent (`TCP_NOTSENT_LOWAT`). What is written next, such as a
/// PING, waits behind these at most. Bytes that were sent and are not acknowledged do not count.
const UNSENT: u32 = 128 << 10;

/// Sets what all TCP sockets of connections have in common.
fn tuned(tcp: &TcpStream) {
    // Both fail on a connection that is gone, which the handshake tells.
    let _ = tcp.set_nodelay(true);
    let _ = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT);
}

/// 32 bytes with the session's label.
fn exported(
    export: impl FnOnce(&str, &mut [u8]) -> Result<(), Error>,
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut out = Zeroizing::new([0; 32]);
    export(EXPORTER_LABEL, &mut out[..])?;
    Ok(out)
}
