use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Waiting bytes, to be passed on in pieces of other sizes than they came in.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Waiting {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// Takes the first `n` bytes, or all if there are fewer.
    pub(crate) fn take(&mut self, mut n: usize) -> Bytes {
        if let Some(first) = self.pieces.pop_front_if(|first| first.len() == n) {
            self.len -= n;
            return first;
        }
        let mut out = BytesMut::with_capacity(n.min(self.len));
        while n > 0
            && let Some(mut first) = self.pieces.pop_front()
        {
            let part = first.split_to(n.min(first.len()));
            n -= part.len();
            self.len -= part.len();
            out.extend_from_slice(&part);
            if !first.is_empty() {
                self.pieces.push_front(first);
            }
        }
        out.freeze()
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.len = 0;
    }
}
