//! A client whose connection to its guard is cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;

/// Carries connections to another address. A cut ends the current ones, and later ones work until the next cut.
struct Wire {
    standing: Arc<Mutex<CancellationToken>>,
    all: CancellationToken,
}

impl Wire {
    async fn between(at: &str, to: &str) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let to: SocketAddr = to.parse().unwrap();
        let standing = Arc::new(Mutex::new(CancellationToken::new()));
        let all = CancellationToken::new();
        let this = Self {
            standing: Arc::clone(&standing),
            all: all.clone(),
        };
        let carry = async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let cut = standing.lock().unwrap().clone();
                tokio::spawn(cut.run_until_cancelled_owned(async move {
                    let mut onward = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut from, &mut onward).await
                }));
            }
        };
        tokio::spawn(all.run_until_cancelled_owned(carry));
        this
    }

    /// Ends all connections.
    fn cut(&self) {
        let fresh = CancellationToken::new();
        std::mem::replace(&mut *self.standing.lock().unwrap(), fresh).cancel();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        self.all.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_enters_its_guard_again_after_their_session_broke() {
    // Every dial to a mixnode goes over a wire that leads to it.
    let mix = Mix::start(100, 3, |s| {
        let listen = s.listener.listen.clone();
        s.listener.advertise = vec![listen[0].replace(".0.1:", ".0.2:")];
    })
    .await;
    let mut wires = BTreeMap::new();
    for n in 7..=9 {
        let at = |last: u8| format!("127.{}.0.{last}:{}", 100 + n, mix.port);
        wires.insert(name(n), Wire::between(&at(2), &at(1)).await);
    }
    mix.publish_one(3).await;
    let file = content(200_000);
    std::fs::write(mix.home.path().join("node6/served/m"), &file).unwrap();
    let client = mix.client(3).await.unwrap();
    let session = client.session(name(GATEWAY)).await.unwrap();
    assert_eq!(get(&session, "/hello.txt").await, b"hello from 6");
    let guard = client.guard();
    // Cut twice, the second time during an answer: lost data is requested again.
    wires[&guard].cut();
    assert_eq!(get(&session, "/hello.txt").await, b"hello from 6");
    let before = client.stats().received;
    let whole = async { assert!(get(&session, "/m").await == file) };
    let broken = async {
        eventually("the answer has begun", || {
            client.stats().received > before + 5
        })
        .await;
        wires[&guard].cut();
    };
    tokio::join!(whole, broken);
    assert_eq!(client.guard(), guard);
    client.close().await;
    drop(wires);
    mix.stop().await;
}
