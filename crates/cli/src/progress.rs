use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Says that a peer is silent, or that it is heard again.
pub(crate) fn silence(told: Option<Duration>) {
    // A standard error that takes nothing ends nothing.
    let _ = match told {
        Some(since) => writeln!(
            std::io::stderr(),
            "no bytes for {:.0} s; asking whether the peer is there",
            since.as_secs_f64()
        ),
        None => writeln!(std::io::stderr(), "the peer is heard again"),
    };
}

/// A bar on a terminal's standard error, and nothing elsewhere. It is gone when dropped.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Draws only where `alone`: what is transferred itself comes from no terminal, and goes to none. `total` may be unknown.
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
