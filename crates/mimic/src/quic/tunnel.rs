//! One HTTP/3 request on a connection, which carries the session's bytes.

use std::task::{Context, Poll, ready};

use betanet_carrier::{Carrier, Error, Received};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use quiche::h3::{self, Event, Header, NameValue as _};

use super::other;
use super::pump::Pump;

/// Maximum number of body bytes read at once.
const CHUNK: usize = 64 << 10;
/// `H3_REQUEST_CANCELLED` (RFC 9114 §8.1).
const CANCELLED: u64 = 0x10c;

/// A request, and the part of its answer that has arrived.
pub(super) struct Exchange {
    pump: Pump,
    http: h3::Connection,
    stream: u64,
    head: Option<Response<()>>,
    /// Whether the answer's body has ended.
    ended: bool,
    /// Whether the server reset the stream.
    reset: bool,
    leaving: bool,
}

fn http_config() -> Result<h3::Config, Error> {
    let mut config = h3::Config::new().map_err(other)?;
    config.set_max_field_section_size(262_144);
    Ok(config)
}

/// Fields in Chromium's order: `:method`, `:authority`, `:scheme`, `:path`, then the others.
fn fields(request: &Request<()>) -> Vec<Header> {
    let uri = request.uri();
    let authority = uri.authority().map_or("", |a| a.as_str());
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut fields = vec![
        Header::new(b":method", request.method().as_str().as_bytes()),
        Header::new(b":authority", authority.as_bytes()),
        Header::new(b":scheme", b"https"),
        Header::new(b":path", path.as_bytes()),
    ];
    let others = request.headers().iter();
    fields.extend(others.map(|(k, v)| Header::new(k.as_str().as_bytes(), v.as_bytes())));
    fields
}

fn head_of(list: &[Header]) -> Option<Response<()>> {
    let mut head = Response::builder();
    for header in list {
        head = match header.name() {
            b":status" => {
                let status = StatusCode::from_bytes(header.value()).ok()?;
                head.status(status)
            }
            name => head.header(name, header.value()),
        };
    }
    head.body(()).ok()
}

impl Exchange {
    /// Sends a request's head; `whole` means that no body follows.
    pub(super) fn begin(mut pump: Pump, request: &Request<()>, whole: bool) -> Result<Self, Error> {
        let config = http_config()?;
        let mut http = h3::Connection::with_transport(pump.connection(), &config).map_err(other)?;
        let stream = http
            .send_request(pump.connection(), &fields(request), whole)
            .map_err(other)?;
        Ok(Self {
            pump,
            http,
            stream,
            head: None,
            ended: false,
            reset: false,
            leaving: false,
        })
    }

    /// Drives the connection and handles its events.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let driven = self.pump.drive(cx);
        loop {
            match self.http.poll(self.pump.connection()) {
                Ok((id, event)) if id == self.stream => match event {
                    Event::Headers { list, .. } => {
                        if self.head.is_none() {
                            self.head = Some(head_of(&list).ok_or(Error::Gone)?);
                        }
                    }
                    Event::Finished => self.ended = true,
                    Event::Reset(_) => self.reset = true,
                    Event::Data | Event::PriorityUpdate | Event::GoAway => {}
                },
                Ok((_, Event::GoAway)) => self.leaving = true,
                Ok(_) => {}
                Err(h3::Error::Done) => break,
                Err(e) => return Err(other(e)),
            }
        }
        driven
    }

    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Error>> {
        let driven = self.drive(cx);
        match (self.head.take(), driven) {
            (Some(head), _) => Poll::Ready(Ok(head)),
            (None, Err(e)) => Poll::Ready(Err(e)),
            (None, Ok(())) if self.reset => Poll::Ready(Err(Error::Gone)),
            (None, Ok(())) => Poll::Pending,
        }
    }

    /// The next bytes of the answer's body, if any have arrived.
    fn body(&mut self) -> Option<Bytes> {
        let mut buf = vec![0; CHUNK];
        let n = self
            .http
            .recv_body(self.pump.connection(), self.stream, &mut buf)
            .ok()
            .filter(|n| *n > 0)?;
        buf.truncate(n);
        // A few bytes must not hold a whole buffer.
        Some(if n < CHUNK / 4 {
            Bytes::copy_from_slice(&buf)
        } else {
            buf.into()
        })
    }

    pub(super) fn close(&mut self) {
        self.pump.close();
    }
}

/// A tunnel within an HTTP/3 request.
pub(super) struct QuicheTunnel {
    exchange: Exchange,
    /// Bytes accepted but not yet given to HTTP/3.
    waiting: Bytes,
    ending: bool,
    accepted: bool,
    /// Ends already reported: the body's, and the connection's.
    told_end: bool,
    told_leaving: bool,
}

impl QuicheTunnel {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            waiting: Bytes::new(),
            ending: false,
            accepted: false,
            told_end: false,
            told_leaving: false,
        }
    }

    /// Gives HTTP/3 the waiting bytes as far as credit and congestion allow. Returns whether all were accepted.
    fn write(&mut self) -> Result<bool, Error> {
        let Exchange {
            http, pump, stream, ..
        } = &mut self.exchange;
        while !self.waiting.is_empty() {
            match http.send_body(pump.connection(), *stream, &self.waiting, false) {
                Ok(0) | Err(h3::Error::Done | h3::Error::StreamBlocked) => return Ok(false),
                Ok(n) => drop(self.waiting.split_to(n)),
                Err(e) => return Err(other(e)),
            }
        }
        if self.ending {
            match http.send_body(pump.connection(), *stream, b"", true) {
                Ok(_) => self.ending = false,
                Err(h3::Error::Done | h3::Error::StreamBlocked) => return Ok(false),
                Err(e) => return Err(other(e)),
            }
        }
        Ok(true)
    }

    /// The same after received datagrams, which may have brought credit.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.write()? {
            return Poll::Ready(Ok(()));
        }
        self.exchange.drive(cx)?;
        if self.write()? {
            return Poll::Ready(Ok(()));
        }
        // The last bytes leave now; their acknowledgement wakes the task.
        self.exchange.pump.flush(cx)?;
        Poll::Pending
    }
}

impl Carrier for QuicheTunnel {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Error>> {
        if self.accepted
            && let Some(bytes) = self.exchange.body()
        {
            return Poll::Ready(Ok(Received::Bytes(bytes)));
        }
        let driven = self.exchange.drive(cx);
        if !self.accepted {
            let Some(head) = &self.exchange.head else {
                driven?;
                return if self.exchange.reset {
                    Poll::Ready(Err(Error::Gone))
                } else {
                    Poll::Pending
                };
            };
            if head.status() != StatusCode::OK {
                let status = head.status().as_u16();
                return Poll::Ready(Err(Error::NotATunnel { status }));
            }
            self.accepted = true;
        }
        if let Some(bytes) = self.exchange.body() {
            return Poll::Ready(Ok(Received::Bytes(bytes)));
        }
        if self.exchange.ended && !self.told_end {
            self.told_end = true;
            return Poll::Ready(Ok(Received::End));
        }
        if self.exchange.reset {
            return Poll::Ready(Err(Error::Gone));
        }
        driven?;
        if self.exchange.leaving && !self.told_leaving {
            self.told_leaving = true;
            return Poll::Ready(Ok(Received::GoAway));
        }
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_written(cx)
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.waiting = bytes;
        self.write().map(|_| ())
    }

    fn push(&mut self, cx: &mut Context<'_>) {
        // The next turn finds a broken socket.
        let _ = self.exchange.pump.flush(cx);
    }

    fn end(&mut self) {
        self.ending = true;
    }

    fn reset(&mut self) {
        self.waiting = Bytes::new();
        let stream = self.exchange.stream;
        let connection = self.exchange.pump.connection();
        for direction in [quiche::Shutdown::Write, quiche::Shutdown::Read] {
            // Refused for a stream that has ended.
            let _ = connection.stream_shutdown(stream, direction, CANCELLED);
        }
    }

    fn go_away(&mut self) {
        // Clients need no announcement: they open no more requests.
    }

    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.exchange.pump.export(label, context, out)
    }

    fn signs(&self) -> u64 {
        self.exchange.pump.datagrams()
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let written = self.poll_written(cx);
        if self.exchange.drive(cx).is_err() || matches!(written, Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        while self.exchange.body().is_some() {}
        let _ = ready!(written);
        // The server's end confirms that ours has arrived.
        if (self.exchange.ended || self.exchange.reset) && self.exchange.pump.is_empty() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for QuicheTunnel {
    fn drop(&mut self) {
        self.exchange.close();
    }
}
