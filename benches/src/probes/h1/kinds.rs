//! What is asked over HTTP/1.1.

use std::time::Duration;

use super::Script;

fn one(said: impl Into<Vec<u8>>) -> Script {
    Script {
        said: said.into(),
        answers: 1,
        ..Script::default()
    }
}

fn get(path: &str, fields: &str) -> Script {
    one(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
    ))
}

/// The date and the validator that all servers give the files.
const DATED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const ETAG: &str = "\"6553f100-30d40\"";

fn conditional() -> Vec<(&'static str, Script)> {
    let large = |fields: String| get("/large.bin", &fields);
    vec![
        ("range, first 10", large("Range: bytes=0-9\r\n".into())),
        ("range, suffix", large("Range: bytes=-10\r\n".into())),
        ("range, open", large("Range: bytes=199990-\r\n".into())),
        ("range, two", large("Range: bytes=0-9,20-29\r\n".into())),
        ("range, beyond", large("Range: bytes=300000-\r\n".into())),
        ("range, malformed", large("Range: bytes=x\r\n".into())),
        ("range, other unit", large("Range: items=0-1\r\n".into())),
        (
            "if-range, right",
            large(format!("Range: bytes=0-9\r\nIf-Range: {ETAG}\r\n")),
        ),
        (
            "if-range, wrong",
            large("Range: bytes=0-9\r\nIf-Range: \"x\"\r\n".into()),
        ),
        (
            "if-range, date",
            large(format!("Range: bytes=0-9\r\nIf-Range: {DATED}\r\n")),
        ),
        (
            "if-none-match, right",
            large(format!("If-None-Match: {ETAG}\r\n")),
        ),
        ("if-none-match, star", large("If-None-Match: *\r\n".into())),
        (
            "if-modified-since, equal",
            large(format!("If-Modified-Since: {DATED}\r\n")),
        ),
        (
            "if-modified-since, later",
            large("If-Modified-Since: Tue, 14 Nov 2028 22:13:20 GMT\r\n".into()),
        ),
        ("if-match, wrong", large("If-Match: \"x\"\r\n".into())),
        (
            "if-unmodified-since, earlier",
            large("If-Unmodified-Since: Tue, 14 Nov 2017 22:13:20 GMT\r\n".into()),
        ),
    ]
}

fn requests() -> Vec<(&'static str, Script)> {
    let head = Script {
        bodiless: true,
        ..one("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    };
    let host = "Host: localhost\r\n";
    vec![
        ("GET /", get("/", "")),
        (
            "GET /, connection: close",
            get("/", "Connection: close\r\n"),
        ),
        ("GET /style.css", get("/style.css", "")),
        (
            "GET /style.css, gzip",
            get("/style.css", "Accept-Encoding: gzip\r\n"),
        ),
        (
            "GET /long.html, gzip",
            get("/long.html", "Accept-Encoding: gzip\r\n"),
        ),
        ("GET /large.bin", get("/large.bin", "")),
        ("HEAD /", head),
        ("GET /none", get("/none", "")),
        ("GET /folder", get("/folder", "")),
        ("GET /folder/", get("/folder/", "")),
        ("GET /empty/", get("/empty/", "")),
        ("GET /index.html/", get("/index.html/", "")),
        ("odd path", get("/..%2f%2e%2e/x?y=//", "")),
        ("path above", get("/../../etc/passwd", "")),
        ("path, double slash", get("//folder//index.html", "")),
        ("path, dots", get("/folder/./../index.html", "")),
        ("path, broken escape", get("/%zz", "")),
        ("path, zero", get("/%00", "")),
        ("path, bytes", get("/\u{e9}\u{fffd}", "")),
        ("path, fragment", get("/index.html#x", "")),
        (
            "OPTIONS *",
            one(format!("OPTIONS * HTTP/1.1\r\n{host}\r\n")),
        ),
        (
            "OPTIONS /",
            one(format!("OPTIONS / HTTP/1.1\r\n{host}\r\n")),
        ),
        (
            "DELETE /none",
            one(format!("DELETE /none HTTP/1.1\r\n{host}\r\n")),
        ),
        (
            "PUT /",
            one(format!(
                "PUT / HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nabc"
            )),
        ),
        ("TRACE /", one(format!("TRACE / HTTP/1.1\r\n{host}\r\n"))),
        (
            "CONNECT",
            one(format!("CONNECT x:443 HTTP/1.1\r\n{host}\r\n")),
        ),
        (
            "method unknown",
            one(format!("FOO / HTTP/1.1\r\n{host}\r\n")),
        ),
        (
            "method lower case",
            one(format!("get / HTTP/1.1\r\n{host}\r\n")),
        ),
        ("HTTP/1.0", one("GET / HTTP/1.0\r\n\r\n")),
        (
            "HTTP/1.0, keep-alive",
            one("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        ),
        ("HTTP/0.9", one("GET /\r\n")),
        (
            "HTTP/2.0 in text",
            one(format!("GET / HTTP/2.0\r\n{host}\r\n")),
        ),
        ("HTTP/1.9", one(format!("GET / HTTP/1.9\r\n{host}\r\n"))),
        (
            "version malformed",
            one(format!("GET / HTTP/x\r\n{host}\r\n")),
        ),
        ("no HTTP", one("HELO example\r\n\r\n")),
        (
            "absolute form",
            one("GET http://x/ HTTP/1.1\r\nHost: y\r\n\r\n"),
        ),
        ("no host", one("GET / HTTP/1.1\r\n\r\n")),
        (
            "two hosts",
            one("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ),
        ("bad host", one("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")),
        ("bare LF", one("GET / HTTP/1.1\nHost: x\n\n")),
        (
            "leading empty lines",
            one("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        ("folded field", get("/", "X: a\r\n b\r\n")),
        ("field without colon", get("/", "nonsense\r\n")),
        ("field with zero", get("/", "X: a\0b\r\n")),
        (
            "space before colon",
            one("GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
        ),
        ("field name with underscore", get("/", "a_b: c\r\n")),
        (
            "long field, 9 KiB",
            get("/", &format!("X: {}\r\n", "a".repeat(9000))),
        ),
        (
            "long field, 40 KiB",
            get("/", &format!("X: {}\r\n", "a".repeat(40_000))),
        ),
        (
            "long path, 9 KiB",
            get(&format!("/{}", "a".repeat(9000)), ""),
        ),
        (
            "long path, 4 KiB",
            get(&format!("/{}", "a".repeat(4096)), ""),
        ),
        ("100 fields", get("/", &"X: y\r\n".repeat(100))),
        (
            "3 000 fields",
            get("/", &"X: yyyyyyyyyyyy\r\n".repeat(3000)),
        ),
        (
            "pipelined, 3",
            Script {
                answers: 3,
                ..one(format!("GET / HTTP/1.1\r\n{host}\r\n").repeat(3))
            },
        ),
        (
            "pipelined, second malformed",
            Script {
                answers: 2,
                ..one(format!("GET / HTTP/1.1\r\n{host}\r\nnonsense\r\n\r\n"))
            },
        ),
        (
            "keep-alive, 1 001",
            Script {
                answers: 1001,
                bodiless: true,
                ..one(format!("HEAD / HTTP/1.1\r\n{host}\r\n").repeat(1001))
            },
        ),
        (
            "upgrade to h2c",
            get(
                "/",
                "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
            ),
        ),
        ("HTTP/2 preface", one("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
    ]
}

fn slow() -> Vec<(&'static str, Script)> {
    let wait = |said: &str| Script {
        said: said.as_bytes().to_vec(),
        answers: 0,
        patience: Some(Duration::from_secs(100)),
        ..Script::default()
    };
    vec![
        ("silence within TLS", wait("")),
        (
            "head that does not end",
            wait("GET / HTTP/1.1\r\nHost: x\r\n"),
        ),
        (
            "idle after an answer",
            wait("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        (
            "idle after a refused POST",
            wait("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"),
        ),
    ]
}

/// Name, what is sent, whether it takes a minute.
pub(in super::super) fn all() -> Vec<(String, Script, bool)> {
    let quick = requests().into_iter().chain(conditional());
    let quick = quick.map(|(name, script)| (format!("h1 {name}"), script, false));
    let slow = slow().into_iter();
    quick
        .chain(slow.map(|(name, script)| (format!("h1 {name}"), script, true)))
        .collect()
}
