//! One BAR download over QUIC beside the limit of its parts, and beside raw quinn where packets are lost and late.

use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use betanet_runtime::{Gateway, Headers, Method, Node, Peer, Plain, Request, Transport};
use quinn::{Endpoint, EndpointConfig, IdleTimeout, TransportConfig, VarInt};
use tokio::net::UdpSocket;

use crate::download::{download, gateway};
use crate::{Effort, Figure, cpu, median, parts};

/// The settings that the carrier has.
fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(60_000))))
        .stream_receive_window(VarInt::from_u32(6 << 20))
        .receive_window(VarInt::from_u32(15 << 20))
        .send_window(4 << 20);
    Arc::new(config)
}

/// A server that sends `len` bytes on each stream that a client opens, and what a client needs to trust it.
fn server(len: u64) -> (SocketAddr, rustls::ClientConfig) {
    let (mut server, mut client) = parts::tls_pair();
    client.alpn_protocols = vec![b"h3".to_vec()];
    server.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(server).unwrap();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport());
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = socket.local_addr().unwrap();
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime).unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await.unwrap();
                while let Ok((mut out, _)) = connection.accept_bi().await {
                    let buf = vec![9; 64 << 10];
                    let mut left = len;
                    while left > 0 {
                        let n = left.min(buf.len() as u64) as usize;
                        if out.write_all(&buf[..n]).await.is_err() {
                            return;
                        }
                        left -= n as u64;
                    }
                    let _ = out.finish();
                }
            });
        }
    });
    (at, client)
}

/// The same bytes through quinn alone; CPU seconds, and seconds.
async fn raw(to: SocketAddr, client: rustls::ClientConfig, len: u64) -> (f64, f64) {
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(client).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport());
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connection = endpoint
        .connect_with(config, to, "localhost")
        .unwrap()
        .await
        .unwrap();
    let (before, began) = (cpu(), Instant::now());
    let (mut out, mut stream) = connection.open_bi().await.unwrap();
    out.write_all(&[1]).await.unwrap();
    let mut got = 0;
    while let Some(chunk) = stream.read_chunk(64 << 10, true).await.unwrap() {
        got += chunk.bytes.len() as u64;
    }
    assert_eq!(got, len);
    let took = (
        (cpu() - before).as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
    connection.close(0_u32.into(), b"");
    took
}

/// Carries datagrams both ways, half of `rtt` late, and loses two in a hundred by seeded dice.
async fn weather(to: SocketAddr, rtt: Duration) -> SocketAddr {
    struct Late(Instant, u64, bool, Vec<u8>);
    impl PartialEq for Late {
        fn eq(&self, other: &Self) -> bool {
            self.1 == other.1
        }
    }
    impl Eq for Late {}
    impl PartialOrd for Late {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Late {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            (other.0, other.1).cmp(&(self.0, self.1))
        }
    }
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let (inside, outside) = (bind().await.unwrap(), bind().await.unwrap());
    for socket in [&inside, &outside] {
        let socket = socket2::SockRef::from(socket);
        let _ = socket.set_recv_buffer_size(8 << 20);
        let _ = socket.set_send_buffer_size(8 << 20);
    }
    let at = inside.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut near, mut far) = (vec![0; 65_536], vec![0; 65_536]);
        let mut queue: BinaryHeap<Late> = BinaryHeap::new();
        let (mut client, mut number, mut dice) = (None, 0_u64, 7_u64);
        loop {
            let due = queue.peek().map_or(Duration::from_secs(3600), |l| {
                l.0.saturating_duration_since(Instant::now())
            });
            let (up, datagram) = tokio::select! {
                Ok((n, from)) = inside.recv_from(&mut near) => {
                    client = Some(from);
                    (true, near[..n].to_vec())
                }
                Ok((n, _)) = outside.recv_from(&mut far) => (false, far[..n].to_vec()),
                () = tokio::time::sleep(due) => {
                    while queue.peek().is_some_and(|l| l.0 <= Instant::now()) {
                        let Some(Late(_, _, up, bytes)) = queue.pop() else { break };
                        let _ = match client {
                            _ if up => outside.try_send_to(&bytes, to),
                            Some(client) => inside.try_send_to(&bytes, client),
                            None => Ok(0),
                        };
                    }
                    continue;
                }
            };
            number += 1;
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            if (dice >> 33) % 100 >= 2 {
                queue.push(Late(Instant::now() + rtt / 2, number, up, datagram));
            }
        }
    });
    at
}

fn reached_at(gateway: &Gateway, at: SocketAddr) -> Peer {
    let mut peer = gateway.listening().peer();
    peer.addrs = vec![format!("quic:{at}")];
    peer
}

async fn fetch(node: &Node, peer: &Peer, len: u64) -> f64 {
    let session = node.connect(peer).await.unwrap();
    let began = Instant::now();
    let get = Request::new(Method::Get, "/file.bin", Headers::default());
    let mut answer = session.ask(get).await.unwrap();
    let mut got = 0;
    while let Some(bytes) = answer.body.chunk().await.unwrap() {
        got += bytes.len() as u64;
    }
    assert_eq!(got, len);
    let took = began.elapsed().as_secs_f64();
    session.close().await;
    took
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let runtime = parts::runtime(None);
    let all = runtime.spawn(async move { vec![loopback(effort).await, lossy(effort).await] });
    runtime.block_on(all).unwrap()
}

async fn loopback(effort: Effort) -> Figure {
    let len: u64 = if effort.quick { 128 << 20 } else { 512 << 20 };
    let home = tempfile::tempdir().unwrap();
    let gateway = gateway(home.path(), len).await;
    let node = Node::client()
        .unwrap()
        .with_fingerprint(Arc::new(Plain))
        .with_transport(Transport::Quic);
    let (to, client) = server(len);
    let (mut ours, mut limits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let raw = len as f64 / raw(to, client.clone(), len).await.0 / 1e6;
        let aead = parts::aead(parts::suite(), 500);
        let per = |ns: f64| parts::SIZE as f64 / ns * 1e3;
        let limit = 1.0 / (1.0 / raw + 1.0 / per(aead.raw_seal) + 1.0 / per(aead.raw_open));
        let got = download(&node, &gateway, len).await;
        ratios.push(got / limit);
        ours.push(got);
        limits.push(limit);
    }
    gateway.shutdown().await;
    Figure {
        name: "QUIC vs the limit of its parts",
        ratio: median(ratios),
        bound: 0.8,
        at_least: true,
        detail: format!(
            "{:.0} of {:.0} MB per CPU second, {} MiB",
            median(ours),
            median(limits),
            len >> 20
        ),
    }
}

async fn lossy(effort: Effort) -> Figure {
    let len: u64 = if effort.quick { 2 << 20 } else { 8 << 20 };
    let home = tempfile::tempdir().unwrap();
    let gateway = gateway(home.path(), len).await;
    let node = Node::client()
        .unwrap()
        .with_fingerprint(Arc::new(Plain))
        .with_transport(Transport::Quic);
    let rtt = Duration::from_millis(50);
    let port = gateway.listening().addresses[0]
        .rsplit_once(':')
        .unwrap()
        .1
        .parse()
        .unwrap();
    let through = weather((Ipv4Addr::LOCALHOST, port).into(), rtt).await;
    let (to, client) = server(len);
    let beside = weather(to, rtt).await;
    let peer = reached_at(&gateway, through);
    let (mut ours, mut raws, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds.min(7) {
        let raw = len as f64 / raw(beside, client.clone(), len).await.1 / 1e6;
        let own = len as f64 / fetch(&node, &peer, len).await / 1e6;
        ratios.push(own / raw);
        ours.push(own);
        raws.push(raw);
    }
    gateway.shutdown().await;
    Figure {
        name: "QUIC, 2 % lost, 50 ms, vs raw",
        ratio: median(ratios),
        bound: 0.9,
        at_least: true,
        detail: format!(
            "{:.2} of {:.2} MB/s, {} MiB",
            median(ours),
            median(raws),
            len >> 20
        ),
    }
}
