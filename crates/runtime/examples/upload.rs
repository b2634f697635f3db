//! An upload that reports its progress.
//!
//! `cargo run -p betanet-runtime --example upload` starts a node on this machine, uploads 8 MiB and stops it.
#![allow(clippy::print_stdout, reason = "that is what an example is for")]

use std::error::Error;

use betanet_runtime::{
    Answer, BodyError, Call, Gateway, GatewayConfig, Headers, Method, Node, Reply, Request,
    SessionHandle, load_or_new_identity,
};
use bytes::Bytes;

const LEN: usize = 8 << 20;
const CHUNK: usize = 64 << 10;

/// Reads a body to its end. The sender cannot send faster than this reads.
async fn read(mut call: Call) -> Reply {
    let mut len = 0;
    loop {
        match call.body.chunk().await {
            Ok(Some(bytes)) => len += bytes.len(),
            Ok(None) => return Reply::text(201, format!("{len} bytes")),
            // The sender gave up. Nothing of the body is kept.
            Err(BodyError::Gone) => return Reply::new(400),
            Err(other) => return Reply::text(400, other.to_string()),
        }
    }
}

/// Uploads `body` to `path`. After each piece, reports to `progress` how many bytes the session has taken.
async fn upload(
    session: &SessionHandle,
    path: &str,
    mut body: Bytes,
    mut progress: impl FnMut(usize),
) -> Result<Answer, betanet_runtime::Error> {
    let len = body.len();
    let headers = Headers::default().with("content-length", len.to_string());
    let upload = session
        .upload(Request::new(Method::Put, path, headers))
        .await?;
    while !body.is_empty() {
        let piece = body.split_to(body.len().min(CHUNK));
        // This waits for the peer's credit. A peer may answer before the end; `finish` returns that answer.
        if upload.send(piece).await.is_err() {
            break;
        }
        progress(len - body.len());
    }
    Ok(upload.finish().await?)
}

async fn run() -> Result<(u16, String), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let config = GatewayConfig::in_state(home.path().join("node"));
    let identity = load_or_new_identity(&config.node.key)?;
    let gateway = Gateway::builder(identity, &config)
        .service("/inbox/", read)
        .start()
        .await?;

    let node = Node::client()?;
    let session = node.connect(&gateway.listening().peer()).await?;
    let body = Bytes::from(vec![7; LEN]);
    let mut told = 0;
    let mut answer = upload(&session, "/inbox/file", body, |sent| {
        let percent = sent * 100 / LEN;
        if percent >= told + 10 {
            told = percent;
            println!("{percent} %");
        }
    })
    .await?;
    let said = answer.body.all(1000).await?.unwrap_or_default();
    session.close().await;
    gateway.shutdown().await;
    Ok((
        answer.head.status,
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (status, said) = run().await?;
    println!("{status}: {said}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_byte_arrives() -> Result<(), Box<dyn Error>> {
        assert_eq!(run().await?, (201, format!("{LEN} bytes")));
        Ok(())
    }
}
