//! ALIAS_GOSSIP over sessions: carries bytes between streams and the machine behind the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use betanet_naming::gossip::{ExchangeId, Input, PEERS_EXCHANGES, Transmit};
use betanet_naming::message::KIND;
use betanet_session::{PeerSession, Substream};
use betanet_wire::NodeId;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::arithmetic::Arithmetic;
use crate::peers::Peers;
use crate::shared::Shared;
use crate::state::{Answer, Ask};

/// Inputs that wait for the machine.
const INPUTS_MAX: usize = 256;
/// Inputs of one request to the machine.
const TOGETHER: usize = 8;
/// Messages that wait to be sent on one stream: an exchange has one at a time.
const SENDS_MAX: usize = 4;
/// Peers of incoming streams that are asked in return.
const STRANGERS_MAX: usize = 64;
/// Longest that a peer is dialled.
const DIAL: Duration = Duration::from_secs(15);
/// Time between two looks at a machine that wants nothing.
const IDLE: Duration = Duration::from_secs(5);
/// Time after which a state that does not lead is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// An input for the machine, or a stream of a peer.
pub(crate) enum Heard {
    /// Of an exchange of this instance.
    Input(u64, Input),
    /// A peer opened a stream.
    Opened(Box<(PeerSession, Substream)>),
    /// A session with a peer ended.
    Over(NodeId),
}

/// What is sent on a stream: bytes, and whether they are the last.
type Sends = mpsc::Sender<(Bytes, bool)>;

/// The way for streams that peers open.
#[derive(Clone)]
pub(crate) struct Taker(mpsc::Sender<Heard>);

impl Taker {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Heard>) {
        let (sender, receiver) = mpsc::channel(INPUTS_MAX);
        (Self(sender), receiver)
    }
}

impl betanet_session::Streams for Taker {
    fn opened(&self, session: &PeerSession, _: u8, stream: Substream) {
        // A node that cannot follow drops the stream, which resets it.
        let _ = self
            .0
            .try_send(Heard::Opened(Box::new((session.clone(), stream))));
    }
}

/// Runs the gossip of a node.
pub(crate) struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) heard: mpsc::Receiver<Heard>,
    pub(crate) back: Taker,
    pub(crate) arithmetic: Arc<Arithmetic>,
}

/// Streams and sessions of one instance of the state.
#[derive(Default)]
struct Streams {
    instance: u64,
    sends: BTreeMap<ExchangeId, (Sends, AbortHandle)>,
    strangers: Strangers<PeerSession>,
}

/// Sessions of peers that nobody named, and that opened a stream. They are asked in return.
struct Strangers<S>(BTreeMap<NodeId, S>);

impl<S> Default for Strangers<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S> Strangers<S> {
    /// Takes a session, if its peer has none yet and there is room.
    fn take(&mut self, peer: NodeId, session: S) -> bool {
        let room = self.0.len() < STRANGERS_MAX && !self.0.contains_key(&peer);
        if room {
            self.0.insert(peer, session);
        }
        room
    }
}

impl Runner {
    pub(crate) async fn run(mut self) {
        static NEXT: AtomicU64 = AtomicU64::new(PEERS_EXCHANGES);
        let mut tasks = JoinSet::new();
        let mut streams = Streams::default();
        let mut facts = self.shared.facts();
        let mut inputs = Vec::new();
        let mut wake = Instant::now();
        loop {
            let mut heard = Vec::new();
            tokio::select! {
                n = self.heard.recv_many(&mut heard, TOGETHER) => if n == 0 { return },
                changed = facts.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(wake) => {}
                Some(_) = tasks.join_next() => continue,
            }
            let known = facts.borrow_and_update().clone();
            if known.instance != streams.instance {
                // Another state knows nothing of these exchanges.
                streams = Streams {
                    instance: known.instance,
                    ..Streams::default()
                };
                tasks.abort_all();
                inputs = self
                    .peers
                    .nodes()
                    .flat_map(|peer| [Input::Named { peer }, Input::Linked { peer }])
                    .collect();
            }
            for heard in heard {
                match heard {
                    Heard::Input(instance, input) if instance == streams.instance => {
                        if let Input::Ended { exchange } = &input {
                            streams.sends.remove(exchange);
                        }
                        inputs.push(input);
                    }
                    Heard::Input(..) => {}
                    Heard::Over(peer) => {
                        if streams.strangers.0.remove(&peer).is_some() {
                            inputs.push(Input::Unlinked { peer });
                        }
                    }
                    Heard::Opened(opened) => {
                        let (session, stream) = *opened;
                        let (peer, charge) = (session.peer().node_id(), session.charge());
                        let exchange = NEXT.fetch_add(1, Ordering::Relaxed);
                        self.carry(&mut tasks, &mut streams, exchange, Way::Open(stream));
                        inputs.extend(self.meet(&mut tasks, &mut streams, session));
                        inputs.push(Input::Opened {
                            exchange,
                            peer,
                            charge,
                        });
                    }
                }
            }
            let asked = self
                .shared
                .ask(Ask::Gossip(std::mem::take(&mut inputs)))
                .await;
            let Ok(Answer::Gossip(instance, transmits, next)) = asked else {
                wake = Instant::now() + AGAIN;
                continue;
            };
            if instance == streams.instance {
                for transmit in transmits {
                    self.transmit(&mut tasks, &mut streams, transmit);
                }
            }
            wake = Instant::now() + next.unwrap_or(IDLE).min(IDLE);
        }
    }

    /// A peer that opens a stream is asked in return, for as long as its session lasts.
    fn meet(
        &self,
        tasks: &mut JoinSet<()>,
        streams: &mut Streams,
        session: PeerSession,
    ) -> Option<Input> {
        let peer = session.peer().node_id();
        let (over, back) = (session.over(), self.back.clone());
        if self.peers.has(peer) || !streams.strangers.take(peer, session) {
            return None;
        }
        tasks.spawn(async move {
            over.await;
            let _ = back.0.send(Heard::Over(peer)).await;
        });
        Some(Input::Linked { peer })
    }

    fn transmit(&self, tasks: &mut JoinSet<()>, streams: &mut Streams, transmit: Transmit) {
        match transmit {
            Transmit::Open {
                exchange,
                peer,
                data,
            } => {
                let way = match streams.strangers.0.get(&peer) {
                    Some(session) => Way::Back(session.clone()),
                    None => Way::Dial(Arc::clone(&self.peers), peer),
                };
                self.carry(tasks, streams, exchange, way);
                self.send(streams, exchange, data, false);
            }
            Transmit::Send {
                exchange,
                data,
                fin,
            } => self.send(streams, exchange, data, fin),
            Transmit::Abort { exchange, code } => {
                tracing::debug!(%code, "an exchange of names is broken off");
                if let Some((_, task)) = streams.sends.remove(&exchange) {
                    task.abort();
                }
            }
            Transmit::Check(work) => {
                let (back, instance) = (self.back.clone(), streams.instance);
                let arithmetic = Arc::clone(&self.arithmetic);
                tasks.spawn(async move {
                    let exchange = work.exchange;
                    let done = arithmetic.run(work).await;
                    let input = done.map_or(Input::Ended { exchange }, Input::Checked);
                    let _ = back.0.send(Heard::Input(instance, input)).await;
                });
            }
            // The state reads its records itself.
            Transmit::Load { .. } => {}
        }
    }

    fn send(&self, streams: &mut Streams, exchange: ExchangeId, data: Bytes, fin: bool) {
        let Some((sends, task)) = streams.sends.get(&exchange) else {
            return;
        };
        if sends.try_send((data, fin)).is_err() {
            task.abort();
            streams.sends.remove(&exchange);
        } else if fin {
            // The task ends by itself.
            streams.sends.remove(&exchange);
        }
    }

    fn carry(
        &self,
        tasks: &mut JoinSet<()>,
        streams: &mut Streams,
        exchange: ExchangeId,
        way: Way,
    ) {
        let (sends, to_send) = mpsc::channel(SENDS_MAX);
        let back = Back {
            heard: self.back.clone(),
            instance: streams.instance,
            exchange,
        };
        let task = tasks.spawn(async move {
            let stream = tokio::time::timeout(DIAL, way.open()).await;
            let carried = match stream {
                Ok(Some(stream)) => back.carry(stream, to_send).await,
                Ok(None) | Err(_) => None,
            };
            if carried.is_none() {
                back.tell(Input::Ended { exchange }).await;
            }
        });
        streams.sends.insert(exchange, (sends, task));
    }
}

/// The way to a stream.
enum Way {
    Open(Substream),
    /// On the session of a peer that opened one.
    Back(PeerSession),
    Dial(Arc<Peers>, NodeId),
}

impl Way {
    async fn open(self) -> Option<Substream> {
        match self {
            Self::Open(stream) => Some(stream),
            Self::Back(session) => session.open(KIND).await.ok(),
            Self::Dial(peers, node) => {
                let session = peers.session(node).await?;
                let stream = session.open_raw(KIND, Bytes::new()).await.ok()?;
                Some(Substream::new(stream))
            }
        }
    }
}

/// The way back to the machine.
struct Back {
    heard: Taker,
    instance: u64,
    exchange: ExchangeId,
}

impl Back {
    async fn tell(&self, input: Input) {
        // A runner that is gone needs nothing.
        let _ = self.heard.0.send(Heard::Input(self.instance, input)).await;
    }

    /// Carries bytes both ways until both have ended. `None` if the stream broke off.
    async fn carry(
        &self,
        mut stream: Substream,
        mut to_send: mpsc::Receiver<(Bytes, bool)>,
    ) -> Option<()> {
        let exchange = self.exchange;
        let (mut hears, mut sends) = (true, true);
        while hears || sends {
            tokio::select! {
                biased;
                next = to_send.recv(), if sends => match next {
                    Some((data, fin)) => {
                        if !data.is_empty() {
                            stream.write(data).await.ok()?;
                        }
                        if fin {
                            stream.finish().await.ok()?;
                            sends = false;
                        }
                    }
                    // Broken off.
                    None => return Some(()),
                },
                next = stream.next(), if hears => {
                    let data = next.ok()?;
                    let fin = data.is_none();
                    hears = !fin;
                    let data = data.unwrap_or_default();
                    self.tell(Input::Data { exchange, data, fin }).await;
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_are_asked_in_return_are_64() {
        let mut strangers = Strangers::default();
        let peer = |n: u8| NodeId([n; 20]);
        for n in 0..70 {
            assert_eq!(strangers.take(peer(n), n), n < 64, "{n}");
            // Of one peer, the first session.
            assert!(!strangers.take(peer(n), 100 + n));
        }
        assert_eq!(strangers.0.get(&peer(3)), Some(&3));
        strangers.0.remove(&peer(3));
        assert!(strangers.take(peer(80), 80) && !strangers.take(peer(81), 81));
    }
}
