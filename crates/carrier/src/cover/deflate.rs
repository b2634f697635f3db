//! gzip (RFC 1952) at level 1 with zlib's choices: equal text gives equal bytes.
//!
//! A visitor who recompresses a page at that level sees no difference to the imitated server, which uses zlib. The match
//! search, the block boundaries and the trees follow zlib 1.2.13, because the format leaves them open.

mod trees;

use trees::Trees;

const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;
const MIN_LOOKAHEAD: usize = MAX_MATCH + MIN_MATCH + 1;
/// Maximum number of earlier positions that are tried.
const CHAIN: usize = 4;
/// Length from which a match is not improved further.
const NICE: usize = 8;
/// Maximum length of a match whose bytes are all inserted for later matches.
const INSERTED: usize = 4;
/// Number of bytes that the server compresses at once.
const STEP: usize = 32 << 10;
/// Size of the server's buffers: filled ones are sent before the end.
const BUFFER: usize = 4 << 10;

/// A compressed text.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) bytes: bytes::Bytes,
    /// Offsets at which the server ends a piece of output.
    pub(crate) ends: Vec<usize>,
}

/// Compresses a whole text.
pub(crate) fn gzip(text: &[u8]) -> Packed {
    let (mut bits, mut level) = (15_usize, 8_usize);
    // As the server does for short texts of known length.
    while !text.is_empty() && (text.len() as i64) < (1_i64 << (bits - 1)) - 262 && bits > 8 {
        bits -= 1;
        level = level.saturating_sub(1);
    }
    let mut deflate = Deflate::new(bits.max(9), level.max(1));
    deflate
        .trees
        .out
        .extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3]);
    let mut ends = Vec::new();
    let mut steps = text.chunks(STEP).peekable();
    while let Some(step) = steps.next() {
        let last = steps.peek().is_none();
        deflate.push(step, last);
        let full = deflate.trees.out.len() / BUFFER * BUFFER;
        if !last && full > ends.last().copied().unwrap_or_default() {
            ends.push(full);
        }
    }
    if text.is_empty() {
        deflate.push(&[], true);
    }
    let mut out = deflate.trees.out;
    out.extend_from_slice(&crc32(text).to_le_bytes());
    // The length is counted modulo 2^32.
    out.extend_from_slice(&((text.len() & 0xffff_ffff) as u64).to_le_bytes()[..4]);
    ends.push(out.len());
    Packed {
        bytes: out.into(),
        ends,
    }
}

struct Deflate {
    window: Vec<u8>,
    /// Half of the window size.
    size: usize,
    head: Vec<u16>,
    prev: Vec<u16>,
    shift: usize,
    hash: usize,
    at: usize,
    ahead: usize,
    /// Start of the block; negative if the window has moved on since.
    block: isize,
    trees: Trees,
}

impl Deflate {
    fn new(bits: usize, level: usize) -> Self {
        let size = 1 << bits;
        let hash_bits = level + 7;
        Self {
            window: vec![0; 2 * size],
            size,
            head: vec![0; 1 << hash_bits],
            prev: vec![0; size],
            shift: hash_bits.div_ceil(MIN_MATCH),
            hash: 0,
            at: 0,
            ahead: 0,
            block: 0,
            trees: Trees::new((1 << (level + 6)) - 1),
        }
    }

    fn max_distance(&self) -> usize {
        self.size - MIN_LOOKAHEAD
    }

    fn roll(&mut self, b: u8) {
        self.hash = ((self.hash << self.shift) ^ usize::from(b)) & (self.head.len() - 1);
    }

    /// Inserts position `at` for later matches; returns the last position with the same hash, or 0.
    fn insert(&mut self) -> usize {
        self.roll(self.window[self.at + 2]);
        let before = std::mem::replace(&mut self.head[self.hash], place(self.at));
        self.prev[self.at & (self.size - 1)] = before;
        usize::from(before)
    }

    fn fill(&mut self, input: &mut &[u8]) {
        loop {
            if self.at >= self.size + self.max_distance() {
                self.window.copy_within(self.size.., 0);
                self.at -= self.size;
                self.block -= self.size.cast_signed();
                let size = self.size;
                let back = |p: &mut u16| *p = place(usize::from(*p).saturating_sub(size));
                self.head.iter_mut().for_each(back);
                self.prev.iter_mut().for_each(back);
            }
            let end = self.at + self.ahead;
            let n = input.len().min(self.window.len() - end);
            if n == 0 {
                return;
            }
            let (now, later) = input.split_at(n);
            self.window[end..end + n].copy_from_slice(now);
            *input = later;
            self.ahead += n;
            if self.ahead >= MIN_MATCH {
                self.begin();
            }
            if self.ahead >= MIN_LOOKAHEAD {
                return;
            }
        }
    }

    fn begin(&mut self) {
        self.hash = usize::from(self.window[self.at]) & (self.head.len() - 1);
        self.roll(self.window[self.at + 1]);
    }

    fn push(&mut self, mut input: &[u8], last: bool) {
        loop {
            if self.ahead < MIN_LOOKAHEAD {
                self.fill(&mut input);
                if self.ahead < MIN_LOOKAHEAD && !last {
                    return;
                }
                if self.ahead == 0 {
                    break;
                }
            }
            let mut found = (0, 0);
            if self.ahead >= MIN_MATCH {
                let before = self.insert();
                if before != 0 && self.at - before <= self.max_distance() {
                    found = self.longest(before);
                }
            }
            let (start, mut len) = found;
            let full = if len >= MIN_MATCH {
                let full = self.trees.tally_match(self.at - start, len - MIN_MATCH);
                self.ahead -= len;
                if len <= INSERTED && self.ahead >= MIN_MATCH {
                    while len > 1 {
                        self.at += 1;
                        self.insert();
                        len -= 1;
                    }
                    self.at += 1;
                } else {
                    self.at += len;
                    // A missing byte is filled in with the next input.
                    if self.at + 1 < self.window.len() {
                        self.begin();
                    }
                }
                full
            } else {
                let full = self.trees.tally_literal(self.window[self.at]);
                self.ahead -= 1;
                self.at += 1;
                full
            };
            if full {
                self.end_block(false);
            }
        }
        self.end_block(true);
    }

    fn end_block(&mut self, last: bool) {
        let from = usize::try_from(self.block).ok();
        let len = self.at.cast_signed() - self.block;
        let stored = from.map(|from| &self.window[from..self.at]);
        self.trees.end_block(stored, len.unsigned_abs(), last);
        self.block = self.at.cast_signed();
    }

    /// The longest match at `at`: its start and length; a length below 3 means no match.
    fn longest(&self, mut candidate: usize) -> (usize, usize) {
        let text = &self.window[self.at..];
        let limit = self.at.saturating_sub(self.max_distance());
        let nice = NICE.min(self.ahead);
        let most = MAX_MATCH.min(self.ahead);
        let mut best = (0, MIN_MATCH - 1);
        for _ in 0..CHAIN {
            let there = &self.window[candidate..];
            let len = there
                .iter()
                .zip(&text[..most])
                .take_while(|(a, b)| a == b)
                .count();
            if len > best.1 {
                best = (candidate, len);
                if len >= nice {
                    break;
                }
            }
            candidate = usize::from(self.prev[candidate & (self.size - 1)]);
            if candidate <= limit {
                break;
            }
        }
        best
    }
}

/// A position in the window, which has at most 2^16.
fn place(at: usize) -> u16 {
    u16::try_from(at).unwrap_or_default()
}

pub(crate) fn crc32(text: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0_u32;
        while n < 256 {
            let mut c = n;
            let mut k = 0;
            while k < 8 {
                c = if c & 1 == 1 {
                    0xedb8_8320 ^ (c >> 1)
                } else {
                    c >> 1
                };
                k += 1;
            }
            table[n as usize] = c;
            n += 1;
        }
        table
    };
    let step = |c: u32, b: &u8| TABLE[usize::from(c.to_le_bytes()[0] ^ b)] ^ (c >> 8);
    !text.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as in pages, from a plain generator that other programs can repeat.
    fn words(len: usize) -> Vec<u8> {
        let (mut state, mut out) = (u32::try_from(len).unwrap() | 1, Vec::new());
        while out.len() < len {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            out.extend_from_slice(format!("w{} ", (state >> 16) % 700).as_bytes());
        }
        out.truncate(len);
        out
    }

    /// Incompressible bytes.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = u32::try_from(len).unwrap() | 1;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        };
        (0..len).map(next).collect()
    }

    #[test]
    fn the_same_text_gives_the_bytes_that_zlib_gives() {
        let known = include_str!("deflate/known.txt");
        let mut n = 0;
        for line in known.lines() {
            let [kind, len, digest] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let len = len.parse().unwrap();
            let text = match kind {
                "words" => words(len),
                "noise" => noise(len),
                _ => vec![b'a'; len],
            };
            let packed = gzip(&text).bytes;
            assert_eq!(
                format!("{}-{:08x}", packed.len(), crc32(&packed)),
                digest,
                "{kind} {len}"
            );
            n += 1;
        }
        assert!(n >= 60, "{n}");
    }

    #[test]
    fn what_is_sent_before_the_end_fills_buffers() {
        let packed = gzip(&words(600_000));
        let (last, before) = packed.ends.split_last().unwrap();
        assert_eq!(*last, packed.bytes.len());
        assert!(!before.is_empty() && before.iter().all(|end| end % BUFFER == 0));
    }
}
