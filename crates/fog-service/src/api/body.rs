use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_fog::{Refusal, RefusalCode};
use betanet_session::Part;
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};

use super::Pieces;

/// Longest that a body takes to come.
const TIME: Duration = Duration::from_secs(30);

/// A body as it arrives.
pub(crate) struct Body(pub(crate) Pieces);

impl Body {
    /// Reads the whole body into memory that is charged to `part`.
    ///
    /// # Errors
    ///
    /// `too_large`; `malformed` for a body that breaks off or does not come in time; `rate` if there is no room for it.
    pub(crate) async fn read(self, max: usize, part: &mut Part) -> Result<Vec<u8>, Refusal> {
        let read = tokio::time::timeout(TIME, self.read_on(max, part)).await;
        read.unwrap_or(Err(RefusalCode::Malformed.of("body")))
    }

    async fn read_on(mut self, max: usize, part: &mut Part) -> Result<Vec<u8>, Refusal> {
        let mut all = Vec::new();
        while let Some(piece) = self.0.next().await {
            let piece = piece.map_err(|_| RefusalCode::Malformed.bare())?;
            if all.len() + piece.len() > max {
                return Err(RefusalCode::TooLarge.bare());
            }
            if !part.grow(piece.len()) {
                return Err(RefusalCode::Rate.bare());
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

impl Stream for Body {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}
