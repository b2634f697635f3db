use std::pin::Pin;
use std::task::{Context, Poll};

use betanet_fog::{Refusal, RefusalCode};
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};

use super::Pieces;

/// A body as it arrives.
pub(crate) struct Body(pub(crate) Pieces);

impl Body {
    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// `too_large`; `malformed` for a body that breaks off.
    pub(crate) async fn read(mut self, max: usize) -> Result<Vec<u8>, Refusal> {
        let mut all = Vec::new();
        while let Some(piece) = self.0.next().await {
            let piece = piece.map_err(|_| RefusalCode::Malformed.bare())?;
            if all.len() + piece.len() > max {
                return Err(RefusalCode::TooLarge.bare());
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
