//! The audit log, read from a panel over its API.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use betanet_runtime::read_secret;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;

use super::{FILE_MAX, of_answer};
use crate::Fail;
use crate::fail::chain;

/// Records of one answer.
const PIECE: usize = 1_000;
/// Most records that are read.
const RECORDS_MAX: usize = 1 << 20;
/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// `HOST:PORT` of a panel on this machine: the token would be read on the way to another one.
fn host(url: &str) -> Option<&str> {
    let host = url.strip_prefix("http://")?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let here = match host.strip_prefix("localhost:") {
        Some(port) => port.parse::<u16>().is_ok(),
        None => {
            let address: Option<SocketAddr> = host.parse().ok();
            address.is_some_and(|a| a.ip().is_loopback())
        }
    };
    here.then_some(host)
}

/// Reads the whole log, record after record. The reading has records of its own, which come last.
pub(super) async fn read(url: &str, token: Option<&Path>) -> Result<Vec<Vec<u8>>, Fail> {
    let host = host(url).ok_or_else(|| {
        let why = "a panel is read at http://127.0.0.1:PORT or http://localhost:PORT; elsewhere, save the log with curl over HTTPS";
        Fail::Usage(format!("{url}: {why}"))
    })?;
    let token = token.ok_or_else(|| {
        Fail::Usage("a panel asks for a token that may read its log: --token-file FILE".to_owned())
    })?;
    let token = read_secret(token).map_err(|e| Fail::Local(chain(&e)))?;
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        let path = format!("/api/v1/audit?from={}&n={PIECE}", all.len());
        let asked = tokio::time::timeout(PATIENCE, get(host, &path, token.trim())).await;
        let late = |_| Fail::Peer(format!("{url}: no answer within {PATIENCE:?}"));
        let body = asked.map_err(late)??;
        let piece = of_answer(&body).map_err(|why| Fail::Peer(format!("{url}: {why}")))?;
        let last = piece.len() < PIECE;
        all.extend(piece);
        if last {
            return Ok(all);
        }
        if all.len() >= RECORDS_MAX {
            let why = "more than 2^20 records: save the log with curl, and verify the files";
            return Err(Fail::Peer(format!("{url}: {why}")));
        }
    }
}

async fn get(host: &str, path: &str, token: &str) -> Result<Vec<u8>, Fail> {
    let fail = |e: &dyn std::fmt::Display| Fail::Peer(format!("{host}: {e}"));
    let tcp = tokio::net::TcpStream::connect(host).await;
    let tcp = tcp.map_err(|e| fail(&e))?;
    let connecting = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await;
    let (mut sender, connection) = connecting.map_err(|e| fail(&e))?;
    let driving = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", host)
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::<bytes::Bytes>::new());
    let request = request.map_err(|_| Fail::Local("the token's file has no token".to_owned()))?;
    let answer = sender.send_request(request).await.map_err(|e| fail(&e))?;
    let status = answer.status();
    let most = usize::try_from(FILE_MAX).unwrap_or(usize::MAX);
    let body = Limited::new(answer.into_body(), most).collect().await;
    driving.abort();
    let body = body.map_err(|e| fail(&e))?.to_bytes();
    match status.as_u16() {
        200 => Ok(body.to_vec()),
        401 => Err(fail(&"the token does not count")),
        403 => Err(fail(
            &"the token may not read the audit log: it needs read-audit",
        )),
        status => Err(fail(&format!("status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use betanet_wire::text::base64url;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A panel's log of this many records, for those with the token `good`.
    async fn panel(records: usize) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let mut ask = [0; 4096];
                let n = tcp.read(&mut ask).await.unwrap();
                let ask = String::from_utf8_lossy(&ask[..n]).into_owned();
                let from = ask
                    .split("from=")
                    .nth(1)
                    .unwrap()
                    .split('&')
                    .next()
                    .unwrap();
                let from: usize = from.parse().unwrap();
                let all = (from..records).take(PIECE);
                let items: Vec<Value> = all
                    .map(|n| json!({"record": base64url(&n.to_be_bytes())}))
                    .collect();
                let (status, body) = match ask.contains("authorization: Bearer good\r\n") {
                    true => (200, json!({"items": items}).to_string()),
                    false => (401, String::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                tcp.write_all((head + &body).as_bytes()).await.unwrap();
            }
        });
        format!("http://{at}/")
    }

    fn token(dir: &Path, text: &str) -> std::path::PathBuf {
        let path = dir.join(text);
        betanet_runtime::write_secret(&path, format!("{text}\n").as_bytes()).unwrap();
        path
    }

    #[tokio::test]
    async fn the_whole_log_is_read_in_order_with_a_token_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (token(dir.path(), "good"), token(dir.path(), "bad"));
        for n in [0, 7, PIECE, 2 * PIECE + 5] {
            let url = panel(n).await;
            let all = read(&url, Some(&good)).await.unwrap();
            let want: Vec<Vec<u8>> = (0..n).map(|n| n.to_be_bytes().to_vec()).collect();
            assert_eq!(all, want);
        }
        let url = panel(1).await;
        let refused = read(&url, Some(&bad)).await;
        assert!(matches!(refused, Err(Fail::Peer(why)) if why.contains("does not count")));
        assert!(matches!(read(&url, None).await, Err(Fail::Usage(_))));
    }

    #[test]
    fn a_token_is_sent_to_this_machine_only() {
        for good in [
            "http://127.0.0.1:9470",
            "http://127.0.0.1:9470/",
            "http://localhost:9470",
            "http://[::1]:9470",
        ] {
            assert!(host(good).is_some(), "{good}");
        }
        for bad in [
            "https://127.0.0.1:9470",
            "http://192.0.2.1:9470",
            "http://panel.example:80",
            "http://localhost.example:80",
            "http://127.0.0.1",
            "http://localhost:x",
        ] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }
}
