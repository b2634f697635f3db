use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_bar::{Headers, Method, Request, Response, status};
use betanet_htx::StreamId;
use betanet_machine::{Rng, Seed};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The bytes of a test resource.
#[must_use]
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut out = alloc::vec![0; len];
    Rng::new(&Seed::from_number(seed).split("content")).fill(&mut out);
    out
}

/// State of a transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The transfer is running.
    Going,
    /// The transfer was cut and waits for a new connection.
    Cut,
    /// The transfer is complete with the right bytes.
    Done,
}

/// A download that survives cuts: it resumes with `range` and `if-match`, and checks every byte.
#[derive(Debug)]
pub struct Transfer {
    path: String,
    expected: Vec<u8>,
    etag: Option<String>,
    /// Number of bytes received.
    offset: usize,
    /// Number of bytes of the running exchange.
    in_exchange: u64,
    hash: Sha256,
    stream: Option<StreamId>,
    cuts: u64,
}

impl Transfer {
    /// A download of `path` with the content `expected`.
    #[must_use]
    pub fn new(path: &str, expected: Vec<u8>) -> Self {
        Self {
            path: path.to_owned(),
            expected,
            etag: None,
            offset: 0,
            in_exchange: 0,
            hash: Sha256::new(),
            stream: None,
            cuts: 0,
        }
    }

    /// The request that starts or resumes the download; call [`Transfer::began`] with its stream.
    pub fn request(&mut self) -> Request {
        let mut headers = Headers::default();
        if let (true, Some(etag)) = (self.offset > 0, &self.etag) {
            let range = alloc::format!("bytes={}-{}", self.offset, self.expected.len() - 1);
            headers.set("range", range);
            headers.set("if-match", etag.as_str());
        }
        self.stream = None;
        self.in_exchange = 0;
        Request::new(Method::Get, &self.path, headers)
    }

    /// Records the stream on which the request was sent.
    pub const fn began(&mut self, stream: StreamId) {
        self.stream = Some(stream);
    }

    /// The stream of the running exchange.
    #[must_use]
    pub const fn stream(&self) -> Option<StreamId> {
        self.stream
    }

    /// Number of cuts so far.
    #[must_use]
    pub const fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Takes the answer's head.
    ///
    /// # Errors
    ///
    /// The head is wrong; the text says why.
    pub fn head(&mut self, response: &Response) -> Result<(), String> {
        let left = self.expected.len() - self.offset;
        if response.status != status::OK
            || response.headers.content_length() != Ok(Some(left as u64))
        {
            return Err(alloc::format!("{response:?} at offset {}", self.offset));
        }
        self.etag = response.headers.text("etag").map(str::to_owned);
        Ok(())
    }

    /// Takes bytes of the body.
    ///
    /// # Errors
    ///
    /// A byte is wrong, missing or duplicated.
    pub fn body(&mut self, data: &Bytes) -> Result<(), String> {
        let end = self.offset + data.len();
        if self.expected.get(self.offset..end) != Some(data.as_ref()) {
            return Err(alloc::format!("wrong bytes at {}..{end}", self.offset));
        }
        self.hash.update(data);
        self.offset = end;
        self.in_exchange += data.len() as u64;
        Ok(())
    }

    /// Records that the exchange was cut after `delivered` bytes; the transfer is done if no byte was missing.
    ///
    /// # Errors
    ///
    /// `delivered` does not match the delivered bytes.
    pub fn cut(&mut self, delivered: u64) -> Result<Progress, String> {
        self.stream = None;
        self.cuts += 1;
        if delivered != self.in_exchange {
            return Err(alloc::format!(
                "{delivered} said, {} delivered",
                self.in_exchange
            ));
        }
        if self.offset == self.expected.len() {
            return self.end();
        }
        Ok(Progress::Cut)
    }

    /// Records that the answer is complete.
    ///
    /// # Errors
    ///
    /// Bytes are missing, or their SHA-256 is wrong.
    pub fn end(&mut self) -> Result<Progress, String> {
        self.stream = None;
        let got = self.hash.clone().finalize();
        if self.offset == self.expected.len() && got == Sha256::digest(&self.expected) {
            Ok(Progress::Done)
        } else {
            Err(alloc::format!(
                "ended at {} of {}",
                self.offset,
                self.expected.len()
            ))
        }
    }
}
