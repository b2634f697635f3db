use alloc::collections::{BTreeMap, VecDeque};

use betanet_wire::Code;

use crate::stream::{Stream, Window};
use crate::{Config, StreamId};

/// Maximum number of open streams of one opener.
pub(crate) const OPEN_MAX: usize = 256;
/// Initial credit of the connection.
pub(crate) const CONNECTION_START: u64 = 65_535;
/// Initial credit of a stream.
pub(crate) const STREAM_START: u64 = 32_768;
/// Amount by which the first epoch-1 frame raises the connection's credit.
pub(crate) const CONNECTION_RAISE: u32 = 196_609;
/// Amount by which a stream's credit is raised when its receiver first sees it.
pub(crate) const STREAM_RAISE: u32 = 229_376;

/// State of a stream ID that the peer used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// The stream is open.
    Open,
    /// The peer's next new stream.
    Next,
    /// The stream has ended.
    Past,
    /// The ID has the wrong parity or skips IDs.
    Wrong,
}

/// All streams of a session and the connection's credit.
#[derive(Debug, Hash)]
pub(crate) struct Streams {
    table: BTreeMap<StreamId, Stream>,
    /// Streams with data to send, in round-robin order.
    ready: VecDeque<StreamId>,
    /// Streams of this side that the peer has not seen yet, in order. The peer must see them in order.
    unsent: VecDeque<StreamId>,
    mine: StreamId,
    theirs: StreamId,
    open_mine: usize,
    open_theirs: usize,
    /// Number of this side's requests with incomplete answers.
    awaited: usize,
    /// Memory cost of the parts behind gaps, of all streams.
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

    /// Whether all written bytes are sealed.
    pub(crate) fn all_sent(&self) -> bool {
        self.table.values().all(|s| s.send.all_sent())
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Number of requests that wait for their answers.
    pub(crate) const fn awaited(&self) -> usize {
        self.awaited
    }

    /// Records that the peer's direction of a stream has ended.
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

    /// Opens this side's next stream.
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

    /// Lets a stream begin, after all streams opened before it.
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
        // 0 and 1 are the connection and the negotiation: stream frames for them are invalid now.
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

    /// Accepts the peer's next stream, or returns the refusal code; the ID is used up either way.
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

    /// Forgets a stream; unconsumed received bytes are returned to the connection's credit.
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

    /// Adds a stream to the send queue, once.
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

    /// Queue position of the first stream that could send a frame now. The others keep their order, so that streams begin
    /// in the order of their IDs.
    fn next_sendable(&self) -> Option<usize> {
        let credit = self.credit();
        self.ready
            .iter()
            .position(|id| self.table.get(id).is_some_and(|s| s.send.sendable(credit)))
    }

    /// Whether any stream could send a frame now.
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
