//! What is asked of TLS.

use std::time::Duration;

use rustls::{CipherSuite, NamedGroup};
use serde_json::Value;

use super::hello::{
    Hello, OPENSSL_CIPHERS, P256, P384, P521, X448, X25519, X25519MLKEM768, alpn, groups, name,
    record, shares, signatures, unhex, versions,
};
use super::session::Session;
use super::{Raw, Script};

fn raw(bytes: impl Into<Vec<u8>>) -> Raw {
    Raw {
        said: vec![bytes.into()],
        ..Raw::default()
    }
}

/// A browser's first hello, as it was recorded.
fn browser(recorded: &str) -> Vec<u8> {
    let all: Value = serde_json::from_str(recorded).unwrap();
    unhex(all["hellos"][0].as_str().unwrap())
}

/// That of rustls.
fn own() -> Vec<u8> {
    let config = super::super::client::config(
        &[&rustls::version::TLS13, &rustls::version::TLS12],
        &[b"h2", b"http/1.1"],
    );
    let name = "localhost".try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut out = Vec::new();
    connection.write_tls(&mut out).unwrap();
    out
}

fn hellos() -> Vec<(String, Raw)> {
    let modern = Hello::openssl;
    let old = Hello::tls12;
    let version = |mut hello: Hello, version| {
        hello.version = version;
        hello
    };
    let only = |group| modern().with(groups(&[group])).with(shares(&[group]));
    let mut long = modern();
    long.extensions.push((21, vec![0; 15_000]));
    let mut kinds: Vec<(String, Raw)> = [
        ("hello of OpenSSL", modern().bytes()),
        (
            "hello of OpenSSL, ALPN h2",
            modern().with(alpn(&["h2"])).bytes(),
        ),
        ("hello of OpenSSL, TLS 1.2", old().bytes()),
        (
            "hello of OpenSSL, TLS 1.2, ALPN h2",
            old().with(alpn(&["h2", "http/1.1"])).bytes(),
        ),
        ("hello of Chromium", browser(betanet_carrier::CHROMIUM_156)),
        ("hello of Firefox", browser(betanet_carrier::FIREFOX_153)),
        ("hello of rustls", own()),
        ("hello, SSL 3", version(old(), 0x0300).bytes()),
        ("hello, TLS 1.0", version(old(), 0x0301).bytes()),
        ("hello, TLS 1.1", version(old(), 0x0302).bytes()),
        (
            "hello, versions 1.1 alone",
            modern().with(versions(&[0x0302])).bytes(),
        ),
        (
            "hello, versions 1.3 alone",
            modern().with(versions(&[0x0304])).bytes(),
        ),
        (
            "hello, versions 1.2 alone",
            modern().with(versions(&[0x0303])).bytes(),
        ),
        (
            "hello, versions unknown",
            modern().with(versions(&[0x7f1c])).bytes(),
        ),
        (
            "hello, version field 0x0404",
            version(old(), 0x0404).bytes(),
        ),
        ("group x25519", only(X25519).bytes()),
        ("group P-256", only(P256).bytes()),
        ("group P-384", only(P384).bytes()),
        ("group P-521", only(P521).bytes()),
        ("group x448", only(X448).bytes()),
        ("group X25519MLKEM768", only(X25519MLKEM768).bytes()),
        (
            "group unknown",
            modern()
                .with(groups(&[0x7777]))
                .with(shares(&[0x7777]))
                .bytes(),
        ),
        (
            "groups of Chromium, both shares",
            modern()
                .with(groups(&[X25519MLKEM768, X25519, P256, P384]))
                .with(shares(&[X25519MLKEM768, X25519]))
                .bytes(),
        ),
        (
            "share missing, asked for",
            modern()
                .with(groups(&[X25519, P256]))
                .with(shares(&[]))
                .bytes(),
        ),
        (
            "share of P-384, x25519 allowed",
            modern()
                .with(groups(&[X25519, P384]))
                .with(shares(&[P384]))
                .bytes(),
        ),
        (
            "share of none that is allowed",
            modern()
                .with(groups(&[P256]))
                .with(shares(&[X25519]))
                .bytes(),
        ),
        (
            "share of the unknown, P-256 asked for",
            modern()
                .with(groups(&[0x7777, P256]))
                .with(shares(&[0x7777]))
                .bytes(),
        ),
        (
            "share of zeros",
            modern()
                .with((51, [&[0, 36, 0, 0x1d, 0, 32][..], &[0; 32]].concat()))
                .bytes(),
        ),
        (
            "share too short",
            modern()
                .with((51, [&[0, 35, 0, 0x1d, 0, 31][..], &[1; 31]].concat()))
                .bytes(),
        ),
        ("no groups", modern().without(10).bytes()),
        ("no shares", modern().without(51).bytes()),
        ("no signatures", modern().without(13).bytes()),
        ("no PSK modes", modern().without(45).bytes()),
        (
            "signatures, RSA alone",
            modern().with(signatures(&[0x0804, 0x0401])).bytes(),
        ),
        (
            "signatures, P-384 alone",
            modern().with(signatures(&[0x0503])).bytes(),
        ),
        (
            "signatures, RSA alone, TLS 1.2",
            old().with(signatures(&[0x0804, 0x0401])).bytes(),
        ),
        (
            "signatures, SHA-1 alone, TLS 1.2",
            old().with(signatures(&[0x0203])).bytes(),
        ),
        ("no signatures, TLS 1.2", old().without(13).bytes()),
        ("no groups, TLS 1.2", old().without(10).bytes()),
        ("no point formats, TLS 1.2", old().without(11).bytes()),
        ("no extended secret, TLS 1.2", old().without(23).bytes()),
        ("no ticket, TLS 1.2", old().without(35).bytes()),
        ("session ID, TLS 1.2", {
            let mut h = old();
            h.session_id = 32;
            h.bytes()
        }),
        (
            "unknown ticket, TLS 1.2",
            old().with((35, vec![5; 192])).bytes(),
        ),
        ("group P-384, TLS 1.2", old().with(groups(&[P384])).bytes()),
        ("group P-521, TLS 1.2", old().with(groups(&[P521])).bytes()),
        ("no server name", modern().without(0).bytes()),
        (
            "unknown server name",
            modern().with(name("nobody.example")).bytes(),
        ),
        (
            "server name an address",
            modern().with(name("127.0.0.1")).bytes(),
        ),
        (
            "server name malformed",
            modern().with((0, vec![0, 9])).bytes(),
        ),
        ("ALPN http/1.1", modern().with(alpn(&["http/1.1"])).bytes()),
        ("ALPN http/1.0", modern().with(alpn(&["http/1.0"])).bytes()),
        (
            "ALPN http/1.1, h2",
            modern().with(alpn(&["http/1.1", "h2"])).bytes(),
        ),
        ("ALPN unknown", modern().with(alpn(&["nonsense"])).bytes()),
        (
            "ALPN unknown, TLS 1.2",
            old().with(alpn(&["nonsense"])).bytes(),
        ),
        ("ALPN empty", modern().with((16, vec![0, 0])).bytes()),
        ("early data", modern().with((42, vec![])).bytes()),
        ("unknown PSK", modern().with((41, unknown_psk())).bytes()),
        (
            "status request",
            modern().with((5, vec![1, 0, 0, 0, 0])).bytes(),
        ),
        ("compression deflate alone", {
            let mut h = old();
            h.compression = vec![1];
            h.bytes()
        }),
        ("no ciphers", modern().ciphers(&[]).bytes()),
        ("unknown cipher", modern().ciphers(&[0x7777]).bytes()),
        ("extension twice", {
            let mut h = modern();
            h.extensions.push(name("localhost"));
            h.bytes()
        }),
        ("extension cut short", {
            let mut b = modern().bytes();
            let n = b.len();
            b[n - 1] = 0;
            b.truncate(n - 3);
            b
        }),
        ("hello with padding, 15 KB", long.bytes()),
        ("no extensions, TLS 1.2", {
            let mut h = old();
            h.extensions.clear();
            h.bytes()
        }),
        ("fallback SCSV, TLS 1.2", {
            let mut h = old();
            h.ciphers.push(0x5600);
            h.bytes()
        }),
    ]
    .map(|(name, bytes)| (name.to_owned(), raw(bytes)))
    .into();
    for cipher in [0x1301, 0x1302, 0x1303, 0x1304, 0x1305] {
        kinds.push((
            format!("cipher {cipher:04x}"),
            raw(modern().ciphers(&[cipher]).bytes()),
        ));
    }
    for cipher in OPENSSL_CIPHERS {
        let hello = old().ciphers(&[cipher, 0x00ff]);
        kinds.push((format!("cipher {cipher:04x}, TLS 1.2"), raw(hello.bytes())));
    }
    for cipher in [
        0xc0ad, 0xc0af, 0xc0ac, 0xc0ae, 0xc05d, 0xc05c, 0xc073, 0xc072,
    ] {
        let hello = old().ciphers(&[cipher, 0x00ff]);
        kinds.push((format!("cipher {cipher:04x}, TLS 1.2"), raw(hello.bytes())));
    }
    let mut reversed = OPENSSL_CIPHERS.to_vec();
    reversed.reverse();
    kinds.push((
        "ciphers backwards, TLS 1.2".into(),
        raw(old().ciphers(&reversed).bytes()),
    ));
    kinds.push((
        "ciphers backwards".into(),
        raw(modern().ciphers(&[0x1301, 0x1303, 0x1302]).bytes()),
    ));
    kinds
}

/// One identity and its binder, of nobody's ticket.
fn unknown_psk() -> Vec<u8> {
    let identity = [&[0, 240][..], &[7; 240], &[0; 4]].concat();
    let identities = super::hello::sized(&identity);
    let binders = super::hello::sized(&[&[32][..], &[8; 32]].concat());
    [identities, binders].concat()
}

fn odd(recorded: &[u8]) -> Vec<(String, Raw)> {
    let hello = Hello::openssl();
    let whole = hello.bytes();
    let message = hello.message();
    let halves = message.split_at(100);
    let mut changed = recorded.to_vec();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let cut = recorded[..recorded.len().min(300)].to_vec();
    let with = |more: &[u8]| [&whole[..], more].concat();
    let http = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let list: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("plain HTTP", http.into()),
        ("plain HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        (
            "plain HTTP, HEAD",
            b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
        (
            "plain HTTP, POST",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_vec(),
        ),
        ("plain HTTP, two", http.repeat(2).into()),
        ("plain HTTP, malformed", b"GET\r\n\r\n".to_vec()),
        ("plain HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("plain HTTP cut short", b"GET / HT".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("zeros", vec![0; 64]),
        ("one byte", vec![0x16]),
        ("bytes above 127", vec![0xfe; 64]),
        (
            "hello of SSL 2",
            [&[0x80, 0x2e, 1, 0, 2, 0, 21, 0, 0, 0, 16][..], &[7; 37]].concat(),
        ),
        (
            "record too long",
            [&[0x16, 3, 1, 0xff, 0xff][..], &[1; 64]].concat(),
        ),
        (
            "record of 17 000",
            [&[0x16, 3, 1, 0x42, 0x68][..], &[1; 17_000]].concat(),
        ),
        ("record empty", record(22, 0x0301, &[])),
        ("record of another version", record(22, 0x0500, &message)),
        ("record of SSL 3", record(22, 0x0300, &message)),
        ("record of an unknown type", record(0x50, 0x0301, &message)),
        ("data first", record(23, 0x0303, b"hello")),
        ("alert first", record(21, 0x0301, &[2, 40])),
        ("change of ciphers first", record(20, 0x0303, &[1])),
        (
            "Finished first",
            record(
                22,
                0x0301,
                &[20, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
            ),
        ),
        (
            "hello in two records",
            [record(22, 0x0301, halves.0), record(22, 0x0301, halves.1)].concat(),
        ),
        (
            "hello in 1-byte records",
            message
                .iter()
                .flat_map(|b| record(22, 0x0301, &[*b]))
                .collect(),
        ),
        (
            "hello that claims 1 MiB",
            record(22, 0x0301, &[1, 16, 0, 0, 3, 3]),
        ),
        ("hello, then a hello", with(&whole)),
        ("hello, then an alert", with(&record(21, 0x0303, &[2, 40]))),
        (
            "hello, then close_notify",
            with(&record(21, 0x0303, &[1, 0])),
        ),
        (
            "hello, then sealed nonsense",
            with(&record(23, 0x0303, &[9; 64])),
        ),
        (
            "hello, then 2 changes of ciphers",
            with(&record(20, 0x0303, &[1]).repeat(2)),
        ),
        (
            "hello, then an unknown record",
            with(&record(0x50, 0x0303, &[1])),
        ),
        (
            "hello of TLS 1.2, then Finished",
            [Hello::tls12().bytes(), record(22, 0x0303, &[20, 0, 0, 0])].concat(),
        ),
        (
            "hello of TLS 1.2, then data",
            [Hello::tls12().bytes(), record(23, 0x0303, b"hello")].concat(),
        ),
        ("hello cut short", cut),
        ("recorded tunnel again", recorded.to_vec()),
        ("recorded tunnel, one bit changed", changed),
    ];
    list.into_iter()
        .map(|(name, bytes)| (name.to_owned(), raw(bytes)))
        .collect()
}

fn sessions() -> Vec<(String, Session)> {
    let plain = Session::default;
    let h1 = || vec!["http/1.1"];
    let mut kinds = vec![
        (
            "session",
            Session {
                alpn: h1(),
                ..plain()
            },
        ),
        (
            "session, ALPN h2",
            Session {
                alpn: vec!["h2", "http/1.1"],
                ..plain()
            },
        ),
        ("session, no ALPN", plain()),
        (
            "session, no server name",
            Session {
                no_name: true,
                alpn: h1(),
                ..plain()
            },
        ),
        (
            "session resumed",
            Session {
                resumed: true,
                alpn: h1(),
                ..plain()
            },
        ),
        (
            "session closed by the client",
            Session {
                closes: true,
                alpn: h1(),
                ..plain()
            },
        ),
        (
            "session, TLS 1.2",
            Session {
                tls12: true,
                alpn: h1(),
                ..plain()
            },
        ),
        (
            "session, TLS 1.2, ALPN h2",
            Session {
                tls12: true,
                alpn: vec!["h2"],
                ..plain()
            },
        ),
        (
            "session, TLS 1.2, no ALPN, no name",
            Session {
                tls12: true,
                no_name: true,
                ..plain()
            },
        ),
        (
            "session resumed, TLS 1.2",
            Session {
                tls12: true,
                resumed: true,
                alpn: h1(),
                ..plain()
            },
        ),
        (
            "session closed by the client, TLS 1.2",
            Session {
                tls12: true,
                closes: true,
                alpn: h1(),
                ..plain()
            },
        ),
    ];
    for (name, suite) in [
        (
            "session, AES-128-GCM",
            CipherSuite::TLS13_AES_128_GCM_SHA256,
        ),
        (
            "session, ChaCha20",
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        ),
    ] {
        kinds.push((
            name,
            Session {
                suite: Some(suite),
                alpn: h1(),
                ..plain()
            },
        ));
    }
    for (name, group) in [
        ("session, P-256", NamedGroup::secp256r1),
        ("session, P-384", NamedGroup::secp384r1),
    ] {
        kinds.push((
            name,
            Session {
                group: Some(group),
                alpn: h1(),
                ..plain()
            },
        ));
    }
    kinds
        .into_iter()
        .map(|(name, session)| (name.to_owned(), session))
        .collect()
}

fn slow() -> Vec<(String, Raw)> {
    let wait = |bytes: Vec<u8>| Raw {
        said: vec![bytes],
        held: true,
        patience: Some(Duration::from_secs(100)),
    };
    let whole = Hello::openssl().bytes();
    let list = [
        ("silence", vec![]),
        ("hello, then silence", whole.clone()),
        ("hello cut short, then silence", whole[..50].to_vec()),
        ("plain HTTP cut short, then silence", b"GET / HT".to_vec()),
        (
            "plain HTTP, then silence",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
    ];
    list.map(|(name, bytes)| (name.to_owned(), wait(bytes)))
        .into()
}

/// Name, what is sent, whether it takes a minute.
pub(in super::super) fn all(recorded: &[u8]) -> Vec<(String, Script, bool)> {
    let quick = hellos().into_iter().chain(odd(recorded));
    let quick = quick.map(|(name, raw)| (name, Script::Raw(raw), false));
    let sessions = sessions().into_iter();
    let sessions = sessions.map(|(name, session)| (name, Script::Session(session), false));
    let slow = slow().into_iter();
    let slow = slow.map(|(name, raw)| (name, Script::Raw(raw), true));
    let all = quick.chain(sessions).chain(slow);
    all.map(|(name, script, slow)| (format!("tls {name}"), script, slow))
        .collect()
}
