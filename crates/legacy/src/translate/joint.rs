//! Joins a leg of 1.1 and a session of 1.2, stream by stream.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_compat11::{Command, Event, Leg, Transmit};
use betanet_htx::kind;
use betanet_machine::{Io, Machine as _, Now, drive};
use betanet_session::{Error as SessionError, PeerSession, Substream};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use super::line::Line;

/// Time for sending the session's last bytes after the leg's end.
const DRAIN: Duration = Duration::from_secs(10);

type Opening = Pin<Box<dyn Future<Output = (u64, Result<Substream, SessionError>)> + Send>>;

/// A stream of the leg, and its counterpart of the session.
#[derive(Default)]
struct Pair {
    /// The session's stream. `None` while it is being opened, and after it has ended.
    stream: Option<Substream>,
    /// Bytes from the leg, for the session.
    up: VecDeque<Bytes>,
    /// Bytes that the stream has taken, but not yet the session. Their credit is returned when the session takes them.
    sending: usize,
    /// Bytes whose credit is to be returned to the leg's peer.
    owed: usize,
    /// Bytes from the session that the leg had no room for.
    down: Option<Bytes>,
    /// Whether the session's side has ended. 1.1 has no message for that.
    deaf: bool,
    /// Whether bytes from the leg are dropped.
    mute: bool,
}

/// A leg and a session, during one turn of their task.
struct Turn<'a, 'b> {
    joint: &'a mut Joint,
    cx: &'a mut Context<'b>,
}

impl Io for Turn<'_, '_> {
    type Machine = Leg;

    fn machine(&mut self) -> &mut Leg {
        &mut self.joint.line.leg
    }

    fn now(&self) -> Now {
        self.joint.line.clock.now()
    }

    fn is_ready(&mut self) -> bool {
        self.joint.line.is_ready(self.cx)
    }

    fn transmit(&mut self, transmit: Transmit) {
        self.joint.line.send(transmit);
    }

    fn event(&mut self, event: Event) {
        self.joint.told(event);
    }

    fn take(&mut self) -> bool {
        let mut moved = self.joint.opened(self.cx);
        moved |= self.joint.pairs(self.cx);
        moved |= self.joint.ends();
        moved |= self.joint.line.receive(self.cx);
        moved
    }

    fn is_over(&self) -> bool {
        self.joint.line.ended
    }
}

/// Moves bytes between a leg and a session, with the credit of each.
pub(super) struct Joint {
    line: Line,
    session: PeerSession,
    /// Streams that the session's peer opened.
    taken: mpsc::Receiver<Substream>,
    opening: FuturesUnordered<Opening>,
    pairs: BTreeMap<u64, Pair>,
    /// Whether the session has ended. Its remaining bytes are still passed to the leg.
    over: bool,
}

impl Joint {
    pub(super) fn new(line: Line, session: PeerSession, taken: mpsc::Receiver<Substream>) -> Self {
        Self {
            line,
            session,
            taken,
            opening: FuturesUnordered::new(),
            pairs: BTreeMap::new(),
            over: false,
        }
    }

    /// Runs until either side has ended and its bytes have been delivered. Then ends the other side.
    pub(super) async fn run(mut self) {
        if let Some(first) = self.line.first() {
            self.told(first);
        }
        let mut over = Some(Box::pin(self.session.over()));
        std::future::poll_fn(|cx| {
            if over
                .as_mut()
                .is_some_and(|o| o.as_mut().poll(cx).is_ready())
            {
                over = None;
            }
            self.over = over.is_none();
            self.poll(cx)
        })
        .await;
        let pairs = &mut self.pairs;
        let opening = &mut self.opening;
        let drained = std::future::poll_fn(|cx| drain(pairs, opening, cx));
        let _ = tokio::time::timeout(DRAIN, drained).await;
        self.session.finish().await;
        self.line.flush().await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let done = self.turn(cx);
        self.line.push(cx);
        done
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = drive(&mut Turn { joint: self, cx });
            if self.line.ended {
                // Handle the leg's events from before its end.
                while let Some(event) = self.line.leg.poll_event() {
                    self.told(event);
                }
                return Poll::Ready(());
            }
            ready!(self.line.sleep(cx, next));
        }
    }

    /// Ends the leg once the session has ended and all of its bytes are delivered. Returns whether it ended now.
    fn ends(&mut self) -> bool {
        let silent = |pair: &Pair| pair.deaf && pair.down.is_none();
        self.over
            && self.opening.is_empty()
            && self.pairs.values().all(silent)
            && self.line.leg.close(self.line.clock.now())
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Opened { stream } => {
                self.pairs.insert(stream, Pair::default());
                let session = self.session.clone();
                self.opening.push(Box::pin(async move {
                    (stream, session.open(kind::LIBP2P).await)
                }));
            }
            Event::Data { stream, data } => match self.pairs.get_mut(&stream) {
                Some(pair) if pair.mute => pair.owed += data.len(),
                Some(pair) => pair.up.push_back(data),
                // Every stream has an entry.
                None => {}
            },
            Event::Path { .. } => {
                tracing::debug!("a path header of 1.1 after its leg has gone on");
                self.line.leg.close(self.line.clock.now());
            }
            // Each round tries again.
            Event::Writable { .. } => {}
            Event::Closed { by } => tracing::debug!(?by, "a leg of 1.1 closed"),
        }
    }

    /// Handles streams that either side has opened.
    fn opened(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while let Poll::Ready(Some((id, opened))) = self.opening.poll_next_unpin(cx) {
            moved = true;
            if let Some(pair) = self.pairs.get_mut(&id) {
                pair.mute = opened.is_err();
                pair.deaf = pair.mute;
                pair.stream = opened.ok();
            }
        }
        while let Poll::Ready(Some(stream)) = self.taken.poll_recv(cx) {
            moved = true;
            let now = self.line.clock.now();
            // If the leg accepts no more streams, the stream is dropped, which resets it.
            if let Ok(Some(id)) = self.line.leg.handle_command(now, Command::Open) {
                let pair = Pair {
                    stream: Some(stream),
                    ..Pair::default()
                };
                self.pairs.insert(id, pair);
            }
        }
        moved
    }

    fn pairs(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        let now = self.line.clock.now();
        for (id, pair) in &mut self.pairs {
            pair.owed += pair.write(cx);
            if pair.owed > 0 {
                let (stream, bytes) = (*id, pair.owed as u64);
                self.line.leg.consume(now, stream, bytes);
                pair.owed = 0;
                moved = true;
            }
            while let Some(data) = pair.down.take().or_else(|| pair.read(cx)) {
                let write = Command::Write {
                    stream: *id,
                    data: data.clone(),
                };
                match self.line.leg.handle_command(now, write) {
                    Ok(_) => moved = true,
                    Err(betanet_compat11::Error::Closed) => pair.deaf = true,
                    Err(_) => {
                        pair.down = Some(data);
                        break;
                    }
                }
            }
        }
        moved
    }
}

impl Pair {
    /// Passes bytes from the leg to the session. Returns how many bytes the session has taken since the last call.
    fn write(&mut self, cx: &mut Context<'_>) -> usize {
        let mut taken = 0;
        loop {
            let Some(stream) = self.stream.as_mut().filter(|_| !self.mute) else {
                if self.mute {
                    taken += self.sending + self.up.drain(..).map(|b| b.len()).sum::<usize>();
                    self.sending = 0;
                }
                return taken;
            };
            match stream.poll_ready(cx) {
                Poll::Pending => return taken,
                Poll::Ready(Err(_)) => self.mute = true,
                Poll::Ready(Ok(())) => {
                    taken += std::mem::take(&mut self.sending);
                    let Some(bytes) = self.up.pop_front() else {
                        return taken;
                    };
                    self.sending = bytes.len();
                    self.mute = stream.send(bytes).is_err();
                }
            }
        }
    }

    /// Reads bytes from the session.
    fn read(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        let stream = self.stream.as_mut().filter(|_| !self.deaf)?;
        match stream.poll_next(cx) {
            Poll::Pending => None,
            Poll::Ready(Ok(Some(bytes))) => Some(bytes),
            Poll::Ready(Ok(None)) => {
                self.deaf = true;
                None
            }
            Poll::Ready(Err(_)) => {
                self.deaf = true;
                self.mute = true;
                None
            }
        }
    }
}

/// Passes the bytes that a leg sent before its CLOSE to the session, followed by a FIN.
fn drain(
    pairs: &mut BTreeMap<u64, Pair>,
    opening: &mut FuturesUnordered<Opening>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    while let Poll::Ready(Some((id, opened))) = opening.poll_next_unpin(cx) {
        if let Some(pair) = pairs.get_mut(&id) {
            pair.mute = opened.is_err();
            pair.stream = opened.ok();
        }
    }
    let mut done = opening.is_empty();
    for pair in pairs.values_mut() {
        pair.write(cx);
        let empty = pair.up.is_empty() && pair.sending == 0;
        if let Some(stream) = pair.stream.as_mut().filter(|_| empty && !pair.mute) {
            stream.end();
            pair.sending = usize::from(stream.poll_ready(cx).is_pending());
        }
        done &= pair.mute || empty && pair.sending == 0;
    }
    if done { Poll::Ready(()) } else { Poll::Pending }
}
