//! Notifications to a service manager that started this process (sd_notify(3)): ready, alive, stopping.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use betanet_runtime::Gateway;
use sd_notify::NotifyState;
use tokio::task::JoinHandle;

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to notify. One that is gone is not waited for.
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, states) {
        note!("note: the service manager was not told: {error}");
    }
}

/// Sends the states to a socket: a path, or an abstract name after `@`.
fn send(socket: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let mut text = String::new();
    for state in states {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{state}");
    }
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    let sent = from.send_to_addr(text.as_bytes(), &address)?;
    if sent < text.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn abstract_name(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Notifies that the node is ready. The returned task reports at the requested interval that it is alive, each time only after
/// the executor has run a task and every listener was found running.
pub(crate) fn ready(gateway: &Arc<Gateway>) -> Option<JoinHandle<()>> {
    let name = format!("serving as {}", gateway.listening().name);
    let every = told_ready(&name)?;
    let gateway = Arc::clone(gateway);
    let alive = async move || gateway.is_alive().await;
    Some(tokio::spawn(async move {
        watch(every, alive, || tell(&[NotifyState::Watchdog])).await;
    }))
}

/// Notifies that a node without listeners is ready. The returned task reports that its executor runs.
pub(crate) fn ready_as(status: &str) -> Option<JoinHandle<()>> {
    let every = told_ready(status)?;
    Some(tokio::spawn(async move {
        let alive = async || tokio::spawn(async {}).await.is_ok();
        watch(every, alive, || tell(&[NotifyState::Watchdog])).await;
    }))
}

/// Notifies that the node is ready. Returns the interval at which it reports that it is alive.
fn told_ready(status: &str) -> Option<Duration> {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    Some(sd_notify::watchdog_enabled()? / 3)
}

/// Reports at each interval that the node is alive, and only if it is. Silence makes the manager restart the process.
async fn watch(every: Duration, alive: impl AsyncFn() -> bool, tell: impl Fn()) {
    let mut tick = tokio::time::interval(every.max(Duration::from_millis(1)));
    loop {
        tick.tick().await;
        // A node with a missing or stuck listener is not alive.
        if alive().await {
            tell();
        }
    }
}

/// Notifies that the node is stopping.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("betanet-test-{}", std::process::id());
        for (address, socket) in [
            (
                SocketAddr::from_pathname(&path).unwrap(),
                path.clone().into_os_string(),
            ),
            (
                abstract_name(name.as_bytes()).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            let manager = UnixDatagram::bind_addr(&address).unwrap();
            send(&socket, &[NotifyState::Ready, NotifyState::Status("up")]).unwrap();
            let mut got = [0; 64];
            let len = manager.recv(&mut got).unwrap();
            assert_eq!(&got[..len], b"READY=1\nSTATUS=up\n");
        }
        assert!(send(OsStr::new("@nobody-is-there"), &[NotifyState::Ready]).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_not_alive_is_not_said_to_be() {
        let ms = Duration::from_millis;
        // Alive, then without a listener, alive again, then stuck permanently.
        let looks = Arc::new(AtomicU32::new(0));
        let looked = Arc::clone(&looks);
        let alive = async move || match looked.fetch_add(1, Ordering::Relaxed) {
            0..3 | 8..10 => true,
            3..8 => false,
            _ => std::future::pending().await,
        };
        let told = AtomicU32::new(0);
        let watching = watch(ms(1_000), alive, || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        let mut watching = std::pin::pin!(watching);
        let mut after = async |passes: u64| {
            let passed = tokio::time::timeout(ms(passes), watching.as_mut());
            assert!(passed.await.is_err());
            told.load(Ordering::Relaxed)
        };
        assert_eq!(after(2_500).await, 3);
        assert_eq!(after(5_000).await, 3, "silent while it is not");
        assert_eq!(after(2_000).await, 5);
        assert_eq!(after(1_000_000).await, 5, "silent for good");
    }
}
