use std::io::IoSlice;

use bytes::BytesMut;
use h2::Reason;

use super::Http2Look;
use super::head::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEAD, HEADERS, Head, RST_STREAM,
    SETTINGS, WINDOW_UPDATE,
};
use super::hpack::TABLE_SIZE_0;
use super::ledger::Ledger;

/// Maximum length of a frame of a header section.
const FRAME_MAX: usize = 16 << 10;
/// Maximum length of a frame that is collected whole: a head, SETTINGS or GOAWAY of ours.
const HELD_MAX: usize = 64 << 10;

/// State of the output.
pub(super) struct Outbound {
    /// A partly sent frame header.
    head: [u8; HEAD],
    have: usize,
    /// The frame being sent, and its remaining length.
    now: Head,
    left: usize,
    /// Bytes collected of a frame that will be replaced.
    held: Vec<u8>,
    /// Collected bytes of a frame that is sent unchanged after all.
    early: BytesMut,
    /// This module's own output, sent between two frames of `h2`.
    own: BytesMut,
    /// Whether a replaced header section continues.
    replaced: bool,
    /// First frames, until they are sent.
    look: Option<Http2Look>,
    /// Whether `h2` still has to announce the connection's window.
    window: bool,
    /// Prepared header sections by stream.
    sections: Vec<(u32, Vec<u8>)>,
}

impl Outbound {
    pub(super) fn new(look: &Http2Look) -> Self {
        Self {
            head: [0; HEAD],
            have: 0,
            now: Head::default(),
            left: 0,
            held: Vec::new(),
            early: BytesMut::new(),
            own: BytesMut::new(),
            replaced: false,
            look: Some(look.clone()),
            window: look.window == 0,
            sections: Vec::new(),
        }
    }

    /// Output to be sent before any further frame of `h2`.
    pub(super) fn own(&mut self) -> Option<&mut BytesMut> {
        if !self.early.is_empty() {
            return Some(&mut self.early);
        }
        let between = self.have == 0 && self.left == 0;
        Some(&mut self.own).filter(|own| between && !own.is_empty())
    }

    /// Whether `h2` has announced the connection's window, which was sent before.
    pub(super) const fn has_window(&self) -> bool {
        self.window
    }

    /// Sends GOAWAY, once.
    pub(super) fn go_away(&mut self, ledger: &mut Ledger, why: Reason) {
        if std::mem::replace(&mut ledger.leaving, true) {
            return;
        }
        let last = ledger.last.to_be_bytes();
        let why = u32::from(why).to_be_bytes();
        self.say(ledger, GOAWAY, 0, 0, &[last, why].concat());
    }

    /// Sets the header section of a stream's answer.
    pub(super) fn section(&mut self, ledger: &Ledger, stream: u32, block: Vec<u8>) {
        // The section of a stream that was reset meanwhile is never requested.
        self.sections.retain(|(stream, _)| ledger.knows(*stream));
        self.sections.push((stream, block));
    }

    fn section_of(&mut self, stream: u32) -> Option<Vec<u8>> {
        let at = self.sections.iter().position(|(id, _)| *id == stream)?;
        Some(self.sections.swap_remove(at).1)
    }

    fn say(&mut self, ledger: &mut Ledger, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = payload.len();
        let head = Head {
            len,
            kind,
            flags,
            stream,
        };
        self.own.extend_from_slice(&head.bytes());
        self.own.extend_from_slice(payload);
        ledger.controlled(len);
    }

    /// Whether a frame is not sent as `h2` writes it.
    const fn is_held(&self, kind: u8) -> bool {
        match kind {
            HEADERS | RST_STREAM | GOAWAY => true,
            SETTINGS => self.look.is_some(),
            WINDOW_UPDATE => !self.window,
            CONTINUATION => self.replaced,
            _ => false,
        }
    }

    /// Number of leading bytes that can be sent unchanged; 0 if a frame has to be collected.
    pub(super) fn plain(&self, bufs: &[IoSlice<'_>]) -> usize {
        if !self.held.is_empty() {
            return 0;
        }
        let (mut plain, mut left) = (0, self.left);
        if self.have > 0 {
            // The rest of a partly sent header: its frame is sent unchanged.
            let mut head = self.head;
            let mut have = self.have;
            let mut more = bufs.iter().flat_map(|b| b.iter());
            while have < HEAD {
                let Some(byte) = more.next() else {
                    return bufs.iter().map(|b| b.len()).sum();
                };
                head[have] = *byte;
                have += 1;
                plain += 1;
            }
            left = Head::read(&head).len;
        }
        let mut skip = plain;
        for buf in bufs {
            let mut at = skip.min(buf.len());
            skip -= at;
            while at < buf.len() {
                if left == 0 {
                    let Some(head) = buf[at..].first_chunk::<HEAD>() else {
                        return plain;
                    };
                    let head = Head::read(head);
                    if self.is_held(head.kind) {
                        return plain;
                    }
                    left = head.len;
                    at += HEAD;
                    plain += HEAD;
                }
                let n = left.min(buf.len() - at);
                left -= n;
                at += n;
                plain += n;
            }
        }
        plain
    }

    /// Records that bytes were sent unchanged.
    pub(super) fn passed(&mut self, bufs: &[IoSlice<'_>], mut n: usize, ledger: &mut Ledger) {
        for buf in bufs {
            let mut rest = &buf[..n.min(buf.len())];
            n -= rest.len();
            while !rest.is_empty() {
                if self.left == 0 {
                    let part = rest.len().min(HEAD - self.have);
                    self.head[self.have..self.have + part].copy_from_slice(&rest[..part]);
                    self.have += part;
                    rest = &rest[part..];
                    if self.have < HEAD {
                        break;
                    }
                    self.have = 0;
                    self.now = Head::read(&self.head);
                    self.left = self.now.len;
                    ledger.controlled(self.now.len);
                } else {
                    let part = rest.len().min(self.left);
                    self.left -= part;
                    rest = &rest[part..];
                    if self.now.kind == DATA {
                        ledger.left(self.now.stream, part);
                    }
                }
                if self.left == 0 && self.have == 0 {
                    self.over(ledger);
                }
            }
        }
    }

    /// Records that a frame was sent completely.
    fn over(&mut self, ledger: &mut Ledger) {
        let Head { kind, stream, .. } = self.now;
        if matches!(kind, DATA | HEADERS) && self.now.has(END_STREAM) {
            // The unread rest of a body is useless now.
            if ledger.answered(stream) {
                let none = u32::from(Reason::NO_ERROR).to_be_bytes();
                self.say(ledger, RST_STREAM, 0, stream, &none);
            }
        }
    }

    /// Takes bytes of a frame that will be replaced; returns their number.
    pub(super) fn hold(&mut self, bytes: &[u8], ledger: &mut Ledger) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let head = self.held.first_chunk::<HEAD>().map(Head::read);
            let whole = HEAD + head.map_or(0, |h| h.len);
            let n = (whole - self.held.len()).min(bytes.len() - taken);
            self.held.extend_from_slice(&bytes[taken..taken + n]);
            taken += n;
            let Some(head) = self.held.first_chunk::<HEAD>().map(Head::read) else {
                break;
            };
            if !self.is_held(head.kind) || head.len > HELD_MAX {
                // The frame need not or cannot be collected: its header came in parts, or it is too long.
                self.early.extend_from_slice(&self.held);
                self.held = Vec::new();
                self.begin(head, ledger);
                break;
            }
            if self.held.len() == HEAD + head.len {
                let frame = std::mem::take(&mut self.held);
                self.say_instead(head, &frame, ledger);
                break;
            }
        }
        taken
    }

    /// Sends on a frame whose header went out with our own output.
    fn begin(&mut self, head: Head, ledger: &mut Ledger) {
        self.now = head;
        self.left = head.len;
        ledger.controlled(head.len);
        if head.len == 0 {
            self.over(ledger);
        }
    }

    /// Writes the replacement of a frame.
    fn say_instead(&mut self, head: Head, frame: &[u8], ledger: &mut Ledger) {
        let payload = &frame[HEAD..];
        match head.kind {
            SETTINGS if !head.has(ACK) => {
                let Some(look) = self.look.take() else { return };
                let pairs = look.settings.iter();
                let pairs = pairs.flat_map(|(id, value)| {
                    let ([a, b], [c, d, e, f]) = (id.to_be_bytes(), value.to_be_bytes());
                    [a, b, c, d, e, f]
                });
                let pairs: Vec<u8> = pairs.collect();
                self.say(ledger, SETTINGS, 0, 0, &pairs);
                if look.window > 0 {
                    self.say(ledger, WINDOW_UPDATE, 0, 0, &look.window.to_be_bytes());
                }
            }
            // Already sent, as the connection's first window.
            WINDOW_UPDATE if head.stream == 0 => {
                self.window = true;
                ledger.wake();
            }
            GOAWAY => {
                let why = payload.get(4..8).and_then(|w| w.first_chunk::<4>());
                let why = why.map_or(Reason::NO_ERROR, |w| u32::from_be_bytes(*w).into());
                // `h2` has one code for all; for a header section only a coding error is left.
                let coding = ledger.in_section && why == Reason::PROTOCOL_ERROR;
                self.go_away(
                    ledger,
                    if coding {
                        Reason::COMPRESSION_ERROR
                    } else {
                        why
                    },
                );
            }
            RST_STREAM if !ledger.knows(head.stream) => {}
            HEADERS => match self.section_of(head.stream) {
                Some(mut block) => {
                    if std::mem::take(&mut ledger.table) {
                        block.insert(0, TABLE_SIZE_0);
                    }
                    self.replaced = !head.has(END_HEADERS);
                    ledger.useful(block.len());
                    ledger.controlled(block.len());
                    let mut parts = block.chunks(FRAME_MAX).peekable();
                    let mut kind = HEADERS;
                    while let Some(part) = parts.next() {
                        let last = parts.peek().is_none();
                        let ends = head.flags & END_STREAM & u8::from(kind == HEADERS);
                        let head = Head {
                            len: part.len(),
                            kind,
                            flags: ends | if last { END_HEADERS } else { 0 },
                            stream: head.stream,
                        };
                        self.own.extend_from_slice(&head.bytes());
                        self.own.extend_from_slice(part);
                        kind = CONTINUATION;
                    }
                    self.now = head;
                    self.over(ledger);
                }
                // `h2` answers by itself: a header section over the limit, where nginx closes the connection.
                None if !ledger.knows(head.stream) => self.replaced = !head.has(END_HEADERS),
                None => {
                    self.replaced = !head.has(END_HEADERS);
                    self.go_away(ledger, Reason::ENHANCE_YOUR_CALM);
                    ledger.give_up();
                }
            },
            CONTINUATION => self.replaced = !head.has(END_HEADERS),
            _ => {
                if head.kind == RST_STREAM {
                    ledger.close(head.stream);
                    self.section_of(head.stream);
                }
                self.say(ledger, head.kind, head.flags, head.stream, payload);
            }
        }
    }
}
