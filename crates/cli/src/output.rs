//! Where everything that a command says leaves: lines on standard output, whose failure is the command's, and notes on
//! standard error, whose failure is nobody's.

use std::fmt::Arguments;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Fail;

/// What became of standard output: nothing is written after its first failure.
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
    // There is nowhere left to say that standard error fails.
    betanet_runtime::write_aside(&format!("{text}\n"));
}

/// Whether standard output takes nothing more: who prints on and on may stop.
pub(crate) fn is_closed() -> bool {
    failed().is_some()
}

/// Whether all that was said arrived.
///
/// # Errors
///
/// Why not.
pub(crate) fn check() -> Result<(), Fail> {
    match failed().take() {
        None => Ok(()),
        Some(error) => Err(Fail::output(error)),
    }
}
