//! A parsed request with its incoming body.

use std::io;

use bytes::Bytes;

use super::chunked::Chunked;
use super::head::Meant;
use super::input::{Input, LARGE};
use super::line::RequestLine;
use crate::cover::Asked;

/// A request.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) asked: Asked,
    pub(super) line: RequestLine,
    pub(super) meant: Meant,
    pub(super) left: Left,
}

/// The outstanding part of a body.
#[derive(Debug)]
pub(super) enum Left {
    Done,
    Length(u64),
    Chunked(Chunked),
}

impl Left {
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Done | Self::Length(0) => true,
            Self::Length(_) => false,
            Self::Chunked(chunked) => chunked.is_done(),
        }
    }

    /// Number of bytes to read at once, at most `most`.
    pub(super) fn most(&self, most: usize) -> usize {
        match self {
            Self::Length(n) => usize::try_from(*n).unwrap_or(usize::MAX).min(most),
            Self::Done | Self::Chunked(_) => most.min(LARGE),
        }
    }

    /// Takes the next body bytes from the received ones.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> io::Result<Option<Bytes>> {
        match self {
            Self::Done => Ok(None),
            Self::Length(left) => {
                let n = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= n as u64;
                Ok((n > 0).then(|| bytes.split_to(n)))
            }
            Self::Chunked(chunked) => chunked
                .take(bytes)
                .map_err(|_| io::ErrorKind::InvalidData.into()),
        }
    }

    /// Drops the bytes of the body that were read ahead.
    pub(super) fn take(&mut self, input: &mut Input) -> io::Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut bytes = input.take_bytes();
        while self.next(&mut bytes)?.is_some() {}
        input.unread(bytes.len());
        Ok(())
    }
}
