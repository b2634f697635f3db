//! Panics of this process: counts them, and logs one line for each. A panicking task ends alone, and its drops notify those that
//! wait for it.

use std::panic::PanicHookInfo;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static PANICS: AtomicU64 = AtomicU64::new(0);
static INSTALLED: Once = Once::new();

/// Returns the number of panics of this process since [`count_panics`] was called.
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Counts panics from now on, and replaces the standard library's message of several lines.
pub fn count_panics() {
    INSTALLED.call_once(|| std::panic::set_hook(Box::new(note)));
}

fn note(info: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    let what = info.payload_as_str().unwrap_or("no text");
    let what: String = what
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    tracing::error!("thread '{name}' panicked at {place}: {what}");
    if !tracing::enabled!(tracing::Level::ERROR) {
        use std::io::Write as _;
        // A failing standard error must not cause a second panic.
        let _ = writeln!(
            std::io::stderr(),
            "thread '{name}' panicked at {place}: {what}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::gateway::tests::{asked, healthz, started};

    #[tokio::test]
    async fn each_panic_is_counted_ends_its_thread_alone_and_fails_healthz() {
        let (_home, gateway) = started(|_| {}).await;
        let (_admin, at) = asked(&gateway);
        count_panics();
        let before = panics();
        assert_eq!(healthz(at).0, 200);
        for _ in 0..3 {
            assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
        }
        assert_eq!(panics() - before, 3);
        assert!(
            crate::Metrics::new()
                .render()
                .contains("betanet_panics_total 3")
        );
        let task = tokio::spawn(async { panic!("on purpose") });
        assert!(task.await.unwrap_err().is_panic());
        let why = "panic: 4 tasks ended by a fault of this program\n";
        assert_eq!(healthz(at), (503, why.to_owned()));
        // The rest of the node continues.
        assert!(gateway.is_alive().await);
    }
}
