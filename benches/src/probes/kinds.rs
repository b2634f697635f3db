//! All that is asked, and what it is asked with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use betanet_carrier::Plain;
use betanet_runtime::{Node, Peer, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::answer::Answer;
use super::{h1, h2, h3, posts, tls};

#[derive(Clone)]
pub(super) enum Probe {
    H1(h1::Script),
    H2(h2::Script),
    H3(h3::Script),
    Tls(tls::Script),
}

/// A way of asking.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) probe: Probe,
    /// Waits for the server's patience to end.
    pub(super) slow: bool,
}

impl Kind {
    pub(super) fn new(name: impl Into<String>, probe: Probe) -> Self {
        Self {
            name: name.into(),
            probe,
            slow: false,
        }
    }

    /// Whether its times are looked at with all tries: POSTs, where a ticket could show, and a plain request of each protocol. Of the
    /// others, which say what the server is and not what a ticket does, a tenth is enough.
    pub(super) fn often(&self) -> bool {
        const PLAIN: [&str; 12] = [
            "tls hello of OpenSSL",
            "tls hello of Chromium",
            "tls recorded tunnel again",
            "tls recorded tunnel, one bit changed",
            "tls session",
            "tls plain HTTP",
            "h1 GET /",
            "h1 GET /none",
            "h2 GET /",
            "h2 GET /none",
            "h2 GET /large.bin",
            "h2 bad preface",
        ];
        self.name.starts_with("post") || self.name.starts_with("h3") || PLAIN.contains(&&*self.name)
    }

    /// Whether nginx has it too: Debian's has no HTTP/3.
    pub(super) const fn of_nginx(&self) -> bool {
        !matches!(self.probe, Probe::H3(_))
    }
}

/// A client's TLS that takes any certificate, for whoever attacks in place of asking.
pub(crate) fn tls_config(alpn: &[u8]) -> rustls::ClientConfig {
    super::client::config(&[&rustls::version::TLS13], &[alpn])
}

/// A ticket that reads well and is for nobody.
pub(super) fn ticket(label: &str) -> String {
    format!("v=v1, tok=:{}:, ctx=\"{label}\"", "Ab3_".repeat(40))
}

/// The cookie of a ticket of version 1.1.
pub(super) const COOKIE: &str = "__Host-bn1=";

/// One that reads well and is for nobody.
pub(super) fn old_ticket() -> String {
    format!("{COOKIE}AQb3{}", "Qb3_".repeat(43))
}

/// A body that is as long as message 1 and opens nowhere.
pub(super) fn message1() -> Vec<u8> {
    let mut body = 1232_u16.to_be_bytes().to_vec();
    body.extend((0..1232_u32).map(|n| (n * 31 % 251) as u8));
    body
}

/// What a planted delay is looked for with.
pub(super) fn planted() -> Kind {
    let found = h2::all().into_iter().find(|(name, ..)| name == "h2 GET /");
    let (name, script, _) = found.expect("the plainest request");
    Kind::new(name, Probe::H2(script))
}

/// What a client of the gateway sent, byte for byte, in TLS.
pub(super) async fn recorded(gateway: SocketAddr) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let taken = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(gateway).await.unwrap();
        let (mut all, mut up, mut down) = (Vec::new(), vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                n = near.read(&mut up) => match n {
                    Ok(n @ 1..) => { all.extend_from_slice(&up[..n]); far.write_all(&up[..n]).await.unwrap(); }
                    _ => break,
                },
                n = far.read(&mut down) => match n {
                    Ok(n @ 1..) => near.write_all(&down[..n]).await.unwrap(),
                    _ => break,
                },
            }
        }
        all
    });
    // The gateway's key is another one: a tunnel's request all the same, to the last byte.
    let identity = betanet_keys::Identity::from_seed(&[9; 32]);
    let peer: Peer = format!("{}@localhost:{}", identity.public(), at.port())
        .parse()
        .unwrap();
    let node = Node::client()
        .unwrap()
        .with_fingerprint(Arc::new(Plain))
        .with_transport(Transport::Tcp);
    let node = node.with_trust(betanet_runtime::Trust::Anything);
    let _ = node.connect(&peer).await;
    drop(node);
    timeout(Duration::from_secs(15), taken)
        .await
        .unwrap()
        .unwrap()
}

/// Every kind, by protocol.
pub(super) fn all(recorded: &[u8]) -> Vec<Kind> {
    let h1 = h1::all().into_iter();
    let h1 = h1.map(|(name, script, slow)| Kind {
        name,
        probe: Probe::H1(script),
        slow,
    });
    let h2 = h2::all().into_iter();
    let h2 = h2.map(|(name, script, slow)| Kind {
        name,
        probe: Probe::H2(script),
        slow,
    });
    let tls = tls::all(recorded).into_iter();
    let tls = tls.map(|(name, script, slow)| Kind {
        name,
        probe: Probe::Tls(script),
        slow,
    });
    let kinds = tls.chain(h1).chain(h2).chain(posts::all());
    kinds.chain(h3::all()).collect()
}

/// Asks one server; `look` also looks at what becomes of the connection, which takes a while.
pub(super) async fn ask(kind: &Kind, to: SocketAddr, look: bool) -> Answer {
    match &kind.probe {
        Probe::H1(script) => h1::ask(script, to, look).await,
        Probe::H2(script) => h2::ask(script, to, look).await,
        Probe::H3(script) => h3::ask(script, to).await,
        Probe::Tls(script) => tls::ask(script, to).await,
    }
}
