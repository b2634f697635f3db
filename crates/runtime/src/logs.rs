use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Standard error, or whatever else log lines go to. A line that cannot be written is lost, and nothing else is: the disk that it goes
/// to may be full, its reader gone.
struct Best<W>(W);

impl<W: Write> Write for Best<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// Whether a filter of log lines reads.
///
/// # Errors
///
/// Why it does not.
pub fn readable_log(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter);
    filter.map(|_| ()).map_err(|e| e.to_string())
}

/// Starts logging to standard error. `filter` is a level, or `tracing` directives such as `betanet_htx=debug`.
///
/// # Errors
///
/// The filter does not read.
pub fn init_logs(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|e| e.to_string())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_writer(|| Best(io::stderr()));
    // A second start in one process keeps the first.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_and_nothing_else_is() {
        let mut lost = Best(Full);
        assert_eq!(lost.write(b"a line\n").unwrap(), 7);
        lost.flush().unwrap();
        let mut kept = Best(Vec::new());
        kept.write_all(b"a line\n").unwrap();
        assert_eq!(kept.0, b"a line\n");
    }
}
