//! AES inside sessions, over sockets: used where both sides may, and nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};

use betanet_htx::cipher::{Ciphers, FrameKey, Suite};
use betanet_runtime::{
    Aes, Headers, Method, NativeCiphers, Node, Request, SessionConfig, Transport,
};

use crate::{Fixture, content, write};

/// The ciphers of this machine, with the bytes that each sealed or opened.
#[derive(Debug)]
struct Counted([AtomicU64; 2]);

impl Counted {
    const fn new() -> Self {
        Self([AtomicU64::new(0), AtomicU64::new(0)])
    }

    fn take(&self) -> [u64; 2] {
        self.0.each_ref().map(|n| n.swap(0, Ordering::Relaxed))
    }
}

impl Ciphers for &'static Counted {
    fn key(&self, suite: Suite, key: &[u8; 32]) -> Option<Box<dyn FrameKey>> {
        let inner = NativeCiphers.key(suite, key)?;
        let bytes = &self.0[usize::from(suite == Suite::Aes256Gcm)];
        Some(Box::new(Key { inner, bytes }))
    }

    fn suits(&self, suite: Suite) -> bool {
        NativeCiphers.suits(suite)
    }
}

struct Key {
    inner: Box<dyn FrameKey>,
    bytes: &'static AtomicU64,
}

impl FrameKey for Key {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Option<[u8; 16]> {
        self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.inner.seal(nonce, aad, data)
    }

    fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> bool {
        self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.inner.open(nonce, aad, data, tag)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aes_seals_the_frames_where_both_sides_may_use_it_over_both_transports() {
    static COUNTED: Counted = Counted::new();
    static CIPHERS: &Counted = &COUNTED;
    let file = content(1_000_000);
    for server in [true, false] {
        let fixture = Fixture::start(|c| {
            c.node.aes = server;
            c.listener.quic = true;
        })
        .await;
        write(&fixture.served("file.bin"), &file);
        let peer = fixture.gateway.listening().peer();
        for (client, transport) in [
            (Aes::Offer, Transport::Tcp),
            (Aes::Off, Transport::Tcp),
            (Aes::Offer, Transport::Quic),
            (Aes::Off, Transport::Quic),
        ] {
            let config = SessionConfig {
                aes: client,
                ..SessionConfig::default()
            };
            let node = Node::new(None, config.with_ciphers(&CIPHERS)).unwrap();
            let session = node.with_transport(transport).connect(&peer).await.unwrap();
            COUNTED.take();
            let get = Request::new(Method::Get, "/file.bin", Headers::default());
            let mut answer = session.ask(get).await.unwrap();
            let body = answer.body.all(2_000_000).await.unwrap().unwrap();
            assert!(body == file);
            let [chacha, aes] = COUNTED.take();
            let facts = session.facts().await.unwrap();
            let used = server && client == Aes::Offer && NativeCiphers.suits(Suite::Aes256Gcm);
            let case = format!("{server} {client:?} {transport:?}");
            assert_eq!(facts.features.iter().any(|f| f == "aes"), used, "{case}");
            // The server's ciphers are its own: bytes that it sealed otherwise would not open here.
            if used {
                assert_eq!((facts.aead, chacha), ("AES-256-GCM", 0), "{case}");
                assert!(aes > 1_000_000, "{case}: {aes}");
            } else {
                assert_eq!((facts.aead, aes), ("ChaCha20-Poly1305", 0), "{case}");
                assert!(chacha > 1_000_000, "{case}: {chacha}");
            }
            session.close().await;
        }
        assert!(fixture.gateway.shutdown().await);
    }
}
