use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use betanet_bar::Response;
use betanet_htx::By;
use betanet_wire::Code;
use bytes::{Bytes, BytesMut};

/// Pieces up to this are joined, so that a peer that sends single bytes does not fill memory with their handles.
const JOIN_MAX: usize = 4 << 10;

/// Why an exchange ended before its answer was complete.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The session was cut, after this many bytes of the body.
    #[error("the connection was cut after {delivered} bytes")]
    Cut {
        /// Bytes of the body.
        delivered: u64,
    },
    /// The session was ended with a code: by the peer, or by this side for what the peer did.
    #[error("{}", ended(*code, reason, *by, *delivered))]
    Closed {
        /// Why.
        code: Code,
        /// In words.
        reason: String,
        /// Who ended it.
        by: By,
        /// Bytes of the body.
        delivered: u64,
    },
    /// The exchange went over the mix, and did not come to its end.
    #[error("{why}, after {delivered} bytes")]
    Mix {
        /// Why.
        why: betanet_mix::Lost,
        /// Bytes of the body.
        delivered: u64,
    },
    /// The other side ended the exchange.
    #[error("the peer ended the exchange with {code} after {delivered} bytes")]
    Ended {
        /// Why.
        code: Code,
        /// Bytes of the body.
        delivered: u64,
    },
}

fn ended(code: Code, reason: &str, by: By, delivered: u64) -> String {
    let after = if delivered > 0 {
        format!(" after {delivered} bytes")
    } else {
        String::new()
    };
    match (by, code) {
        (By::Peer, Code::POLICY_REJECTED) if !reason.is_empty() => {
            format!("refused by the peer{after}: {reason}")
        }
        (By::Peer, _) => format!("the peer ended the session{after}: {code} ({reason})"),
        _ => format!("the session was ended{after}: {code} ({reason})"),
    }
}

#[derive(Debug, Default)]
struct State {
    head: Option<Response>,
    chunks: VecDeque<Bytes>,
    end: Option<Result<(), ExchangeError>>,
    reader: Option<Waker>,
    /// Nobody reads any more: what comes is not kept.
    discards: bool,
}

/// Where the driver puts an answer, and its reader finds it. What it holds is bounded by the stream's credit.
#[derive(Clone, Debug, Default)]
pub struct Inbox(Arc<Mutex<State>>);

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let reader = {
            let mut state = self.lock();
            change(&mut state);
            state.reader.take()
        };
        if let Some(waker) = reader {
            waker.wake();
        }
    }

    /// Keeps the head for the reader.
    pub fn head(&self, response: Response) {
        self.update(|s| s.head = Some(response));
    }

    /// Keeps bytes for the reader; whether there is one.
    pub fn body(&self, data: Bytes) -> bool {
        let mut kept = true;
        self.update(|s| match s.chunks.back_mut() {
            _ if s.discards => kept = false,
            Some(last) if last.len() + data.len() <= JOIN_MAX => {
                let mut joined = BytesMut::with_capacity(JOIN_MAX);
                joined.extend_from_slice(last);
                joined.extend_from_slice(&data);
                *last = joined.freeze();
            }
            _ => s.chunks.push_back(data),
        });
        kept
    }

    /// Drops what is unread, and from now on what comes; how many bytes were unread.
    pub fn discard(&self) -> u64 {
        let mut state = self.lock();
        state.discards = true;
        let unread = std::mem::take(&mut state.chunks);
        unread.iter().map(|chunk| chunk.len() as u64).sum()
    }

    /// Whether it was cut before its end.
    pub fn is_cut(&self) -> bool {
        matches!(self.lock().end, Some(Err(_)))
    }

    /// Ends it: nothing follows. Only the first end counts.
    pub fn end(&self, end: Result<(), ExchangeError>) {
        self.update(|s| {
            s.end.get_or_insert(end);
        });
    }

    fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Response, ExchangeError>> {
        let mut state = self.lock();
        if let Some(head) = state.head.take() {
            return Poll::Ready(Ok(head));
        }
        match &state.end {
            Some(Err(e)) => Poll::Ready(Err(e.clone())),
            Some(Ok(())) => Poll::Ready(Err(ExchangeError::Cut { delivered: 0 })),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    ///
    /// The exchange ended early; what came before was given.
    pub fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ExchangeError>> {
        let mut state = self.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            return Poll::Ready(Ok(Some(chunk)));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(Ok(None)),
            Some(Err(e)) => Poll::Ready(Err(e.clone())),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    ///
    /// # Errors
    ///
    /// The exchange ended without one.
    pub async fn wait_head(&self) -> Result<Response, ExchangeError> {
        std::future::poll_fn(|cx| self.poll_head(cx)).await
    }

    /// Waits until the answer's head is here, or the exchange has ended; takes nothing.
    pub async fn answered(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.head.is_some() || state.end.is_some() {
                return Poll::Ready(());
            }
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The end of an inbox that its session's task writes to. Dropped, however that comes, it tells the reader that nothing follows.
#[derive(Debug)]
pub struct Feed(Inbox);

impl Feed {
    /// Feeds this inbox.
    pub const fn new(inbox: Inbox) -> Self {
        Self(inbox)
    }
}

impl std::ops::Deref for Feed {
    type Target = Inbox;
    fn deref(&self) -> &Inbox {
        &self.0
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // One that has ended is not ended again.
        self.0.end(Err(ExchangeError::Cut { delivered: 0 }));
    }
}
