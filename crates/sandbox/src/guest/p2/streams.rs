//! Streams over the guest's files. None of them ever waits.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::guest::{
    fs::{Fs, NodeId},
    lock,
    stop::{Errno, Fail},
};

/// Most bytes that a stream takes or gives at once.
pub(super) const PART_MAX: usize = 64 * 1024;

/// An error of a file, as a stream carries it.
#[derive(Debug, thiserror::Error)]
#[error("the file answers {0:?}")]
pub(super) struct Failed(pub(super) Errno);

pub(super) fn failed(fail: Fail) -> StreamError {
    match fail {
        Fail::Errno(errno) => StreamError::LastOperationFailed(Failed(errno).into()),
        Fail::Stop(stop) => StreamError::Trap(stop.into()),
    }
}

/// Where written bytes go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Channel {
    Output,
    Log,
    At(NodeId, u64),
    Append(NodeId),
}

impl Channel {
    fn node(self) -> Option<NodeId> {
        match self {
            Self::At(node, _) | Self::Append(node) => Some(node),
            Self::Output | Self::Log => None,
        }
    }
}

/// A stream that is written to.
pub(super) struct Stream {
    fs: Arc<Mutex<Fs>>,
    channel: Channel,
}

impl Stream {
    /// A file is held open by the stream: the caller retained it.
    pub(super) fn new(fs: Arc<Mutex<Fs>>, channel: Channel) -> Self {
        Self { fs, channel }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(node) = self.channel.node() {
            lock(&self.fs).release(node);
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut fs = lock(&self.fs);
        let done = match &mut self.channel {
            Channel::Output => fs.print(&bytes),
            Channel::Log => fs.log(&bytes),
            Channel::Append(node) => fs.size(*node).and_then(|end| fs.write(*node, end, &bytes)),
            Channel::At(node, at) => {
                let done = fs.write(*node, *at, &bytes);
                *at = at.saturating_add(bytes.len() as u64);
                done
            }
        };
        done.map_err(failed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PART_MAX)
    }
}

/// A file that is read.
pub(super) struct Reader {
    fs: Arc<Mutex<Fs>>,
    node: NodeId,
    at: u64,
}

impl Reader {
    /// The file is held open by the stream: the caller retained it.
    pub(super) fn new(fs: Arc<Mutex<Fs>>, node: NodeId, at: u64) -> Self {
        Self { fs, node, at }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        lock(&self.fs).release(self.node);
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = vec![0; size.min(PART_MAX)];
        let n = lock(&self.fs)
            .read(self.node, self.at, &mut bytes)
            .map_err(failed)?;
        if n == 0 {
            return Err(StreamError::Closed);
        }
        bytes.truncate(n);
        self.at += n as u64;
        Ok(bytes.into())
    }
}
