use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with the bytes of all connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// Forwards them.
    Pass,
    /// Forwards requests, and cuts the connection in place of the first answer.
    LoseAnswers,
    /// Keeps the first request back and cuts the client off. The request reaches the server once the mode is `Pass` again.
    HoldRequests,
    /// Cuts every connection, and refuses new ones.
    Closed,
}

/// A proxy between a journal and its server, which cuts connections on command.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    /// Number of requests that were held back.
    held: Arc<watch::Sender<u32>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy to the server of this Unix socket.
    ///
    /// # Panics
    ///
    /// No port is free.
    pub async fn start(socket: &Path) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        let held = Arc::new(watch::Sender::new(0));
        let (modes, counted, socket) = (Arc::clone(&mode), Arc::clone(&held), socket.to_owned());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(
                    client,
                    socket.clone(),
                    modes.subscribe(),
                    Arc::clone(&counted),
                ));
            }
        });
        Self {
            address,
            mode,
            held,
            accepting,
        }
    }

    /// Returns the URL of a connection by the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://fog@{}/postgres", self.address)
    }

    /// Forwards everything, and delivers requests that were held back.
    pub fn pass(&self) {
        self.mode.send_replace(Mode::Pass);
    }

    /// Lets requests through, and cuts each connection in place of its next answer.
    pub fn lose_answers(&self) {
        self.mode.send_replace(Mode::LoseAnswers);
    }

    /// Holds each connection's next request back, and cuts its client off.
    pub fn hold_requests(&self) {
        self.mode.send_replace(Mode::HoldRequests);
    }

    /// Waits until this many requests were held back.
    ///
    /// # Panics
    ///
    /// Never: the proxy counts them.
    pub async fn holds(&self, count: u32) {
        self.held
            .subscribe()
            .wait_for(|n| *n >= count)
            .await
            .unwrap();
    }

    /// Cuts all connections, and refuses new ones.
    pub fn close(&self) {
        self.mode.send_replace(Mode::Closed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Forwards one connection until it is cut.
async fn forward(
    mut client: TcpStream,
    socket: PathBuf,
    mut mode: watch::Receiver<Mode>,
    held: Arc<watch::Sender<u32>>,
) {
    if *mode.borrow() == Mode::Closed {
        return;
    }
    let Ok(mut server) = UnixStream::connect(socket).await else {
        return;
    };
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            changed = mode.changed() => {
                if changed.is_err() || *mode.borrow() == Mode::Closed {
                    return;
                }
            }
            read = client.read(&mut up) => {
                let Ok(len @ 1..) = read else {
                    return;
                };
                // What arrives after the command is cut, though both may be seen in one turn.
                let now = *mode.borrow();
                if now == Mode::Closed {
                    return;
                }
                if now == Mode::HoldRequests {
                    drop(client);
                    held.send_modify(|n| *n += 1);
                    // The server has heard nothing yet, nor that the client has gone.
                    if mode.wait_for(|m| *m == Mode::Pass).await.is_ok() {
                        let _ = server.write_all(&up[..len]).await;
                        let _ = server.read(&mut down).await;
                    }
                    return;
                }
                if server.write_all(&up[..len]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(len @ 1..) = read else {
                    return;
                };
                if *mode.borrow() == Mode::LoseAnswers || client.write_all(&down[..len]).await.is_err() {
                    return;
                }
            }
        }
    }
}
