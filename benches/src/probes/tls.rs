//! TLS: hellos of all sorts, their answers taken apart, and whole handshakes.

mod decode;
mod hello;
mod kinds;
mod session;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

pub(super) use kinds::all;

use super::answer::Answer;
use super::client::{self, End};

#[derive(Clone)]
pub(super) enum Script {
    /// Bytes in place of TLS, or a hello and nothing behind it.
    Raw(Raw),
    /// A handshake to its end, and a request.
    Session(session::Session),
}

#[derive(Clone, Default)]
pub(super) struct Raw {
    said: Vec<Vec<u8>>,
    /// Nothing more is said, but the socket stays open.
    held: bool,
    patience: Option<Duration>,
}

pub(super) async fn ask(script: &Script, to: SocketAddr) -> Answer {
    match script {
        Script::Raw(raw) => ask_raw(raw, to).await,
        Script::Session(session) => session.ask(to).await,
    }
}

async fn ask_raw(raw: &Raw, to: SocketAddr) -> Answer {
    let mut tcp = client::tcp(to).await;
    let began = Instant::now();
    for part in &raw.said {
        // The server may be gone before all is sent.
        let _ = tcp.write_all(part).await;
    }
    if !raw.held {
        let _ = tcp.shutdown().await;
    }
    let mut all = Vec::new();
    let patience = raw.patience.unwrap_or(client::PATIENCE);
    let end = loop {
        if let Some(end) = client::read(&mut tcp, &mut all, patience).await {
            break end;
        }
    };
    let mut answer = Answer {
        took: began.elapsed(),
        ..Answer::default()
    };
    decode::note(&mut answer, &all, to.port());
    let end = if end == End::Orderly {
        "FIN"
    } else {
        end.name()
    };
    answer.note("end", end);
    answer
}
