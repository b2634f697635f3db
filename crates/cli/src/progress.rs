use std::io::IsTerminal as _;
use std::time::Duration;

use betanet_runtime::Silence;
use indicatif::{ProgressBar, ProgressStyle};

/// Says that a peer is not there yet, or is silent, or is heard again.
pub(crate) fn silence(told: Silence) {
    let seconds = |d: Duration| format!("{:.0} s", d.as_secs_f64());
    match told {
        Silence::Opening(since) => {
            note!(
                "no session with the peer after {}; still trying",
                seconds(since)
            );
        }
        Silence::Resting(wait) => note!(
            "the peer failed before; it is dialled again in {}",
            seconds(wait)
        ),
        Silence::Asked(since) => note!(
            "no bytes for {}; asking whether the peer is there",
            seconds(since)
        ),
        Silence::Heard => note!("the peer is heard again"),
        // A later version may tell more.
        _ => {}
    }
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
