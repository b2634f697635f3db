//! One task a session: the poll loop between a carrier and the layers.

mod answers;
mod controls;
mod events;
mod ops;
mod serving;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_carrier::{Carrier, Received};
use betanet_htx::StreamId;
use betanet_machine::{Io, Machine as _, Next, Now, Time, drive};
use betanet_path::{Control, Doubt, Watch};
use betanet_stack::{Command, Connection, Event, Input, Transmit};
use betanet_wire::Code;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::admit::{Admit, Dialled};
use crate::exchange::{Feed, Inbox};
use crate::facts::Outcome;
use crate::ops::{Answer, Op};
use crate::padding::Unpadded;
use crate::paths::Paths;
use crate::service::{Allowance, Router, Service};
use crate::streams::{StreamRegistry, session_id};
use crate::{Clock, Count, Error};

pub use controls::{Controls, OnSilence, Silence};
use ops::{Blocked, Waiting};
use serving::Serving;

/// Rounds of the loop before other tasks get a turn.
const BUDGET: u32 = 64;
/// Operations or inputs taken in one round.
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

/// What the opener of a session waits for.
pub type Opened = oneshot::Sender<Result<(), Error>>;

/// Drives one session until it ends.
pub struct Driver {
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
    metrics: Arc<dyn Count>,
    /// Who answers what the peer asks.
    service: Arc<dyn Service>,
    /// What its answers may hold.
    allowance: Allowance,
    /// Requests of the peer that are being answered.
    serving: Serving,
    /// Bytes of answers that wait for room.
    answers: BTreeMap<StreamId, Box<Answer>>,
    /// Where the peer came from, and whether it may stay.
    admit: Box<dyn Admit>,
    /// Who takes streams of types that are none of this crate's.
    registry: StreamRegistry,
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
    /// Whether what is sent now is PADDING, and nothing else.
    fills: bool,
    /// When the hop or the session's use is to be looked at.
    look_at: Option<Time>,
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
    /// Events that found no room, when that was last looked at.
    lost_events: u64,
}

impl Driver {
    /// A driver of `connection` over `carrier`. `opened` hears once whether the session opens.
    #[must_use]
    pub fn new(
        connection: Connection,
        carrier: Box<dyn Carrier>,
        clock: Clock,
        controls: Controls,
        paths: Option<Arc<dyn Paths>>,
        metrics: Arc<dyn Count>,
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
            serving: Serving::default(),
            answers: BTreeMap::new(),
            admit: Box::new(Dialled),
            registry: StreamRegistry::default(),
            id: session_id(),
            over: CancellationToken::new(),
            outcome: Arc::default(),
            silence: None,
            silent: false,
            signs: 0,
            idle: None,
            opened,
            left: false,
            fills: false,
            look_at: None,
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
            lost_events: 0,
        })
    }

    /// Gives streams of other types to `registry`.
    #[must_use]
    pub fn taking(mut self: Box<Self>, registry: StreamRegistry) -> Box<Self> {
        self.registry = registry;
        self
    }

    /// Lets `service` answer what the peer asks.
    #[must_use]
    pub fn serving(mut self: Box<Self>, service: Arc<dyn Service>) -> Box<Self> {
        self.service = service;
        self
    }

    /// Lets `admit` decide whether the session may stay.
    #[must_use]
    pub fn behind(mut self: Box<Self>, admit: Box<dyn Admit>) -> Box<Self> {
        self.admit = admit;
        self
    }

    /// Tells when the peer falls silent, and when it is heard again.
    #[must_use]
    pub fn telling(mut self: Box<Self>, silence: Option<OnSilence>) -> Box<Self> {
        self.silence = silence;
        self
    }

    /// What tells the session from others, when it is over, and what came of it.
    #[must_use]
    pub fn identity(&self) -> (u64, CancellationToken, Arc<Outcome>) {
        (self.id, self.over.clone(), Arc::clone(&self.outcome))
    }

    /// Runs the session to its end.
    pub async fn run(mut self: Box<Self>) {
        let _over = self.over.clone().drop_guard();
        std::future::poll_fn(|cx| self.poll(cx)).await;
        self.count();
        // A client that comes again at once finds its place free, while the last bytes are on their way.
        self.admit.leave();
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
        if self.admit.is_doubted(cx) && self.clock.now().mono - heard >= QUIET {
            self.command(Command::Ping);
        }
        for _ in 0..BUDGET {
            let next = drive(&mut Turn { driver: self, cx });
            match next {
                Next::Over => return Poll::Ready(()),
                Next::Again => break,
                Next::Wait(_) | Next::Stuck => {}
            }
            if self.pad(cx, next) {
                continue;
            }
            self.count();
            self.listen();
            std::task::ready!(self.sleep(cx, next));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Pads the packets of the mix that leave now, and what a shape lacks; whether there is something to send for it.
    fn pad(&mut self, cx: &mut Context<'_>, next: Next) -> bool {
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
        // All that was said before has left: what is sent now is PADDING, and nothing else.
        self.fills = pads && next != Next::Stuck;
        while self.fills && self.is_ready(cx) {
            match self.connection.poll_transmit() {
                Some(transmit) => self.transmit(transmit),
                None => break,
            }
        }
        self.fills = false;
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
        self.finish();
    }

    /// Whether the carrier takes something now. What it took earlier may still wait for the peer's credit: asking gets that on.
    fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        if self.ended {
            return false;
        }
        match self.carrier.poll_ready(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(e)) => {
                self.lost(e);
                false
            }
            Poll::Pending => false,
        }
    }

    /// Hands over what the session has to say.
    fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Bytes(bytes) => {
                let taken = if self.fills {
                    self.carrier.fill(bytes)
                } else {
                    self.carrier.send(bytes)
                };
                if let Err(e) = taken {
                    self.lost(e);
                }
            }
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
        while let Some(event) = self.last_event() {
            self.event(event);
        }
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

    /// The next of the events that wait, also of those that the connection had no room for.
    fn last_event(&mut self) -> Option<Event> {
        let event = self.connection.poll_event();
        event.or_else(|| {
            self.connection.handle_timeout(self.clock.now());
            self.connection.poll_event()
        })
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
            self.close(Code::OK, "");
            return None;
        }
        Some(at)
    }

    /// Looks at whatever ends a session beside the session itself, and at signs that its carrier gives.
    fn look(&mut self) {
        let hop = self.look_at_hop();
        self.look_at = hop.into_iter().chain(self.look_at_use()).min();
        if !self.ended && self.connection.session().is_asking() {
            let signs = self.carrier.signs();
            if std::mem::replace(&mut self.signs, signs) != signs {
                self.input(self.clock.now(), Input::Alive);
            }
        }
    }

    /// Waits until the session is to be driven again; what comes meanwhile wakes by itself.
    fn sleep(&mut self, cx: &mut Context<'_>, next: Next) -> Poll<()> {
        let due = match next {
            Next::Wait(at) => at,
            // While the carrier takes nothing, transmits that wait are no reason to spin. A hop is looked at when that is due; its
            // PROBE waits behind the rest.
            _ => Some(self.clock.now().mono + STUCK_LOOK),
        };
        let Some(at) = due.into_iter().chain(self.look_at).min() else {
            return Poll::Pending;
        };
        if self.armed.is_none_or(|armed| at < armed) {
            self.timer.as_mut().reset(self.clock.instant(at));
            self.armed = Some(at);
        }
        std::task::ready!(self.timer.as_mut().poll(cx));
        self.armed = None;
        Poll::Ready(())
    }

    /// Adds what the session counted since the last look.
    fn count(&mut self) {
        let stats = *self.connection.session().stats();
        self.metrics.traffic(&self.counted, &stats);
        self.counted = stats;
        let lost = self.connection.lost_events();
        if std::mem::replace(&mut self.lost_events, lost) != lost {
            tracing::error!(lost, "events of a session found no room");
        }
    }
}

/// A driver for one turn of its task.
struct Turn<'a, 'b> {
    driver: &'a mut Driver,
    cx: &'a mut Context<'b>,
}

impl Io for Turn<'_, '_> {
    type Machine = Connection;

    fn machine(&mut self) -> &mut Connection {
        &mut self.driver.connection
    }

    fn now(&self) -> Now {
        self.driver.clock.now()
    }

    fn is_ready(&mut self) -> bool {
        self.driver.is_ready(self.cx)
    }

    fn transmit(&mut self, transmit: Transmit) {
        self.driver.transmit(transmit);
    }

    fn event(&mut self, event: Event) {
        self.driver.event(event);
    }

    fn take(&mut self) -> bool {
        let mut moved = self.driver.serving.poll(self.cx);
        moved |= self.driver.operations(self.cx);
        moved |= self.driver.receive(self.cx);
        self.driver.look();
        moved
    }

    fn is_over(&self) -> bool {
        self.driver.ended
    }
}

/// How often timers are looked at while the carrier takes nothing: a silent peer is still found by PING.
const STUCK_LOOK: Duration = Duration::from_secs(1);

fn hex(bytes: Option<&[u8; 32]>) -> String {
    bytes.map_or_else(String::new, |b| betanet_wire::text::hex(b))
}
