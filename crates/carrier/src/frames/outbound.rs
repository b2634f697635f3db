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

/// Bytes of a frame of a header section.
const FRAME_MAX: usize = 16 << 10;
/// Bytes of a frame that is taken whole: a head, SETTINGS or GOAWAY of ours.
const HELD_MAX: usize = 64 << 10;

/// What goes out.
pub(super) struct Outbound {
    /// A header that has gone in part.
    head: [u8; HEAD],
    have: usize,
    /// Which frame is going, and how much of it is left.
    now: Head,
    left: usize,
    /// A frame that is not sent as it is, as far as it has come.
    held: Vec<u8>,
    /// Of a frame that goes as it is after all, what was held.
    early: BytesMut,
    /// What is sent beside what `h2` says, between two of its frames.
    own: BytesMut,
    /// Whether a header section that was replaced goes on.
    replaced: bool,
    /// What is said first, until it is.
    look: Option<Http2Look>,
    /// Whether the connection's window is `h2`'s to say.
    window: bool,
    /// Header sections in the form that they are to have.
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

    /// What is to be sent before anything else of `h2`'s.
    pub(super) fn own(&mut self) -> Option<&mut BytesMut> {
        if !self.early.is_empty() {
            return Some(&mut self.early);
        }
        let between = self.have == 0 && self.left == 0;
        Some(&mut self.own).filter(|own| between && !own.is_empty())
    }

    /// Whether `h2` has said the connection's window, which was said before it.
    pub(super) const fn has_window(&self) -> bool {
        self.window
    }

    /// Says that no more requests are taken, once.
    pub(super) fn go_away(&mut self, ledger: &mut Ledger, why: Reason) {
        if std::mem::replace(&mut ledger.leaving, true) {
            return;
        }
        let last = ledger.last.to_be_bytes();
        let why = u32::from(why).to_be_bytes();
        self.say(ledger, GOAWAY, 0, 0, &[last, why].concat());
    }

    /// The head of a stream's answer is to be sent so.
    pub(super) fn section(&mut self, ledger: &Ledger, stream: u32, block: Vec<u8>) {
        // One whose stream was given up meanwhile is asked for by nobody.
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

    /// Whether a frame is not sent as `h2` says it.
    const fn is_held(&self, kind: u8) -> bool {
        match kind {
            HEADERS | RST_STREAM | GOAWAY => true,
            SETTINGS => self.look.is_some(),
            WINDOW_UPDATE => !self.window,
            CONTINUATION => self.replaced,
            _ => false,
        }
    }

    /// How many bytes of this go as they are, from its beginning. None where a frame is to be held.
    pub(super) fn plain(&self, bufs: &[IoSlice<'_>]) -> usize {
        if !self.held.is_empty() {
            return 0;
        }
        let (mut plain, mut left) = (0, self.left);
        if self.have > 0 {
            // The rest of a header that has gone in part: its frame goes as it is.
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

    /// So many bytes of this have gone as they are.
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

    /// A frame has gone whole.
    fn over(&mut self, ledger: &mut Ledger) {
        let Head { kind, stream, .. } = self.now;
        if matches!(kind, DATA | HEADERS) && self.now.has(END_STREAM) {
            // A body that was not over with the header section and that nobody read is of no use any more.
            if ledger.answered(stream) {
                let none = u32::from(Reason::NO_ERROR).to_be_bytes();
                self.say(ledger, RST_STREAM, 0, stream, &none);
            }
        }
    }

    /// Takes bytes of a frame that is not sent as it is; how many.
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
                // It need not be held after all, or cannot: its header came in parts, or it is too long.
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

    /// A frame whose header went among our own goes on as it is.
    fn begin(&mut self, head: Head, ledger: &mut Ledger) {
        self.now = head;
        self.left = head.len;
        ledger.controlled(head.len);
        if head.len == 0 {
            self.over(ledger);
        }
    }

    /// What is sent in a frame's place.
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
            // It has been said, as the connection's first window was.
            WINDOW_UPDATE if head.stream == 0 => {
                self.window = true;
                ledger.wake();
            }
            GOAWAY => {
                let why = payload.get(4..8).and_then(|w| w.first_chunk::<4>());
                let why = why.map_or(Reason::NO_ERROR, |w| u32::from_be_bytes(*w).into());
                // `h2` has one code for all; of a header section it is its coding that is left to be wrong.
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
                // `h2` answers by itself: a header section over the bound, where nginx gives the connection up.
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
