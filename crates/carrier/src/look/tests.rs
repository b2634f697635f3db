use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, NamedGroup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::hello::server_hello;
use super::*;
use crate::testkit::Anybody;
use crate::{Certificate, Cover, Limits, Site};

/// Starts a listener and returns its port.
async fn listener() -> u16 {
    let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
    let source = Arc::new(CertSource::fixed(certificate));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cover = Cover::new(folder, || SystemTime::UNIX_EPOCH).unwrap();
    let site = Arc::new(Site::new(source, cover, None, Limits::default()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, peer)) = listener.accept().await {
            let site = Arc::clone(&site);
            tokio::spawn(crate::serve(site, tcp, peer, CancellationToken::new()));
        }
    });
    port
}

/// An unmodified rustls client.
fn client(
    change: impl FnOnce(&mut CryptoProvider),
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    change(&mut provider);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::default()))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Fetches a page with this client; returns the kind of handshake and the group.
async fn fetch(port: u16, config: &Arc<ClientConfig>) -> (HandshakeKind, NamedGroup) {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    let mut tls = connector
        .connect("localhost".try_into().unwrap(), tcp)
        .await
        .unwrap();
    let request = b"GET /Cargo.toml HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tls.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let connection = tls.get_ref().1;
    let group = connection
        .negotiated_key_exchange_group()
        .map_or(NamedGroup::Unknown(0), |g| g.name());
    (connection.handshake_kind().unwrap(), group)
}

#[tokio::test]
async fn handshakes_succeed_with_every_suite_group_and_version_and_resume() {
    let port = listener().await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for suite in SUITES {
            if suite.version() != version || format!("{suite:?}").contains("RSA") {
                continue;
            }
            let config = client(|p| p.cipher_suites = vec![suite], version);
            let config = Arc::new(config);
            assert_eq!(
                fetch(port, &config).await.0,
                HandshakeKind::Full,
                "{suite:?}"
            );
            let again = fetch(port, &config).await.0;
            assert_eq!(again, HandshakeKind::Resumed, "{suite:?}");
        }
    }
    for group in GROUPS {
        let mut config = client(|p| p.kx_groups = vec![group], &rustls::version::TLS13);
        config.resumption = Resumption::disabled();
        assert_eq!(fetch(port, &Arc::new(config)).await.1, group.name());
    }
    // In TLS 1.2 the certificate's curve must be among the groups, and the server's order counts.
    for (first, chosen) in [
        (kx_group::X25519, NamedGroup::X25519),
        (kx_group::SECP384R1, NamedGroup::secp256r1),
    ] {
        let groups = vec![first, kx_group::SECP256R1];
        let mut config = client(|p| p.kx_groups = groups, &rustls::version::TLS12);
        config.resumption = Resumption::disabled();
        assert_eq!(fetch(port, &Arc::new(config)).await.1, chosen);
    }
    // A P-384 share is accepted although x25519 is allowed; for an unsupported one, a retry is requested.
    let mut config = client(
        |p| p.kx_groups = vec![kx_group::SECP384R1, kx_group::X25519],
        &rustls::version::TLS13,
    );
    config.resumption = Resumption::disabled();
    assert_eq!(
        fetch(port, &Arc::new(config)).await,
        (HandshakeKind::Full, NamedGroup::secp384r1)
    );
    let hybrid = kx_group::SECP256R1MLKEM768;
    let mut config = client(
        |p| p.kx_groups = vec![hybrid, kx_group::SECP256R1],
        &rustls::version::TLS13,
    );
    config.resumption = Resumption::disabled();
    let (kind, group) = fetch(port, &Arc::new(config)).await;
    assert_eq!(group, NamedGroup::secp256r1);
    assert!(matches!(
        kind,
        HandshakeKind::FullWithHelloRetryRequest | HandshakeKind::Full
    ));
}

/// Output of `openssl s_client` with these arguments, for a connection without data.
fn openssl(port: u16, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
            "-msg",
            "-servername",
            "localhost",
        ])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let request = b"GET /Cargo.toml HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    child.stdin.as_mut().unwrap().write_all(request).unwrap();
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    child.wait().unwrap();
    String::from_utf8_lossy(&out).into_owned()
}

/// Names and lengths of the received handshake messages.
fn came(printed: &str) -> Vec<String> {
    let lines = printed.lines().filter_map(|l| l.strip_prefix("<<< "));
    let messages = lines.filter(|l| l.contains("Handshake [length"));
    messages
        .filter_map(|l| Some(l.split_once("], ")?.1.to_owned()))
        .collect()
}

#[tokio::test]
async fn openssl_takes_what_it_would_have_said_itself() {
    let port = listener().await;
    let ask = |arguments: &'static [&'static str]| {
        tokio::task::spawn_blocking(move || openssl(port, arguments))
    };
    let printed = ask(&["-tls1_3", "-ign_eof"]).await.unwrap();
    assert!(printed.contains("HTTP/1.1 200"), "{printed}");
    let messages = came(&printed);
    assert_eq!(
        messages,
        [
            "ServerHello",
            "EncryptedExtensions",
            "Certificate",
            "CertificateVerify",
            "Finished",
            "NewSessionTicket",
            "NewSessionTicket"
        ]
    );
    // One record per message; the last eight bytes before a ticket count up.
    assert!(printed.contains("08 00 00 00"), "{printed}");
    let printed = ask(&["-tls1_3", "-ign_eof", "-groups", "P-521:P-256"])
        .await
        .unwrap();
    assert!(printed.contains("HTTP/1.1 200"), "{printed}");
    let printed = ask(&["-tls1_2", "-ign_eof"]).await.unwrap();
    assert!(printed.contains("HTTP/1.1 200"), "{printed}");
    assert!(
        printed.contains("ECDHE-ECDSA-AES256-GCM-SHA384"),
        "{printed}"
    );
    assert_eq!(
        came(&printed),
        [
            "ServerHello",
            "Certificate",
            "ServerKeyExchange",
            "ServerHelloDone",
            "NewSessionTicket",
            "Finished"
        ]
    );
    let printed = ask(&["-tls1_2", "-ign_eof", "-no_ticket"]).await.unwrap();
    assert!(printed.contains("HTTP/1.1 200"), "{printed}");
}

/// A listener's answer to bytes that are not TLS.
async fn instead(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut out = Vec::new();
    let _ = tcp.read_to_end(&mut out).await;
    out
}

#[tokio::test]
async fn what_is_no_tls_is_answered_as_nginx_answers_it() {
    let port = listener().await;
    let plain = instead(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let text = String::from_utf8(plain).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\n"),
        "{text}"
    );
    assert!(
        text.contains("<title>400 The plain HTTP request was sent to HTTPS port</title>"),
        "{text}"
    );
    assert!(
        text.contains("Content-Length: 255\r\nConnection: close\r\n"),
        "{text}"
    );
    let nonsense = instead(port, b"SSH-2.0-x\r\n").await;
    let text = String::from_utf8(nonsense).unwrap();
    assert!(text.contains("<title>400 Bad Request</title>"), "{text}");
    // Alerts, and silence, as in OpenSSL.
    for (bytes, alert) in [
        (&[22, 3, 1, 0xff, 0xff, 1, 1][..], Some(22)),
        (&[0x80, 0x2e, 1, 0, 2, 0, 21][..], Some(70)),
        (&[22, 3, 1, 0, 6, 1, 16, 0, 0, 3, 3][..], Some(47)),
        (&[22, 3, 1, 0, 0][..], None),
        (&[0xfe; 64][..], None),
    ] {
        let want = alert.map_or_else(Vec::new, |code| vec![21, 3, 3, 0, 2, 2, code]);
        assert_eq!(instead(port, bytes).await, want, "{bytes:?}");
    }
}

#[test]
fn a_server_hello_has_openssls_order() {
    // In the order of rustls: the key share before the version.
    let mut share = vec![0, 51, 0, 36, 0, 0x1d, 0, 32];
    share.extend([5; 32]);
    let extensions = [&share[..], &[0, 43, 0, 2, 3, 4]].concat();
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([0, 0x13, 2, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(&extensions);
    let message = hello::message(2, &body).unwrap();
    let hello = server_hello(&message, None).unwrap();
    assert_eq!(hello.message.len(), message.len());
    assert!(hello.tls13 && !hello.resumed && hello.group == 0x1d);
    let at = hello.message.len() - extensions.len();
    assert_eq!(hello.message[at..at + 6], [0, 43, 0, 2, 3, 4]);
    assert_eq!(hello.message[at + 6..], share[..]);
    // Rewriting twice changes nothing.
    assert_eq!(
        server_hello(&hello.message, None).unwrap().message,
        hello.message
    );
    assert!(server_hello(&message[..message.len() - 1], None).is_none());
    assert!(server_hello(&[], None).is_none());
}
