//! The signals that end a command. However it ends, sessions are closed in order.

use std::fs;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signal that ends a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    /// SIGINT, from Ctrl-C.
    Interrupt,
    /// SIGTERM, from `kill` and `timeout`.
    Terminate,
    /// SIGHUP, when the terminal is closed.
    Hangup,
}

impl Stop {
    const ALL: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::Hangup];

    const fn kind(self) -> SignalKind {
        match self {
            Self::Interrupt => SignalKind::interrupt(),
            Self::Terminate => SignalKind::terminate(),
            Self::Hangup => SignalKind::hangup(),
        }
    }

    /// Returns the exit code: 128 plus the signal's number, as in shells.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Hangup => 129,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
            Self::Hangup => "the terminal is gone",
        }
    }
}

/// Listens for these signals.
pub(crate) struct Stops(Vec<(Stop, Signal)>);

impl Stops {
    /// Starts to listen. The signals then no longer end the process by themselves. A signal that is already ignored, as by
    /// `nohup`, remains ignored.
    pub(crate) fn listen() -> Self {
        let ignored = ignored();
        let all = Stop::ALL.into_iter();
        let heard = all.filter(|s| ignored >> (s.kind().as_raw_value() - 1) & 1 == 0);
        // A signal that cannot be listened for ends the process, as by default.
        Self(
            heard
                .filter_map(|s| Some((s, signal(s.kind()).ok()?)))
                .collect(),
        )
    }

    /// Waits for the next signal.
    pub(crate) async fn told(&mut self) -> Stop {
        std::future::poll_fn(|cx| {
            let told = self.0.iter_mut().find_map(|(stop, signal)| {
                let told = signal.poll_recv(cx);
                matches!(told, Poll::Ready(Some(()))).then_some(*stop)
            });
            told.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Returns the set of signals that this process ignores, one bit each; empty if the system does not report it.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok())
        .unwrap_or(0)
}
