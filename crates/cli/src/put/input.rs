//! The input of an upload, read by a thread that is never joined: a terminal or a pipe may be silent for ever.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::mpsc;

use crate::Fail;

/// Number of bytes read and sent at once.
const CHUNK: usize = 64 << 10;
/// Number of pieces that are read ahead.
const AHEAD: usize = 4;

/// The bytes of a file, a pipe or standard input, in pieces.
pub(super) struct Input {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    path: PathBuf,
    len: Option<u64>,
    is_file: bool,
    /// Length that the system reports for a file that was not read to its end at once.
    said: Option<u64>,
}

/// Returns whether a process was started without this stream. Rust then opens `/dev/null` for reading and writing, while a
/// shell's `</dev/null` is read-only.
fn is_closed(stream: &impl AsFd) -> bool {
    let (Ok(null), Ok(found)) = (rustix::fs::stat("/dev/null"), rustix::fs::fstat(stream)) else {
        return false;
    };
    let flags = rustix::fs::fcntl_getfl(stream);
    found.st_rdev == null.st_rdev
        && found.st_mode == null.st_mode
        && flags.is_ok_and(|f| f & OFlags::RWMODE == OFlags::RDWR)
}

impl Input {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self, Fail> {
        let fault = Fail::file(path);
        if path.as_os_str() == "-" {
            if is_closed(&io::stdin()) {
                let why = "standard input is closed: nothing is sent, not even an empty file";
                return Err(Fail::Local(why.into()));
            }
            return Self::reading(path, None, false, || Ok(io::stdin()));
        }
        let meta = fs::metadata(path).map_err(&fault)?;
        if meta.is_dir() {
            return Err(Fail::Local(format!("{}: is a folder", path.display())));
        }
        let own = path.to_owned();
        if !meta.is_file() {
            // Opening a pipe waits for a writer.
            return Self::reading(path, None, false, move || File::open(own));
        }
        let mut file = File::open(path).map_err(&fault)?;
        let first = piece(&mut file, true).map_err(&fault)?;
        let read = first.len() as u64;
        // Files in /proc and similar report a wrong length. A short file has already been read completely.
        let said = Some(meta.len()).filter(|len| first.len() == CHUNK && *len > read);
        let len = if first.len() < CHUNK {
            Some(read)
        } else {
            said
        };
        let rest = Exactly {
            file,
            left: len.map(|len| len - read),
        };
        let mut this = Self::reading(path, len, true, move || {
            Ok(io::Cursor::new(first).chain(rest))
        })?;
        this.said = said;
        Ok(this)
    }

    fn reading<R: Read>(
        path: &Path,
        len: Option<u64>,
        is_file: bool,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> Result<Self, Fail> {
        let (tell, pieces) = mpsc::channel(AHEAD);
        let read = move || {
            let mut from = match open() {
                Ok(from) => from,
                // The receiver is gone, because the answer came first.
                Err(e) => return drop(tell.blocking_send(Err(e))),
            };
            loop {
                match piece(&mut from, is_file) {
                    Ok(bytes) if bytes.is_empty() => return,
                    read => {
                        let failed = read.is_err();
                        if tell.blocking_send(read.map(Bytes::from)).is_err() || failed {
                            return;
                        }
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("read".into())
            .spawn(read)
            .map_err(Fail::file(path))?;
        Ok(Self {
            pieces,
            path: path.to_owned(),
            len,
            is_file,
            said: None,
        })
    }

    /// Returns the number of bytes, if it is known in advance.
    pub(super) const fn len(&self) -> Option<u64> {
        self.len
    }

    /// Returns whether the input is a regular file, and not a terminal or pipe.
    pub(super) const fn is_file(&self) -> bool {
        self.is_file
    }

    /// Returns the next bytes, or `None` at the end.
    ///
    /// # Errors
    ///
    /// The input cannot be read, or the file has become shorter.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fail> {
        self.pieces
            .recv()
            .await
            .transpose()
            .map_err(Fail::file(&self.path))
    }

    /// Returns whether a file has become longer than the part that was sent.
    pub(super) fn grew(&self) -> bool {
        let now = fs::metadata(&self.path).map(|m| m.len());
        self.said
            .is_some_and(|said| now.is_ok_and(|now| now > said))
    }
}

/// Reads as many bytes as fit, or fewer at the end. Without `fill`, reads those that are available.
fn piece(from: &mut impl Read, fill: bool) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; CHUNK];
    let mut got = 0;
    while got < CHUNK {
        match from.read(&mut buf[got..]) {
            Ok(0) => break,
            Ok(n) => {
                got += n;
                if !fill {
                    break;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buf.truncate(got);
    Ok(buf)
}

/// The rest of a file, with exactly the announced number of bytes, even if the file changes.
struct Exactly {
    file: File,
    left: Option<u64>,
}

impl Read for Exactly {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left else {
            return self.file.read(buf);
        };
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if room == 0 {
            return Ok(0);
        }
        let n = self.file.read(&mut buf[..room])?;
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("became {left} bytes shorter while it was sent"),
            ));
        }
        self.left = Some(left - n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &mut Input) -> Result<Vec<u8>, Fail> {
        let mut out = Vec::new();
        while let Some(bytes) = input.next().await? {
            out.extend_from_slice(&bytes);
        }
        Ok(out)
    }

    #[tokio::test]
    async fn what_was_promised_is_read_and_nothing_is_promised_that_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for len in [0, 5, CHUNK - 1, CHUNK, CHUNK + 1, 300_000] {
            fs::write(&path, vec![7; len]).unwrap();
            let mut input = Input::open(&path).unwrap();
            assert_eq!(input.len(), (len != CHUNK).then_some(len as u64));
            assert_eq!(all(&mut input).await.unwrap().len(), len);
            assert!(!input.grew());
        }
        let mut input = Input::open(&path).unwrap();
        let mut longer = File::options().append(true).open(&path).unwrap();
        io::Write::write_all(&mut longer, &[7; 100_000]).unwrap();
        assert!(input.grew());
        assert_eq!(all(&mut input).await.unwrap().len(), 300_000);

        fs::write(&path, vec![7; 3_000_000]).unwrap();
        let mut input = Input::open(&path).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(100_000)
            .unwrap();
        let said = format!("{:?}", all(&mut input).await.unwrap_err());
        assert!(said.contains("shorter"), "{said}");

        let mut proc = Input::open(Path::new("/proc/self/status")).unwrap();
        let known = proc.len().unwrap();
        let got = all(&mut proc).await.unwrap();
        assert!(known > 0 && got.len() as u64 == known);
        assert!(Input::open(dir.path()).is_err());
    }
}
