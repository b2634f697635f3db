//! Requests over HTTP/1.1, written out, and their answers line by line.

mod kinds;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::io::AsyncWriteExt as _;

pub(super) use kinds::all;

use super::answer::{Answer, body, value};
use super::client::{self, End, LINGER};

/// What is sent within TLS, and how many answers are waited for.
#[derive(Clone, Default)]
pub(super) struct Script {
    pub(super) said: Vec<u8>,
    /// Sent one by one behind the rest.
    pub(super) drops: Vec<u8>,
    /// Answers without a body whatever they say, as those to HEAD.
    pub(super) bodiless: bool,
    /// Final answers that are waited for; with none, until the end.
    pub(super) answers: usize,
    /// How long.
    pub(super) patience: Option<Duration>,
}

static CONFIG: LazyLock<Arc<ClientConfig>> =
    LazyLock::new(|| Arc::new(client::config(&[&rustls::version::TLS13], &[b"http/1.1"])));

/// An answer's head and body within these bytes, and its length; `None` where more has to come.
struct Parsed<'a> {
    head: &'a str,
    body: &'a [u8],
    used: usize,
}

fn parse(bytes: &[u8], bodiless: bool, ended: bool) -> Option<Parsed<'_>> {
    if bytes.is_empty() {
        return None;
    }
    let head_end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
    let Some(end) = head_end.filter(|_| bytes.starts_with(b"HTTP/")) else {
        // HTTP/0.9 has a body alone.
        return ended.then_some(Parsed {
            head: "",
            body: bytes,
            used: bytes.len(),
        });
    };
    let head = std::str::from_utf8(&bytes[..end]).unwrap_or("(not text)");
    let rest = &bytes[end + 4..];
    let field = |name: &str| {
        head.lines().skip(1).find_map(|l| {
            let (n, v) = l.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    };
    let status = head.get(9..12).unwrap_or_default();
    let none = bodiless || status.starts_with('1') || matches!(status, "204" | "304");
    let length = if none {
        Some(0)
    } else if field("transfer-encoding").is_some() {
        chunked(rest)
    } else if let Some(n) = field("content-length") {
        n.parse().ok().filter(|n| *n <= rest.len())
    } else {
        ended.then_some(rest.len())
    };
    let length = match length {
        Some(n) => n,
        None if ended => rest.len(),
        None => return None,
    };
    Some(Parsed {
        head,
        body: &rest[..length],
        used: end + 4 + length,
    })
}

/// The length of a chunked body, with its end.
fn chunked(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        at += line + 2 + size + 2;
        if at > bytes.len() {
            return None;
        }
        if size == 0 {
            return Some(at);
        }
    }
}

/// Writes answers down, `most` of them at most, and what is left if there is no such bound.
fn note(
    answer: &mut Answer,
    mut bytes: &[u8],
    script: &Script,
    (ended, most): (bool, Option<usize>),
    port: u16,
) {
    let (mut n, mut done) = (0, 0);
    while most.is_none_or(|most| done < most)
        && let Some(parsed) = parse(bytes, script.bodiless, ended)
    {
        n += 1;
        done += usize::from(!parsed.head.starts_with("HTTP/1.1 1"));
        let mut lines = parsed.head.lines();
        answer.note(format!("status {n}"), lines.next().unwrap_or("(none)"));
        let fields: Vec<String> = lines
            .map(|l| match l.split_once(':') {
                Some((name, v)) => format!("{name}:{}", value(name, v.trim(), port)),
                None => l.to_owned(),
            })
            .collect();
        answer.note(format!("header {n}"), fields.join(" | "));
        let text = body(parsed.body);
        answer.note(format!("body {n}"), value("body", &text, port));
        bytes = &bytes[parsed.used..];
        if bytes.is_empty() {
            break;
        }
    }
    answer.note("answers", n.to_string());
    if !bytes.is_empty() && most.is_none() {
        answer.note("rest", body(bytes));
    }
}

/// Whether so many final answers are there.
fn whole(mut bytes: &[u8], script: &Script) -> bool {
    let mut n = 0;
    while let Some(parsed) = parse(bytes, script.bodiless, false) {
        n += usize::from(!parsed.head.starts_with("HTTP/1.1 1"));
        bytes = &bytes[parsed.used..];
    }
    script.answers > 0 && n >= script.answers
}

pub(super) async fn ask(script: &Script, to: SocketAddr, look: bool) -> Answer {
    let mut tls = client::connect(to, &CONFIG).await;
    let began = Instant::now();
    let _ = tls.write_all(&script.said).await;
    let _ = tls.flush().await;
    for b in &script.drops {
        // Who has answered may be gone.
        let _ = tls.write_all(&[*b]).await;
        let _ = tls.flush().await;
    }
    let mut answer = Answer::default();
    let mut all = Vec::new();
    let patience = script.patience.unwrap_or(client::PATIENCE);
    let mut end = End::Open;
    while !whole(&all, script) {
        if let Some(how) = client::read(&mut tls, &mut all, patience).await {
            end = how;
            break;
        }
    }
    answer.took = began.elapsed();
    let natural = end != End::Open;
    if look && !natural && script.patience.is_none() {
        loop {
            if let Some(how) = client::read(&mut tls, &mut all, LINGER).await {
                end = how;
                break;
            }
        }
    }
    // What comes behind the answers that were waited for is compared where it is waited for too.
    let more = look || script.patience.is_some() || natural || script.answers == 0;
    let most = (!more).then_some(script.answers);
    note(
        &mut answer,
        &all,
        script,
        (end != End::Open, most),
        to.port(),
    );
    if look || script.patience.is_some() {
        answer.note("end", end.name());
    }
    answer
}
