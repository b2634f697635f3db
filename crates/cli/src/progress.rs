use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use betanet_runtime::{Error, Silence};
use indicatif::{ProgressBar, ProgressStyle};

/// Reason of the last failure, until it is told.
static FAILED: Mutex<Option<String>> = Mutex::new(None);

/// Records why an attempt failed, for the report on the next one.
pub(crate) fn failed(why: &Error) {
    let mut last = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    *last = Some(why.to_string());
}

/// Reports a peer that cannot be reached yet, is silent, or is heard again.
pub(crate) fn silence(told: Silence) {
    let seconds = |d: Duration| format!("{:.0} s", d.as_secs_f64());
    match told {
        Silence::Opening(since) => {
            note!(
                "no session with the peer after {}; still trying",
                seconds(since)
            );
        }
        Silence::Resting(wait) => {
            let last = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
            let why = last.as_deref().unwrap_or("the peer failed before");
            note!("{why}; it is dialled again in {}", seconds(wait));
        }
        Silence::Asked(since) => note!(
            "no bytes for {}; asking whether the peer is there",
            seconds(since)
        ),
        Silence::Heard => note!("the peer is heard again"),
        // A later version may add more.
        _ => {}
    }
}

/// A progress bar on standard error if that is a terminal. It is removed on drop.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Creates a bar. It is drawn only if `alone`, when the data neither comes from nor goes to the terminal. `total` may be
    /// unknown.
    pub(crate) fn new(alone: bool, total: Option<u64>, done: u64) -> Self {
        if !alone || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let (bar, template) = match total {
            Some(n) => (
                ProgressBar::new(n),
                "{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            ),
            None => (
                ProgressBar::no_length(),
                "{spinner} {bytes} {bytes_per_sec}",
            ),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(done);
        Self(bar)
    }

    /// A bar that counts things.
    pub(crate) fn counted(total: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(crate) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    pub(crate) fn inc(&self, more: u64) {
        self.0.inc(more);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
