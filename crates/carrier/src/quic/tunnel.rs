use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h3::error::{Code, StreamError};
use h3::{client, server};
use http::StatusCode;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use super::NO_ERROR;
use super::streams::{CountedStream, Ledger, Together};
use crate::{Carrier, Error, Received};

/// Number of body chunks after which the connection's other streams are polled although more chunks wait: polling costs about
/// as much as a chunk.
const UNDRIVEN: u32 = 64;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(super) type Recv = h3_quinn::RecvStream;
pub(super) type ServerRecv = CountedStream<h3_quinn::RecvStream>;
pub(super) type Send_ = h3_quinn::SendStream<Bytes>;
pub(super) type ServerSend = Together;

/// The receiving direction. Dropped early, it tells the peer to stop sending (RFC 9000 §3.5): the only way that works at any
/// time, since a read in flight owns the stream.
pub(super) trait Reads: Send {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>>;
}

/// The sending direction; each operation is a future that returns the direction.
pub(super) trait Writes: Send {
    fn send(self: Box<Self>, bytes: Bytes) -> Boxed<(Box<dyn Writes>, Result<(), StreamError>)>;
    fn finish(self: Box<Self>) -> Boxed<(Box<dyn Writes>, Result<(), StreamError>)>;
    fn stop(&mut self);
}

macro_rules! halves {
    ($($side:ident $recv:ident $send:ident),*) => {$(
        impl Reads for $side::RequestStream<$recv, Bytes> {
            fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
                let data = ready!(self.poll_recv_data(cx))?;
                Poll::Ready(Ok(data.map(|mut d| d.copy_to_bytes(d.remaining()))))
            }
        }

        impl Writes for $side::RequestStream<$send, Bytes> {
            fn send(mut self: Box<Self>, bytes: Bytes) -> Boxed<(Box<dyn Writes>, Result<(), StreamError>)> {
                Box::pin(async move {
                    let done = self.send_data(bytes).await;
                    (self as Box<dyn Writes>, done)
                })
            }
            fn finish(mut self: Box<Self>) -> Boxed<(Box<dyn Writes>, Result<(), StreamError>)> {
                Box::pin(async move {
                    let done = $side::RequestStream::finish(&mut self).await;
                    (self as Box<dyn Writes>, done)
                })
            }
            fn stop(&mut self) {
                self.stop_stream(Code::H3_REQUEST_CANCELLED);
            }
        }
    )*};
}
halves!(client Recv Send_, server ServerRecv ServerSend);

/// A tunnel's body at the server, all of which is useful.
pub(super) struct Useful(
    pub(super) server::RequestStream<ServerRecv, Bytes>,
    pub(super) Arc<Ledger>,
);

impl Reads for Useful {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let data = ready!(self.0.poll_data(cx))?;
        self.1.useful(data.as_ref().map_or(0, Bytes::len));
        Poll::Ready(Ok(data))
    }
}

/// Answer to the client's POST, with the source of its body.
pub(super) type Answer = Boxed<Result<(StatusCode, Box<dyn Reads>), StreamError>>;

enum Incoming {
    Waiting(Answer),
    /// Bytes read beyond message 1, then the rest.
    Body(Option<Bytes>, Box<dyn Reads>),
    Ended,
}

enum Outgoing {
    Idle(Box<dyn Writes>),
    Busy(Boxed<(Box<dyn Writes>, Result<(), StreamError>)>),
    Gone,
}

/// Drives a connection; ready when it is over.
type Drive = Box<dyn FnMut(&mut Context<'_>) -> Poll<Error> + Send>;

/// State of one side only.
pub(super) enum Side {
    Client {
        /// Drives the connection's other streams.
        drive: Drive,
        /// Whether the server accepts no more requests.
        leaving: Box<dyn Fn() -> bool + Send>,
        told: bool,
        closing: Option<Closing>,
    },
    Server {
        go_away: Arc<Notify>,
    },
}

/// A closed connection whose last datagram must leave: a process that exits earlier leaves the server waiting.
pub(super) struct Closing {
    /// Number of datagrams that had left before.
    before: u64,
    look: Pin<Box<Sleep>>,
}

/// Interval of checks whether it has left.
const LOOK: Duration = Duration::from_millis(1);

impl Closing {
    fn new(connection: &quinn::Connection) -> Self {
        let before = connection.stats().udp_tx.datagrams;
        connection.close(NO_ERROR, b"");
        Self {
            before,
            look: Box::pin(sleep(LOOK)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, connection: &quinn::Connection) -> Poll<()> {
        while connection.stats().udp_tx.datagrams <= self.before {
            ready!(self.look.as_mut().poll(cx));
            self.look.as_mut().reset(Instant::now() + LOOK);
        }
        Poll::Ready(())
    }
}

/// A tunnel within an HTTP/3 request.
pub(super) struct H3Tunnel {
    connection: quinn::Connection,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Whether the body is to end once the accepted bytes have left.
    ending: bool,
    side: Side,
    /// Number of chunks taken since the connection's other streams were polled.
    undriven: u32,
}

pub(super) fn export(
    connection: &quinn::Connection,
    label: &str,
    context: &[u8],
    out: &mut [u8],
) -> Result<(), Error> {
    connection
        .export_keying_material(out, label.as_bytes(), context)
        .map_err(|_| Error::Export)
}

impl H3Tunnel {
    pub(super) fn client(
        connection: quinn::Connection,
        answer: Answer,
        outgoing: Box<dyn Writes>,
        side: Side,
    ) -> Self {
        Self {
            connection,
            incoming: Incoming::Waiting(answer),
            outgoing: Outgoing::Idle(outgoing),
            ending: false,
            side,
            undriven: 0,
        }
    }

    pub(super) fn server(
        connection: quinn::Connection,
        first: Bytes,
        incoming: Box<dyn Reads>,
        outgoing: Box<dyn Writes>,
        go_away: Arc<Notify>,
    ) -> Self {
        let first = (!first.is_empty()).then_some(first);
        Self {
            connection,
            incoming: Incoming::Body(first, incoming),
            outgoing: Outgoing::Idle(outgoing),
            ending: false,
            side: Side::Server { go_away },
            undriven: 0,
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Error>> {
        if let Incoming::Waiting(answer) = &mut self.incoming {
            let (status, body) = ready!(answer.as_mut().poll(cx))?;
            if status != StatusCode::OK {
                let status = status.as_u16();
                return Poll::Ready(Err(Error::NotATunnel { status }));
            }
            self.incoming = Incoming::Body(None, body);
        }
        let Incoming::Body(first, body) = &mut self.incoming else {
            return Poll::Pending;
        };
        if let Some(first) = first.take() {
            return Poll::Ready(Ok(Received::Bytes(first)));
        }
        match ready!(body.poll_data(cx))? {
            Some(bytes) => Poll::Ready(Ok(Received::Bytes(bytes))),
            None => {
                self.incoming = Incoming::Ended;
                Poll::Ready(Ok(Received::End))
            }
        }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match std::mem::replace(&mut self.outgoing, Outgoing::Gone) {
                Outgoing::Busy(mut busy) => match busy.as_mut().poll(cx) {
                    Poll::Ready((half, done)) => {
                        self.outgoing = Outgoing::Idle(half);
                        done?;
                    }
                    Poll::Pending => {
                        self.outgoing = Outgoing::Busy(busy);
                        return Poll::Pending;
                    }
                },
                Outgoing::Idle(half) if self.ending => {
                    self.ending = false;
                    self.outgoing = Outgoing::Busy(half.finish());
                }
                idle => {
                    self.outgoing = idle;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Carrier for H3Tunnel {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Error>> {
        let long = self.undriven >= UNDRIVEN;
        if !long && let ready @ Poll::Ready(_) = self.poll_body(cx) {
            self.undriven += 1;
            return ready;
        }
        self.undriven = 0;
        let over = match &mut self.side {
            Side::Client { drive, .. } => drive(cx),
            Side::Server { .. } => Poll::Pending,
        };
        // Data that came before the end is read before it.
        if (long || over.is_ready())
            && let ready @ Poll::Ready(_) = self.poll_body(cx)
        {
            return ready;
        }
        if let Poll::Ready(error) = over {
            return Poll::Ready(Err(error));
        }
        if let Side::Client {
            leaving,
            told: told @ false,
            ..
        } = &mut self.side
            && matches!(self.incoming, Incoming::Body(..))
            && leaving()
        {
            *told = true;
            return Poll::Ready(Ok(Received::GoAway));
        }
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_sent(cx)
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        match std::mem::replace(&mut self.outgoing, Outgoing::Gone) {
            Outgoing::Idle(half) => {
                self.outgoing = Outgoing::Busy(half.send(bytes));
                Ok(())
            }
            Outgoing::Busy(_) | Outgoing::Gone => Err(Error::Gone),
        }
    }

    fn push(&mut self, cx: &mut Context<'_>) {
        // Starts the last accepted write; the next turn finds a failure.
        if let Outgoing::Busy(busy) = &mut self.outgoing
            && let Poll::Ready((half, done)) = busy.as_mut().poll(cx)
        {
            self.outgoing = match done {
                Ok(()) => Outgoing::Idle(half),
                Err(_) => Outgoing::Gone,
            };
        }
    }

    fn end(&mut self) {
        self.ending = true;
    }

    fn reset(&mut self) {
        self.incoming = Incoming::Ended;
        match &mut self.outgoing {
            Outgoing::Idle(half) => half.stop(),
            // Dropping it would end the body in order.
            Outgoing::Busy(_) => self.connection.close(NO_ERROR, b""),
            Outgoing::Gone => {}
        }
    }

    fn go_away(&mut self) {
        if let Side::Server { go_away } = &self.side {
            go_away.notify_one();
        }
    }

    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        export(&self.connection, label, context, out)
    }

    fn signs(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(
            self.side,
            Side::Client {
                closing: Some(_),
                ..
            }
        ) {
            ready!(self.poll_told(cx));
        }
        let Side::Client { closing, .. } = &mut self.side else {
            return Poll::Ready(());
        };
        // A client's connection carries nothing else.
        if closing.is_none() && self.connection.close_reason().is_some() {
            return Poll::Ready(());
        }
        closing
            .get_or_insert_with(|| Closing::new(&self.connection))
            .poll(cx, &self.connection)
    }
}

impl H3Tunnel {
    /// Ready once both ends were announced, or the connection is over.
    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sent = self.poll_sent(cx);
        if let Side::Client { drive, .. } = &mut self.side
            && drive(cx).is_ready()
        {
            return Poll::Ready(());
        }
        if ready!(sent).is_err() {
            return Poll::Ready(());
        }
        // The peer's end confirms that ours has arrived.
        if let Incoming::Body(_, body) = &mut self.incoming {
            while let Ok(Some(_)) = ready!(body.poll_data(cx)) {}
        }
        Poll::Ready(())
    }
}

impl Drop for H3Tunnel {
    fn drop(&mut self) {
        // A client's connection carries nothing else; a server's ends with its task.
        if matches!(self.side, Side::Client { .. }) {
            self.connection.close(NO_ERROR, b"");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU32, Ordering};

    use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
    use quinn::{ClientConfig, Endpoint, ServerConfig};

    use super::*;
    use crate::client::Trust;
    use crate::verify::Mismatch;
    use crate::{CertSource, Certificate};

    /// A body of this many pieces, after which nothing follows for now.
    struct Pieces(u32);

    impl Reads for Pieces {
        fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
            let Some(left) = self.0.checked_sub(1) else {
                return Poll::Pending;
            };
            self.0 = left;
            Poll::Ready(Ok(Some(Bytes::from_static(b"piece"))))
        }
    }

    impl Writes for Pieces {
        fn send(self: Box<Self>, _: Bytes) -> Boxed<(Box<dyn Writes>, Result<(), StreamError>)> {
            Box::pin(async { (self as _, Ok(())) })
        }
        fn finish(self: Box<Self>) -> Boxed<(Box<dyn Writes>, Result<(), StreamError>)> {
            Box::pin(async { (self as _, Ok(())) })
        }
        fn stop(&mut self) {}
    }

    /// A client's end of a connection, with the endpoints that keep it alive.
    async fn connection() -> (quinn::Connection, [Endpoint; 2]) {
        let certificate = Certificate::self_signed(&["localhost".to_owned()]).unwrap();
        let trust = Trust::Pin(*certificate.pin());
        let mut tls = crate::site::tls_config(Arc::new(CertSource::fixed(certificate))).unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let config = ServerConfig::with_crypto(Arc::new(crypto));
        let server = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut tls = crate::verify::tls_config(&trust, &Mismatch::default()).unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = QuicClientConfig::try_from(tls).unwrap();
        let config = ClientConfig::new(Arc::new(crypto));
        let client = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let to = server.local_addr().unwrap();
        let connecting = client.connect_with(config, to, "localhost").unwrap();
        let accepted = async { server.accept().await.unwrap().await.unwrap() };
        let (near, _far) = tokio::join!(connecting, accepted);
        (near.unwrap(), [client, server])
    }

    #[tokio::test]
    async fn other_streams_are_looked_at_once_a_body_is_read_and_now_and_then_before() {
        let (connection, _endpoints) = connection().await;
        let pieces = 3 * UNDRIVEN + 5;
        let looks = Arc::new(AtomicU32::new(0));
        let looked = Arc::clone(&looks);
        // The connection ends while pieces are left: these are read all the same.
        let drive = move |_: &mut Context<'_>| match looked.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Poll::Pending,
            _ => Poll::Ready(Error::Gone),
        };
        let side = Side::Client {
            drive: Box::new(drive),
            leaving: Box::new(|| false),
            told: false,
            closing: None,
        };
        let answer: Answer =
            Box::pin(async move { Ok((StatusCode::OK, Box::new(Pieces(pieces)) as _)) });
        let mut tunnel = H3Tunnel::client(connection, answer, Box::new(Pieces(0)), side);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for n in 1..=pieces {
            let read = tunnel.poll_receive(&mut cx);
            assert!(
                matches!(&read, Poll::Ready(Ok(Received::Bytes(b))) if b == "piece"),
                "{n} of {pieces}"
            );
            assert_eq!(looks.load(Ordering::Relaxed), n / (UNDRIVEN + 1));
        }
        let end = tunnel.poll_receive(&mut cx);
        assert!(matches!(end, Poll::Ready(Err(Error::Gone))));
    }
}
