//! What is asked over HTTP/2.

use std::time::Duration;

use super::Script;
use super::frames::{
    ACK, END_HEADERS, END_STREAM, PADDED, PREFACE, PRIORITY, Type, block, frame, head, headers,
    request, settings, start,
};

/// After the preface, on stream 1 whose end is waited for.
fn on_one(frames: &[u8]) -> Script {
    Script {
        said: [&start()[..], frames].concat(),
        awaits: vec![1],
        ..Script::default()
    }
}

/// After the preface; a PING's answer or the end is waited for.
fn at_large(frames: &[u8]) -> Script {
    Script {
        awaits: Vec::new(),
        ..on_one(frames)
    }
}

fn ask(method: &str, path: &str, more: &[(&str, &str)]) -> Script {
    on_one(&headers(1, &request(method, path, more), true))
}

fn requests() -> Vec<(&'static str, Script)> {
    let long = "a".repeat(9000);
    let longer = "a".repeat(14_000);
    vec![
        ("GET /", ask("GET", "/", &[])),
        ("GET /large.bin", ask("GET", "/large.bin", &[])),
        ("GET /style.css", ask("GET", "/style.css", &[])),
        (
            "GET /style.css, gzip",
            ask("GET", "/style.css", &[("accept-encoding", "gzip, br")]),
        ),
        (
            "GET /long.html, gzip",
            ask("GET", "/long.html", &[("accept-encoding", "gzip, br")]),
        ),
        ("GET /none", ask("GET", "/none", &[])),
        ("GET /folder", ask("GET", "/folder", &[])),
        ("GET /empty/", ask("GET", "/empty/", &[])),
        ("odd path", ask("GET", "/..%2f%2e%2e/x?y=//", &[])),
        ("HEAD /", ask("HEAD", "/", &[])),
        ("OPTIONS /", ask("OPTIONS", "/", &[])),
        ("DELETE /none", ask("DELETE", "/none", &[])),
        ("method unknown", ask("FOO", "/", &[])),
        ("method lower case", ask("get", "/", &[])),
        (
            "CONNECT",
            on_one(&headers(
                1,
                &[(":method", "CONNECT"), (":authority", "x:443")],
                true,
            )),
        ),
        ("range", ask("GET", "/large.bin", &[("range", "bytes=0-9")])),
        (
            "range, two",
            ask("GET", "/large.bin", &[("range", "bytes=0-9,20-29")]),
        ),
        (
            "range, beyond",
            ask("GET", "/large.bin", &[("range", "bytes=300000-")]),
        ),
        ("if-none-match", ask("GET", "/", &[("if-none-match", "*")])),
        ("expect", ask("GET", "/", &[("expect", "100-continue")])),
        ("te: trailers", ask("GET", "/", &[("te", "trailers")])),
        ("te: gzip", ask("GET", "/", &[("te", "gzip")])),
        (
            "connection field",
            ask("GET", "/", &[("connection", "close")]),
        ),
        (
            "transfer-encoding field",
            ask("GET", "/", &[("transfer-encoding", "chunked")]),
        ),
        (
            "host and authority differ",
            ask("GET", "/", &[("host", "other")]),
        ),
        ("upper case name", ask("GET", "/", &[("X-Upper", "y")])),
        ("name with space", ask("GET", "/", &[("a b", "y")])),
        ("value with newline", ask("GET", "/", &[("x", "a\nb")])),
        (
            "no path",
            on_one(&headers(
                1,
                &[
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", "x"),
                ],
                true,
            )),
        ),
        (
            "no method",
            on_one(&headers(
                1,
                &[(":path", "/"), (":scheme", "https"), (":authority", "x")],
                true,
            )),
        ),
        (
            "no scheme",
            on_one(&headers(
                1,
                &[(":method", "GET"), (":path", "/"), (":authority", "x")],
                true,
            )),
        ),
        (
            "no authority",
            on_one(&headers(
                1,
                &[(":method", "GET"), (":scheme", "https"), (":path", "/")],
                true,
            )),
        ),
        ("two paths", ask("GET", "/", &[(":path", "/x")])),
        (
            "pseudo field behind others",
            on_one(&headers(
                1,
                &[
                    (":method", "GET"),
                    ("x", "y"),
                    (":scheme", "https"),
                    (":authority", "x"),
                    (":path", "/"),
                ],
                true,
            )),
        ),
        ("unknown pseudo field", ask("GET", "/", &[(":x", "y")])),
        (
            ":status in a request",
            ask("GET", "/", &[(":status", "200")]),
        ),
        ("path without slash", ask("GET", "x", &[])),
        ("path empty", ask("GET", "", &[])),
        ("path star", ask("OPTIONS", "*", &[])),
        ("path with space", ask("GET", "/a b", &[])),
        ("long field, 9 KiB", ask("GET", "/", &[("x", &long)])),
        ("long fields, 42 KiB", {
            let fields = block(&request(
                "GET",
                "/",
                &[("x", &longer), ("y", &longer), ("z", &longer)],
            ));
            let (first, rest) = fields.split_at(16_000);
            let mut all = frame(Type::Headers, END_STREAM, 1, first);
            for part in rest.chunks(16_000) {
                let flags = if part.len() < 16_000 { END_HEADERS } else { 0 };
                all.extend(frame(Type::Continuation, flags, 1, part));
            }
            on_one(&all)
        }),
        (
            "long path, 4 KiB",
            ask("GET", &format!("/{}", "a".repeat(4200)), &[]),
        ),
        ("two streams", {
            let both = [
                headers(1, &request("GET", "/", &[]), true),
                headers(3, &request("GET", "/none", &[]), true),
            ];
            Script {
                awaits: vec![1, 3],
                ..on_one(&both.concat())
            }
        }),
        ("padded headers", {
            let mut payload = vec![4];
            payload.extend(block(&request("GET", "/", &[])));
            payload.extend([0; 4]);
            on_one(&frame(
                Type::Headers,
                END_STREAM | END_HEADERS | PADDED,
                1,
                &payload,
            ))
        }),
        ("split by CONTINUATION", {
            let all = block(&request("GET", "/", &[]));
            let (a, b) = all.split_at(10);
            on_one(
                &[
                    frame(Type::Headers, END_STREAM, 1, a),
                    frame(Type::Continuation, END_HEADERS, 1, b),
                ]
                .concat(),
            )
        }),
    ]
}

fn malformed() -> Vec<(&'static str, Script)> {
    let get = |stream| headers(stream, &request("GET", "/", &[]), true);
    let alone = |said: &[u8]| Script {
        said: said.to_vec(),
        ..Script::default()
    };
    let window = |stream, n: u32| frame(Type::WindowUpdate, 0, stream, &n.to_be_bytes());
    let behind = |more: &[u8]| [PREFACE, more].concat();
    vec![
        ("bad preface", alone(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")),
        (
            "HTTP/1.1 in place of the preface",
            alone(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        ("preface without SETTINGS", alone(&behind(&get(1)))),
        (
            "SETTINGS of 5 bytes",
            alone(&behind(&frame(Type::Settings, 0, 0, &[0; 5]))),
        ),
        (
            "SETTINGS on a stream",
            alone(&behind(&frame(Type::Settings, 0, 1, &[]))),
        ),
        (
            "SETTINGS ACK with bytes",
            at_large(&frame(Type::Settings, ACK, 0, &[0; 6])),
        ),
        (
            "SETTINGS, window too large",
            at_large(&frame(Type::Settings, 0, 0, &settings(&[(4, 0x8000_0000)]))),
        ),
        (
            "SETTINGS, frame size too small",
            at_large(&frame(Type::Settings, 0, 0, &settings(&[(5, 100)]))),
        ),
        (
            "SETTINGS, push 2",
            at_large(&frame(Type::Settings, 0, 0, &settings(&[(2, 2)]))),
        ),
        (
            "SETTINGS unknown",
            at_large(&frame(Type::Settings, 0, 0, &settings(&[(0x77, 2)]))),
        ),
        ("PING", at_large(&frame(Type::Ping, 0, 0, b"12345678"))),
        (
            "PING of 7 bytes",
            at_large(&frame(Type::Ping, 0, 0, b"1234567")),
        ),
        (
            "PING on a stream",
            at_large(&frame(Type::Ping, 0, 1, b"12345678")),
        ),
        (
            "PING, 200",
            at_large(&frame(Type::Ping, 0, 0, b"12345678").repeat(200)),
        ),
        (
            "frame too large",
            at_large(&[head(1 << 20, Type::Data, 0, 1), vec![0; 20_000]].concat()),
        ),
        (
            "HEADERS too large",
            at_large(&[head(20_000, Type::Headers, 4, 1), vec![0; 20_000]].concat()),
        ),
        ("DATA on stream 0", at_large(&frame(Type::Data, 0, 0, b"x"))),
        (
            "DATA on an idle stream",
            at_large(&frame(Type::Data, 0, 5, b"x")),
        ),
        (
            "DATA behind the end",
            on_one(&[get(1), frame(Type::Data, END_STREAM, 1, b"x")].concat()),
        ),
        ("HEADERS on stream 0", at_large(&get(0))),
        ("HEADERS on stream 2", at_large(&get(2))),
        (
            "HEADERS, stream falls",
            at_large(&[get(5), get(3)].concat()),
        ),
        (
            "HEADERS on itself dependent",
            at_large(&{
                let mut payload = vec![0, 0, 0, 1, 16];
                payload.extend(block(&request("GET", "/", &[])));
                frame(
                    Type::Headers,
                    END_STREAM | END_HEADERS | PRIORITY,
                    1,
                    &payload,
                )
            }),
        ),
        (
            "HEADERS, then another frame in the block",
            at_large(
                &[
                    frame(
                        Type::Headers,
                        END_STREAM,
                        1,
                        &block(&request("GET", "/", &[])),
                    ),
                    frame(Type::Ping, 0, 0, b"12345678"),
                ]
                .concat(),
            ),
        ),
        (
            "HEADERS undecodable",
            at_large(&frame(
                Type::Headers,
                5,
                1,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            )),
        ),
        (
            "HEADERS, index 0",
            at_large(&frame(Type::Headers, 5, 1, &[0x80])),
        ),
        (
            "HEADERS padded beyond",
            at_large(&frame(Type::Headers, 5 | PADDED, 1, &[200, 0, 0])),
        ),
        (
            "trailers",
            on_one(
                &[
                    headers(1, &request("POST", "/", &[]), false),
                    headers(1, &[("x", "y")], true),
                ]
                .concat(),
            ),
        ),
        (
            "CONTINUATION alone",
            at_large(&frame(Type::Continuation, 4, 1, &[])),
        ),
        (
            "CONTINUATION on another stream",
            at_large(
                &[
                    frame(
                        Type::Headers,
                        END_STREAM,
                        1,
                        &block(&request("GET", "/", &[])),
                    ),
                    frame(Type::Continuation, 4, 3, &[]),
                ]
                .concat(),
            ),
        ),
        (
            "CONTINUATION, empty, 20",
            at_large(
                &[
                    frame(
                        Type::Headers,
                        END_STREAM,
                        1,
                        &block(&request("GET", "/", &[])),
                    ),
                    frame(Type::Continuation, 0, 1, &[]).repeat(20),
                ]
                .concat(),
            ),
        ),
        (
            "PRIORITY",
            at_large(&frame(Type::Priority, 0, 3, &[0, 0, 0, 0, 16])),
        ),
        (
            "PRIORITY on itself",
            at_large(&frame(Type::Priority, 0, 3, &[0, 0, 0, 3, 16])),
        ),
        (
            "PRIORITY of 4 bytes",
            at_large(&frame(Type::Priority, 0, 3, &[0, 0, 0, 3])),
        ),
        (
            "PRIORITY on stream 0",
            at_large(&frame(Type::Priority, 0, 0, &[0, 0, 0, 3, 16])),
        ),
        (
            "RST_STREAM on an idle stream",
            at_large(&frame(Type::RstStream, 0, 5, &[0, 0, 0, 8])),
        ),
        (
            "RST_STREAM on stream 0",
            at_large(&frame(Type::RstStream, 0, 0, &[0, 0, 0, 8])),
        ),
        (
            "RST_STREAM of 3 bytes",
            at_large(&frame(Type::RstStream, 0, 1, &[0, 0, 8])),
        ),
        (
            "RST_STREAM, 20 streams",
            at_large(
                &(0..20_u32)
                    .flat_map(|n| {
                        let stream = 2 * n + 1;
                        [
                            headers(stream, &request("GET", "/large.bin", &[]), true),
                            frame(Type::RstStream, 0, stream, &[0, 0, 0, 8]),
                        ]
                        .concat()
                    })
                    .collect::<Vec<u8>>(),
            ),
        ),
        ("WINDOW_UPDATE of 0", at_large(&window(0, 0))),
        (
            "WINDOW_UPDATE of 0, stream",
            at_large(&[headers(1, &request("POST", "/", &[]), false), window(1, 0)].concat()),
        ),
        (
            "WINDOW_UPDATE too much",
            at_large(&[window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)].concat()),
        ),
        ("WINDOW_UPDATE on an idle stream", at_large(&window(7, 5))),
        (
            "WINDOW_UPDATE of 3 bytes",
            at_large(&frame(Type::WindowUpdate, 0, 0, &[0, 0, 1])),
        ),
        (
            "PUSH_PROMISE",
            at_large(&frame(Type::PushPromise, 4, 1, &[0, 0, 0, 2])),
        ),
        ("GOAWAY", at_large(&frame(Type::GoAway, 0, 0, &[0; 8]))),
        (
            "GOAWAY on a stream",
            at_large(&frame(Type::GoAway, 0, 1, &[0; 8])),
        ),
        (
            "GOAWAY, then a request",
            at_large(&[frame(Type::GoAway, 0, 0, &[0; 8]), get(1)].concat()),
        ),
        ("unknown frame", at_large(&frame(Type::Other, 0, 0, b"x"))),
        (
            "unknown frame on a stream",
            at_large(&frame(Type::Other, 0, 1, b"x")),
        ),
        (
            "window of 0",
            Script {
                said: [
                    PREFACE,
                    &frame(Type::Settings, 0, 0, &settings(&[(4, 0)])),
                    &get(1),
                ]
                .concat(),
                ..Script::default()
            },
        ),
        (
            "dynamic table of 0",
            on_one(&{
                let mut payload = vec![0x20];
                payload.extend(block(&request("GET", "/", &[])));
                frame(Type::Headers, 5, 1, &payload)
            }),
        ),
        (
            "129 streams",
            Script {
                awaits: (0..129_u32).map(|n| 2 * n + 1).collect(),
                ..on_one(
                    &(0..129_u32)
                        .flat_map(|n| headers(2 * n + 1, &request("HEAD", "/", &[]), true))
                        .collect::<Vec<u8>>(),
                )
            },
        ),
    ]
}

fn slow() -> Vec<(&'static str, Script)> {
    let wait = |said: &[u8]| Script {
        said: said.to_vec(),
        patience: Some(Duration::from_secs(100)),
        ..Script::default()
    };
    vec![
        ("silence within TLS", wait(b"")),
        ("preface cut short", wait(&PREFACE[..10])),
        ("idle after SETTINGS", wait(&start())),
        (
            "idle after an answer",
            wait(&[start(), headers(1, &request("GET", "/", &[]), true)].concat()),
        ),
        (
            "headers that do not end",
            wait(&[start(), frame(Type::Headers, 1, 1, &[])].concat()),
        ),
    ]
}

/// Name, what is sent, whether it takes a minute.
pub(in super::super) fn all() -> Vec<(String, Script, bool)> {
    let quick = requests().into_iter().chain(malformed());
    let quick = quick.map(|(name, script)| (format!("h2 {name}"), script, false));
    let slow = slow().into_iter();
    quick
        .chain(slow.map(|(name, script)| (format!("h2 {name}"), script, true)))
        .collect()
}
