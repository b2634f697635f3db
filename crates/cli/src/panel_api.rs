//! The HTTP API of a panel, as a program uses it.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::Fail;

/// Longest answer that most commands read.
pub(crate) const ANSWER_MAX: usize = 4 << 20;
/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest pause that is made because the API asks for one.
const PAUSE_MAX: u64 = 120;
/// Most attempts at a request.
const TRIES: u32 = 8;

/// The body of a request.
#[derive(Clone)]
pub(crate) enum Body {
    None,
    Json(Value),
    Form(Zeroizing<String>),
    Bytes(Vec<u8>),
}

/// A panel's API, with a bearer token.
pub(crate) struct Api {
    address: SocketAddr,
    authority: String,
    token: Zeroizing<String>,
    /// Longest answer that is read.
    most: usize,
}

/// An answer: its status, the pause that it asks for in seconds, and its body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pause: Option<u64>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Api {
    /// Reads the address of a panel. Plain HTTP would show the token to others on the way, so it is one of this machine.
    pub(crate) fn new(url: &str, token: &str, most: usize) -> Result<Self, Fail> {
        let wrong = || {
            Fail::Usage(format!(
                "{url}: not a panel of this machine: http:// and a loopback address with its port, such as http://127.0.0.1:9470"
            ))
        };
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let authority = rest.trim_end_matches('/');
        let numbers = authority.replace("localhost:", "127.0.0.1:");
        let address: SocketAddr = numbers.parse().map_err(|_| wrong())?;
        if !address.ip().is_loopback() {
            return Err(wrong());
        }
        Ok(Self {
            address,
            authority: authority.to_owned(),
            token: Zeroizing::new(token.to_owned()),
            most,
        })
    }

    /// The address of the site, without a path.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// Sends a request once.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Answer, Fail> {
        let fail = |e: &dyn std::fmt::Display| Fail::Peer(format!("{}: {e}", self.origin()));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::ORIGIN, self.origin());
        if !self.token.is_empty() {
            let field = Zeroizing::new(format!("Bearer {}", *self.token));
            let mut field = header::HeaderValue::from_str(&field).map_err(|e| fail(&e))?;
            field.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, field);
        }
        let (kind, bytes) = match body {
            Body::None => (None, Vec::new()),
            Body::Json(value) => (Some("application/json"), value.to_string().into_bytes()),
            Body::Form(text) => (
                Some("application/x-www-form-urlencoded"),
                text.as_bytes().to_vec(),
            ),
            Body::Bytes(bytes) => (Some("application/octet-stream"), bytes),
        };
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request
            .body(Full::new(bytes::Bytes::from(bytes)))
            .map_err(|e| fail(&e))?;
        let exchange = async {
            let tcp = tokio::net::TcpStream::connect(self.address).await;
            let io = hyper_util::rt::TokioIo::new(tcp.map_err(|e| fail(&e))?);
            let connecting = hyper::client::conn::http1::handshake(io).await;
            let (mut sender, connection) = connecting.map_err(|e| fail(&e))?;
            let driving = tokio::spawn(connection);
            let answer = sender.send_request(request).await.map_err(|e| fail(&e))?;
            let status = answer.status();
            let pause = answer.headers().get(header::RETRY_AFTER);
            let pause = pause.and_then(|v| v.to_str().ok()?.parse().ok());
            let body = Limited::new(answer.into_body(), self.most).collect().await;
            let body = body.map_err(|e| fail(&e))?.to_bytes().to_vec();
            driving.abort();
            Ok(Answer {
                status,
                pause,
                body,
            })
        };
        let answered = tokio::time::timeout(PATIENCE, exchange).await;
        answered.map_err(|_| fail(&"no answer within 30 s"))?
    }

    /// Sends a request until it is let through. The API bounds writes to 60 a minute, and says how long to wait.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Answer, Fail> {
        for _ in 0..TRIES {
            let answer = self.send(method.clone(), path, body.clone()).await?;
            let busy = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::SERVICE_UNAVAILABLE,
            ];
            let pause = answer.pause.unwrap_or(1);
            if !busy.contains(&answer.status) || pause > PAUSE_MAX {
                return Ok(answer);
            }
            if pause > 2 {
                note!("the API asks to wait for {pause} s");
            }
            tokio::time::sleep(Duration::from_secs(pause.max(1))).await;
        }
        let why = format!("{}: too busy for {path}", self.origin());
        Err(Fail::Peer(why))
    }

    /// The same for an answer that has to be a success.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Body) -> Result<Value, Fail> {
        let answer = self.call(method.clone(), path, body).await?;
        if answer.status.is_success() {
            return Ok(answer.json());
        }
        let why = answer.json();
        let why = why["detail"].as_str().unwrap_or("no problem of RFC 9457");
        // The program that answers there may not be a panel.
        let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
        let (at, status) = (self.origin(), answer.status);
        Err(Fail::Peer(format!(
            "{at}: {method} {path}: {status}: {why}"
        )))
    }

    /// All items of a list, page after page.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>, Fail> {
        let mut all: Vec<Value> = Vec::new();
        let mut first = None;
        let by = if path.contains('?') { '&' } else { '?' };
        for page in 1_u32.. {
            let path = format!("{path}{by}page={page}");
            let mut answer = self.ask(Method::GET, &path, Body::None).await?;
            let items = match answer["items"].take() {
                Value::Array(items) => items,
                _ => return Err(Fail::Peer(format!("{}: {path}: no list", self.origin()))),
            };
            // A page beyond the last one is the last one again.
            let known = items
                .first()
                .is_some_and(|f| all.iter().any(|a| a["id"] == f["id"]));
            if items.is_empty() || known {
                break;
            }
            first = first.or(Some(items.len()));
            let short = first.is_some_and(|rows| items.len() < rows);
            all.extend(items);
            if short {
                break;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_this_machine_alone() {
        for good in [
            "http://127.0.0.1:9470",
            "http://localhost:9470/",
            "http://[::1]:80",
        ] {
            let api = Api::new(good, "t", ANSWER_MAX).map(|api| api.origin());
            assert_eq!(api.ok().as_deref(), Some(good.trim_end_matches('/')));
        }
        for bad in [
            "127.0.0.1:9470",
            "https://127.0.0.1:1",
            "http://192.0.2.1:80",
            "http://localhost",
            "http://127.0.0.1:1/x",
            "http://localhost.example:80",
        ] {
            let api = Api::new(bad, "t", ANSWER_MAX);
            assert!(matches!(api, Err(Fail::Usage(_))), "{bad}");
        }
    }
}
