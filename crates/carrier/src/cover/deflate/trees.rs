//! Blocks of deflate (RFC 1951), with the trees that zlib builds.

/// Number of codes for literals, lengths and the end of a block.
const L_CODES: usize = 286;
const D_CODES: usize = 30;
const BL_CODES: usize = 19;
const HEAP: usize = 2 * L_CODES + 1;
const END: usize = 256;
const MAX_BITS: usize = 15;
const ORDER: [usize; BL_CODES] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
const L_EXTRA: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
const D_EXTRA: [u8; D_CODES] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];
const BL_EXTRA: [u8; BL_CODES] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 7];

/// First value of each code, from the extra bits of the codes before.
const fn bases<const N: usize>(extra: [u8; N]) -> [usize; N] {
    let mut out = [0; N];
    let (mut n, mut base) = (0, 0);
    while n < N {
        out[n] = base;
        base += 1 << extra[n];
        n += 1;
    }
    out
}

const L_BASE: [usize; 29] = {
    let mut bases = bases(L_EXTRA);
    // The longest match has its own code.
    bases[28] = 255;
    bases
};
const D_BASE: [usize; D_CODES] = bases(D_EXTRA);

fn code_of(value: usize, bases: &[usize]) -> usize {
    bases.partition_point(|b| *b <= value) - 1
}

struct Tree {
    freq: Vec<u32>,
    dad: Vec<usize>,
    len: Vec<u16>,
    code: Vec<u16>,
    max_code: usize,
    extra: &'static [u8],
    extra_base: usize,
    elems: usize,
    max_len: usize,
    fixed: Option<fn(usize) -> u16>,
}

impl Tree {
    fn new(
        elems: usize,
        extra: &'static [u8],
        extra_base: usize,
        max_len: usize,
        fixed: Option<fn(usize) -> u16>,
    ) -> Self {
        Self {
            freq: vec![0; HEAP],
            dad: vec![0; HEAP],
            len: vec![0; HEAP],
            code: vec![0; HEAP],
            max_code: 0,
            extra,
            extra_base,
            elems,
            max_len,
            fixed,
        }
    }

    /// Builds the tree; returns the block's length in bits with it, and with the fixed tree.
    fn build(&mut self) -> (i64, i64) {
        let mut heap = Heap::new();
        let (mut bits, mut fixed_bits) = (0, 0);
        for n in 0..self.elems {
            if self.freq[n] > 0 {
                self.max_code = n;
                heap.push(n);
            } else {
                self.len[n] = 0;
            }
        }
        if heap.len == 0 {
            self.max_code = 0;
        }
        // The format requires at least two codes.
        let mut none = heap.len == 0;
        while heap.len < 2 {
            let node = if none {
                none = false;
                0
            } else if self.max_code < 2 {
                self.max_code += 1;
                self.max_code
            } else {
                0
            };
            heap.push(node);
            self.freq[node] = 1;
            bits -= 1;
            fixed_bits -= self.fixed.map_or(0, |f| i64::from(f(node)));
        }
        for n in (1..=heap.len / 2).rev() {
            heap.down(&self.freq, n);
        }
        let mut node = self.elems;
        loop {
            let n = heap.pop(&self.freq);
            let m = heap.at[1];
            heap.keep(n);
            heap.keep(m);
            self.freq[node] = self.freq[n] + self.freq[m];
            heap.depth[node] = heap.depth[n].max(heap.depth[m]) + 1;
            self.dad[n] = node;
            self.dad[m] = node;
            heap.at[1] = node;
            node += 1;
            heap.down(&self.freq, 1);
            if heap.len < 2 {
                break;
            }
        }
        heap.keep(heap.at[1]);
        let (more, more_fixed) = self.lengths(&heap);
        (bits + more, fixed_bits + more_fixed)
    }

    fn lengths(&mut self, heap: &Heap) -> (i64, i64) {
        let mut count = [0_usize; MAX_BITS + 2];
        let (mut bits, mut fixed_bits, mut overflow) = (0_i64, 0_i64, 0_i64);
        self.len[heap.at[heap.max]] = 0;
        for &n in &heap.at[heap.max + 1..] {
            let mut len = usize::from(self.len[self.dad[n]]) + 1;
            if len > self.max_len {
                len = self.max_len;
                overflow += 1;
            }
            self.len[n] = short(len);
            if n > self.max_code {
                continue;
            }
            count[len] += 1;
            let extra = n.checked_sub(self.extra_base).map_or(0, |n| self.extra[n]);
            let f = i64::from(self.freq[n]);
            bits += f * i64::from(short(len) + u16::from(extra));
            fixed_bits += self
                .fixed
                .map_or(0, |fixed| f * i64::from(fixed(n) + u16::from(extra)));
        }
        if overflow > 0 {
            while overflow > 0 {
                let mut len = self.max_len - 1;
                while count[len] == 0 {
                    len -= 1;
                }
                count[len] -= 1;
                count[len + 1] += 2;
                count[self.max_len] -= 1;
                overflow -= 2;
            }
            let mut at = heap.at.len();
            for len in (1..=self.max_len).rev() {
                let mut n = count[len];
                while n > 0 {
                    at -= 1;
                    let m = heap.at[at];
                    if m > self.max_code {
                        continue;
                    }
                    if usize::from(self.len[m]) != len {
                        bits += (len as i64 - i64::from(self.len[m])) * i64::from(self.freq[m]);
                        self.len[m] = short(len);
                    }
                    n -= 1;
                }
            }
        }
        codes(&mut self.code, &self.len[..=self.max_code]);
        (bits, fixed_bits)
    }

    /// The code lengths as sent: a code of the third tree, and its extra value.
    fn runs(&self) -> Vec<(usize, usize)> {
        let mut out = Vec::new();
        let (mut before, mut count) = (None, 0);
        for n in 0..=self.max_code {
            let len = usize::from(self.len[n]);
            let next = (n < self.max_code).then(|| usize::from(self.len[n + 1]));
            let (most, least) = match before {
                _ if len == 0 => (138, 3),
                Some(before) if before == len => (6, 3),
                _ => (7, 4),
            };
            count += 1;
            if count < most && next == Some(len) {
                continue;
            }
            if count < least {
                out.extend(std::iter::repeat_n((len, 0), count));
            } else if len != 0 {
                if before != Some(len) {
                    out.push((len, 0));
                    count -= 1;
                }
                out.push((16, count - 3));
            } else if count <= 10 {
                out.push((17, count - 3));
            } else {
                out.push((18, count - 11));
            }
            (before, count) = (Some(len), 0);
        }
        out
    }
}

fn codes(out: &mut [u16], lens: &[u16]) {
    let mut count = [0_u16; MAX_BITS + 1];
    for len in lens {
        count[usize::from(*len)] += 1;
    }
    count[0] = 0;
    let mut next = [0_u16; MAX_BITS + 1];
    let mut code = 0_u16;
    for len in 1..=MAX_BITS {
        code = code.wrapping_add(count[len - 1]).wrapping_shl(1);
        next[len] = code;
    }
    for (code, len) in out.iter_mut().zip(lens) {
        if *len > 0 {
            let next = &mut next[usize::from(*len)];
            *code = next.reverse_bits() >> (16 - len);
            *next = next.wrapping_add(1);
        }
    }
}

/// Nodes without a parent, least used first; nodes with a parent lie from `max` on.
struct Heap {
    at: Vec<usize>,
    len: usize,
    max: usize,
    depth: Vec<u8>,
}

impl Heap {
    fn new() -> Self {
        Self {
            at: vec![0; HEAP],
            len: 0,
            max: HEAP,
            depth: vec![0; HEAP],
        }
    }

    fn push(&mut self, node: usize) {
        self.len += 1;
        self.at[self.len] = node;
        self.depth[node] = 0;
    }

    fn keep(&mut self, node: usize) {
        self.max -= 1;
        self.at[self.max] = node;
    }

    fn pop(&mut self, freq: &[u32]) -> usize {
        let first = self.at[1];
        self.at[1] = self.at[self.len];
        self.len -= 1;
        self.down(freq, 1);
        first
    }

    fn smaller(&self, freq: &[u32], n: usize, m: usize) -> bool {
        freq[n] < freq[m] || freq[n] == freq[m] && self.depth[n] <= self.depth[m]
    }

    fn down(&mut self, freq: &[u32], mut k: usize) {
        let v = self.at[k];
        let mut j = k << 1;
        while j <= self.len {
            if j < self.len && self.smaller(freq, self.at[j + 1], self.at[j]) {
                j += 1;
            }
            if self.smaller(freq, v, self.at[j]) {
                break;
            }
            self.at[k] = self.at[j];
            k = j;
            j <<= 1;
        }
        self.at[k] = v;
    }
}

fn fixed_literal(n: usize) -> u16 {
    match n {
        144..=255 => 9,
        256..=279 => 7,
        _ => 8,
    }
}

/// Numbers here are below 2^16.
fn short(n: usize) -> u16 {
    u16::try_from(n).unwrap_or_default()
}

pub(super) struct Trees {
    pub(super) out: Vec<u8>,
    bits: u32,
    bit_count: u32,
    /// Pairs of a distance, or 0, and a literal, or the length minus 3.
    symbols: Vec<(u16, u8)>,
    most: usize,
    literals: Tree,
    distances: Tree,
}

impl Trees {
    /// Creates a block writer; `most` is the maximum number of symbols per block.
    pub(super) fn new(most: usize) -> Self {
        let mut new = Self {
            out: Vec::new(),
            bits: 0,
            bit_count: 0,
            symbols: Vec::new(),
            most,
            literals: Tree::new(L_CODES, &L_EXTRA, END + 1, MAX_BITS, Some(fixed_literal)),
            distances: Tree::new(D_CODES, &D_EXTRA, 0, MAX_BITS, Some(|_| 5)),
        };
        new.literals.freq[END] = 1;
        new
    }

    /// Adds a literal; returns whether the block is full.
    pub(super) fn tally_literal(&mut self, literal: u8) -> bool {
        self.literals.freq[usize::from(literal)] += 1;
        self.symbols.push((0, literal));
        self.symbols.len() == self.most
    }

    /// Adds a match; returns whether the block is full.
    pub(super) fn tally_match(&mut self, distance: usize, len: usize) -> bool {
        self.literals.freq[code_of(len, &L_BASE) + END + 1] += 1;
        self.distances.freq[code_of(distance - 1, &D_BASE)] += 1;
        self.symbols
            .push((short(distance), u8::try_from(len).unwrap_or_default()));
        self.symbols.len() == self.most
    }

    fn send(&mut self, value: usize, len: u32) {
        self.bits |= u32::from(short(value)) << self.bit_count;
        self.bit_count += len;
        while self.bit_count >= 8 {
            self.out.push(self.bits.to_le_bytes()[0]);
            self.bits >>= 8;
            self.bit_count -= 8;
        }
    }

    fn wind_up(&mut self) {
        if self.bit_count > 0 {
            self.send(0, 8 - self.bit_count);
        }
    }

    /// Ends a block in the shortest of the three encodings; `stored` is its text, if still available.
    pub(super) fn end_block(&mut self, stored: Option<&[u8]>, stored_len: usize, last: bool) {
        let (l_bits, l_fixed) = self.literals.build();
        let (d_bits, d_fixed) = self.distances.build();
        let mut lens = Tree::new(BL_CODES, &BL_EXTRA, 0, 7, None);
        let runs = [self.literals.runs(), self.distances.runs()];
        for (code, _) in runs.iter().flatten() {
            lens.freq[*code] += 1;
        }
        let (bl_bits, _) = lens.build();
        let sent = (3..BL_CODES).rev().find(|n| lens.len[ORDER[*n]] != 0);
        let sent = sent.unwrap_or(2);
        let head = 3 * (sent as i64 + 1) + 14;
        let fixed_bytes = (l_fixed + d_fixed + 10) >> 3;
        let bytes = ((l_bits + d_bits + bl_bits + head + 10) >> 3).min(fixed_bytes);
        let last = usize::from(last);
        match stored {
            Some(text) if stored_len as i64 + 4 <= bytes => {
                self.send(last, 3);
                self.wind_up();
                let len = short(stored_len);
                self.out.extend_from_slice(&len.to_le_bytes());
                self.out.extend_from_slice(&(!len).to_le_bytes());
                self.out.extend_from_slice(text);
            }
            _ if bytes == fixed_bytes => {
                self.send(2 + last, 3);
                let l: Vec<u16> = (0..L_CODES + 2).map(fixed_literal).collect();
                let d = [5; D_CODES];
                let mut l_codes = vec![0; l.len()];
                let mut d_codes = [0; D_CODES];
                codes(&mut l_codes, &l);
                codes(&mut d_codes, &d);
                self.send_symbols(&l, &l_codes, &d, &d_codes);
            }
            _ => {
                self.send(4 + last, 3);
                self.send(self.literals.max_code - 256, 5);
                self.send(self.distances.max_code, 5);
                self.send(sent - 3, 4);
                for n in &ORDER[..=sent] {
                    self.send(usize::from(lens.len[*n]), 3);
                }
                for (code, more) in runs.iter().flatten() {
                    self.send(usize::from(lens.code[*code]), u32::from(lens.len[*code]));
                    self.send(*more, u32::from(BL_EXTRA[*code]));
                }
                let (l, d) = (&mut self.literals, &mut self.distances);
                let l = (std::mem::take(&mut l.len), std::mem::take(&mut l.code));
                let d = (std::mem::take(&mut d.len), std::mem::take(&mut d.code));
                self.send_symbols(&l.0, &l.1, &d.0, &d.1);
            }
        }
        if last == 1 {
            self.wind_up();
        }
        let out = std::mem::take(&mut self.out);
        let (bits, bit_count) = (self.bits, self.bit_count);
        *self = Self {
            out,
            bits,
            bit_count,
            ..Self::new(self.most)
        };
    }

    fn send_symbols(&mut self, l_len: &[u16], l_code: &[u16], d_len: &[u16], d_code: &[u16]) {
        for (distance, value) in std::mem::take(&mut self.symbols) {
            let value = usize::from(value);
            if distance == 0 {
                self.send(usize::from(l_code[value]), u32::from(l_len[value]));
                continue;
            }
            let code = code_of(value, &L_BASE);
            let n = code + END + 1;
            self.send(usize::from(l_code[n]), u32::from(l_len[n]));
            self.send(value - L_BASE[code], u32::from(L_EXTRA[code]));
            let distance = usize::from(distance) - 1;
            let code = code_of(distance, &D_BASE);
            self.send(usize::from(d_code[code]), u32::from(d_len[code]));
            self.send(distance - D_BASE[code], u32::from(D_EXTRA[code]));
        }
        self.send(usize::from(l_code[END]), u32::from(l_len[END]));
    }
}
