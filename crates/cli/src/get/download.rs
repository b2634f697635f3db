//! The download of one resource, or of a range of it, to its destination.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;

use betanet_bar::{Headers, Method, Request, Response, status};
use bytes::Bytes;

use super::part::{self, Holds, Part};
use super::place::Place;
use super::sink::{self, Sink};
use crate::Fail;
use crate::progress::Bar;
use crate::target::Url;

/// Last byte of a range whose end is unknown. Servers clip it.
const TO_THE_END: u64 = (1 << 53) - 1;
/// Maximum number of restarts of the download of a changing resource.
const ANEW_MAX: u32 = 16;

/// Options of a download.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The range, as given to `--range`.
    pub(super) range: Option<String>,
    /// Whether to resume an earlier run, and to skip a file that is already complete.
    pub(super) resume: bool,
    /// Whether to hash the data.
    pub(super) digest: bool,
    /// The required hash, in hex.
    pub(super) sha256: Option<String>,
}

/// The result of a download.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Number of bytes that are stored now.
    pub(super) bytes: u64,
    /// Number of those that arrived in this run.
    pub(super) came: u64,
    pub(super) sha256: Option<String>,
    pub(super) etag: Option<String>,
}

/// The step after an answer's head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Write the body.
    Body,
    /// Repeat the request, since the stored data is of no use.
    Again,
    /// Everything is stored already.
    Whole,
    /// The answer is a refusal.
    Refused,
}

pub(super) struct Download {
    wanted: Wanted,
    url: String,
    target: String,
    sink: Sink,
    /// Name of the sink, for errors.
    name: PathBuf,
    part: Option<Part>,
    /// Offset of the first byte in the resource.
    first: u64,
    /// Number of bytes that are stored, or on their way to the sink.
    got: u64,
    /// Number of bytes of the earlier parts of a list.
    before: u64,
    /// Number of the stored bytes that come from an earlier run.
    left: u64,
    /// End of the wanted range in the resource. `None` if unknown.
    end: Option<u64>,
    etag: Option<String>,
    /// Etag and length of the complete copy that already has the final name.
    copy: Option<(String, u64)>,
    anew: u32,
    /// Whether the sink's data is to be replaced as soon as new data arrives.
    stale: bool,
    shows: bool,
    bar: Option<Bar>,
}

impl Download {
    /// Opens the destination, and checks the data that is already there.
    ///
    /// # Errors
    ///
    /// The destination cannot be written.
    pub(super) fn begin(url: &Url, place: Place, wanted: Wanted) -> Result<Self, Fail> {
        let canonical = url.to_string();
        let range = wanted.range.as_deref();
        let hashes = wanted.digest || wanted.sha256.is_some();
        let (mut left, mut copy, mut opened, mut shows) = (None, None, None, true);
        let (sink, name) = match place {
            Place::Stdout => {
                let file = sink::stdout().map_err(Fail::output)?;
                shows = file.metadata().is_ok_and(|m| m.is_file());
                (Sink::start(|| Ok(file), 0, hashes), PathBuf::from("-"))
            }
            Place::Device(path) => {
                shows = false;
                (Sink::start(device(&path)?, 0, hashes), path)
            }
            Place::File(path) => {
                let part = Part::open(&path)?;
                if wanted.resume {
                    left = part.pick_up(&canonical, range)?;
                    copy = match left {
                        None => part.copy(&canonical, range),
                        Some(_) => None,
                    };
                }
                let file = part.writer()?;
                opened = Some(part);
                let kept = left.as_ref().map_or(0, |(_, n)| *n);
                (Sink::start(|| Ok(file), kept, hashes), path)
            }
        };
        let (holds, got) = left.unzip();
        let got = got.unwrap_or(0);
        Ok(Self {
            wanted,
            url: canonical,
            target: url.target.clone(),
            sink: sink.map_err(Fail::file(&name))?,
            name,
            part: opened,
            first: holds.as_ref().map_or(0, |h| h.first),
            got,
            before: 0,
            left: got,
            end: holds.as_ref().and_then(|h| h.end),
            etag: holds.map(|h| h.etag),
            copy,
            anew: 0,
            stale: false,
            shows,
            bar: None,
        })
    }

    /// Returns the number of stored bytes.
    pub(super) const fn got(&self) -> u64 {
        self.got
    }

    fn fails(&self) -> impl Fn(io::Error) -> Fail + use<> {
        let (file, stdout) = (Fail::file(&self.name), self.name.as_os_str() == "-");
        let (read, checks) = (self.part.is_none(), self.wanted.sha256.is_some());
        move |e| match e.kind() {
            io::ErrorKind::BrokenPipe if read && checks => Fail::Local(
                "the output is read no more, so that --sha256 cannot be checked".to_owned(),
            ),
            io::ErrorKind::BrokenPipe if read => Fail::Unread,
            _ if stdout => Fail::output(e),
            _ => file(e),
        }
    }

    /// Returns the offset of the next byte in the resource.
    const fn next(&self) -> u64 {
        self.first + self.got
    }

    fn is_complete(&self) -> bool {
        self.got > 0 && self.end == Some(self.next())
    }

    /// Returns the etag of the complete copy.
    fn held(&self) -> Option<&str> {
        match &self.copy {
            Some((etag, _)) => Some(etag),
            None => self.etag.as_deref().filter(|_| self.is_complete()),
        }
    }

    /// Returns the next request.
    ///
    /// # Errors
    ///
    /// The stored bytes can neither be continued nor discarded.
    pub(super) async fn request(&mut self) -> Result<Request, Fail> {
        if self.got > 0 && self.etag.is_none() {
            // Nothing shows whether the rest would belong to the same data.
            self.start_anew("was cut, and the peer gives it no etag to go on by")
                .await?;
        }
        let mut headers = Headers::default();
        let asked = self.wanted.range.as_ref().map(|r| format!("bytes={r}"));
        if let Some(etag) = self.held() {
            headers.set("if-none-match", etag);
        } else if let Some(etag) = self.etag.as_deref().filter(|_| self.got > 0) {
            let last = self.end.map_or(TO_THE_END, |end| end.saturating_sub(1));
            headers.set("if-match", etag);
            headers.set("range", format!("bytes={}-{last}", self.next()));
            return Ok(Request::new(Method::Get, &self.target, headers));
        }
        if let Some(range) = asked {
            headers.set("range", range);
        }
        Ok(Request::new(Method::Get, &self.target, headers))
    }

    /// Discards the stored data and starts again. Fails if the data has already been output.
    async fn start_anew(&mut self, why: &str) -> Result<(), Fail> {
        self.anew += 1;
        let shown = self.before > 0 || self.part.is_none() && self.got > 0;
        if shown || self.anew > ANEW_MAX {
            return Err(Fail::Peer(format!("the resource {why}")));
        }
        self.stale |= self.got > 0;
        (self.first, self.got, self.left) = (0, 0, 0);
        (self.end, self.etag, self.copy) = (None, None, None);
        Ok(())
    }

    /// Handles an answer's head.
    ///
    /// # Errors
    ///
    /// The answer does not fit the request, or its note cannot be written.
    pub(super) async fn head(&mut self, head: &Response) -> Result<Next, Fail> {
        let held = self.held().is_some();
        match head.status {
            status::OK => {}
            status::NO_CONTENT if held => return Ok(Next::Whole),
            status::CONFLICT if self.got > 0 => {
                self.start_anew("changed while it was fetched").await?;
                return Ok(Next::Again);
            }
            status::BAD_REQUEST if self.got > 0 => {
                // If nothing is missing, the earlier run was cut after the last byte.
                let all = format!("bytes */{}", self.next());
                if head.headers.text("content-range") == Some(&all) {
                    return Ok(Next::Whole);
                }
                self.start_anew("is shorter than what was fetched of it")
                    .await?;
                return Ok(Next::Again);
            }
            _ => return Ok(Next::Refused),
        }
        if held {
            // The resource has been replaced.
            self.start_anew("changed while it was fetched").await?;
        }
        let etag = head.headers.text("etag").filter(|t| !t.starts_with("W/"));
        if self.got > 0 && etag != self.etag.as_deref() {
            self.start_anew("changed while it was fetched").await?;
            return Ok(Next::Again);
        }
        let len = head.headers.content_length().ok().flatten();
        let range = match head.headers.text("content-range") {
            Some(text) => Some(content_range(text).ok_or_else(|| {
                Fail::Peer(format!("the peer answered with content-range {text:?}"))
            })?),
            None => None,
        };
        match range {
            Some((start, _)) if self.got > 0 && start != self.next() => {
                return Err(other_range(start, self.next()));
            }
            // The server sends the whole resource instead of the rest.
            None if self.got > 0 => {
                if self.wanted.range.is_some() {
                    return Err(Fail::Peer("the peer answered with no range".into()));
                }
                self.start_anew("cannot be gone on with").await?;
            }
            Some(_) if self.got > 0 => {}
            Some((start, _)) if self.wanted.range.is_none() && start != 0 => {
                return Err(other_range(start, 0));
            }
            Some((start, _)) => self.first = start,
            None if self.wanted.range.is_some() => {
                return Err(Fail::Peer("the peer answered with no range".into()));
            }
            None => {}
        }
        if let (Some((start, end)), Some(len)) = (range, len)
            && end - start != len
        {
            return Err(Fail::Peer(format!(
                "the peer answered with {} bytes of content-range and {len} of content-length",
                end - start
            )));
        }
        self.end = match (range, len) {
            (Some((_, end)), _) => Some(end),
            (None, Some(len)) => self.next().checked_add(len),
            (None, None) => None,
        };
        self.etag = etag.map(str::to_owned);
        if std::mem::take(&mut self.stale) {
            self.sink.anew().await.map_err(self.fails())?;
        }
        if let Some(part) = &self.part {
            if self.got + self.before == 0 {
                // The data of another run is not part of this download. It is kept until new data arrives.
                part.clear()?;
            }
            match self.holds() {
                Some(holds) => part.note(&holds)?,
                None => part.forget()?,
            }
        }
        let total = self.end.map(|end| end - self.first);
        self.bar = Some(Bar::new(self.shows, total, self.got));
        Ok(Next::Body)
    }

    fn holds(&self) -> Option<Holds> {
        // A later part of a list is not the resource that the URL names.
        if self.before > 0 {
            return None;
        }
        Some(Holds {
            url: self.url.clone(),
            range: self.wanted.range.clone(),
            first: self.first,
            end: self.end,
            etag: self.etag.clone()?,
        })
    }

    /// Writes bytes of the body.
    ///
    /// # Errors
    ///
    /// The bytes cannot be written, or are more than announced.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Fail> {
        let len = bytes.len() as u64;
        if self.end.is_some_and(|end| self.next() + len > end) {
            return Err(Fail::Peer("the peer sent more than it said".into()));
        }
        self.sink.write(bytes).await.map_err(self.fails())?;
        self.got += len;
        if let Some(bar) = &self.bar {
            bar.at(self.got);
        }
        Ok(())
    }

    /// Returns whether all announced bytes have arrived.
    pub(super) fn has_all(&self) -> bool {
        self.end == Some(self.next())
    }

    /// Continues with the target that the answer names: the next part of a long list.
    pub(super) fn follow(&mut self, target: &str) {
        target.clone_into(&mut self.target);
        self.before += self.got;
        (self.first, self.got, self.end, self.etag) = (0, 0, None, None);
    }

    /// Hides the progress bar until the next answer.
    pub(super) fn pause(&mut self) {
        self.bar = None;
    }

    /// Completes the download: flushes and checks the data, and gives the file its name.
    ///
    /// # Errors
    ///
    /// The data is incomplete or not as required, or cannot be written.
    pub(super) async fn finish(mut self) -> Result<Fetched, Fail> {
        self.bar = None;
        let fails = self.fails();
        if let (Some((etag, bytes)), Some(part)) = (self.copy.take(), &self.part) {
            let wants = self.wanted.digest || self.wanted.sha256.is_some();
            let target = part.target().to_owned();
            let hash = move || wants.then(|| part::digest(&target)).transpose();
            let digest = tokio::task::spawn_blocking(hash).await;
            let digest = digest
                .map_err(|e| Fail::Local(e.to_string()))?
                .map_err(&fails)?;
            checked(&self.wanted, digest)?;
            return Ok(Fetched {
                bytes,
                came: 0,
                sha256: digest.map(|d| betanet_wire::text::hex(&d)),
                etag: Some(etag),
            });
        }
        if let Some(end) = self.end.filter(|end| *end != self.next()) {
            return Err(Fail::Peer(format!(
                "{} bytes came, where {} were said",
                self.got,
                end - self.first
            )));
        }
        let holds = self.holds();
        let bytes = self.before + self.got;
        let digest = self.sink.finish().await.map_err(&fails)?.digest;
        let right = checked(&self.wanted, digest);
        match (self.part, right) {
            (Some(part), Ok(())) => part.keep(bytes, holds.as_ref())?,
            (Some(part), Err(why)) => {
                part.discard();
                return Err(why);
            }
            (None, right) => right?,
        }
        Ok(Fetched {
            bytes,
            came: bytes - self.left,
            sha256: digest.map(|d| betanet_wire::text::hex(&d)),
            etag: self.etag,
        })
    }
}

/// Checks that the digest is the required one.
fn checked(wanted: &Wanted, digest: Option<[u8; 32]>) -> Result<(), Fail> {
    let got = digest.map(|d| betanet_wire::text::hex(&d));
    match (&wanted.sha256, got) {
        (Some(want), Some(got)) if !want.eq_ignore_ascii_case(&got) => Err(Fail::Peer(format!(
            "the SHA-256 of what came is {got}, where --sha256 is {want}"
        ))),
        _ => Ok(()),
    }
}

fn other_range(got: u64, want: u64) -> Fail {
    Fail::Peer(format!(
        "the peer answered with bytes from {got} on, where those from {want} on were asked for"
    ))
}

/// Opens a device or a pipe. The writing thread opens a pipe, since that waits for a reader.
fn device(
    path: &std::path::Path,
) -> Result<Box<dyn FnOnce() -> io::Result<fs::File> + Send>, Fail> {
    use std::os::unix::fs::FileTypeExt as _;
    let at = Fail::file(path);
    let kind = fs::metadata(path).map_err(&at)?.file_type();
    let path = path.to_owned();
    let open = move || OpenOptions::new().write(true).open(&path);
    if kind.is_fifo() {
        return Ok(Box::new(open));
    }
    let file = open().map_err(at)?;
    Ok(Box::new(|| Ok(file)))
}

/// Parses `bytes a-b/n`. Returns the offsets of the first byte and after the last.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, end) = (
        first.parse::<u64>().ok()?,
        last.parse::<u64>().ok()?.checked_add(1)?,
    );
    let inside = total == "*" || total.parse::<u64>().is_ok_and(|n| end <= n);
    (first < end && inside).then_some((first, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_answers_are_read() {
        assert_eq!(content_range("bytes 0-9/10"), Some((0, 10)));
        assert_eq!(content_range("bytes 5-5/*"), Some((5, 6)));
        for bad in [
            "bytes */10",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "0-9/10",
            "bytes 0-9",
            "bytes 0-18446744073709551615/*",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
