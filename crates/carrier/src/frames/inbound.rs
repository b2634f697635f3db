use bytes::BytesMut;
use h2::Reason;

use super::HEADERS_MAX;
use super::head::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEAD, HEADERS, Head, PADDED, PING,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY,
};
use super::ledger::{Known, Ledger};

/// What a client begins with (RFC 9113 §3.4), and how much of it nginx waits for first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FIRST: usize = 16;
/// Bytes of a frame that `h2` is given at once.
const FRAME_MAX: usize = 16 << 10;
/// Bytes of SETTINGS in one frame; nobody sends as many.
const SETTINGS_MAX: usize = 4 << 10;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

/// Where in what comes the next byte is.
#[derive(Clone, Copy, Debug)]
enum At {
    Preface(usize),
    /// Behind so many bytes of what is no preface.
    Wrong(usize),
    Head,
    /// So many bytes of a frame that is handed on.
    Pass(usize),
    /// The same of one that is dropped.
    Drop(usize),
    /// The same of SETTINGS, which are looked at.
    Settings(usize),
    /// The first byte of padded DATA: how much of the frame is padding.
    Padding(Head),
    /// DATA that is taken apart: so many bytes of it, which stream, whether it ends, and its padding.
    Split(usize, u32, bool, Option<u8>),
}

/// A header section that goes on in CONTINUATION frames.
struct Block {
    stream: u32,
    bytes: usize,
    dropped: bool,
}

/// What stands before a header section, as far as it has come: how much padding there is, and on which stream this one depends.
struct Depends {
    stream: u32,
    /// What was the client's last stream before.
    last: u32,
    /// Bytes that padding may have, where its length is still to come.
    padding: Option<usize>,
    /// The stream that it depends on, as far as it is said.
    on: [u8; 4],
    have: usize,
}

impl Depends {
    /// Takes bytes of the frame; more padding than there is room for, or a stream that depends on itself, ends the connection.
    fn take(&mut self, bytes: &[u8]) -> Result<(), u32> {
        for byte in bytes {
            if let Some(most) = self.padding.take() {
                if usize::from(*byte) > most {
                    return Err(self.last);
                }
            } else if let Some(place) = self.on.get_mut(self.have) {
                *place = *byte;
                self.have += 1;
            } else {
                break;
            }
        }
        let on = u32::from_be_bytes(self.on) & 0x7fff_ffff;
        if self.have == 4 && on == self.stream {
            return Err(self.last);
        }
        Ok(())
    }
}

/// What comes in.
pub(super) struct Inbound {
    at: At,
    /// A header, as far as it has come.
    head: [u8; HEAD],
    have: usize,
    block: Option<Block>,
    /// Of the frame that comes, where it says so.
    depends: Option<Depends>,
    /// One of the SETTINGS, as far as it has come.
    setting: [u8; 6],
    set: usize,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            at: At::Preface(0),
            head: [0; HEAD],
            have: 0,
            block: None,
            depends: None,
            setting: [0; 6],
            set: 0,
        }
    }
}

/// What was handed on so far: what came as it came, until something had to be left out or put in.
struct Onward<'a> {
    input: &'a [u8],
    /// So much of the input is handed on in its place.
    same: usize,
    out: &'a mut BytesMut,
    edited: bool,
}

impl Onward<'_> {
    /// Hands on `n` bytes of the input from `at`.
    fn pass(&mut self, at: usize, n: usize) {
        if !self.edited && self.same == at {
            self.same = at + n;
            return;
        }
        self.edit();
        self.out.extend_from_slice(&self.input[at..at + n]);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.edit();
        self.out.extend_from_slice(bytes);
    }

    fn edit(&mut self) {
        if !self.edited {
            self.edited = true;
            self.out.extend_from_slice(&self.input[..self.same]);
        }
    }
}

impl Inbound {
    /// Whether nothing has come.
    pub(super) const fn is_fresh(&self) -> bool {
        matches!(self.at, At::Preface(0))
    }

    /// The beginning of a frame's header that was kept back.
    pub(super) fn begun(&self) -> &[u8] {
        &self.head[..self.have]
    }

    /// Takes what came, which begins with [`Inbound::begun`]. `Some`: so many bytes are handed on as they are; `None`: `out` is.
    pub(super) fn take(
        &mut self,
        input: &[u8],
        ledger: &mut Ledger,
        out: &mut BytesMut,
    ) -> Result<Option<usize>, Reason> {
        let mut onward = Onward {
            input,
            same: 0,
            out,
            edited: false,
        };
        self.have = 0;
        let mut pos = 0;
        while let rest @ [_, ..] = &input[pos..] {
            match self.at {
                At::Preface(got) => {
                    let n = rest.len().min(PREFACE.len() - got);
                    let all = got + n;
                    if rest[..n] == PREFACE[got..all] {
                        onward.pass(pos, n);
                        pos += n;
                        self.at = if all < PREFACE.len() {
                            At::Preface(all)
                        } else {
                            At::Head
                        };
                    } else {
                        self.at = At::Wrong(got);
                    }
                }
                At::Wrong(got) => {
                    // It is told so once there is enough to tell.
                    if got + rest.len() >= FIRST {
                        return Err(Reason::PROTOCOL_ERROR);
                    }
                    self.at = At::Wrong(got + rest.len());
                    pos += rest.len();
                }
                At::Head => {
                    let Some(bytes) = rest.first_chunk::<HEAD>() else {
                        self.have = rest.len();
                        self.head[..self.have].copy_from_slice(rest);
                        break;
                    };
                    let head = Head::read(bytes);
                    self.at = self.begins(head, ledger)?;
                    ledger.in_section = matches!(head.kind, HEADERS | CONTINUATION);
                    let passes = match self.at {
                        At::Pass(_) | At::Settings(_) => true,
                        At::Padding(head) => head.len <= FRAME_MAX,
                        _ => false,
                    };
                    if passes {
                        onward.pass(pos, HEAD);
                    }
                    pos += HEAD;
                }
                At::Pass(left) | At::Drop(left) | At::Settings(left) => {
                    let n = left.min(rest.len());
                    if let Some(depends) = &mut self.depends
                        && let Err(last) = depends.take(&rest[..n])
                    {
                        ledger.last = last;
                        return Err(Reason::PROTOCOL_ERROR);
                    }
                    match &mut self.at {
                        At::Pass(left) => {
                            *left -= n;
                            onward.pass(pos, n);
                        }
                        At::Settings(left) => {
                            *left -= n;
                            onward.pass(pos, n);
                            self.settings(&rest[..n], ledger)?;
                        }
                        At::Drop(left) => *left -= n,
                        _ => {}
                    }
                    pos += n;
                }
                At::Padding(head) => {
                    let padding = rest[0];
                    if usize::from(padding) >= head.len {
                        return Err(Reason::PROTOCOL_ERROR);
                    }
                    ledger.padded(head.stream, 1 + usize::from(padding));
                    self.at = if head.len <= FRAME_MAX {
                        onward.pass(pos, 1);
                        At::Pass(head.len - 1)
                    } else {
                        let data = head.len - 1 - usize::from(padding);
                        At::Split(data, head.stream, head.has(END_STREAM), Some(padding))
                    };
                    pos += 1;
                }
                At::Split(left, stream, ends, padding) => {
                    // A piece that is to be one frame is waited for no longer than it takes: what is there is a frame.
                    let n = left.min(rest.len()).min(FRAME_MAX);
                    let last = n == left;
                    piece(
                        &mut onward,
                        &rest[..n],
                        last.then_some((ends, padding)),
                        stream,
                    );
                    pos += n;
                    self.at = if last {
                        At::Drop(padding.map_or(0, usize::from))
                    } else {
                        At::Split(left - n, stream, ends, padding)
                    };
                }
            }
            // A frame is over with its last byte, not with the next one.
            if let At::Pass(0) | At::Drop(0) | At::Settings(0) = self.at {
                self.at = At::Head;
            }
        }
        ledger.check()?;
        Ok(if onward.edited {
            None
        } else {
            Some(onward.same)
        })
    }

    /// What becomes of a frame: as nginx reads it, where `h2` would read it otherwise.
    fn begins(&mut self, head: Head, ledger: &mut Ledger) -> Result<At, Reason> {
        let Head {
            len, kind, stream, ..
        } = head;
        let size = |right| {
            if right {
                Ok(())
            } else {
                Err(Reason::FRAME_SIZE_ERROR)
            }
        };
        self.depends = None;
        let is = |right| {
            if right {
                Ok(())
            } else {
                Err(Reason::PROTOCOL_ERROR)
            }
        };
        if let Some(block) = &mut self.block {
            is(kind == CONTINUATION && stream == block.stream)?;
            block.bytes += len;
            if block.bytes > HEADERS_MAX {
                return Err(Reason::ENHANCE_YOUR_CALM);
            }
            let dropped = block.dropped;
            if head.has(END_HEADERS) {
                self.block = None;
            }
            ledger.useful(len);
            return Ok(if dropped {
                At::Drop(len)
            } else {
                At::Pass(len)
            });
        }
        match kind {
            DATA => {
                let padded = head.has(PADDED);
                size(!padded || len > 0)?;
                is(stream != 0)?;
                Ok(match ledger.data(stream, len, head.flags) {
                    Known::Not => At::Drop(len),
                    Known::Open if padded => At::Padding(head),
                    Known::Open if len <= FRAME_MAX => At::Pass(len),
                    Known::Open => At::Split(len, stream, head.has(END_STREAM), None),
                })
            }
            HEADERS => {
                let before =
                    usize::from(head.has(PADDED)) + 5 * usize::from(head.has(WITH_PRIORITY));
                size(len > before)?;
                let dropped = ledger.leaving || ledger.is_full();
                if !dropped {
                    let depends = head.has(WITH_PRIORITY);
                    self.depends = (depends || head.has(PADDED)).then(|| Depends {
                        // A header section that says nothing of it depends on none.
                        stream: if depends { stream } else { u32::MAX },
                        last: ledger.last,
                        padding: head.has(PADDED).then_some(len - before),
                        on: [0; 4],
                        have: 0,
                    });
                    ledger.open(stream, head.flags)?;
                    ledger.useful(len);
                }
                if len > HEADERS_MAX {
                    return Err(Reason::ENHANCE_YOUR_CALM);
                }
                self.block = (!head.has(END_HEADERS)).then_some(Block {
                    stream,
                    bytes: len,
                    dropped,
                });
                Ok(if dropped {
                    At::Drop(len)
                } else {
                    At::Pass(len)
                })
            }
            PRIORITY => {
                size(len == 5)?;
                ledger.priority()?;
                is(stream != 0)?;
                self.depends = Some(Depends {
                    stream,
                    last: ledger.last,
                    padding: None,
                    on: [0; 4],
                    have: 0,
                });
                Ok(At::Drop(len))
            }
            RST_STREAM => {
                size(len == 4)?;
                is(stream != 0)?;
                let known = ledger.close(stream).is_some();
                Ok(if known { At::Pass(len) } else { At::Drop(len) })
            }
            SETTINGS => {
                is(stream == 0)?;
                size(len.is_multiple_of(6) && (head.flags != ACK || len == 0))?;
                if len > SETTINGS_MAX {
                    return Err(Reason::ENHANCE_YOUR_CALM);
                }
                self.set = 0;
                Ok(At::Settings(len))
            }
            PUSH_PROMISE | CONTINUATION => Err(Reason::PROTOCOL_ERROR),
            PING => {
                size(len == 8)?;
                is(stream == 0)?;
                Ok(if head.has(ACK) {
                    At::Drop(len)
                } else {
                    At::Pass(len)
                })
            }
            GOAWAY => {
                size(len >= 8)?;
                is(stream == 0)?;
                // A client that takes no pushes has nothing to say by it.
                Ok(At::Drop(len))
            }
            WINDOW_UPDATE => {
                size(len == 4)?;
                let known = stream == 0 || ledger.knows(stream);
                Ok(if known { At::Pass(len) } else { At::Drop(len) })
            }
            _ => Ok(At::Drop(len)),
        }
    }

    fn settings(&mut self, bytes: &[u8], ledger: &mut Ledger) -> Result<(), Reason> {
        for byte in bytes {
            self.setting[self.set] = *byte;
            self.set += 1;
            if self.set < self.setting.len() {
                continue;
            }
            self.set = 0;
            let [a, b, value @ ..] = self.setting;
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => ledger.table = true,
                ENABLE_PUSH if value > 1 => return Err(Reason::PROTOCOL_ERROR),
                INITIAL_WINDOW_SIZE if value > 0x7fff_ffff => {
                    return Err(Reason::FLOW_CONTROL_ERROR);
                }
                MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Hands on a piece of DATA as a frame; of the last, whether the stream ends, and the padding that all of it had.
fn piece(onward: &mut Onward<'_>, data: &[u8], last: Option<(bool, Option<u8>)>, stream: u32) {
    let (ends, padding) = last.unwrap_or_default();
    let mut head = Head {
        len: data.len(),
        kind: DATA,
        flags: if ends { END_STREAM } else { 0 },
        stream,
    };
    let Some(padding) = padding else {
        onward.put(&head.bytes());
        onward.put(data);
        return;
    };
    // It counts for flow control.
    let zeros = [0; 255];
    head.flags |= PADDED;
    head.len += 1 + usize::from(padding);
    onward.put(&head.bytes());
    onward.put(&[padding]);
    onward.put(data);
    onward.put(&zeros[..usize::from(padding)]);
}
