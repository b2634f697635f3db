//! The outside of a session: TLS 1.3 and HTTP/2, the ticket, and the web site that everybody else sees.
//!
//! **Promises.** Before any HTTP byte the client has checked the certificate, by pin or by web PKI. Whoever cannot make
//! a ticket sees a web site of static files and nothing else: every POST is read alike and answered alike.
//!
//! **Below:** `htx` for tickets and message lengths, the operating system's sockets. **Above:** `runtime`.
//! **Source:** profile chapter 2, from "Stack" to "Ticket" (`spec-vectors/PROFILE.md`), RFC 8446, RFC 9113.
//!
//! Two seams: a [`Carrier`] is all that what drives a session asks of the outside, whatever carries it; a [`Shape`] is how a
//! client's TLS looks to an observer.

mod capture;
mod cert;
pub mod client;
mod cover;
mod error;
mod files;
mod link;
mod plain;
mod server;
mod shared;
mod tunnel;

pub use betanet_htx::ticket::EXPORTER_LABEL;
pub use capture::{CHROMIUM_156, Capture, CaptureError, Captured};
pub use cert::{CertSource, Certificate, pin_of};
pub use cover::Cover;
pub use error::Error;
pub use files::{Folder, content_type};
pub use plain::Plain;
pub use server::{BoxFuture, Gate, Limits, Site, Stats, Tunnel, serve};
pub use tokio_rustls::rustls::pki_types::CertificateDer;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
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

    /// Exports 32 bytes for this context, with the session's label.
    ///
    /// # Errors
    ///
    /// The carrier is gone.
    fn export(&self, context: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error>;

    /// Whether all that was taken has left.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A handshake that is under way.
pub type Handshake<'a> = Pin<Box<dyn Future<Output = Result<Secured, Error>> + Send + 'a>>;

/// How a client's TLS looks from outside.
pub trait Shape: std::fmt::Debug + Send + Sync {
    /// Makes a TLS 1.3 connection over `tcp` that offers HTTP/2, and checks the certificate for `host` as `trust` says.
    ///
    /// # Errors
    ///
    /// What failed: [`Error::Pin`] or [`Error::Certificate`] where the certificate is not trusted.
    fn handshake<'a>(&'a self, tcp: TcpStream, host: &'a str, trust: &'a Trust) -> Handshake<'a>;
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

    /// Exports 32 bytes with the session's label, for a context that is always passed, if empty (RFC 8446 §7.5).
    ///
    /// # Errors
    ///
    /// [`Error::Export`].
    fn export(&self, context: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error>;
}
