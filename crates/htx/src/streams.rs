use alloc::collections::{BTreeMap, VecDeque};

use betanet_wire::Code;

use crate::stream::{Stream, Window};
use crate::{Config, StreamId};

/// Open streams of one opener.
pub(crate) const OPEN_MAX: usize = 256;
/// Credit of the connection before it is raised.
pub(crate) const CONNECTION_START: u64 = 65_535;
/// Credit of a stream before it is raised.
pub(crate) const STREAM_START: u64 = 32_768;
/// What the first epoch-1 frame raises the connection by.
pub(crate) const CONNECTION_RAISE: u32 = 196_609;
/// What a stream is raised by when its receiver first sees it.
pub(crate) const STREAM_RAISE: u32 = 229_376;

/// Where a stream ID from the peer stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// Open.
    Open,
    /// The peer's next one.
    Next,
    /// Ended before.
    Past,
    /// Wrong parity or a skip.
    Wrong,
}

/// All streams of a session and the connection's credit.
#[derive(Debug, Hash)]
pub(crate) struct Streams {
    table: BTreeMap<StreamId, Stream>,
    /// Streams that have something to send, in turn.
    ready: VecDeque<StreamId>,
    /// Streams of this side that the peer has seen nothing of, in order. It must see them in order.
    unsent: VecDeque<StreamId>,
    mine: StreamId,
    theirs: StreamId,
    open_mine: usize,
    open_theirs: usize,
    /// Requests of this side whose answers have not come to their end.
    awaited: usize,
    /// What parts behind gaps cost, of all streams.
    pub(crate) behind_gaps: usize,
    pub(crate) receive: Window,
    /// Sum of the highest offsets received.
    pub(crate) received: u64,
    pub(crate) send_limit: u64,
    /// Sum of the offsets sent.
    pub(crate) sent: u64,
    window_max: u64,
}

impl Streams {
    pub(crate) fn new(client: bool, config: &Config) -> Self {
        let (mine, theirs) = if client { (3, 2) } else { (2, 3) };
        Self {
            table: BTreeMap::new(),
            ready: VecDeque::new(),
            unsent: VecDeque::new(),
            mine,
            theirs,
            open_mine: 0,
            open_theirs: 0,
            awaited: 0,
            behind_gaps: 0,
            receive: Window::new(CONNECTION_START, config.connection_window_max),
            received: 0,
            send_limit: CONNECTION_START,
            sent: 0,
            window_max: config.stream_window_max,
        }
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.table.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.table.get_mut(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.table.iter().map(|(id, s)| (*id, s))
    }

    pub(crate) fn buffered(&self) -> usize {
        self.table.values().map(|s| s.send.buffered()).sum()
    }

    /// Whether everything that was written was sealed.
    pub(crate) fn all_sent(&self) -> bool {
        self.table.values().all(|s| s.send.all_sent())
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Requests whose answers are waited for.
    pub(crate) const fn awaited(&self) -> usize {
        self.awaited
    }

    /// The peer's direction of a stream has come to its end.
    pub(crate) fn answered(&mut self, id: StreamId) {
        if let Some(stream) = self.table.get_mut(&id)
            && core::mem::take(&mut stream.awaited)
        {
            self.awaited -= 1;
        }
    }

    pub(crate) const fn may_open(&self) -> bool {
        self.open_mine < OPEN_MAX && self.mine < StreamId::MAX - 2
    }

    /// Opens the next stream of this side.
    pub(crate) fn open(&mut self, kind: u8) -> StreamId {
        let id = self.mine;
        self.mine += 2;
        self.open_mine += 1;
        self.awaited += usize::from(kind == crate::kind::BAR);
        let stream = Stream::new(true, Some(kind), STREAM_START, self.window_max);
        self.table.insert(id, stream);
        self.unsent.push_back(id);
        id
    }

    /// Lets a stream begin, after those opened before it.
    pub(crate) fn begin(&mut self, id: StreamId) {
        while let Some(first) = self.unsent.pop_front_if(|first| *first <= id) {
            if let Some(stream) = self.table.get_mut(&first)
                && stream.send.fresh()
            {
                let kind = stream.kind.unwrap_or_default();
                stream.send.begin(kind, &[], false);
            }
            self.queue(first);
        }
    }

    pub(crate) fn place(&self, id: StreamId) -> Place {
        let theirs = id % 2 == self.theirs % 2;
        let next = if theirs { self.theirs } else { self.mine };
        // 0 and 1 are the connection and the negotiation: no stream frame belongs there now.
        if id < 2 {
            Place::Wrong
        } else if self.table.contains_key(&id) {
            Place::Open
        } else if id < next {
            Place::Past
        } else if theirs && id == next {
            Place::Next
        } else {
            Place::Wrong
        }
    }

    /// Takes the peer's next stream, or says with which code it is refused; its ID is spent either way.
    pub(crate) fn accept(&mut self, id: StreamId, going_away: bool) -> Result<(), Code> {
        self.theirs = id.saturating_add(2);
        if going_away || self.open_theirs >= OPEN_MAX {
            return Err(Code::POLICY_REJECTED);
        }
        self.open_theirs += 1;
        let stream = Stream::new(false, None, STREAM_START, self.window_max);
        self.table.insert(id, stream);
        Ok(())
    }

    /// Forgets a stream; what it received and nobody consumed goes back to the connection's credit.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.table.remove(&id)?;
        self.awaited -= usize::from(stream.awaited);
        self.behind_gaps -= stream.receive.assembler.cost();
        if stream.mine {
            self.open_mine -= 1;
        } else {
            self.open_theirs -= 1;
        }
        if stream.queued {
            self.ready.retain(|r| *r != id);
        }
        let owed = stream
            .receive
            .highest
            .saturating_sub(stream.receive.window.consumed());
        self.receive.consume(owed);
        Some(stream)
    }

    pub(crate) fn clear(&mut self) {
        self.table.clear();
        self.awaited = 0;
        self.behind_gaps = 0;
        self.ready.clear();
        self.unsent.clear();
        self.open_mine = 0;
        self.open_theirs = 0;
    }

    /// Puts a stream in the turn, once.
    pub(crate) fn queue(&mut self, id: StreamId) {
        if let Some(stream) = self.table.get_mut(&id)
            && !stream.queued
        {
            stream.queued = true;
            self.ready.push_back(id);
        }
    }

    pub(crate) const fn credit(&self) -> u64 {
        self.send_limit - self.sent
    }

    /// The place in the turn of the first stream that could make a frame now. The others keep their order, so
    /// that streams begin in the order of their IDs.
    fn next_sendable(&self) -> Option<usize> {
        let credit = self.credit();
        self.ready
            .iter()
            .position(|id| self.table.get(id).is_some_and(|s| s.send.sendable(credit)))
    }

    /// Whether any stream could make a frame now.
    pub(crate) fn sendable(&self) -> bool {
        self.next_sendable().is_some()
    }

    /// Takes the stream whose turn it is.
    pub(crate) fn take_turn(&mut self) -> Option<StreamId> {
        let id = self.ready.remove(self.next_sendable()?)?;
        if let Some(stream) = self.table.get_mut(&id) {
            stream.queued = false;
        }
        Some(id)
    }
}
