//! Blobs: stored by digest, and checked when they are fetched.

use betanet_bar::Method;
use betanet_fog::{Digest, Output};
use betanet_runtime::{Answer, Body};
use betanet_wire::text;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::outgoing::{Outgoing, Payload};
use super::{FogClient, Stored};
use crate::blob::FETCH;
use crate::{Blob, Error};

/// Longest encoding of an output's list of files.
const OUTPUT_MAX: usize = betanet_fog::BODY_MAX;

impl FogClient {
    /// Stores a blob.
    ///
    /// # Errors
    ///
    /// The refusal, or the reason why no coordinator answered.
    pub async fn put_blob(&self, blob: &Blob) -> Result<Stored, Error> {
        let path = format!("blob/{}", text::hex(blob.digest()));
        let mut out = Outgoing::new("store the blob", Method::Put, &path);
        out.body = Payload::Blob(blob);
        self.tell(&out).await
    }

    /// Fetches a blob.
    ///
    /// # Errors
    ///
    /// See [`FogClient::put_blob`].
    pub async fn get_blob(&self, digest: &Digest) -> Result<BlobBody, Error> {
        let path = format!("blob/{}", text::hex(digest));
        let answer = self.send(&Outgoing::get(FETCH, &path)).await?;
        Ok(BlobBody {
            body: answer.body,
            hash: Some(Sha256::new()),
            digest: *digest,
        })
    }

    /// Asks for the bytes of a blob from `at` on. With patience, a coordinator that does not answer is asked again.
    pub(crate) async fn blob_from(
        &self,
        digest: &Digest,
        at: u64,
        patient: bool,
    ) -> Result<Answer, Error> {
        let path = format!("blob/{}", text::hex(digest));
        let mut out = Outgoing::get(FETCH, &path);
        out.from = at;
        if !patient {
            out = out.once();
        }
        self.send(&out).await
    }

    /// Fetches a blob of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// See [`FogClient::put_blob`]; [`Error::Digest`] also for a longer blob.
    pub async fn blob_bytes(&self, digest: &Digest, max: usize) -> Result<Vec<u8>, Error> {
        let mut body = self.get_blob(digest).await?;
        let mut all = Vec::new();
        while let Some(bytes) = body.chunk().await? {
            if all.len() + bytes.len() > max {
                return Err(Error::Digest { what: FETCH });
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// Fetches the list of files of a task's output.
    ///
    /// # Errors
    ///
    /// See [`FogClient::put_blob`]; [`Error::Record`] where the blob is no output.
    pub async fn output(&self, digest: &Digest) -> Result<Output, Error> {
        let what = "fetch the output";
        let bytes = self.blob_bytes(digest, OUTPUT_MAX).await?;
        Output::from_slice(&bytes).map_err(|refusal| Error::Record { what, refusal })
    }
}

/// A blob as it arrives.
#[derive(Debug)]
pub struct BlobBody {
    body: Body,
    /// `None` once the end was checked.
    hash: Option<Sha256>,
    digest: Digest,
}

impl BlobBody {
    /// Returns the next bytes, or `None` at the end, once all bytes have the digest.
    ///
    /// # Errors
    ///
    /// The session was cut, or [`Error::Digest`]. All bytes up to then are to be discarded.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = self.body.chunk().await.map_err(|e| Error::Session {
            what: FETCH,
            source: Box::new(e.into()),
        })?;
        if let (Some(bytes), Some(hash)) = (&chunk, &mut self.hash) {
            hash.update(bytes);
            return Ok(chunk);
        }
        let digest: Option<Digest> = self.hash.take().map(|hash| hash.finalize().into());
        match digest {
            Some(digest) if digest != self.digest => Err(Error::Digest { what: FETCH }),
            _ => Ok(None),
        }
    }
}
