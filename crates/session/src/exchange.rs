use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use betanet_bar::Response;
use betanet_htx::By;
use betanet_wire::Code;
use bytes::{Bytes, BytesMut};

/// Maximum length of adjacent pieces that are joined. A peer that sends single bytes then does not fill memory with handles.
const JOIN_MAX: usize = 4 << 10;

/// The reason why an exchange ended before its answer was complete.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The session was cut.
    #[error("the connection was cut after {delivered} bytes")]
    Cut {
        /// Bytes of the body that were delivered.
        delivered: u64,
    },
    /// The session was closed with a code: by the peer, or by this side because of the peer's behaviour.
    #[error("{}", ended(*code, reason, *by, *delivered))]
    Closed {
        /// Code of the CLOSE.
        code: Code,
        /// Reason text of the CLOSE.
        reason: String,
        /// The side that ended the session.
        by: By,
        /// Bytes of the body that were delivered.
        delivered: u64,
    },
    /// The exchange went over the mix, and did not finish.
    #[error("{why}, after {delivered} bytes")]
    Mix {
        /// The reason that the mix gives.
        why: betanet_mix::Lost,
        /// Bytes of the body that were delivered.
        delivered: u64,
    },
    /// The other side ended the exchange.
    #[error("the peer ended the exchange with {code} after {delivered} bytes")]
    Ended {
        /// Code of the reset.
        code: Code,
        /// Bytes of the body that were delivered.
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
    /// Whether the reader is gone, so that arriving bytes are dropped.
    discards: bool,
}

/// Buffer between the driver, which writes an answer, and its reader. The stream's credit bounds its size.
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

    /// Stores the head for the reader.
    pub fn head(&self, response: Response) {
        self.update(|s| s.head = Some(response));
    }

    /// Stores bytes for the reader. Returns whether there is a reader.
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

    /// Drops unread bytes and all that arrive later. Returns how many bytes were unread.
    pub fn discard(&self) -> u64 {
        let mut state = self.lock();
        state.discards = true;
        let unread = std::mem::take(&mut state.chunks);
        unread.iter().map(|chunk| chunk.len() as u64).sum()
    }

    /// Returns whether the answer was cut before its end.
    pub fn is_cut(&self) -> bool {
        matches!(self.lock().end, Some(Err(_)))
    }

    /// Ends the answer. Only the first call has an effect.
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

    /// Returns the next bytes, or `None` after the last.
    ///
    /// # Errors
    ///
    /// The exchange ended early. All bytes that arrived before were returned.
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

    /// Waits until the answer's head has arrived or the exchange has ended. Takes nothing from the inbox.
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

/// The writing end of an inbox, for the session's task. Dropping it tells the reader that nothing follows.
#[derive(Debug)]
pub struct Feed(Inbox);

impl Feed {
    /// Creates the writing end of this inbox.
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
        // This has no effect if the answer has ended before.
        self.0.end(Err(ExchangeError::Cut { delivered: 0 }));
    }
}
