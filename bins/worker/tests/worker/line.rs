//! A line of TCP that can be cut: bytes stop, and no end is told.

use std::net::SocketAddr;

use betanet_keys::Peer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy to one peer.
pub(crate) struct Line {
    /// The peer, at the address of this proxy.
    pub(crate) peer: Peer,
    whole: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Line {
    pub(crate) async fn to(peer: &Peer) -> Self {
        let tcp = peer.addrs.iter().find(|addr| !addr.starts_with("quic:"));
        let server: SocketAddr = tcp.unwrap().parse().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let (whole, state) = watch::channel(true);
        let accepting = tokio::spawn(async move {
            // Those that arrive while the line is cut, whose packets would have been lost.
            let mut lost = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                if !*state.borrow() {
                    lost.push(client);
                    continue;
                }
                lost.clear();
                tokio::spawn(forward(client, server, state.clone()));
            }
        });
        let peer = Peer {
            addrs: vec![own],
            ..peer.clone()
        };
        Self {
            peer,
            whole,
            accepting,
        }
    }

    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(client: TcpStream, server: SocketAddr, whole: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let ((from, to), (back, home)) = (client.into_split(), server.into_split());
    tokio::join!(carry(from, home, whole.clone()), carry(back, to, whole));
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut whole: watch::Receiver<bool>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        // Bytes that arrive while the line is cut arrive late, as those of a retransmission do.
        if whole.wait_for(|whole| *whole).await.is_err() || to.write_all(&bytes[..n]).await.is_err()
        {
            return;
        }
    }
    if whole.wait_for(|whole| *whole).await.is_ok() {
        let _ = to.shutdown().await;
    }
}
