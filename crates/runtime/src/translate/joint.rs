//! One leg of 1.1 and one session of 1.2, joined stream by stream.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_compat11::{Command, Event, Leg, Transmit};
use betanet_htx::kind;
use betanet_machine::{Io, Machine as _, Now, drive};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use super::line::Line;
use crate::{PeerSession, SessionError, Substream};

/// What the session's last bytes get to leave after the leg's end.
const DRAIN: Duration = Duration::from_secs(10);

type Opening = Pin<Box<dyn Future<Output = (u64, Result<Substream, SessionError>)> + Send>>;

/// One stream of both.
#[derive(Default)]
struct Pair {
    /// The session's; none while it is being opened, and after it ended.
    stream: Option<Substream>,
    /// From the leg, for the session.
    up: VecDeque<Bytes>,
    /// Of those, taken by the stream and not yet by the session: their credit goes back when they are.
    sending: usize,
    /// Bytes whose credit goes back to the leg's peer.
    owed: usize,
    /// From the session, for the leg, which had no room.
    down: Option<Bytes>,
    /// The session's side has ended; 1.1 has no word for that.
    deaf: bool,
    /// Whatever comes from the leg is dropped.
    mute: bool,
}

/// A leg and a session for one turn of their task.
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
    /// The session has ended: what it said is still brought to the leg.
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

    /// Until either ends, and what it said has arrived; then the other ends too.
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
                // What the leg said before its end.
                while let Some(event) = self.line.leg.poll_event() {
                    self.told(event);
                }
                return Poll::Ready(());
            }
            ready!(self.line.sleep(cx, next));
        }
    }

    /// Ends the leg once the session has ended and all that it said was brought there; whether that is new.
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
                // There is one for every stream.
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

    /// Streams that were opened, on either side.
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
            // Where the leg takes no more, the stream is dropped, and so reset.
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
    /// Gives the session what the leg said; how many bytes it has taken since the last time.
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

    /// What the session says.
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

/// Brings what a leg said before its CLOSE to the session, and a FIN behind it.
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
