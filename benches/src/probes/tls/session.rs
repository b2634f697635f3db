//! Whole handshakes, whose sealed records are opened with the secrets that the client logs.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use betanet_carrier::testkit::Anybody;
use ring::{aead, hkdf};
use rustls::{ClientConfig, KeyLog};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::answer::Answer;
use super::super::client::{self, LINGER};
use super::decode::{extensions, length, listed, messages, note, records};

/// What a client offers.
#[derive(Clone, Default)]
pub(in super::super) struct Session {
    pub(super) tls12: bool,
    pub(super) alpn: Vec<&'static str>,
    pub(super) suite: Option<rustls::CipherSuite>,
    pub(super) group: Option<rustls::NamedGroup>,
    pub(super) no_name: bool,
    /// Twice: the second resumes the first.
    pub(super) resumed: bool,
    /// Says close_notify in place of a request.
    pub(super) closes: bool,
}

/// Keeps what the server sent.
struct Tap {
    socket: TcpStream,
    came: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.came
            .lock()
            .unwrap()
            .extend_from_slice(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Secrets by their labels.
#[derive(Debug, Default)]
struct Secrets(Mutex<Vec<(String, Vec<u8>)>>);

impl KeyLog for Secrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        self.0
            .lock()
            .unwrap()
            .push((label.to_owned(), secret.to_vec()));
    }
}

impl Secrets {
    fn take(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// Opens records of one direction and epoch.
struct Opener {
    key: aead::LessSafeKey,
    iv: [u8; 12],
    seq: u64,
}

impl Opener {
    fn new(cipher: u16, secret: &[u8]) -> Self {
        let (algorithm, hash) = match cipher {
            0x1302 => (&aead::AES_256_GCM, hkdf::HKDF_SHA384),
            0x1303 => (&aead::CHACHA20_POLY1305, hkdf::HKDF_SHA256),
            _ => (&aead::AES_128_GCM, hkdf::HKDF_SHA256),
        };
        let expand = |label: &str, len: usize| {
            let label = format!("tls13 {label}");
            let len16 = u16::try_from(len).unwrap().to_be_bytes();
            let info = [
                &len16[..],
                &[u8::try_from(label.len()).unwrap()][..],
                label.as_bytes(),
                &[0],
            ];
            let mut out = vec![0; len];
            let prk = hkdf::Prk::new_less_safe(hash, secret);
            prk.expand(&info, Len(len)).unwrap().fill(&mut out).unwrap();
            out
        };
        let key = aead::UnboundKey::new(algorithm, &expand("key", algorithm.key_len())).unwrap();
        Self {
            key: aead::LessSafeKey::new(key),
            iv: expand("iv", 12).try_into().unwrap(),
            seq: 0,
        }
    }

    /// The content and its type.
    fn open(&mut self, payload: &[u8]) -> Option<(u8, Vec<u8>)> {
        let mut nonce = self.iv;
        for (n, b) in nonce[4..].iter_mut().zip(self.seq.to_be_bytes()) {
            *n ^= b;
        }
        let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let aad = aead::Aad::from([23, 3, 3, len[0], len[1]]);
        let mut bytes = payload.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let plain = self.key.open_in_place(nonce, aad, &mut bytes).ok()?;
        self.seq += 1;
        let end = plain.iter().rposition(|b| *b != 0)?;
        Some((plain[end], plain[..end].to_vec()))
    }
}

/// A ticket of TLS 1.3, without what is drawn.
fn ticket13(body: &[u8]) -> Option<String> {
    let lifetime = u32::from_be_bytes(body.get(..4)?.try_into().ok()?);
    let nonce = usize::from(*body.get(8)?);
    let rest = body.get(9 + nonce..)?;
    let ticket = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
    let list = extensions(rest.get(2 + ticket..)?);
    Some(format!(
        "lifetime {lifetime} nonce {:02x?} ticket {ticket} extensions [{}]",
        body.get(9..9 + nonce)?,
        listed(&list)
    ))
}

/// What TLS 1.3's sealed records hold.
fn sealed(answer: &mut Answer, bytes: &[u8], secrets: &[(String, Vec<u8>)], cipher: u16) {
    let secret = |label: &str| secrets.iter().find(|(l, _)| l == label).map(|(_, s)| s);
    let (Some(handshake), Some(traffic)) = (
        secret("SERVER_HANDSHAKE_TRAFFIC_SECRET"),
        secret("SERVER_TRAFFIC_SECRET_0"),
    ) else {
        return;
    };
    let mut opener = Opener::new(cipher, handshake);
    let mut later = Some(Opener::new(cipher, traffic));
    for (kind, _, payload) in records(bytes).0 {
        if kind != 23 {
            continue;
        }
        let Some((inner, content)) = opener.open(payload) else {
            answer.append("contents", "sealed otherwise");
            return;
        };
        let mut held = Vec::new();
        if inner == 22 {
            for (message, body) in messages(&content) {
                let len = if message == 15 {
                    "signed".into()
                } else {
                    body.len().to_string()
                };
                held.push(format!("{message}:{len}"));
                match message {
                    8 => answer.note("encrypted extensions", listed(&extensions(body))),
                    4 => answer.append("tickets", &ticket13(body).unwrap_or_default()),
                    15 => answer.note("signature", format!("{:02x?}", &body[..2])),
                    20 => {
                        if let Some(next) = later.take() {
                            opener = next;
                        }
                    }
                    _ => {}
                }
            }
        } else if inner == 21 {
            held.push(format!("alert {content:?}"));
        } else {
            held.push(length(0, content.len()));
        }
        answer.append("contents", &format!("{inner}[{}]", held.join(",")));
    }
}

impl Session {
    fn config(&self, secrets: &Arc<Secrets>) -> ClientConfig {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if let Some(suite) = self.suite {
            provider.cipher_suites.retain(|s| s.suite() == suite);
        }
        if let Some(group) = self.group {
            provider.kx_groups.retain(|g| g.name() == group);
        }
        let version = if self.tls12 {
            &rustls::version::TLS12
        } else {
            &rustls::version::TLS13
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody::default()))
            .with_no_client_auth();
        config.alpn_protocols = self.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config.enable_sni = !self.no_name;
        config.key_log = Arc::clone(secrets) as Arc<dyn KeyLog>;
        if !self.resumed {
            config.resumption = rustls::client::Resumption::disabled();
        }
        config
    }

    pub(super) async fn ask(&self, to: SocketAddr) -> Answer {
        let secrets = Arc::new(Secrets::default());
        let config = Arc::new(self.config(&secrets));
        if self.resumed {
            let mut first = Answer::default();
            self.once(&mut first, to, &config, &secrets).await;
            secrets.take();
        }
        let mut answer = Answer::default();
        self.once(&mut answer, to, &config, &secrets).await;
        answer
    }

    async fn once(
        &self,
        answer: &mut Answer,
        to: SocketAddr,
        config: &Arc<ClientConfig>,
        secrets: &Secrets,
    ) {
        let came = Arc::new(Mutex::new(Vec::new()));
        let socket = client::tcp(to).await;
        let tap = Tap {
            socket,
            came: Arc::clone(&came),
        };
        let began = Instant::now();
        let connector = TlsConnector::from(Arc::clone(config));
        let opened = connector
            .connect("localhost".try_into().unwrap(), tap)
            .await;
        let mut cipher = 0;
        match opened {
            Ok(mut tls) => {
                let connection = tls.get_ref().1;
                cipher = connection
                    .negotiated_cipher_suite()
                    .map_or(0, |s| u16::from(s.suite()));
                let group = connection.negotiated_key_exchange_group().map(|g| g.name());
                let kind = connection.handshake_kind();
                let alpn = String::from_utf8_lossy(connection.alpn_protocol().unwrap_or_default())
                    .into_owned();
                answer.note(
                    "agreed",
                    format!("cipher {cipher:04x} group {group:?} ALPN {alpn:?} {kind:?}"),
                );
                self.speak(answer, &mut tls, alpn == "h2").await;
            }
            Err(e) => answer.note("refused", e.to_string()),
        }
        answer.took = began.elapsed();
        let bytes = came.lock().unwrap().clone();
        if !self.tls12 {
            sealed(answer, &bytes, &secrets.take(), cipher);
        }
        note(answer, &bytes, to.port());
        if self.tls12 {
            // Behind the change of ciphers nothing more can be told than lengths.
            let clear = records(&bytes).0;
            let ticket = clear
                .iter()
                .take_while(|(kind, ..)| *kind != 20)
                .find(|(kind, _, p)| *kind == 22 && p.first() == Some(&4));
            if let Some((_, _, payload)) = ticket {
                let lifetime = payload.get(4..8).unwrap_or_default();
                answer.note(
                    "ticket",
                    format!("lifetime {lifetime:?} length {}", payload.len() - 10),
                );
            }
        }
    }

    async fn speak(&self, answer: &mut Answer, tls: &mut TlsStream<Tap>, h2: bool) {
        let mut all = Vec::new();
        if h2 {
            // Until the tickets and the first SETTINGS are there.
            while client::read(tls, &mut all, LINGER).await.is_none() {}
            return;
        }
        if self.closes {
            let _ = tls.shutdown().await;
        } else {
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let _ = tls.write_all(request).await;
            let _ = tls.flush().await;
        }
        let ended = timeout(Duration::from_secs(2), async {
            loop {
                if let Some(end) = client::read(tls, &mut all, Duration::from_secs(2)).await {
                    break end;
                }
            }
        });
        let end = ended.await.map_or("left open", client::End::name);
        answer.note("end", end);
    }
}
