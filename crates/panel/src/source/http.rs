//! One request to an admin address, bounded in time and length.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::Source;

/// Longest answer of a source.
pub(crate) const ANSWER_MAX: usize = 4 << 20;
/// Time for a request to a source.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Reason why a source was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("it does not answer within 3 s")]
    Late,
    #[error("no connection: {0}")]
    Connect(ErrorKind),
    #[error("the connection broke off")]
    Cut,
    #[error("its answer is longer than 4 MiB")]
    TooLong,
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its answer is of another form")]
    Form,
}

impl Broken {
    /// Whether the program answers, and does not have what was asked for.
    pub(crate) const fn absent(self) -> bool {
        matches!(self, Self::Status(404))
    }
}

/// Reads a path of a source.
pub(super) async fn get(source: &Source, path: &str) -> Result<Bytes, Broken> {
    let got = tokio::time::timeout(PATIENCE, got(source, path)).await;
    got.unwrap_or(Err(Broken::Late))
}

/// Reads a path of a source that answers with JSON.
pub(super) async fn json<T: DeserializeOwned>(source: &Source, path: &str) -> Result<T, Broken> {
    let bytes = get(source, path).await?;
    serde_json::from_slice(&bytes).map_err(|_| Broken::Form)
}

async fn got(source: &Source, path: &str) -> Result<Bytes, Broken> {
    let at = source.address();
    let tcp = TcpStream::connect(&at).await;
    let tcp = tcp.map_err(|e| Broken::Connect(e.kind()))?;
    let (mut sender, connection) = handshake(TokioIo::new(tcp))
        .await
        .map_err(|_| Broken::Cut)?;
    let _driving = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(path)
        .header("host", at)
        .header("connection", "close")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|_| Broken::Form)?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|_| Broken::Cut)?;
    if answer.status().as_u16() != 200 {
        return Err(Broken::Status(answer.status().as_u16()));
    }
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Broken::TooLong),
        Err(_) => Err(Broken::Cut),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What becomes of a request to a program that answers so, and then says nothing more.
    async fn asked(head: &str, body: usize) -> Result<usize, Broken> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let source = Source::from_text(&format!("x=http://{at}")).unwrap();
        let answer = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut piece = [0; 4096];
            let _ = tcp.read(&mut piece).await;
            let _ = tcp.write_all(head.as_bytes()).await;
            let _ = tcp.write_all(&vec![b'x'; body]).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            got = get(&source, "/x") => got.map(|b| b.len()),
            () = answer => unreachable!(),
        }
    }

    #[tokio::test]
    async fn an_answer_of_a_source_is_bounded() {
        let whole = |n: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {n}\r\n\r\n");
        assert_eq!(asked(&whole(ANSWER_MAX), ANSWER_MAX).await, Ok(ANSWER_MAX));
        let over = ANSWER_MAX + 1;
        assert_eq!(asked(&whole(over), over).await, Err(Broken::TooLong));
        let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(asked(missing, 0).await, Err(Broken::Status(404)));
        let gone = Source::from_text("x=http://127.0.0.1:1").unwrap();
        assert!(matches!(get(&gone, "/").await, Err(Broken::Connect(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_says_nothing_is_given_up() {
        assert_eq!(asked("", 0).await, Err(Broken::Late));
    }
}
