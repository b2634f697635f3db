//! The task of one session: a poll loop between a carrier and the protocol layers.

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

/// Rounds of the loop before the task yields to others.
const BUDGET: u32 = 64;
/// Maximum number of operations or inputs handled in one round.
const ROUND: usize = 32;
/// Number of refused path messages that ends a session.
const REFUSED_MAX: u32 = 16;
/// Time without input after which a peer counts as silent.
const QUIET: Duration = Duration::from_secs(2);
/// Time limit for sending the last bytes of a closed session.
const FLUSH: Duration = Duration::from_secs(2);
/// Maximum bytes of one carrier chunk, and the room that the session is asked for.
const CHUNK: usize = 64 << 10;

/// Maximum bytes of one PADDING frame.
const PAD: usize = 16_384;

/// Receives the result of opening a session.
pub type Opened = oneshot::Sender<Result<(), Error>>;

/// Drives one session until it ends.
pub struct Driver {
    connection: Connection,
    carrier: Box<dyn Carrier>,
    clock: Clock,
    controls: Controls,
    paths: Option<Arc<dyn Paths>>,
    /// Refused path messages of the peer. Each has cost a signature verification.
    refused: u32,
    /// Watches whether the peer still carries the streams that this side opened over it. `None` while there are no such streams.
    watch: Option<Watch>,
    /// Received frames at the last update of the watch.
    frames_in: u64,
    /// Operation queue for writing to streams that the peer opened. `None` until the peer opens the first.
    own: Option<(mpsc::Sender<Op>, mpsc::Receiver<Op>)>,
    metrics: Arc<dyn Count>,
    /// Answers the peer's requests.
    service: Arc<dyn Service>,
    /// Memory allowance of the answers.
    allowance: Allowance,
    /// Requests of the peer that are in progress.
    serving: Serving,
    /// Parts of answers that wait for room in the session.
    answers: BTreeMap<StreamId, Box<Answer>>,
    /// The peer's address, and the decision whether it may stay.
    admit: Box<dyn Admit>,
    /// Handlers of streams of types that this crate does not handle itself.
    registry: StreamRegistry,
    id: u64,
    over: CancellationToken,
    outcome: Arc<Outcome>,
    /// Callback for the peer's silence.
    silence: Option<OnSilence>,
    silent: bool,
    /// The carrier's count of signs of life from the peer, at the last check.
    signs: u64,
    /// Time that the session stays open without streams, and since when it has had none.
    idle: Option<(Duration, Time)>,
    opened: Option<Opened>,
    /// Whether the session has no users left.
    left: bool,
    /// Whether everything that is being sent now is PADDING.
    fills: bool,
    /// When to check the next hop or the session's use.
    look_at: Option<Time>,
    /// Operations that the session had no room for.
    waiting: Waiting,
    blocked: BTreeMap<StreamId, VecDeque<Blocked>>,
    inboxes: BTreeMap<StreamId, Feed>,
    /// Exchanges cut off by the session's end, with the bytes delivered. They are notified once the reason is known.
    cut: Vec<(StreamId, u64)>,
    pings: VecDeque<oneshot::Sender<Duration>>,
    unpadded: Unpadded,
    timer: Pin<Box<Sleep>>,
    armed: Option<Time>,
    ended: bool,
    outer_error: Option<betanet_carrier::Error>,
    counted: betanet_htx::Stats,
    /// Number of events dropped for lack of room, at the last check.
    lost_events: u64,
}

impl Driver {
    /// Creates a driver of `connection` over `carrier`. `opened` receives the result of opening the session, once.
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

    /// Passes streams of other types to `registry`.
    #[must_use]
    pub fn taking(mut self: Box<Self>, registry: StreamRegistry) -> Box<Self> {
        self.registry = registry;
        self
    }

    /// Lets `service` answer the peer's requests.
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

    /// Calls `silence` when the peer falls silent, and when it is heard again.
    #[must_use]
    pub fn telling(mut self: Box<Self>, silence: Option<OnSilence>) -> Box<Self> {
        self.silence = silence;
        self
    }

    /// Returns the session's number, the token that is cancelled when it is over, and its outcome.
    #[must_use]
    pub fn identity(&self) -> (u64, CancellationToken, Arc<Outcome>) {
        (self.id, self.over.clone(), Arc::clone(&self.outcome))
    }

    /// Runs the session to its end.
    pub async fn run(mut self: Box<Self>) {
        let _over = self.over.clone().drop_guard();
        std::future::poll_fn(|cx| self.poll(cx)).await;
        self.count();
        // A client that reconnects at once finds its place free, while the last bytes are still being sent.
        self.admit.leave();
        let carrier = &mut self.carrier;
        let flushed = std::future::poll_fn(|cx| carrier.poll_flushed(cx));
        // Do not wait longer for a peer that does not take the last bytes.
        let _ = tokio::time::timeout(FLUSH, flushed).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let done = self.turn(cx);
        self.carrier.push(cx);
        done
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A peer that sends is alive.
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

    /// Pads the mix packets that leave now, and fills what a shape lacks. Returns whether that left something to send.
    fn pad(&mut self, cx: &mut Context<'_>, next: Next) -> bool {
        let session = self.connection.session();
        let agreed = session.agreed().is_some_and(|a| a.has("padding"));
        self.carrier.padded(agreed && session.is_open());
        let mut bytes = self.unpadded.leaves() + self.carrier.lacks();
        let mut pads = false;
        while bytes > 0 {
            let len = u16::try_from(bytes.min(PAD)).unwrap_or(u16::MAX);
            let pad = Command::Pad(len);
            // The session refused it for lack of room. The carrier asks again when there is room.
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
        // Everything queued before has left, so all that is sent now is PADDING.
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
        // A refusal means that the session is over and has reported it, or did not ask for this input. Neither needs action.
        let _ = self.connection.handle_input(now, input);
    }

    fn lost(&mut self, error: betanet_carrier::Error) {
        self.outer_error.get_or_insert(error);
        self.input(self.clock.now(), Input::Lost);
        // Transmits for a broken carrier can no longer be sent.
        while self.connection.poll_transmit().is_some() {}
        self.finish();
    }

    /// Returns whether the carrier accepts data now. Earlier data may still wait for the peer's credit, and this call advances
    /// it.
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

    /// Passes a transmit of the session to the carrier.
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

    /// Reports a change of the peer's silence.
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

    /// Nothing more arrives: notifies all waiting users, after everything that came before.
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
        // Their inboxes are cut, so none of them reports to the session that it was given up.
        self.serving.clear();
    }

    /// Notifies the exchanges that ended with the session, with the reason of its end.
    pub(super) fn tell_cut(&mut self) {
        for (stream, delivered) in std::mem::take(&mut self.cut) {
            let error = self.outcome.error(delivered);
            self.inbox(stream, |i| i.end(Err(error)));
            self.inboxes.remove(&stream);
        }
    }

    /// Returns the next waiting event, including those that the connection had no room for.
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
        // Use one time for all input of a round: over QUIC a frame arrives in a dozen pieces.
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

    /// Records that bytes were sent over the peer to the node behind it.
    fn watched(&mut self, bytes: u64) {
        let now = self.clock.now().mono;
        let watch = self.watch.get_or_insert_with(|| Watch::new(now));
        watch.sent(now, bytes);
    }

    /// Probes a hop that gives no sign of life, and gives it up if it does not answer.
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

    /// Ends a session that has been unused for too long. Returns when to check again.
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

    /// Checks everything outside the session that can end it, and the carrier's signs of life.
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

    /// Waits until the session is to be driven again. Input and operations wake the task by themselves.
    fn sleep(&mut self, cx: &mut Context<'_>, next: Next) -> Poll<()> {
        let due = match next {
            Next::Wait(at) => at,
            // While the carrier accepts nothing, waiting transmits are no reason to spin. A hop is checked when that is due. Its
            // PROBE queues behind the rest.
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

    /// Reports the session's counters since the last check.
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

/// A driver during one turn of its task.
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

/// Interval of timer checks while the carrier accepts nothing. PING thus still detects a silent peer.
const STUCK_LOOK: Duration = Duration::from_secs(1);

fn hex(bytes: Option<&[u8; 32]>) -> String {
    bytes.map_or_else(String::new, |b| betanet_wire::text::hex(b))
}
