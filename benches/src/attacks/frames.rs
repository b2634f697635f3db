//! HTTP/2 frames by hand, over TLS from an address of one's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Plan;
use crate::probes::kinds;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) fn frame(ty: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[ty, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface, SETTINGS with this initial window of streams, and as much for the connection as there can be.
pub(super) fn opening(window: u32) -> Vec<u8> {
    let setting = [&4_u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
    let most = (0x7fff_ffff_u32 - 65_535).to_be_bytes();
    [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &setting),
        frame(WINDOW_UPDATE, 0, 0, &most),
    ]
    .concat()
}

/// A request's header block, of indexed fields and literals that index nothing (RFC 7541).
fn block(method: u8, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, t: &str| {
        match t.len() {
            n @ 0..=126 => out.push(u8::try_from(n).unwrap()),
            n => {
                let rest = n - 127;
                out.extend([127, u8::try_from(rest % 128).unwrap() | 128]);
                out.push(u8::try_from(rest / 128).unwrap());
            }
        }
        out.extend_from_slice(t.as_bytes());
    };
    // 2 is GET and 3 is POST, 7 is https, 4 names :path and 1 :authority.
    let mut out = vec![0x80 | method, 0x87, 0x04];
    text(&mut out, path);
    out.push(0x01);
    text(&mut out, "localhost");
    for (name, value) in more {
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &block(2, path, &[]),
    )
}

/// A POST whose body stays open.
pub(super) fn post(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(3, path, more))
}

/// A TCP connection from the attacker's address; `None` where it is turned away.
pub(super) async fn tcp(plan: &Plan) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::new(plan.from, 0)).ok()?;
    let connecting = socket.connect(plan.tcp());
    timeout(Duration::from_secs(5), connecting).await.ok()?.ok()
}

pub(super) async fn tls(plan: &Plan, alpn: &[u8]) -> Option<TlsStream<TcpStream>> {
    let tcp = tcp(plan).await?;
    tcp.set_nodelay(true).ok()?;
    let connector = TlsConnector::from(Arc::new(kinds::tls_config(alpn)));
    let connecting = connector.connect("localhost".try_into().unwrap(), tcp);
    timeout(Duration::from_secs(10), connecting)
        .await
        .ok()?
        .ok()
}

/// Writes all of it; whether the node took it soon.
pub(super) async fn say(to: &mut TlsStream<TcpStream>, bytes: &[u8]) -> bool {
    let all = async {
        to.write_all(bytes).await.ok()?;
        to.flush().await.ok()
    };
    matches!(timeout(Duration::from_secs(5), all).await, Ok(Some(())))
}
