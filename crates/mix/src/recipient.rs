//! The recipient's end of exchanges: it assembles requests, and sends answers over reply blocks.

mod exchanges;

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use betanet_machine::{Machine, Now, Queue, Time, Wake, fingerprint};
use betanet_wire::NodeId;

use crate::build::Surb;
use crate::fragment::{Ack, DATA_MAX, Fragment, Kind};
use crate::packet::{PAYLOAD, Packet};
use crate::share::Via;
use exchanges::Exchanges;

/// Most reply blocks kept of one exchange: two windows.
const BLOCKS_MAX: usize = 128;
/// Finished exchanges that are remembered, to recognise late pieces.
const OVER_MAX: usize = 16_384;
/// Most waiting packets and events.
const QUEUE: usize = 4096;
/// Most packets and events that one input may cause.
const MARGIN: usize = 160;

/// ID of an exchange, chosen by its client.
pub type Message = [u8; 8];

/// Limits of a recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecipientConfig {
    /// Most exchanges in all.
    pub exchanges: usize,
}

impl Default for RecipientConfig {
    fn default() -> Self {
        Self { exchanges: 4096 }
    }
}

/// Input from below: the payload of a packet that was delivered here.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The session that delivered the packet, and the charged party.
    pub via: Via,
    /// The payload.
    pub payload: Box<[u8; PAYLOAD]>,
}

/// Command from above.
#[derive(Clone, Debug)]
pub enum Command {
    /// The next bytes of an answer, at most [`DATA_MAX`].
    Answer {
        /// ID of the exchange.
        exchange: Message,
        /// The bytes.
        data: Vec<u8>,
        /// Whether the bytes end the answer.
        fin: bool,
    },
}

/// Output for below: a packet and its first node.
#[derive(Clone, Debug, Hash)]
pub struct Reply {
    /// The node to send the packet to.
    pub first: NodeId,
    /// The packet.
    pub packet: Box<Packet>,
    /// The session of the exchange, and the party charged for the outgoing packet.
    pub via: Via,
}

/// Event for above.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// Bytes of a request; the first ones begin the exchange.
    Data {
        /// ID of the exchange.
        exchange: Message,
        /// The bytes.
        data: Vec<u8>,
        /// Whether the bytes end the request.
        fin: bool,
    },
    /// There is room for an answer that was refused before.
    Writable(Message),
    /// An exchange ended, complete or not.
    Gone(Message),
}

/// Reason for refusing a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// The exchange does not exist, or its answer is complete.
    #[error("no such exchange, or its answer is complete")]
    NoExchange,
    /// A window of pieces is in flight, or packets wait to be sent; [`Event::Writable`] follows.
    #[error("a window of pieces is on its way")]
    Blocked,
    /// The data is longer than a piece.
    #[error("{0} bytes, where a piece has room for 2024")]
    Length(usize),
    /// The queue of events or packets is full.
    #[error("too much waits")]
    Full,
}

/// Counters of a recipient.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Invalid payloads, and pieces that contradict others.
    pub malformed: u64,
    /// Exchanges that began.
    pub begun: u64,
    /// Exchanges dropped for others, or after silence.
    pub evicted: u64,
    /// Pieces for finished exchanges.
    pub late: u64,
    /// Packets sent over reply blocks.
    pub replies: u64,
}

/// The exchanges of clients with this node.
pub struct RecipientMachine {
    config: RecipientConfig,
    exchanges: Exchanges,
    over: VecDeque<Message>,
    is_over: BTreeSet<Message>,
    replies: Queue<Reply>,
    events: Queue<Event>,
    stats: Stats,
}

impl RecipientMachine {
    /// Creates a recipient without exchanges.
    #[must_use]
    pub fn new(config: RecipientConfig) -> Self {
        Self {
            config,
            exchanges: Exchanges::default(),
            over: VecDeque::new(),
            is_over: BTreeSet::new(),
            replies: Queue::new(QUEUE),
            events: Queue::new(QUEUE),
            stats: Stats::default(),
        }
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Gives up an exchange. Never refused; an exchange that has ended stays ended.
    pub fn close(&mut self, now: Now, exchange: Message) {
        self.forget(now.mono, exchange);
    }

    /// Current exchanges.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    fn forget(&mut self, now: Time, exchange: Message) {
        if self.exchanges.remove(&exchange).is_none() {
            return;
        }
        if self.over.len() >= OVER_MAX
            && let Some(old) = self.over.pop_front()
        {
            self.is_over.remove(&old);
        }
        self.over.push_back(exchange);
        self.is_over.insert(exchange);
        self.events.push_reserved(now, Event::Gone(exchange));
    }

    /// Makes room for a new exchange of this session.
    fn make_room(&mut self, now: Time, via: Via) {
        if let Some(least) = self.exchanges.crowded(now, via, self.config.exchanges) {
            self.stats.evicted += 1;
            self.forget(now, least);
        }
    }

    fn delivered(&mut self, now: Time, via: Via, payload: &[u8; PAYLOAD]) {
        let Ok(fragment) = Fragment::from_payload(payload) else {
            self.stats.malformed += 1;
            return;
        };
        let message = fragment.message;
        if self.is_over.contains(&message) {
            self.stats.late += 1;
            return;
        }
        if !self.exchanges.has(&message) {
            // Nothing but a piece begins an exchange.
            if fragment.kind != Kind::Request || fragment.data.is_empty() {
                self.stats.malformed += 1;
                return;
            }
            self.make_room(now, via);
            self.stats.begun += 1;
            self.exchanges.begin(now, message, via);
        }
        let Some(x) = self.exchanges.get_mut(&message) else {
            return;
        };
        x.heard = now;
        for surb in fragment.surbs {
            if x.blocks.len() >= BLOCKS_MAX {
                // The oldest ends first.
                x.blocks.pop_front();
            }
            x.blocks.push_back(surb);
        }
        match fragment.kind {
            Kind::Request if fragment.data.is_empty() => {}
            Kind::Request => {
                let was_done = x.request.is_done();
                let taken = x
                    .request
                    .take(fragment.index, fragment.count, fragment.data);
                let Ok(pieces) = taken else {
                    self.stats.malformed += 1;
                    return;
                };
                x.unacknowledged += 1;
                x.since.get_or_insert(now);
                let fin = x.request.is_done() && !was_done;
                let data = pieces.concat();
                if !data.is_empty() || fin {
                    let exchange = message;
                    let event = Event::Data {
                        exchange,
                        data,
                        fin,
                    };
                    self.events.push_reserved(now, event);
                }
            }
            Kind::Acknowledgement => match Ack::from_bytes(&fragment.data) {
                Some(ack) => x.answer.acknowledged(now, ack),
                None => self.stats.malformed += 1,
            },
            Kind::Reply | Kind::Loop => self.stats.malformed += 1,
        }
    }

    /// Sends due packets of an exchange, while it has reply blocks.
    fn speak(&mut self, now: Time, message: Message) {
        let Some(x) = self.exchanges.get_mut(&message) else {
            return;
        };
        let via = x.via;
        let fragment = |kind, index, count, data| Fragment {
            kind,
            message,
            index,
            count,
            surbs: Vec::new(),
            data,
        };
        let mut say = |fragment: &Fragment, blocks: &mut VecDeque<Surb>| {
            let payload = fragment.to_payload().ok();
            if let (Some(payload), Some(block)) = (payload, blocks.pop_front()) {
                let (first, packet) = block.reply(&payload);
                let packet = Box::new(packet);
                self.replies
                    .push_reserved(now, Reply { first, packet, via });
                self.stats.replies += 1;
            }
        };
        if x.ack_due().is_some_and(|at| at <= now) {
            let data = x.request.ack().to_bytes().to_vec();
            x.unacknowledged = 0;
            x.since = None;
            say(&fragment(Kind::Acknowledgement, 0, 0, data), &mut x.blocks);
        }
        while !x.blocks.is_empty()
            && let Some(piece) = x.answer.poll(now)
        {
            let data = piece.data.to_vec();
            let reply = fragment(Kind::Reply, piece.index, piece.count, data);
            say(&reply, &mut x.blocks);
        }
        if !x.answer_ended && x.answer.room() > 0 && x.wants_room.take() {
            self.events.push_reserved(now, Event::Writable(message));
        }
        if x.answer_ended && x.answer.is_done() {
            self.forget(now, message);
        } else {
            self.exchanges.settle(now, message);
        }
    }

    fn pass(&mut self, now: Time) {
        for (message, idle) in self.exchanges.due(now) {
            if idle {
                self.stats.evicted += 1;
                self.forget(now, message);
            }
        }
        for (message, _) in self.exchanges.due(now) {
            if self.replies.room() < MARGIN {
                // As soon as these are taken.
                break;
            }
            self.speak(now, message);
        }
    }
}

impl Machine for RecipientMachine {
    type Input = Delivered;
    type Command = Command;
    type Answer = ();
    type Transmit = Reply;
    type Event = Event;
    type Error = RecipientError;

    fn handle_input(&mut self, now: Now, input: Delivered) -> Result<(), RecipientError> {
        if self.events.room() < MARGIN || self.replies.room() < MARGIN {
            return Err(RecipientError::Full);
        }
        self.delivered(now.mono, input.via, &input.payload);
        // Its name stands where every payload has it.
        if let Some(message) = input.payload[2..].first_chunk::<8>() {
            self.speak(now.mono, *message);
        }
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: Command) -> Result<(), RecipientError> {
        match command {
            Command::Answer {
                exchange,
                data,
                fin,
            } => {
                if data.len() > DATA_MAX {
                    return Err(RecipientError::Length(data.len()));
                }
                let crowded = self.replies.room() < MARGIN;
                let x = self.exchanges.get_mut(&exchange);
                let x = x.filter(|x| !x.answer_ended);
                let x = x.ok_or(RecipientError::NoExchange)?;
                if x.answer.room() == 0 || crowded {
                    x.wants_room.register();
                    self.exchanges.settle(now.mono, exchange);
                    return Err(RecipientError::Blocked);
                }
                x.answer.push(data, fin);
                x.answer_ended = fin;
                self.speak(now.mono, exchange);
            }
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: Now) {
        self.pass(now.mono);
    }

    fn poll_transmit(&mut self) -> Option<Reply> {
        self.replies.pop()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        let due = self.exchanges.wake();
        let why = "mix: an exchange is due";
        Wake::earliest([
            self.replies.wake("mix: replies wait"),
            self.events.wake("mix: events wait"),
            due.map(|at| Wake { at, why }),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, RecipientMachine { exchanges, over, is_over, replies, events } without {
            config: "set once",
            stats: "statistics",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::time::Duration;

    use betanet_machine::testkit::Checked;
    use betanet_wire::ChargeTo;
    use proptest::prelude::*;

    use super::*;
    use crate::build::SURB;

    fn now(s: u64) -> Now {
        Now::new(Time::from_micros(s * 1_000_000), s * 1000)
    }

    fn piece(message: u8, (index, count): (u16, u16), data: &[u8]) -> Fragment {
        Fragment {
            kind: Kind::Request,
            message: [message; 8],
            index,
            count,
            surbs: vec![Surb::from_bytes([7; SURB]), Surb::from_bytes([8; SURB])],
            data: data.to_vec(),
        }
    }

    /// With who pays for a session.
    struct Gateway(Checked<RecipientMachine>, fn(u64) -> ChargeTo);

    impl Gateway {
        fn new(exchanges: usize) -> Self {
            let machine = RecipientMachine::new(RecipientConfig { exchanges });
            let own = |s: u64| ChargeTo::V4(u32::try_from(s).unwrap().to_be_bytes());
            Self(Checked::new(machine), own)
        }

        /// Events that a piece causes at a time.
        fn take(&mut self, s: u64, session: u64, fragment: &Fragment) -> Vec<Event> {
            let payload = Box::new(fragment.to_payload().unwrap());
            self.0.handle_timeout(now(s));
            let via = Via {
                session,
                charge: self.1(session),
            };
            let delivered = Delivered { via, payload };
            self.0.handle_input(now(s), delivered).unwrap();
            let events = self.events();
            self.0.get().exchanges.check(now(s).mono);
            events
        }

        fn events(&mut self) -> Vec<Event> {
            while self.0.poll_transmit().is_some() {}
            core::iter::from_fn(|| self.0.poll_event()).collect()
        }

        fn stats(&self) -> Stats {
            *self.0.get().stats()
        }
    }

    #[test]
    fn one_session_has_64_exchanges_and_the_silent_go_before_the_least_complete() {
        let mut gateway = Gateway::new(1000);
        for n in 0..64 {
            gateway.take(u64::from(n / 4), 1, &piece(n, (0, 9), b"a"));
        }
        gateway.take(29, 1, &piece(63, (1, 9), b"b"));
        assert_eq!(gateway.0.get().exchanges(), 64);
        // At 31 s the first eight are idle and gone.
        let events = gateway.take(31, 1, &piece(100, (0, 9), b"a"));
        let gone: Vec<u8> = events
            .iter()
            .filter_map(|e| match e {
                Event::Gone(m) => Some(m[0]),
                _ => None,
            })
            .collect();
        assert_eq!(gone, [0, 1, 2, 3, 4, 5, 6, 7]);
        // Another session has its own.
        gateway.take(31, 2, &piece(101, (0, 9), b"a"));
        for n in 102..109 {
            gateway.take(31, 1, &piece(n, (0, 9), b"a"));
        }
        assert_eq!(gateway.0.get().exchanges(), 65);
        // What is left of a session is bounded, and the most complete stays.
        for n in 110..200 {
            gateway.take(32, 1, &piece(n, (0, 9), b"a"));
        }
        assert_eq!(gateway.0.get().exchanges(), 65);
        let late = gateway.take(32, 1, &piece(63, (2, 9), b"c"));
        assert_eq!(late.len(), 1, "it is still there: {late:?}");
    }

    #[test]
    fn free_identities_of_one_address_have_128_exchanges_and_push_out_their_own() {
        let mut gateway = Gateway::new(4096);
        gateway.1 = |session| ChargeTo::V4(if session == 999 { [9; 4] } else { [1; 4] });
        gateway.take(0, 999, &piece(255, (0, 9), b"honest"));
        for session in 0..250_u64 {
            let name = u8::try_from(session).unwrap();
            gateway.take(1, session, &piece(name, (0, 9), b"a"));
            assert!(gateway.0.get().exchanges() <= 129);
        }
        assert_eq!(gateway.0.get().exchanges(), 129);
        let late = gateway.take(2, 999, &piece(255, (1, 9), b"more"));
        assert_eq!(late.len(), 1, "the other address keeps its own: {late:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The earliest deadline, the least complete exchange and the shares always equal those that a walk finds.
        #[test]
        fn the_earliest_deadline_is_that_of_a_walk(
            steps in proptest::collection::vec((0_u8..12, 0_u64..6, 0_u16..5, 0_u8..6, 0_u64..3000), 1..200),
        ) {
            let machine = RecipientMachine::new(RecipientConfig { exchanges: 8 });
            let mut machine = Checked::new(machine);
            let mut at = Now::new(Time::from_micros(0), 0);
            for (message, session, index, what, ms) in steps {
                at = Now::new(at.mono + Duration::from_millis(ms), at.unix_ms + ms);
                machine.handle_timeout(at);
                let exchange = [message; 8];
                match what {
                    0..=2 => {
                        let mut fragment = piece(message, (index, 5), b"piece");
                        fragment.surbs.truncate(usize::from(what));
                        let payload = Box::new(fragment.to_payload().unwrap());
                        let charge = ChargeTo::V4([u8::try_from(session / 2).unwrap(); 4]);
                        let via = Via { session, charge };
                        machine.handle_input(at, Delivered { via, payload }).unwrap();
                    }
                    3 => {
                        let mut heard = piece(message, (0, 0), b"");
                        heard.kind = Kind::Acknowledgement;
                        heard.data = Ack { base: index, bitmap: 0 }.to_bytes().to_vec();
                        let payload = Box::new(heard.to_payload().unwrap());
                        let via = Via::default();
                        machine.handle_input(at, Delivered { via, payload }).unwrap();
                    }
                    4 => {
                        let data = vec![1; 9];
                        let fin = index == 4;
                        // There may be no such exchange.
                        let _ = machine.handle_command(at, Command::Answer { exchange, data, fin });
                    }
                    _ => machine.call(at, |m| m.close(at, exchange)),
                }
                while machine.poll_transmit().is_some() {}
                while machine.poll_event().is_some() {}
                machine.get().exchanges.check(at.mono);
            }
        }
    }

    #[test]
    fn fragment_bombs_hold_a_window_and_no_more() {
        let mut gateway = Gateway::new(4);
        for index in 1..1000 {
            assert!(
                gateway
                    .take(1, 1, &piece(1, (index, 0), &[9; 700]))
                    .is_empty()
            );
        }
        // Beyond the window of the missing first piece all are refused.
        assert_eq!(gateway.stats().malformed, 999 - 64);
        gateway.take(1, 1, &piece(1, (1, 3), b"x"));
        assert!(gateway.stats().malformed > 999 - 64, "fewer than are there");
        let events = gateway.take(1, 1, &piece(1, (0, 0), &[8; 700]));
        assert!(
            matches!(&events[..], [Event::Data { data, fin: false, .. }] if data.len() == 65 * 700)
        );
        for n in 2..40 {
            gateway.take(2, u64::from(n), &piece(n, (0, 2), b"a"));
        }
        assert_eq!(gateway.0.get().exchanges(), 4);
    }

    #[test]
    fn nothing_but_a_piece_begins_an_exchange_and_one_that_is_over_begins_never_again() {
        let mut gateway = Gateway::new(4);
        let mut top_up = piece(1, (0, 0), b"");
        assert!(gateway.take(1, 1, &top_up).is_empty());
        top_up.kind = Kind::Acknowledgement;
        top_up.data = Ack::default().to_bytes().to_vec();
        assert!(gateway.take(1, 1, &top_up).is_empty());
        assert_eq!(
            (gateway.0.get().exchanges(), gateway.stats().malformed),
            (0, 2)
        );
        let whole = piece(1, (0, 1), b"request");
        assert_eq!(gateway.take(1, 1, &whole).len(), 1);
        assert!(gateway.take(1, 1, &whole).is_empty(), "again");
        let answer = Command::Answer {
            exchange: [1; 8],
            data: b"answer".to_vec(),
            fin: true,
        };
        gateway.0.handle_command(now(1), answer.clone()).unwrap();
        assert!(gateway.events().is_empty());
        let more = gateway.0.handle_command(now(1), answer);
        assert_eq!(more, Err(RecipientError::NoExchange));
        let mut heard = piece(1, (0, 0), b"");
        heard.kind = Kind::Acknowledgement;
        heard.data = Ack { base: 1, bitmap: 0 }.to_bytes().to_vec();
        assert_eq!(gateway.take(2, 1, &heard), [Event::Gone([1; 8])]);
        assert!(gateway.take(2, 1, &whole).is_empty());
        assert_eq!((gateway.0.get().exchanges(), gateway.stats().late), (0, 1));
    }

    #[test]
    fn an_answer_waits_for_reply_blocks_and_ends_after_thirty_seconds_without() {
        let mut gateway = Gateway::new(4);
        let mut bare = piece(1, (0, 1), b"request");
        bare.surbs.clear();
        gateway.take(0, 1, &bare);
        for n in 0..64 {
            let answer = Command::Answer {
                exchange: [1; 8],
                data: vec![n; 2000],
                fin: false,
            };
            gateway.0.handle_command(now(1), answer).unwrap();
        }
        let more = Command::Answer {
            exchange: [1; 8],
            data: vec![1],
            fin: true,
        };
        assert_eq!(
            gateway.0.handle_command(now(1), more),
            Err(RecipientError::Blocked)
        );
        assert_eq!(gateway.stats().replies, 0);
        gateway.take(5, 1, &piece(1, (0, 0), b""));
        assert_eq!(
            gateway.stats().replies,
            2,
            "as many as there are reply blocks"
        );
        gateway.0.handle_timeout(now(34));
        assert!(gateway.events().is_empty());
        gateway.0.handle_timeout(now(35));
        assert_eq!(gateway.events(), [Event::Gone([1; 8])]);
        assert!(gateway.0.poll_timeout().is_none());
    }
}
