//! Serves a folder. All disk access runs on other threads, and an answer reads ahead at most one chunk.

mod disk;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use betanet_bar::{
    self as bar, Access, Client, Handler as _, Head as _, ReadFailed, Request, Response, status,
};
use betanet_session::{
    Allowance, BodySource, Broken, CHUNK, Call, Lent, Next, Reply, Service, ServiceFuture, TRICKLE,
};
use bytes::Bytes;
use tokio::runtime::Handle;

use crate::FolderStore;
use disk::{Disk, Undone, Worker};

/// A service for a folder: GET for all clients, writes for authorized ones.
#[derive(Clone, Debug)]
pub struct FolderService {
    inner: bar::Service<FolderStore>,
    disk: Arc<Disk>,
}

impl FolderService {
    /// Serves a folder that all clients may read.
    ///
    /// # Errors
    ///
    /// The folder does not exist.
    pub fn read_only(path: &Path) -> io::Result<Self> {
        Ok(Self::new(FolderStore::read_only(path)?, Access::Nobody))
    }

    /// Serves a folder in which clients with `access` may also write. It may grow to `bytes` bytes in `entries` files and
    /// folders.
    ///
    /// # Errors
    ///
    /// The folder does not exist, or is not writable.
    pub fn writable(path: &Path, bytes: u64, entries: u64, access: Access) -> io::Result<Self> {
        Ok(Self::new(
            FolderStore::writable(path, bytes, entries)?,
            access,
        ))
    }

    /// Serves this store.
    #[must_use]
    pub fn new(store: FolderStore, access: Access) -> Self {
        Self {
            inner: bar::Service::new(store, access),
            disk: Arc::default(),
        }
    }

    /// Sets whether folders without an `index.html` are listed.
    #[must_use]
    pub fn listing(mut self, lists: bool) -> Self {
        self.inner = self.inner.listing(lists);
        self
    }
}

impl Service for FolderService {
    fn call(&self, call: Call) -> ServiceFuture {
        let mut handler = self.inner.clone();
        let store = handler.store();
        *store = store.of_session(call.from.session);
        let worker = self.disk.of(call.from.charge);
        Box::pin(async move {
            let answered = if call.request.may_have_body() {
                write(handler, worker, call).await
            } else {
                read(handler, worker, call).await
            };
            let failed = |Undone| Err(Response::new(status::INTERNAL));
            answered.unwrap_or_else(failed).unwrap_or_else(Reply::from)
        })
    }
}

/// Bytes of a body that are written by one piece of work, where they are at hand.
const WRITE: usize = 256 << 10;

type Answered = Result<Result<Reply, Response>, Undone>;

/// An exchange with the store. If it is dropped on the executor, its files are closed or removed on another thread.
struct Work(Option<Box<Inner>>);

struct Inner {
    handler: bar::Service<FolderStore>,
    exchange: bar::Exchange<FolderStore>,
}

impl Work {
    fn begin(
        mut handler: bar::Service<FolderStore>,
        client: Client,
        request: Request,
    ) -> Result<Self, Response> {
        let exchange = handler.begin(client, request)?;
        Ok(Self(Some(Box::new(Inner { handler, exchange }))))
    }

    fn body(&mut self, chunks: &[Bytes]) -> Result<(), Response> {
        let Some(inner) = &mut self.0 else {
            return Ok(());
        };
        let Inner { handler, exchange } = &mut **inner;
        chunks
            .iter()
            .try_for_each(|bytes| handler.body(exchange, bytes))
    }

    fn end(&mut self) -> Response {
        match &mut self.0 {
            Some(inner) => inner.handler.end(&mut inner.exchange),
            None => Response::new(status::INTERNAL),
        }
    }

    fn read(&mut self, max: usize) -> Result<Bytes, ReadFailed> {
        let inner = self.0.as_mut().ok_or(ReadFailed)?;
        inner.handler.read(&mut inner.exchange, max)
    }

    fn read_ready(&mut self, max: usize) -> Option<Result<Bytes, ReadFailed>> {
        let Inner { handler, exchange } = &mut **self.0.as_mut()?;
        handler.read_ready(exchange, max)
    }

    /// Ends the exchange on this thread, which may block.
    fn close(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(inner));
        }
    }
}

/// Handles a request without a body. One piece of work yields the head and the first chunk.
async fn read(handler: bar::Service<FolderStore>, worker: Worker, call: Call) -> Answered {
    let (request, client) = (call.request, call.client);
    let allowance = call.from.allowance;
    let lent = allowance.chunk();
    let max = if lent.is_some() { CHUNK } else { TRICKLE };
    let done = worker.clone().run(move || {
        let mut work = Work::begin(handler, client, request)?;
        let head = work.end();
        let Ok(first) = work.read(max) else {
            work.close();
            return Err(Response::new(status::INTERNAL));
        };
        let whole = head.headers.content_length().ok().flatten();
        let left = whole.unwrap_or_default().saturating_sub(first.len() as u64);
        if first.is_empty() || left == 0 {
            work.close();
            return Ok((head, first, None));
        }
        Ok((head, first, Some((work, left))))
    });
    Ok(done.await?.map(|(head, first, rest)| match rest {
        None => Reply::from(head).with_body(first),
        Some((work, left)) => {
            let first = Chunk { bytes: first, lent };
            Reply::with_source(head, FileBody::new(worker, allowance, work, left, first))
        }
    }))
}

/// Handles a request with a body, which is written as it arrives.
async fn write(handler: bar::Service<FolderStore>, worker: Worker, call: Call) -> Answered {
    let Call {
        request,
        client,
        mut body,
        ..
    } = call;
    let begin = move || Work::begin(handler, client, request);
    let mut work = match worker.clone().run(begin).await? {
        Ok(work) => work,
        Err(response) => return Ok(Err(response)),
    };
    loop {
        let mut chunks = Vec::new();
        match body.chunk().await {
            Ok(Some(bytes)) => chunks.push(bytes),
            Ok(None) => break,
            Err(_) => return Ok(Err(Response::new(status::BAD_REQUEST))),
        }
        // Buffered chunks are written together.
        let mut len = chunks[0].len();
        while len < WRITE {
            let more = std::future::poll_fn(|cx| Poll::Ready(body.poll_chunk(cx)));
            let Poll::Ready(Ok(Some(bytes))) = more.await else {
                break;
            };
            len += bytes.len();
            chunks.push(bytes);
        }
        let written = worker.clone().run(move || match work.body(&chunks) {
            Ok(()) => Ok(work),
            Err(response) => {
                work.close();
                Err(response)
            }
        });
        match written.await? {
            Ok(going_on) => work = going_on,
            Err(response) => return Ok(Err(response)),
        }
    }
    let ended = worker.run(move || {
        let head = work.end();
        work.close();
        head
    });
    Ok(Ok(ended.await?.into()))
}

/// Bytes of a file, and their reservation in the session's allowance.
struct Chunk {
    bytes: Bytes,
    lent: Option<Lent>,
}

type Reading = Pin<Box<dyn Future<Output = Result<(Option<Work>, Chunk), Broken>> + Send>>;

/// The part of a file after its first chunk.
pub(super) struct FileBody {
    worker: Worker,
    allowance: Allowance,
    /// `None` once everything was read.
    work: Option<Work>,
    /// Bytes that were not read yet.
    left: u64,
    reading: Option<Reading>,
    /// A chunk that was read ahead.
    ahead: Option<Result<(Option<Work>, Chunk), Broken>>,
    /// Whether the last chunk had to come from disk. The next one may have to as well.
    waits: bool,
    /// Reservation of the bytes returned last, which the session may still hold.
    given: Option<Lent>,
}

impl FileBody {
    fn new(worker: Worker, allowance: Allowance, work: Work, left: u64, first: Chunk) -> Self {
        Self {
            worker,
            allowance,
            work: None,
            left,
            reading: None,
            ahead: Some(Ok((Some(work), first))),
            waits: false,
            given: None,
        }
    }

    /// Reads the next chunk on this thread if the system has it in memory. The last chunk is always read on another thread, where
    /// the file is also closed.
    fn ready(&mut self) -> Option<Result<Next, Broken>> {
        let work = self.work.as_mut()?;
        if self.left <= CHUNK as u64 {
            return None;
        }
        let lent = self.allowance.chunk()?;
        Some(match work.read_ready(CHUNK)? {
            Ok(bytes) => {
                self.left -= bytes.len() as u64;
                self.given = Some(lent);
                self.waits = false;
                Ok(Next { bytes, last: false })
            }
            Err(failed) => Err(failed.into()),
        })
    }

    /// Begins to read the next chunk.
    fn read(&mut self, lent: Option<Lent>) {
        let Some(mut work) = self.work.take() else {
            return;
        };
        let max = if lent.is_some() { CHUNK } else { TRICKLE };
        let len = usize::try_from(self.left).unwrap_or(max).min(max);
        self.left -= len as u64;
        let last = self.left == 0;
        let reading = self.worker.clone().run(move || {
            let mut bytes = work.read(len)?;
            // A read may return less than requested, although the file has more.
            while bytes.len() < len {
                let more = work.read(len - bytes.len())?;
                if more.is_empty() {
                    return Err(ReadFailed);
                }
                bytes = [bytes, more].concat().into();
            }
            let chunk = Chunk { bytes, lent };
            if last {
                work.close();
                return Ok((None, chunk));
            }
            Ok((Some(work), chunk))
        });
        self.reading = Some(Box::pin(async move { Ok(reading.await??) }));
    }

    /// Polls the read in progress.
    fn poll_reading(&mut self, cx: &mut Context<'_>) {
        if let Some(reading) = &mut self.reading
            && let Poll::Ready(read) = reading.as_mut().poll(cx)
        {
            self.reading = None;
            self.ahead = Some(read);
        }
    }
}

impl BodySource for FileBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Broken>> {
        // A new poll means that the session has taken the previous bytes.
        self.given = None;
        if self.ahead.is_none() {
            if self.reading.is_none() {
                if let Some(next) = self.ready() {
                    return Poll::Ready(next);
                }
                let lent = self.allowance.chunk();
                self.read(lent);
            }
            self.poll_reading(cx);
        }
        let Some(read) = self.ahead.take() else {
            return if self.reading.is_some() {
                Poll::Pending
            } else {
                Poll::Ready(Err(ReadFailed.into()))
            };
        };
        let (work, Chunk { bytes, lent }) = match read {
            Ok(read) => read,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let last = work.is_none();
        self.work = work;
        self.given = lent;
        // Begin the next read early if reads wait for a disk and the session has room for another chunk.
        if !last
            && self.waits
            && let Some(lent) = self.allowance.chunk()
        {
            self.read(Some(lent));
            self.poll_reading(cx);
        }
        self.waits = true;
        Poll::Ready(Ok(Next { bytes, last }))
    }
}
