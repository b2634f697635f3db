//! A node that serves an async service under `/clock/` and accepts streams of its own type, and a client of both.
//!
//! `cargo run -p betanet-example-service` starts a node on this machine, asks it four things and stops it.
#![allow(clippy::print_stdout, reason = "that is what an example is for")]

use std::error::Error;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_runtime::{
    BodySource, Broken, Bytes, Call, Client, Gateway, GatewayConfig, Headers, Method, Next, Node,
    PeerSession, Reply, Request, Response, SessionHandle, StreamType, Substream,
    load_or_new_identity,
};
use tokio::time::{Interval, interval};

/// Number and feature of the stream type.
const ECHO: (u8, &str) = (0x80, "example-echo");

/// Answers a second later. Other requests do not wait for it.
async fn slow(call: Call) -> Reply {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let client = match call.client {
        Client::Direct(node) => node.to_string(),
        Client::Anonymous => "a client behind the mix".into(),
    };
    Reply::text(200, format!("hello, {client}\n"))
}

/// Sends a line every 200 ms, ten in all. It stops when the client is gone.
async fn ticks(_: Call) -> Reply {
    let every = interval(Duration::from_millis(200));
    Reply::with_source(Response::new(200), Ticks { every, sent: 0 })
}

struct Ticks {
    every: Interval,
    sent: u32,
}

impl BodySource for Ticks {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Broken>> {
        ready!(Pin::new(&mut self.every).poll_tick(cx));
        self.sent += 1;
        Poll::Ready(Ok(Next {
            bytes: format!("tick {}\n", self.sent).into(),
            last: self.sent == 10,
        }))
    }
}

/// Counts the bytes of a request. The client sends no faster than this reads.
async fn count(mut call: Call) -> Reply {
    let mut len = 0;
    loop {
        match call.body.chunk().await {
            Ok(Some(bytes)) => len += bytes.len(),
            Ok(None) => return Reply::text(200, format!("{len} bytes\n")),
            Err(error) => return Reply::text(400, error.to_string()),
        }
    }
}

/// Returns the bytes of a stream to its opener, in a task of its own.
fn echo(_: &PeerSession, _: u8, mut stream: Substream) {
    tokio::spawn(async move {
        while let Ok(Some(bytes)) = stream.next().await {
            if stream.write(bytes).await.is_err() {
                return;
            }
        }
        // If the peer is gone, so is the stream.
        let _ = stream.finish().await;
    });
}

async fn start(home: &Path) -> Result<Gateway, Box<dyn Error>> {
    let config = GatewayConfig::in_state(home);
    let identity = load_or_new_identity(&config.node.key)?;
    let gateway = Gateway::builder(identity, &config)
        .service("/clock/", slow)
        .service("/clock/ticks", ticks)
        .service("/count", count)
        .stream_type(StreamType::new(ECHO.0, ECHO.1)?, echo)
        .start()
        .await?;
    Ok(gateway)
}

async fn get(session: &SessionHandle, path: &str) -> Result<(), Box<dyn Error>> {
    let request = Request::new(Method::Get, path, Headers::default());
    let mut answer = session.ask(request).await?;
    while let Some(bytes) = answer.body.chunk().await? {
        print!("{path}: {}", String::from_utf8_lossy(&bytes));
    }
    Ok(())
}

async fn upload(session: &SessionHandle) -> Result<(), Box<dyn Error>> {
    let request = Request::new(Method::Post, "/count", Headers::default());
    let upload = session.upload(request).await?;
    for _ in 0..100 {
        upload.send(Bytes::from(vec![0; 10_000])).await?;
    }
    let mut answer = upload.finish().await?;
    let body = answer.body.all(1000).await?.unwrap_or_default();
    print!("/count: {}", String::from_utf8_lossy(&body));
    Ok(())
}

async fn talk(session: &SessionHandle) -> Result<(), Box<dyn Error>> {
    let mut stream = session.peer_session().open(ECHO.0).await?;
    stream
        .write("over a stream of its own type\n".into())
        .await?;
    stream.finish().await?;
    while let Some(bytes) = stream.next().await? {
        print!("echo: {}", String::from_utf8_lossy(&bytes));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let gateway = start(&home.path().join("node")).await?;
    println!("listening: {}", gateway.listening().name);

    let node = Node::client()?;
    let session = node.connect(&gateway.listening().peer()).await?;
    // Side by side on one session: neither waits for the other.
    tokio::try_join!(get(&session, "/clock/"), get(&session, "/clock/ticks"))?;
    upload(&session).await?;
    talk(&session).await?;

    session.close().await;
    gateway.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_runs() -> Result<(), Box<dyn Error>> {
        main()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_type_is_offered_and_others_are_refused() -> Result<(), Box<dyn Error>> {
        let home = tempfile::tempdir()?;
        let gateway = start(&home.path().join("node")).await?;
        let kind = StreamType::new(ECHO.0, ECHO.1)?;
        let node = Node::client()?.with_stream_type(kind, echo);
        let session = node.connect(&gateway.listening().peer()).await?;
        let facts = session.facts().await?;
        assert!(facts.features.iter().any(|f| f == ECHO.1), "{facts:?}");
        let text = Bytes::from_static(b"both ways");
        let mut stream = session.peer_session().open(ECHO.0).await?;
        stream.write(text.clone()).await?;
        assert_eq!(stream.next().await?, Some(text));
        let mut other = session.peer_session().open(ECHO.0 + 1).await?;
        // The refusal may come before or after these bytes have left.
        let _ = other.write(Bytes::from_static(b"?")).await;
        assert!(other.next().await.is_err());
        session.close().await;
        gateway.shutdown().await;
        Ok(())
    }
}
