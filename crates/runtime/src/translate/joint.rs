//! One leg of 1.1 and one session of 1.2, joined stream by stream.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_carrier::{Carrier, Received};
use betanet_compat11::{Command, Event, Input, Leg, Transmit};
use betanet_htx::kind;
use betanet_machine::{Machine as _, Time};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::{Clock, Error, PeerSession, Substream};

/// Rounds before other tasks get a turn.
const BUDGET: u32 = 64;
/// Bytes of one carrier chunk, at most; the leg is asked for that much room.
const CHUNK: usize = 64 << 10;
/// What the session's last bytes get to leave after the leg's end.
const DRAIN: Duration = Duration::from_secs(10);
/// What the leg's last bytes get to leave.
const FLUSH: Duration = Duration::from_secs(2);

type Opening = Pin<Box<dyn Future<Output = (u64, Result<Substream, Error>)> + Send>>;

/// One stream of both.
#[derive(Default)]
struct Pair {
    /// The session's; none while it is being opened, and after it ended.
    stream: Option<Substream>,
    /// From the leg, for the session.
    up: VecDeque<Bytes>,
    /// Of those, taken by the stream and not yet by the session: their credit goes back when they are.
    sending: usize,
    /// Bytes whose credit goes back to the leg's peer, once the leg has room to say so.
    owed: usize,
    /// From the session, for the leg, which had no room.
    down: Option<Bytes>,
    /// The session's side has ended; 1.1 has no word for that.
    deaf: bool,
    /// Whatever comes from the leg is dropped.
    mute: bool,
}

/// Moves bytes between a leg and a session, with the credit of each.
pub(super) struct Joint {
    leg: Leg,
    carrier: Box<dyn Carrier>,
    clock: Clock,
    session: PeerSession,
    /// Streams that the session's peer opened.
    taken: mpsc::Receiver<Substream>,
    opening: FuturesUnordered<Opening>,
    pairs: BTreeMap<u64, Pair>,
    /// A transmit that the carrier had no room for.
    outgoing: Option<Bytes>,
    /// The session has ended: what it said is still brought to the leg.
    over: bool,
    /// The leg has ended: what it said is still brought to the session.
    ended: bool,
    timer: Pin<Box<Sleep>>,
    armed: Option<Time>,
}

impl Joint {
    pub(super) fn new(
        leg: Leg,
        carrier: Box<dyn Carrier>,
        clock: Clock,
        session: PeerSession,
        taken: mpsc::Receiver<Substream>,
    ) -> Self {
        Self {
            leg,
            carrier,
            clock,
            session,
            taken,
            opening: FuturesUnordered::new(),
            pairs: BTreeMap::new(),
            outgoing: None,
            over: false,
            ended: false,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
        }
    }

    /// Until either ends, and what it said has arrived; then the other ends too.
    pub(super) async fn run(mut self) {
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
        let carrier = &mut self.carrier;
        let flushed = std::future::poll_fn(|cx| carrier.poll_flushed(cx));
        // A peer that does not take the last bytes is not waited for.
        let _ = tokio::time::timeout(FLUSH, flushed).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let done = self.turn(cx);
        self.carrier.push(cx);
        done
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..BUDGET {
            let mut moved = self.transmit(cx);
            moved |= self.events();
            if self.ended {
                return Poll::Ready(());
            }
            moved |= self.opened(cx);
            moved |= self.pairs(cx);
            let silent = |pair: &Pair| pair.deaf && pair.down.is_none();
            if self.over && self.opening.is_empty() && self.pairs.values().all(silent) {
                // Refused by a leg that closes already.
                let close = self.leg.handle_command(self.clock.now(), Command::Close);
                moved |= close.is_ok();
            }
            moved |= self.receive(cx);
            moved |= self.timeout(cx);
            if !moved {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn lost(&mut self) {
        // Refused by a leg that has ended.
        let _ = self.leg.handle_input(self.clock.now(), Input::Lost);
        while self.leg.poll_transmit().is_some() {}
        self.outgoing = None;
        while self.events() {}
        self.ended = true;
    }

    /// Hands over what the leg has to say, while the carrier takes it.
    fn transmit(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.ended {
            let bytes = match self.outgoing.take() {
                Some(bytes) => bytes,
                None => match self.leg.poll_transmit() {
                    None => {
                        // What the carrier took earlier may still wait for the peer's credit.
                        if let Poll::Ready(Err(_)) = self.carrier.poll_ready(cx) {
                            self.lost();
                        }
                        break;
                    }
                    Some(Transmit::Bytes(bytes)) => bytes,
                    Some(last) => {
                        match last {
                            Transmit::Reset => self.carrier.reset(),
                            _ => self.carrier.end(),
                        }
                        while self.events() {}
                        self.ended = true;
                        return true;
                    }
                },
            };
            match self.carrier.poll_ready(cx) {
                Poll::Ready(ready) => {
                    if ready.and_then(|()| self.carrier.send(bytes)).is_err() {
                        self.lost();
                        return true;
                    }
                    moved = true;
                }
                Poll::Pending => {
                    self.outgoing = Some(bytes);
                    break;
                }
            }
        }
        if moved && !self.ended {
            self.leg.handle_timeout(self.clock.now());
        }
        moved
    }

    fn events(&mut self) -> bool {
        let mut moved = false;
        while let Some(event) = self.leg.poll_event() {
            moved = true;
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
                // Each round tries again.
                Event::Writable { .. } => {}
                Event::Closed { by } => tracing::debug!(?by, "a leg of 1.1 closed"),
            }
        }
        if moved && !self.ended {
            self.leg.handle_timeout(self.clock.now());
        }
        moved
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
            let id = self.leg.next_stream();
            // Where the leg takes no more, the stream is dropped, and so reset.
            if self
                .leg
                .handle_command(self.clock.now(), Command::Open)
                .is_ok()
            {
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
        let now = self.clock.now();
        for (id, pair) in &mut self.pairs {
            pair.owed += pair.write(cx);
            if pair.owed > 0 {
                let (stream, bytes) = (*id, pair.owed as u64);
                let consume = Command::Consume { stream, bytes };
                if self.leg.handle_command(now, consume).is_ok() {
                    pair.owed = 0;
                    moved = true;
                }
            }
            while let Some(data) = pair.down.take().or_else(|| pair.read(cx)) {
                let write = Command::Write {
                    stream: *id,
                    data: data.clone(),
                };
                match self.leg.handle_command(now, write) {
                    Ok(()) => moved = true,
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

    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.leg.is_closed() && self.leg.has_room(CHUNK) {
            let input = match self.carrier.poll_receive(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(Received::Bytes(bytes))) => Input::Bytes(bytes),
                Poll::Ready(Ok(Received::End)) => Input::End,
                // 1.1 has no word for it: the leg goes on until its CLOSE.
                Poll::Ready(Ok(Received::GoAway)) => continue,
                Poll::Ready(Err(_)) => Input::Lost,
            };
            moved = true;
            // Refused by a leg that ends.
            let _ = self.leg.handle_input(self.clock.now(), input);
        }
        moved
    }

    fn timeout(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(wake) = self.leg.poll_timeout() else {
            self.armed = None;
            return false;
        };
        let now = self.clock.now();
        if wake.at <= now.mono {
            self.leg.handle_timeout(now);
            // What waits for a carrier without room is no reason to turn again.
            return self.outgoing.is_none();
        }
        if self.armed != Some(wake.at) {
            self.armed = Some(wake.at);
            self.timer.as_mut().reset(self.clock.instant(wake.at));
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            self.leg.handle_timeout(self.clock.now());
            return true;
        }
        false
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
