use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::EnvFilter;

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Number of bytes written at once: a pipe that is ready for writing has room for this much (`PIPE_BUF`).
const PIECE: usize = 4096;

/// Number of lines lost since the last written line.
static LOST: Mutex<u64> = Mutex::new(0);

/// The destination of log lines, usually standard error. A line that cannot be written now is dropped, without any other effect.
/// Its disk may be full, its reader gone, or its pipe not read.
struct Best<'a, W> {
    to: W,
    lost: &'a Mutex<u64>,
}

impl<W: Write + AsFd> Best<'_, W> {
    /// Returns whether a line can be written without waiting for the reader.
    fn is_ready(&self) -> bool {
        let mut fds = [PollFd::new(&self.to, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A destination that cannot be polled is written to directly.
        poll(&mut fds, Some(&now)).map_or(true, |ready| ready > 0)
    }

    /// Writes a line without blocking, and drops the rest if the destination is full. Returns whether all of it was written, or
    /// an error occurred.
    fn line(&mut self, bytes: &[u8]) -> bool {
        bytes.chunks(PIECE).all(|piece| {
            let ready = self.is_ready();
            if ready {
                let _ = self.to.write_all(piece);
            }
            ready
        })
    }
}

impl<W: Write + AsFd> Write for Best<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if *lost > 0 {
            let said = format!("{} log lines were lost: nobody took them\n", *lost);
            if self.line(said.as_bytes()) {
                *lost = 0;
            }
        }
        let whole = self.line(bytes);
        *lost += u64::from(!whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Nothing is buffered.
        Ok(())
    }
}

/// Writes a line to standard error like a log line: it is dropped if standard error does not accept it.
pub fn write_aside(line: &str) {
    let mut to = Best {
        to: io::stderr(),
        lost: &LOST,
    };
    // This writes everything, or drops it.
    let _ = to.write_all(line.as_bytes());
}

/// Checks whether a filter of log lines is valid.
///
/// # Errors
///
/// The parser's message.
pub fn readable_log(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter);
    filter.map(|_| ()).map_err(|e| e.to_string())
}

/// Starts logging to standard error. `filter` is a level, or `tracing` directives such as `betanet_htx=debug`.
///
/// # Errors
///
/// The filter is invalid.
pub fn init_logs(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|e| e.to_string())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_writer(|| Best {
            to: io::stderr(),
            lost: &LOST,
        });
    // A second call in one process keeps the first logger.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn who_does_not_read_loses_lines_and_holds_nothing_up() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lost = Mutex::new(0);
        let mut log = Best {
            to: writer,
            lost: &lost,
        };
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..1000 {
            log.write_all(&line).unwrap();
        }
        let gone = *lost.lock().unwrap();
        assert!((500..1000).contains(&gone), "{gone}");
        let mut taken = vec![0; usize::try_from(1000 - gone).unwrap() * line.len()];
        reader.read_exact(&mut taken).unwrap();
        log.write_all(b"the next\n").unwrap();
        // A line may be longer than the maximum that is written at once.
        log.write_all(&[b'y'; 2 * PIECE]).unwrap();
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let said = format!("{gone} log lines were lost: nobody took them\nthe next\n");
        assert!(rest.starts_with(&said), "{rest}");
        assert_eq!(rest.len(), said.len() + 2 * PIECE);
        assert_eq!(*lost.lock().unwrap(), 0);
    }

    #[test]
    fn a_reader_that_is_gone_and_a_full_disk_are_borne() {
        let lost = Mutex::new(0);
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut log = Best {
            to: writer,
            lost: &lost,
        };
        log.write_all(b"a line\n").unwrap();
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut log = Best {
            to: full.unwrap(),
            lost: &lost,
        };
        log.write_all(b"a line\n").unwrap();
    }
}
