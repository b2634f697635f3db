//! `libp2p`: TCP, Noise and Yamux.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::StreamExt as _;
use libp2p::core::Transport as _;
use libp2p::core::muxing::{StreamMuxer as _, StreamMuxerBox, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p::core::{Endpoint, upgrade};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, noise, tcp, yamux};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use super::{Kind, Later, Line, ask, serve};

pub(super) const NAME: &str = "libp2p: TCP, Noise, Yamux";

type Net = Boxed<(PeerId, StreamMuxerBox)>;

fn net() -> Net {
    let key = Keypair::generate_ed25519();
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .boxed()
}

struct Swarm {
    at: Multiaddr,
    net: Mutex<Net>,
}

struct SwarmLine(mpsc::Sender<oneshot::Sender<SubstreamBox>>);

/// Drives a connection: answers what the other end opens, and opens what is asked for.
async fn drive(
    mut muxer: StreamMuxerBox,
    mut asked: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
) {
    let mut waiting: VecDeque<oneshot::Sender<SubstreamBox>> = VecDeque::new();
    let mut open = true;
    poll_fn(|cx| {
        loop {
            let mut moved = false;
            while open {
                match asked.poll_recv(cx) {
                    Poll::Ready(Some(ask)) => waiting.push_back(ask),
                    Poll::Ready(None) => open = false,
                    Poll::Pending => break,
                }
            }
            match Pin::new(&mut muxer).poll_inbound(cx) {
                Poll::Ready(Ok(stream)) => {
                    tokio::spawn(serve(stream.compat()));
                    moved = true;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if !waiting.is_empty() {
                match Pin::new(&mut muxer).poll_outbound(cx) {
                    Poll::Ready(Ok(stream)) => {
                        let _ = waiting.pop_front().unwrap().send(stream);
                        moved = true;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            if let Poll::Ready(Err(_)) = Pin::new(&mut muxer).poll(cx) {
                return Poll::Ready(());
            }
            if !moved {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// A server that answers on each stream of each connection.
pub(super) async fn start() -> Box<dyn Kind> {
    let mut server = net();
    let any = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    server.listen_on(ListenerId::next(), any).unwrap();
    let at = loop {
        if let TransportEvent::NewAddress { listen_addr, .. } = server.next().await.unwrap() {
            break listen_addr;
        }
    };
    tokio::spawn(async move {
        while let Some(event) = server.next().await {
            if let TransportEvent::Incoming { upgrade, .. } = event {
                tokio::spawn(async move {
                    let (_, muxer) = upgrade.await.unwrap();
                    // The server opens nothing.
                    let (_asks, asked) = mpsc::channel(1);
                    drive(muxer, asked).await;
                });
            }
        }
    });
    let net = Mutex::new(net());
    Box::new(Swarm { at, net })
}

impl Kind for Swarm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn session(&self) -> Later<'_, Arc<dyn Line>> {
        Box::pin(async {
            let opts = DialOpts {
                role: Endpoint::Dialer,
                port_use: PortUse::New,
            };
            let dial = self.net.lock().await.dial(self.at.clone(), opts).unwrap();
            let (_, muxer) = dial.await.unwrap();
            let (asks, asked) = mpsc::channel(64);
            tokio::spawn(drive(muxer, asked));
            Arc::new(SwarmLine(asks)) as Arc<dyn Line>
        })
    }
}

impl Line for SwarmLine {
    fn fetch(&self, len: u64) -> Later<'_, u64> {
        Box::pin(async move {
            let (given, stream) = oneshot::channel();
            self.0.send(given).await.unwrap();
            let stream = stream.await.unwrap();
            ask(&mut stream.compat(), len).await
        })
    }
}
