use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_carrier::client::{Facts, Trust};
use betanet_carrier::{
    Error, Fingerprint, Handshake, QuicHandshake, Reads, Secure, Secured, ToQuic, pin_of,
};
use betanet_traffic::shape::{Pauses, RECORD};
use boring::error::ErrorStack;
use boring::ssl::{
    BoxCustomVerifyFinish, Ssl, SslAlert, SslContext, SslMethod, SslRef, SslVerifyMode, SslVersion,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_boring::{SslStream, SslStreamBuilder};

use crate::first::First;
use crate::gather::Gather;
use crate::hello::{Brotli, GROUPS, SHARES, TRUST_ANCHORS, shown};
use crate::{quic, raw};

/// Chromium's cipher list; BoringSSL puts TLS 1.3's suites before it by itself.
const CIPHERS: &str = "ALL:!aPSK:!ECDSA+SHA1:!3DES";
/// ML-DSA, then the other signature algorithms for servers.
const SIGNATURES: [u16; 11] = [
    0x0904, 0x0905, 0x0906, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
];
const ALPN: &[u8] = b"\x02h2\x08http/1.1";
/// The fingerprint of Debian's Chromium 156.
#[derive(Clone)]
pub struct Chromium {
    context: SslContext,
    /// Delays to imitate; zero means no added delay.
    pauses: Pauses,
}

/// Time reserved for preparing the answer.
const ANSWER: Duration = Duration::from_micros(150);
/// Length of the first HTTP/2 record: its header, the preface, SETTINGS, a WINDOW_UPDATE, and the overhead of TLS.
const PREFACE: usize = 5 + (24 + 33 + 13) + 17;

impl fmt::Debug for Chromium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chromium 156")
    }
}

fn context() -> Result<SslContext, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    context.set_cipher_list(CIPHERS)?;
    context.set_curves_list(GROUPS)?;
    context.set_alpn_protos(ALPN)?;
    context.set_grease_enabled(true);
    context.set_permute_extensions(true);
    context.enable_ocsp_stapling();
    context.enable_signed_cert_timestamps();
    context.add_certificate_compression_algorithm(Brotli)?;
    Ok(context.build())
}

impl Chromium {
    /// Prepares the fingerprint.
    ///
    /// # Errors
    ///
    /// BoringSSL cannot be set up, for lack of memory.
    pub fn new() -> Result<Self, Error> {
        let context = context().map_err(|e| Error::Tls(io::Error::other(e)))?;
        let pauses = Pauses::default();
        Ok(Self { context, pauses })
    }

    fn ssl(&self, host: &str) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        if host.parse::<IpAddr>().is_err() {
            ssl.set_hostname(host)?;
        }
        ssl.set_enable_ech_grease(true);
        raw::verify_algorithms(&mut ssl, &SIGNATURES)?;
        raw::trust_anchors(&mut ssl, TRUST_ANCHORS)?;
        raw::application_settings(&mut ssl, b"h2", b"")?;
        raw::key_shares(&mut ssl, &SHARES)?;
        Ok(ssl)
    }

    async fn secure(&self, tcp: TcpStream, host: &str, trust: &Trust) -> Result<Secured, Error> {
        let other = |e: ErrorStack| Error::Tls(io::Error::other(e));
        let mut ssl = self.ssl(host).map_err(other)?;
        let problem = Arc::new(Mutex::new(None));
        let (noted, trust, name) = (Arc::clone(&problem), trust.clone(), host.to_owned());
        let pause = self.pauses;
        let last = Arc::new(AtomicBool::new(false));
        let follows = Arc::clone(&last);
        let heard = Arc::new(Mutex::new(Instant::now()));
        let heard_at = Arc::clone(&heard);
        ssl.set_async_custom_verify_callback(SslVerifyMode::PEER, move |ssl| {
            let heard = *heard_at.lock().unwrap_or_else(PoisonError::into_inner);
            let until = heard + pause.answer.saturating_sub(ANSWER);
            trust.check(&shown(ssl), &name).map_err(|error| {
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                SslAlert::CERTIFICATE_UNKNOWN
            })?;
            let follows = Arc::clone(&follows);
            Ok(Box::pin(async move {
                betanet_carrier::exactly(until).await;
                // A browser's request is ready before its handshake is done.
                follows.store(true, Ordering::Relaxed);
                let checked: BoxCustomVerifyFinish = Box::new(|_| Ok(()));
                Ok(checked)
            }))
        });
        let stream = SslStreamBuilder::new(ssl, Gather::new(tcp, last, heard))
            .connect()
            .await;
        let mut stream = stream.map_err(|e| {
            let noted = problem
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            noted.unwrap_or_else(|| Error::Tls(io::Error::other(e.to_string())))
        })?;
        let facts = facts(stream.ssl(), pause.preface + pause.request)?;
        if stream.ssl().version2() != Some(SslVersion::TLS1_3) {
            let why = format!(
                "{} was agreed on, and only TLS 1.3 carries tunnels",
                facts.version
            );
            return Err(Error::Tls(io::Error::other(why)));
        }
        stream.get_mut().hold(true);
        stream.get_mut().mark(0, pause.preface);
        stream.get_mut().mark(PREFACE, pause.request);
        Ok(Secured {
            tls: Box::new(Stream::new(stream, pause.acknowledge)),
            facts,
        })
    }
}

fn facts(ssl: &SslRef, held: Duration) -> Result<Facts, Error> {
    let own = shown(ssl).into_iter().next();
    let own = own.ok_or(Error::Pem("no certificate was shown"))?;
    let suite = ssl.current_cipher().and_then(|c| c.standard_name());
    Ok(Facts {
        version: ssl.version_str().replace('.', "_"),
        suite: suite.unwrap_or_default().replace("TLS_", "TLS13_"),
        group: ssl.curve_name().unwrap_or_default().to_owned(),
        alpn: String::from_utf8_lossy(ssl.selected_alpn_protocol().unwrap_or_default())
            .into_owned(),
        pin: pin_of(&own)?,
        instead: None,
        held,
    })
}

impl Fingerprint for Chromium {
    fn handshake<'a>(&'a self, tcp: TcpStream, host: &'a str, trust: &'a Trust) -> Handshake<'a> {
        Box::pin(self.secure(tcp, host, trust))
    }

    fn quic<'a>(&'a self, to: ToQuic<'a>) -> QuicHandshake<'a> {
        Box::pin(quic::handshake(to))
    }

    fn pausing(&self, pauses: Pauses) -> Option<Arc<dyn Fingerprint>> {
        Some(Arc::new(Self {
            pauses,
            ..self.clone()
        }))
    }
}

/// Minimum length of an answer: more than a server sends by itself.
const ANSWERS: usize = 256;

struct Stream {
    tls: SslStream<Gather<TcpStream>>,
    first: First,
    /// Output of [`First`] that TLS has not accepted yet.
    ready: VecDeque<Vec<u8>>,
    /// State of the server's first answer.
    heard: Heard,
    /// Arrival time of the complete first answer, with SETTINGS, until the limit on reading is set.
    came: Option<Instant>,
}

/// Delay of reading the server's first answer: its acknowledgement follows at once.
enum Heard {
    /// The answer is read this long after it arrived.
    After(Duration),
    Waiting(Vec<u8>, Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The rest of the answer.
    Rest(Vec<u8>),
    Read,
}

impl Stream {
    fn new(tls: SslStream<Gather<TcpStream>>, after: Duration) -> Self {
        Self {
            heard: if after.is_zero() {
                Heard::Read
            } else {
                Heard::After(after)
            },
            came: None,
            tls,
            first: First::default(),
            ready: VecDeque::new(),
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(piece) = self.ready.front_mut() {
            let n = ready!(Pin::new(&mut self.tls).poll_write(cx, piece))?;
            piece.drain(..n);
            if piece.is_empty() {
                self.ready.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Secure for Stream {
    fn hold(&mut self, held: bool) {
        self.tls.get_mut().hold(held);
    }

    fn reads(&mut self, reads: Reads) {
        self.came = None;
        self.tls.get_mut().reads(reads);
    }

    fn heard(&self) -> Option<Instant> {
        self.tls.get_ref().heard().or(self.came)
    }

    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        self.tls.get_mut().leaves(when);
        true
    }

    fn first_record(&mut self, size: u16) {
        self.first.pad_to(usize::from(size).saturating_sub(RECORD));
    }

    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let ssl = self.tls.ssl();
        ssl.export_keying_material(out, label, Some(context))
            .map_err(|_| Error::Export)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match &mut self.heard {
                Heard::Read => return Pin::new(&mut self.tls).poll_read(cx, buf),
                Heard::After(after) => {
                    let after = *after;
                    let before = buf.filled().len();
                    ready!(Pin::new(&mut self.tls).poll_read(cx, buf))?;
                    let answer = buf.filled()[before..].to_vec();
                    buf.set_filled(before);
                    let came = Instant::now();
                    // A server's SETTINGS may come before its answer.
                    let rest = self.tls.get_ref().unread().unwrap_or_default();
                    self.came = Some(came).filter(|_| rest >= ANSWERS);
                    let wait = Box::pin(betanet_carrier::exactly(came + after));
                    self.heard = Heard::Waiting(answer, wait);
                }
                Heard::Waiting(answer, wait) => {
                    ready!(wait.as_mut().poll(cx));
                    self.heard = Heard::Rest(std::mem::take(answer));
                }
                Heard::Rest(rest) => {
                    let n = rest.len().min(buf.remaining());
                    buf.put_slice(&rest[..n]);
                    rest.drain(..n);
                    if rest.is_empty() {
                        self.heard = Heard::Read;
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(cx))?;
        if self.first.is_over() {
            return Pin::new(&mut self.tls).poll_write(cx, buf);
        }
        let pieces = self.first.take(buf);
        self.ready.extend(pieces);
        // The next write or flush retries what TLS refuses now.
        match self.poll_ready(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?;
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?;
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
