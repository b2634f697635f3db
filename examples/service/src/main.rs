//! A node that serves an async service under `/clock/`, and a client that fetches from it.
//!
//! `cargo run -p betanet-example-service` starts a node on this machine, asks it three things and stops it.
#![allow(clippy::print_stdout, reason = "that is what an example is for")]

use std::error::Error;
use std::time::Duration;

use betanet_runtime::{
    Call, Client, Gateway, GatewayConfig, Headers, Method, Node, Reply, Request, SessionHandle,
    new_identity,
};
use bytes::Bytes;
use futures_util::stream;

/// Answers a second later, and may: nobody else waits for it.
async fn slow(call: Call) -> Reply {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let who = match call.client {
        Client::Direct(node) => node.to_string(),
        Client::Anonymous => "nobody that I know".into(),
    };
    Reply::text(200, format!("hello, {who}\n"))
}

/// Says a line every 200 ms for as long as somebody listens, ten at most.
async fn ticks(_: Call) -> Reply {
    let lines = stream::unfold(1, |n| async move {
        if n > 10 {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let line = Bytes::from(format!("tick {n}\n"));
        Some((Ok::<_, std::io::Error>(line), n + 1))
    });
    Reply::new(200).streaming(lines)
}

/// Counts what it is sent. The client sends no faster than this reads.
async fn count(mut call: Call) -> Reply {
    let mut len = 0;
    loop {
        match call.body.chunk().await {
            Ok(Some(bytes)) => len += bytes.len(),
            Ok(None) => return Reply::text(200, format!("{len} bytes\n")),
            Err(gone) => return Reply::text(400, gone.to_string()),
        }
    }
}

async fn get(session: &SessionHandle, path: &str) -> Result<(), Box<dyn Error>> {
    let request = Request::new(Method::Get, path, Headers::default());
    let mut answer = session.ask(request).await?;
    while let Some(bytes) = answer.body.chunk().await? {
        print!("{path}: {}", String::from_utf8_lossy(&bytes));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // What a configuration file says elsewhere.
    let home = tempfile::tempdir()?;
    let public = home.path().join("public");
    std::fs::create_dir(&public)?;
    let mut config = GatewayConfig::default();
    config.folder.serve = Some(public);
    config.node.key = home.path().join("key.pem");
    config.check()?;
    let identity = new_identity(&config.node.key)?;

    let gateway = Gateway::builder(identity, &config)
        .service("/clock/", slow)
        .service("/clock/ticks", ticks)
        .service("/count", count)
        .start()
        .await?;
    let peer = gateway.listening().peer();
    println!("listening: {}", gateway.listening().name);

    let node = Node::client()?;
    let session = node.connect(&peer).await?;
    // Side by side on one session: neither waits for the other.
    tokio::try_join!(get(&session, "/clock/"), get(&session, "/clock/ticks"))?;
    let upload = Request::new(Method::Post, "/count", Headers::default());
    let upload = session.upload(upload).await?;
    for _ in 0..100 {
        upload.send(Bytes::from(vec![0; 10_000])).await?;
    }
    let mut answer = upload.finish().await?;
    let said = answer.body.all(1000).await?.unwrap_or_default();
    print!("/count: {}", String::from_utf8_lossy(&said));

    session.close().await;
    gateway.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
