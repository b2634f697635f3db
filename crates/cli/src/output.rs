//! Output of commands: lines on standard output, where an error fails the command, and notes on standard error, where an error is
//! ignored.

use std::fmt::Arguments;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Fail;

/// The first error of standard output. Nothing is written after it.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

fn failed() -> MutexGuard<'static, Option<io::Error>> {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn line(text: Arguments<'_>) {
    print(format!("{text}\n").as_bytes());
}

/// Writes bytes to standard output.
pub(crate) fn print(bytes: &[u8]) {
    let mut failed = failed();
    if failed.is_some() {
        return;
    }
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        *failed = Some(error);
    }
}

pub(crate) fn aside(text: Arguments<'_>) {
    // An error of standard error can be reported nowhere.
    betanet_runtime::write_aside(&format!("{text}\n"));
}

/// Returns whether standard output accepts no more data, so that a command with long output may stop.
pub(crate) fn is_closed() -> bool {
    failed().is_some()
}

/// Checks that all output was written.
///
/// # Errors
///
/// The first error of standard output.
pub(crate) fn check() -> Result<(), Fail> {
    match failed().take() {
        None => Ok(()),
        Some(error) => Err(Fail::output(error)),
    }
}
