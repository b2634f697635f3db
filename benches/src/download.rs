//! One BAR download over loopback TCP, in CPU seconds of both ends, beside the limit of its parts.

use std::path::Path;
use std::sync::Arc;

use betanet_runtime::{
    Aes, Gateway, GatewayConfig, Headers, Identity, Method, Node, Request, SessionConfig, Transport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Effort, Figure, cpu, median, parts};

/// A gateway over a folder with one file of `len` bytes.
pub(crate) async fn gateway(home: &Path, len: u64) -> Gateway {
    // Every client of a measurement has one address.
    gateway_for(home, len, Some(1_000_000)).await
}

/// A gateway that takes this many TCP connections of one address.
pub(crate) async fn gateway_for(home: &Path, len: u64, crowd: Option<usize>) -> Gateway {
    Gateway::start(Identity::from_seed(&[2; 32]), &config(home, len, crowd))
        .await
        .unwrap()
}

/// Its configuration.
pub(crate) fn config(home: &Path, len: u64, crowd: Option<usize>) -> GatewayConfig {
    for folder in ["served", "cover"] {
        std::fs::create_dir_all(home.join(folder)).unwrap();
    }
    std::fs::write(home.join("cover/index.html"), "<h1>hello</h1>").unwrap();
    let file = std::fs::File::create(home.join("served/file.bin")).unwrap();
    file.set_len(len).unwrap();
    let mut config = GatewayConfig::default();
    config.folder.serve = Some(home.join("served"));
    config.site.cover = Some(home.join("cover"));
    config.node.key = home.join("key.pem");
    config.listener.quic = true;
    let limits = &mut config.limits;
    limits.per_address = Some(1_000_000);
    limits.connections_per_address = crowd.unwrap_or(limits.connections_per_address);
    limits.connects_per_second = crowd.unwrap_or(limits.connects_per_second);
    limits.opens = Some(1_000_000);
    limits.opens_per_second = Some(1_000_000);
    config.check().unwrap();
    config
}

/// Megabytes per CPU second of both ends.
pub(crate) async fn download(node: &Node, gateway: &Gateway, len: u64) -> f64 {
    let session = node.connect(&gateway.listening().peer()).await.unwrap();
    let get = || Request::new(Method::Get, "/file.bin", Headers::default());
    let before = cpu();
    let mut answer = session.ask(get()).await.unwrap();
    let mut got = 0;
    while let Some(bytes) = answer.body.chunk().await.unwrap() {
        got += bytes.len() as u64;
    }
    let took = (cpu() - before).as_secs_f64();
    assert_eq!(got, len);
    session.close().await;
    len as f64 / took / 1e6
}

/// The same bytes through tokio-rustls alone, with the suite that the session's carrier selects.
async fn raw_tls(len: u64) -> f64 {
    let (server, client) = parts::tls_pair();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let sender = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = acceptor.accept(tcp).await.unwrap();
        let mut go = [0];
        tls.read_exact(&mut go).await.unwrap();
        let buf = vec![9; 64 << 10];
        let mut left = len;
        while left > 0 {
            let n = left.min(buf.len() as u64) as usize;
            tls.write_all(&buf[..n]).await.unwrap();
            left -= n as u64;
        }
        tls.shutdown().await.unwrap();
    });
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut tls = connector
        .connect("localhost".try_into().unwrap(), tcp)
        .await
        .unwrap();
    let before = cpu();
    tls.write_all(&[1]).await.unwrap();
    let mut buf = vec![0; 64 << 10];
    let mut got = 0;
    loop {
        match tls.read(&mut buf).await.unwrap() {
            0 => break,
            n => got += n as u64,
        }
    }
    sender.await.unwrap();
    let took = (cpu() - before).as_secs_f64();
    assert_eq!(got, len);
    len as f64 / took / 1e6
}

/// With the executor that the binaries use, and with one worker, where no wake-up crosses cores; the peer alike.
pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    vec![
        with_workers(effort, None, "download vs the limit of its parts"),
        with_workers(effort, Some(1), "the same, one worker"),
        with_aes(effort),
    ]
}

/// A download with AES inside beside the same with ChaCha20-Poly1305; 1 where the processor has no AES.
fn with_aes(effort: Effort) -> Figure {
    let len: u64 = if effort.quick { 128 << 20 } else { 1 << 30 };
    let runtime = parts::runtime(None);
    let all = runtime.spawn(async move {
        let home = tempfile::tempdir().unwrap();
        let gateway = gateway(home.path(), len).await;
        let nodes = [Aes::Offer, Aes::Off].map(|aes| {
            let config = SessionConfig {
                aes,
                ..SessionConfig::default()
            };
            Node::new(None, config)
                .unwrap()
                .with_transport(Transport::Tcp)
        });
        let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
        for _ in 0..5 {
            let with = download(&nodes[0], &gateway, len).await;
            let without = download(&nodes[1], &gateway, len).await;
            ratios.push(with / without);
            rates[0].push(with);
            rates[1].push(without);
        }
        gateway.shutdown().await;
        let [with, without] = rates.map(median);
        Figure {
            name: "download with AES vs with ChaCha20",
            ratio: median(ratios),
            bound: 1.15,
            at_least: true,
            detail: format!(
                "{with:.0} and {without:.0} MB per CPU second, {} MiB, {}",
                len >> 20,
                parts::suite().name()
            ),
        }
    });
    runtime.block_on(all).unwrap()
}

fn with_workers(effort: Effort, workers: Option<usize>, name: &'static str) -> Figure {
    let len: u64 = if effort.quick { 128 << 20 } else { 1 << 30 };
    let runtime = parts::runtime(workers);
    let all = runtime.spawn(async move {
        let home = tempfile::tempdir().unwrap();
        let gateway = gateway(home.path(), len).await;
        let node = Node::client().unwrap().with_transport(Transport::Tcp);
        let (mut ours, mut limits, mut raws) = (Vec::new(), Vec::new(), Vec::new());
        // Of figures taken one after the other: the machine's speed drifts from round to round.
        let mut ratios = Vec::new();
        for _ in 0..5 {
            let raw = raw_tls(len).await;
            let aead = parts::aead(parts::suite(), 500);
            let per = |ns: f64| parts::SIZE as f64 / ns * 1e3;
            let limit = 1.0 / (1.0 / raw + 1.0 / per(aead.raw_seal) + 1.0 / per(aead.raw_open));
            let got = download(&node, &gateway, len).await;
            ratios.push(got / limit);
            limits.push(limit);
            raws.push(raw);
            ours.push(got);
        }
        gateway.shutdown().await;
        let (ours, limit, raw) = (median(ours), median(limits), median(raws));
        Figure {
            name,
            ratio: median(ratios),
            bound: 0.70,
            at_least: true,
            detail: format!(
                "{ours:.0} of {limit:.0} MB per CPU second, raw TLS {raw:.0}, {} MiB",
                len >> 20
            ),
        }
    });
    runtime.block_on(all).unwrap()
}
