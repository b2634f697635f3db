//! One task a session: the poll loop between a carrier and the layers.

mod answers;
mod events;
mod ops;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_carrier::{Carrier, Received};
use betanet_htx::StreamId;
use betanet_machine::{Machine as _, Now, Time};
use betanet_path::{Control, Doubt, Watch};
use betanet_stack::{Command, Connection, Input, Transmit};
use betanet_wire::Code;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::admission::SessionPermit;
use crate::exchange::{Feed, Inbox};
use crate::forward::Paths;
use crate::fronts::FrontRules;
use crate::metrics::Metrics;
use crate::mix::Unpadded;
use crate::service::{Allowance, Router, Running, Service};
use crate::session::Outcome;
use crate::standing::Seen;
use crate::streams::{StreamRegistry, session_id};
use crate::translate::Translator;
use crate::{Clock, Error};

pub(crate) use answers::Answer;
pub(crate) use ops::{Ask, OPS, Op, Open, tell};
use ops::{Blocked, Waiting};

/// Rounds of the loop before other tasks get a turn.
const BUDGET: u32 = 64;
/// Events, operations or inputs taken in one round.
const ROUND: usize = 32;
/// Refused path messages that end a session.
const REFUSED_MAX: u32 = 16;
/// Who was heard within this time is there.
const QUIET: Duration = Duration::from_secs(2);
/// What a closed session's last bytes get to leave.
const FLUSH: Duration = Duration::from_secs(2);
/// Bytes of one carrier chunk, at most; the session is asked for that much room.
const CHUNK: usize = 64 << 10;

/// Bytes of one PADDING frame, at most.
const PAD: usize = 16_384;

/// Who tells a session what to do.
pub(crate) enum Controls {
    /// The handles of one's own session.
    Handles(mpsc::Receiver<Op>),
    /// A gateway that may stop.
    Stop(Pin<Box<WaitForCancellationFutureOwned>>),
    /// The same, after it told.
    Told,
}

impl Controls {
    /// A session that ends in order when `stop` tells.
    pub(crate) fn stop(stop: CancellationToken) -> Self {
        Self::Stop(Box::pin(stop.cancelled_owned()))
    }

    /// The next operation; `None` when there will be no more, and nobody misses the session.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Op>> {
        match self {
            Self::Handles(ops) => ops.poll_recv(cx),
            Self::Stop(told) => {
                std::task::ready!(told.as_mut().poll(cx));
                // Told once: a finished future is not asked again.
                *self = Self::Told;
                Poll::Ready(Some(Op::Shutdown))
            }
            Self::Told => Poll::Pending,
        }
    }

    fn close(&mut self) {
        if let Self::Handles(ops) = self {
            ops.close();
        }
    }
}

/// What whoever waits for a peer is told meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Silence {
    /// It has been dialled for so long, and there is no session yet.
    Opening(Duration),
    /// It failed before, and is dialled again after so long.
    Resting(Duration),
    /// It has said nothing for so long, and was asked twice whether it is there.
    Asked(Duration),
    /// It is heard again.
    Heard,
}

/// Is called when a peer falls silent, and when it is heard again.
pub type OnSilence = Arc<dyn Fn(Silence) + Send + Sync>;

/// What the opener of a session waits for.
pub(crate) type Opened = oneshot::Sender<Result<(), Error>>;

/// Drives one session until it ends.
pub(crate) struct Driver {
    connection: Connection,
    carrier: Box<dyn Carrier>,
    clock: Clock,
    controls: Controls,
    paths: Option<Arc<dyn Paths>>,
    /// Path messages of the peer that were refused: each has cost a signature's check.
    refused: u32,
    /// Whether the peer still carries the streams that this side opened over it; with none there is nothing to watch.
    watch: Option<Watch>,
    /// Frames received when the watch was last told.
    frames_in: u64,
    /// What streams that the peer opened are written with, once there was one.
    own: Option<(mpsc::Sender<Op>, mpsc::Receiver<Op>)>,
    metrics: Arc<Metrics>,
    /// Who answers what the peer asks.
    service: Arc<dyn Service>,
    /// What its answers may hold.
    allowance: Allowance,
    /// Requests of the peer that are being answered.
    serving: BTreeMap<StreamId, Running>,
    /// Credit for bytes that nobody reads, which the session could not give back yet.
    owed: BTreeMap<StreamId, u64>,
    /// Bytes of answers that wait for room.
    answers: BTreeMap<StreamId, Box<Answer>>,
    /// Where the peer came from, and whether it may stay.
    permit: SessionPermit,
    /// Who takes streams of types that are none of this crate's.
    registry: StreamRegistry,
    /// Which templates of clients are let pass, where that is asked.
    fronts: Option<FrontRules>,
    /// Who remembers which version a peer spoke, where two are spoken.
    versions: Option<Arc<Translator>>,
    id: u64,
    over: CancellationToken,
    outcome: Arc<Outcome>,
    /// Whom it tells that the peer is silent.
    silence: Option<OnSilence>,
    silent: bool,
    /// Signs of life of the peer's carrier when that was last looked at.
    signs: u64,
    /// How long it stays without streams, and since when it has none.
    idle: Option<(Duration, Time)>,
    opened: Option<Opened>,
    /// Nobody has a use for it any more.
    left: bool,
    /// A transmit that the carrier had no room for.
    outgoing: Option<Bytes>,
    /// Whether what is sent next is PADDING, and nothing else.
    fills: bool,
    /// Operations that the session had no room for.
    waiting: Waiting,
    blocked: BTreeMap<StreamId, Blocked>,
    inboxes: BTreeMap<StreamId, Feed>,
    /// Exchanges that the session's end cut off, and after how many bytes: told once it is known why.
    cut: Vec<(StreamId, u64)>,
    pings: VecDeque<oneshot::Sender<Duration>>,
    unpadded: Unpadded,
    timer: Pin<Box<Sleep>>,
    armed: Option<Time>,
    ended: bool,
    outer_error: Option<betanet_carrier::Error>,
    counted: betanet_htx::Stats,
    /// Where an operator sees what it counts.
    seen: Option<Arc<Seen>>,
}

impl Driver {
    pub(crate) fn new(
        connection: Connection,
        carrier: Box<dyn Carrier>,
        clock: Clock,
        controls: Controls,
        paths: Option<Arc<dyn Paths>>,
        metrics: Arc<Metrics>,
        opened: Option<Opened>,
    ) -> Box<Self> {
        Box::new(Self {
            connection,
            carrier,
            clock,
            controls,
            paths,
            refused: 0,
            watch: None,
            frames_in: 0,
            own: None,
            metrics,
            service: Arc::new(Router::default()),
            allowance: Allowance::default(),
            serving: BTreeMap::new(),
            owed: BTreeMap::new(),
            answers: BTreeMap::new(),
            permit: SessionPermit::default(),
            registry: StreamRegistry::default(),
            fronts: None,
            versions: None,
            id: session_id(),
            over: CancellationToken::new(),
            outcome: Arc::default(),
            silence: None,
            silent: false,
            signs: 0,
            idle: None,
            opened,
            left: false,
            outgoing: None,
            fills: false,
            waiting: Waiting::default(),
            blocked: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            cut: Vec::new(),
            pings: VecDeque::new(),
            unpadded: Unpadded::default(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            ended: false,
            outer_error: None,
            counted: betanet_htx::Stats::default(),
            seen: None,
        })
    }

    /// Shows an operator what it counts.
    pub(crate) fn seen(mut self: Box<Self>, seen: Arc<Seen>) -> Box<Self> {
        self.seen = Some(seen);
        self
    }

    /// Gives streams of other types to `registry`.
    pub(crate) fn taking(mut self: Box<Self>, registry: StreamRegistry) -> Box<Self> {
        self.registry = registry;
        self
    }

    /// Lets only templates pass that these rules let pass.
    pub(crate) fn with_front_rules(mut self: Box<Self>, fronts: FrontRules) -> Box<Self> {
        self.fronts = Some(fronts);
        self
    }

    /// Lets only peers pass that stand by their version.
    pub(crate) fn remembered(mut self: Box<Self>, versions: Arc<Translator>) -> Box<Self> {
        self.versions = Some(versions);
        self
    }

    /// Lets `service` answer what the peer asks.
    pub(crate) fn serving(mut self: Box<Self>, service: Arc<dyn Service>) -> Box<Self> {
        self.service = service;
        self
    }

    /// Counts the session by this permit.
    pub(crate) fn behind(mut self: Box<Self>, permit: SessionPermit) -> Box<Self> {
        self.permit = permit;
        self
    }

    /// Tells when the peer falls silent, and when it is heard again.
    pub(crate) fn telling(mut self: Box<Self>, silence: Option<OnSilence>) -> Box<Self> {
        self.silence = silence;
        self
    }

    /// What tells the session from others, when it is over, and what came of it.
    pub(crate) fn identity(&self) -> (u64, CancellationToken, Arc<Outcome>) {
        (self.id, self.over.clone(), Arc::clone(&self.outcome))
    }

    /// Runs the session to its end.
    pub(crate) async fn run(mut self: Box<Self>) {
        let _over = self.over.clone().drop_guard();
        std::future::poll_fn(|cx| self.poll(cx)).await;
        self.count();
        // A client that comes again at once finds its place free, while the last bytes are on their way.
        self.permit.leave();
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
        // A peer that speaks is there.
        let heard = self.connection.session().heard_at();
        if self.permit.is_doubted(cx) && self.clock.now().mono - heard >= QUIET {
            self.command(Command::Ping);
        }
        for _ in 0..BUDGET {
            let mut moved = self.transmit(cx);
            moved |= self.events();
            if self.ended {
                return Poll::Ready(());
            }
            moved |= self.operations(cx);
            moved |= self.receive(cx);
            moved |= self.timeout(cx);
            if !moved && !self.pad() {
                self.count();
                self.listen();
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Pads the packets of the mix that leave now, and what a shape lacks; whether there is something to send for it.
    fn pad(&mut self) -> bool {
        let session = self.connection.session();
        let agreed = session.agreed().is_some_and(|a| a.has("padding"));
        self.carrier.padded(agreed && session.is_open());
        let mut bytes = self.unpadded.leaves() + self.carrier.lacks();
        let mut pads = false;
        while bytes > 0 {
            let len = u16::try_from(bytes.min(PAD)).unwrap_or(u16::MAX);
            let pad = Command::Pad(len);
            // Refused by a session without room: the carrier asks again when some was made.
            if self
                .connection
                .handle_command(self.clock.now(), pad)
                .is_err()
            {
                break;
            }
            pads = true;
            bytes -= usize::from(len);
        }
        // All that was said before has left.
        self.fills = pads && self.outgoing.is_none();
        pads
    }

    fn input(&mut self, now: Now, input: Input) {
        // Refused by a session that is over, and has said so, or that was not asked: nothing to do for either.
        let _ = self.connection.handle_input(now, input);
    }

    fn lost(&mut self, error: betanet_carrier::Error) {
        self.outer_error.get_or_insert(error);
        self.input(self.clock.now(), Input::Lost);
        // What a broken carrier would still be sent has no way to go.
        while self.connection.poll_transmit().is_some() {}
        self.outgoing = None;
        self.finish();
    }

    /// Hands over what the session has to say, while the carrier takes it.
    fn transmit(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.ended {
            if self.outgoing.is_none() {
                match self.connection.poll_transmit() {
                    None => {
                        // What the carrier took earlier may still wait for the peer's credit.
                        if let Poll::Ready(Err(e)) = self.carrier.poll_ready(cx) {
                            self.lost(e);
                            return true;
                        }
                        break;
                    }
                    Some(Transmit::Bytes(bytes)) => self.outgoing = Some(bytes),
                    Some(other) => {
                        self.signal(other);
                        moved = true;
                        continue;
                    }
                }
            }
            match self.carrier.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(e)) => {
                    self.lost(e);
                    return true;
                }
                Poll::Pending => break,
            }
            if let Some(bytes) = self.outgoing.take() {
                let taken = if self.fills {
                    self.carrier.fill(bytes)
                } else {
                    self.carrier.send(bytes)
                };
                if let Err(e) = taken {
                    self.lost(e);
                }
            }
            moved = true;
        }
        self.fills = false;
        if moved && !self.ended {
            // The session's queue has room again.
            self.connection.handle_timeout(self.clock.now());
        }
        moved
    }

    fn signal(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::NeedExport(context) => match self.carrier.export(&context) {
                Ok(ekm1) => self.input(self.clock.now(), Input::Exported(ekm1)),
                Err(e) => self.lost(e),
            },
            Transmit::GoAway => self.carrier.go_away(),
            Transmit::End => {
                self.carrier.end();
                self.finish();
            }
            Transmit::Reset => {
                self.carrier.reset();
                self.finish();
            }
            Transmit::Bytes(_) => {}
        }
    }

    /// Says whether the peer is silent, where that has changed.
    fn listen(&mut self) {
        let since = self.connection.session().silent_since();
        if since.is_some() != self.silent
            && let Some(told) = &self.silence
        {
            self.silent = since.is_some();
            let now = self.clock.now().mono;
            told(since.map_or(Silence::Heard, |since| Silence::Asked(now - since)));
        }
    }

    /// Nothing more will come: whoever waits is told, behind all that came before.
    fn finish(&mut self) {
        while self.events() {}
        self.ended = true;
        self.controls.close();
        self.own = None;
        self.tell_cut();
        for (_, inbox) in std::mem::take(&mut self.inboxes) {
            inbox.end(Err(self.outcome.error(0)));
        }
        self.blocked.clear();
        self.waiting.clear();
        self.answers.clear();
        // With their inboxes cut: none of them tells the session that it was given up.
        self.serving.clear();
    }

    /// Tells exchanges that ended with the session, and why it did.
    pub(super) fn tell_cut(&mut self) {
        for (stream, delivered) in std::mem::take(&mut self.cut) {
            let error = self.outcome.error(delivered);
            self.inbox(stream, |i| i.end(Err(error)));
            self.inboxes.remove(&stream);
        }
    }

    fn events(&mut self) -> bool {
        let mut moved = false;
        for _ in 0..ROUND {
            let Some(event) = self.connection.poll_event() else {
                break;
            };
            moved = true;
            self.event(event);
        }
        if moved && !self.ended {
            self.connection.handle_timeout(self.clock.now());
        }
        moved
    }

    fn inbox<T>(&self, stream: StreamId, put: impl FnOnce(&Inbox) -> T) -> Option<T> {
        self.inboxes.get(&stream).map(|inbox| put(inbox))
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        // One time for what comes in one round: over QUIC a frame comes in a dozen pieces.
        let now = self.clock.now();
        for _ in 0..ROUND {
            if !self.connection.session().has_room(CHUNK) {
                break;
            }
            let input = match self.carrier.poll_receive(cx) {
                Poll::Ready(Ok(Received::Bytes(bytes))) => Input::Bytes(bytes),
                Poll::Ready(Ok(Received::GoAway)) => Input::GoAway,
                Poll::Ready(Ok(Received::End)) => Input::End,
                Poll::Ready(Err(e)) => {
                    self.lost(e);
                    return true;
                }
                Poll::Pending => break,
            };
            self.input(now, input);
            moved = true;
        }
        moved
    }

    /// Something was sent over the peer to whoever comes after it.
    fn watched(&mut self, bytes: u64) {
        let now = self.clock.now().mono;
        let watch = self.watch.get_or_insert_with(|| Watch::new(now));
        watch.sent(now, bytes);
    }

    /// Asks a hop that gives no sign whether it is there, and gives it up when it does not answer.
    fn look_at_hop(&mut self) -> Option<Time> {
        let watch = self.watch.as_mut()?;
        let session = self.connection.session();
        let now = self.clock.now().mono;
        let frames_in = session.stats().frames_in;
        if frames_in != self.frames_in {
            self.frames_in = frames_in;
            watch.heard(now);
        }
        let rtt = session.rtt().unwrap_or_default();
        match watch.check(now, rtt) {
            Some(Doubt::Probe(token)) => {
                let probe = Control::Probe(token).to_bytes();
                self.command(Command::PathControl(probe.into()));
            }
            Some(Doubt::Down) => {
                tracing::debug!("the next hop gives no sign");
                self.lost(betanet_carrier::Error::Gone);
            }
            None => {}
        }
        Some(self.watch.as_ref()?.wake(rtt))
    }

    /// Ends a session that nobody has used for a while; when to look again.
    fn look_at_use(&mut self) -> Option<Time> {
        let (after, since) = self.idle.as_mut()?;
        let now = self.clock.now().mono;
        if self.connection.session().open_streams() > 0 {
            *since = now;
        }
        let at = *since + *after;
        if at <= now {
            self.idle = None;
            self.command(Command::Close {
                code: Code::OK,
                reason: "".into(),
            });
            return None;
        }
        Some(at)
    }

    fn timeout(&mut self, cx: &mut Context<'_>) -> bool {
        let look = self
            .look_at_hop()
            .into_iter()
            .chain(self.look_at_use())
            .min();
        if self.ended {
            return true;
        }
        let now = self.clock.now();
        if self.connection.session().is_asking() {
            let signs = self.carrier.signs();
            if std::mem::replace(&mut self.signs, signs) != signs {
                self.input(now, Input::Alive);
            }
        }
        let due = self.connection.poll_timeout().map(|w| w.at);
        let Some(at) = due.into_iter().chain(look).min() else {
            return false;
        };
        // While the carrier takes nothing, transmits that wait are no reason to spin.
        let stuck = self.outgoing.is_some();
        if due.is_some_and(|at| at <= now.mono) && !stuck {
            self.connection.handle_timeout(now);
            return true;
        }
        // A hop is looked at when that is due; its PROBE waits behind the rest.
        let at = match (stuck, look) {
            (true, look) => look
                .unwrap_or(now.mono + STUCK_LOOK)
                .min(now.mono + STUCK_LOOK),
            (false, _) => at,
        };
        if self.armed.is_none_or(|armed| at < armed) {
            self.timer.as_mut().reset(self.clock.instant(at));
            self.armed = Some(at);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            if stuck {
                self.connection.handle_timeout(self.clock.now());
            }
            return true;
        }
        false
    }

    /// Adds what the session counted since the last look.
    fn count(&mut self) {
        let stats = *self.connection.session().stats();
        self.metrics.traffic(&self.counted, &stats);
        if let Some(seen) = &self.seen {
            seen.count(&stats);
        }
        self.counted = stats;
    }
}

/// How often timers are looked at while the carrier takes nothing: a silent peer is still found by PING.
const STUCK_LOOK: Duration = Duration::from_secs(1);

fn hex(bytes: Option<&[u8; 32]>) -> String {
    bytes.map_or_else(String::new, |b| betanet_wire::text::hex(b))
}
