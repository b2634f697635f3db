use bytes::BytesMut;
use h2::Reason;

use super::HEADERS_MAX;
use super::head::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEAD, HEADERS, Head, PADDED, PING,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY,
};
use super::ledger::{Known, Ledger};

/// Client preface (RFC 9113 §3.4), and the number of its bytes that nginx awaits first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FIRST: usize = 16;
/// Maximum number of a frame's bytes passed to `h2` at once.
const FRAME_MAX: usize = 16 << 10;
/// Maximum length of a SETTINGS frame; no client sends as much.
const SETTINGS_MAX: usize = 4 << 10;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;

/// Parser state: the position of the next byte.
#[derive(Clone, Copy, Debug)]
enum At {
    Preface(usize),
    /// After this many bytes that are not a preface.
    Wrong(usize),
    Head,
    /// Remaining bytes of a frame that is passed on.
    Pass(usize),
    /// Remaining bytes of a frame that is dropped.
    Drop(usize),
    /// Remaining bytes of a SETTINGS frame, which is inspected.
    Settings(usize),
    /// The first byte of padded DATA: the pad length.
    Padding(Head),
    /// DATA that is split: remaining bytes, stream, whether the stream ends, and the pad length.
    Split(usize, u32, bool, Option<u8>),
}

/// A header section that continues in CONTINUATION frames.
struct Block {
    stream: u32,
    bytes: usize,
    dropped: bool,
}

/// Fields before a header section, as far as received: the pad length and the stream dependency.
struct Depends {
    stream: u32,
    /// The client's previous last stream.
    last: u32,
    /// Maximum pad length, while it is still to come.
    padding: Option<usize>,
    /// Bytes received of the stream dependency.
    on: [u8; 4],
    have: usize,
}

impl Depends {
    /// Takes bytes of the frame. Too much padding, or a stream that depends on itself, ends the connection.
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

/// Parser of received frames.
pub(super) struct Inbound {
    at: At,
    /// Bytes received of a frame header.
    head: [u8; HEAD],
    have: usize,
    block: Option<Block>,
    /// Dependency fields of the present frame, if it has them.
    depends: Option<Depends>,
    /// Bytes received of one setting.
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

/// Output so far: the input as it came, until something had to be left out or inserted.
struct Onward<'a> {
    input: &'a [u8],
    /// Number of input bytes that are passed on unchanged.
    same: usize,
    out: &'a mut BytesMut,
    edited: bool,
}

impl Onward<'_> {
    /// Passes on `n` bytes of the input from `at`.
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
    /// Whether nothing has been received.
    pub(super) const fn is_fresh(&self) -> bool {
        matches!(self.at, At::Preface(0))
    }

    /// The retained beginning of a frame header.
    pub(super) fn begun(&self) -> &[u8] {
        &self.head[..self.have]
    }

    /// Takes input that begins with [`Inbound::begun`]. `Some`: this many bytes are passed on unchanged; `None`: `out` is
    /// passed on.
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
                    // The error is reported once there are enough bytes.
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
                    // A piece is passed on as a frame of its own as soon as it arrives, without waiting for more.
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
            // A frame ends with its last byte, not with the next one.
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

    /// Decides the treatment of a frame: as nginx reads it, where `h2` differs.
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
                        // A header section without a dependency field depends on no stream.
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
                // A client that accepts no pushes has no use for this frame.
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

/// Passes on a piece of DATA as a frame; the last one carries the end flag and all the padding.
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
    // Padding counts for flow control.
    let zeros = [0; 255];
    head.flags |= PADDED;
    head.len += 1 + usize::from(padding);
    onward.put(&head.bytes());
    onward.put(&[padding]);
    onward.put(data);
    onward.put(&zeros[..usize::from(padding)]);
}
