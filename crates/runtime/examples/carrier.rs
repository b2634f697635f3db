//! A custom carrier: a session over any tokio stream, here a pipe within this process.
//!
//! `cargo run -p betanet-runtime --example carrier` sends a request to a service over it.
#![allow(clippy::print_stdout, reason = "that is what an example is for")]

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use betanet_runtime::{
    Call, Carrier, CarrierError, Headers, Identity, Method, Node, Received, Reply, Request, Router,
    serve_carrier,
};
use bytes::{Buf as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Number of waiting bytes above which no more are accepted.
const WAITING: usize = 64 << 10;

/// Carries a session over a stream.
struct StreamCarrier<S> {
    stream: S,
    /// A secret shared by the two ends of this stream. Over TLS, the exporter gives one.
    secret: [u8; 32],
    waiting: BytesMut,
    ends: bool,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> StreamCarrier<S> {
    fn new(stream: S, secret: [u8; 32]) -> Self {
        Self {
            stream,
            secret,
            waiting: BytesMut::new(),
            ends: false,
        }
    }

    /// Writes the waiting bytes. Ready when there are none left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.waiting.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        if self.ends {
            return Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Carrier for StreamCarrier<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, CarrierError>> {
        let mut bytes = [0; 4096];
        let mut into = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into));
        Poll::Ready(match read {
            Err(_) => Err(CarrierError::Gone),
            Ok(()) if into.filled().is_empty() => Ok(Received::End),
            Ok(()) => Ok(Received::Bytes(Bytes::copy_from_slice(into.filled()))),
        })
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarrierError>> {
        if self.waiting.len() < WAITING {
            return Poll::Ready(Ok(()));
        }
        let written = ready!(self.poll_write(cx));
        Poll::Ready(written.map_err(|_| CarrierError::Gone))
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), CarrierError> {
        self.waiting.extend_from_slice(&bytes);
        Ok(())
    }

    fn push(&mut self, cx: &mut Context<'_>) {
        // The next read reports a broken stream.
        let _ = self.poll_write(cx);
    }

    fn end(&mut self) {
        self.ends = true;
    }

    fn reset(&mut self) {
        self.waiting.clear();
        self.ends = true;
    }

    // This stream has no message for it.
    fn go_away(&mut self) {}

    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), CarrierError> {
        for (n, block) in out.chunks_mut(32).enumerate() {
            let mut hash = Sha256::new();
            hash.update(self.secret);
            hash.update(n.to_be_bytes());
            hash.update(label.len().to_be_bytes());
            hash.update(label);
            hash.update(context);
            block.copy_from_slice(&hash.finalize()[..block.len()]);
        }
        Ok(())
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_write(cx).map(|_| ())
    }
}

async fn hello(_: Call) -> Reply {
    Reply::text(200, "hello over a carrier of one's own\n")
}

async fn run() -> Result<String, Box<dyn Error>> {
    let identity = Identity::from_seed(&[1; 32]);
    let key = *identity.public();
    let (near, far) = tokio::io::duplex(16 << 10);
    let secret = [7; 32];
    let server = tokio::spawn(async move {
        let service = Arc::new(Router::default().with("/hello", hello));
        let carrier = Box::new(StreamCarrier::new(far, secret));
        serve_carrier(&identity, service, carrier).await
    });

    let node = Node::client()?;
    let carrier = Box::new(StreamCarrier::new(near, secret));
    let session = node.connect_carrier(&key, carrier).await?;
    let request = Request::new(Method::Get, "/hello", Headers::default());
    let mut answer = session.ask(request).await?;
    let said = answer.body.all(1000).await?.unwrap_or_default();
    session.close().await;
    server.await??;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", run().await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_service_answers() -> Result<(), Box<dyn Error>> {
        assert_eq!(run().await?, "hello over a carrier of one's own\n");
        Ok(())
    }

    #[tokio::test]
    async fn ends_with_other_secrets_do_not_meet() {
        let identity = Identity::from_seed(&[1; 32]);
        let key = *identity.public();
        let (near, far) = tokio::io::duplex(16 << 10);
        let server = tokio::spawn(async move {
            let carrier = Box::new(StreamCarrier::new(far, [8; 32]));
            serve_carrier(&identity, Arc::new(Router::default()), carrier).await
        });
        let node = Node::client().unwrap();
        let carrier = Box::new(StreamCarrier::new(near, [7; 32]));
        assert!(node.connect_carrier(&key, carrier).await.is_err());
        assert!(server.await.unwrap().is_err());
    }
}
