//! The audit log, read from a panel over its API.

use std::path::Path;

use betanet_runtime::read_secret;
use hyper::Method;

use super::{FILE_MAX, of_answer};
use crate::Fail;
use crate::fail::chain;
use crate::panel_api::{Api, Body};

/// Records of one answer.
const PIECE: usize = 1_000;
/// Most records that are read.
const RECORDS_MAX: usize = 1 << 20;

/// Reads the whole log, record after record. The reading has records of its own, which come last.
pub(super) async fn read(url: &str, token: Option<&Path>) -> Result<Vec<Vec<u8>>, Fail> {
    let most = usize::try_from(FILE_MAX).unwrap_or(usize::MAX);
    // The token would be read on the way to another machine, so the address is looked at before the token.
    Api::new(url, "", most).map_err(|fail| match fail {
        Fail::Usage(why) => Fail::Usage(format!(
            "{why}; of another machine, save the log with curl over HTTPS"
        )),
        fail => fail,
    })?;
    let token = token.ok_or_else(|| {
        Fail::Usage("a panel asks for a token that may read its log: --token-file FILE".to_owned())
    })?;
    let token = read_secret(token).map_err(|e| Fail::Local(chain(&e)))?;
    let api = Api::new(url, token.trim(), most)?;
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        let piece = piece(&api, all.len()).await?;
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

/// The records from an index on, as many as one answer has. An account has 600 reads a minute: a long log is read with pauses.
async fn piece(api: &Api, from: usize) -> Result<Vec<Vec<u8>>, Fail> {
    let path = format!("/api/v1/audit?from={from}&n={PIECE}");
    let answer = api.call(Method::GET, &path, Body::None).await?;
    let fail = |why: &str| Fail::Peer(format!("{}: {why}", api.origin()));
    match answer.status.as_u16() {
        200 => of_answer(&answer.body, from).map_err(|unread| fail(&unread.to_string())),
        401 => Err(fail("the token does not count")),
        403 => Err(fail(
            "the token may not read the audit log: it needs read-audit",
        )),
        status => Err(fail(&format!("status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use betanet_wire::text::base64url;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A panel's log of this many records, for those with the token `good`. It refuses the first answers for the limit of reads.
    async fn panel(records: usize, limited: u32) -> String {
        let limited = Arc::new(AtomicU32::new(limited));
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
                let take = |n: u32| n.checked_sub(1);
                if limited
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
                {
                    let busy = "HTTP/1.1 429 x\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
                    tcp.write_all(busy.as_bytes()).await.unwrap();
                    continue;
                }
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
        for (n, limited) in [(0, 0), (7, 1), (PIECE, 0), (2 * PIECE + 5, 0)] {
            let url = panel(n, limited).await;
            let all = read(&url, Some(&good)).await.unwrap();
            let want: Vec<Vec<u8>> = (0..n).map(|n| n.to_be_bytes().to_vec()).collect();
            assert_eq!(all, want);
        }
        let url = panel(1, 0).await;
        let refused = read(&url, Some(&bad)).await;
        assert!(matches!(refused, Err(Fail::Peer(why)) if why.contains("does not count")));
        assert!(matches!(read(&url, None).await, Err(Fail::Usage(_))));
    }

    #[tokio::test]
    async fn a_log_of_another_machine_is_not_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let good = token(dir.path(), "good");
        for bad in ["https://127.0.0.1:9470", "http://192.0.2.1:9470"] {
            let refused = read(bad, Some(&good)).await;
            assert!(matches!(refused, Err(Fail::Usage(why)) if why.contains("curl")));
        }
    }
}
