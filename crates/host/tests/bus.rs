//! logind and NetworkManager on a bus of their own: a real `dbus-daemon`, and services that answer as they do.
#![cfg(feature = "dbus")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test stops where it is surprised; it may look at the clock, and the macro of zbus has maps"
)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use betanet_harvest::Readings;
use betanet_host::{Bus, Own, Root, Sensors};
use betanet_machine::{Now, Time};
use zbus::{Connection, connection, interface};

/// Milliseconds since 1970 at the test's start.
const START_MS: u64 = 1_790_000_000_000;

/// A bus that ends with the test.
struct Daemon {
    child: Child,
    address: String,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bus");
        let mut child = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .arg(format!("--address=unix:path={}", socket.display()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon is missing; run: apt-get install -y dbus-daemon");
        let mut address = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut address).unwrap();
        Self {
            child,
            address: address.trim().to_owned(),
            socket,
            _folder: folder,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Logind {
    idle: bool,
    since_us: u64,
    inhibited: &'static str,
}

#[interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    #[zbus(property)]
    fn idle_hint(&self) -> bool {
        self.idle
    }

    #[zbus(property)]
    fn idle_since_hint(&self) -> u64 {
        self.since_us
    }

    #[zbus(property)]
    fn block_inhibited(&self) -> &'static str {
        self.inhibited
    }
}

struct NetworkManager(u32);

#[interface(name = "org.freedesktop.NetworkManager")]
impl NetworkManager {
    #[zbus(property)]
    fn metered(&self) -> u32 {
        self.0
    }
}

fn serve(daemon: &Daemon, logind: Logind, metered: u32) -> Connection {
    let build = async {
        connection::Builder::address(daemon.address.as_str())
            .serve_at("/org/freedesktop/login1", logind)
            .serve_at("/org/freedesktop/NetworkManager", NetworkManager(metered))
            .name("org.freedesktop.login1")
            .name("org.freedesktop.NetworkManager")
            .build()
            .await
    };
    zruntime::block_on(build).unwrap()
}

fn sensors(address: &str) -> Sensors {
    let nothing = tempfile::tempdir().unwrap();
    Sensors::new(Root::at(nothing.path()), Own::default()).with_bus(Bus::at(address))
}

fn read(sensors: &mut Sensors, s: u64) -> Readings {
    let now = Now::new(Time::ZERO + Duration::from_secs(s), START_MS + s * 1000);
    sensors.read(now).readings
}

#[test]
fn users_films_and_costs_are_read() {
    let daemon = Daemon::start();
    let mut sensors = sensors(&daemon.address);
    // Nobody is there yet, and asking starts nobody.
    let none = read(&mut sensors, 0);
    assert_eq!(
        (none.idle_s, none.full_screen, none.metered),
        (None, None, None)
    );
    let idle = Logind {
        idle: true,
        since_us: (START_MS - 400_000) * 1000,
        inhibited: "shutdown:sleep",
    };
    let services = serve(&daemon, idle, 2);
    let quiet = read(&mut sensors, 1);
    assert_eq!(
        (quiet.idle_s, quiet.full_screen, quiet.metered),
        (Some(401), Some(false), Some(false))
    );
    zruntime::block_on(services.close()).unwrap();
    let busy = Logind {
        idle: false,
        since_us: 0,
        inhibited: "sleep:idle",
    };
    let _services = serve(&daemon, busy, 3);
    let film = read(&mut sensors, 2);
    assert_eq!(
        (film.idle_s, film.full_screen, film.metered),
        (Some(0), Some(true), Some(true))
    );
}

#[test]
fn a_bus_that_is_away_is_tried_again_after_a_minute() {
    let mut daemon = Daemon::start();
    let later = daemon.socket.with_extension("later");
    let mut sensors = sensors(&format!("unix:path={}", later.display()));
    assert_eq!(read(&mut sensors, 0).metered, None);
    std::fs::rename(&daemon.socket, &later).unwrap();
    daemon.address = format!("unix:path={}", later.display());
    let logind = Logind {
        idle: true,
        since_us: 0,
        inhibited: "",
    };
    let _services = serve(&daemon, logind, 1);
    assert_eq!(read(&mut sensors, 59).metered, None);
    assert_eq!(read(&mut sensors, 60).metered, Some(true));
}

#[test]
fn a_bus_that_never_answers_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bus");
    // A client that connects is let in, and hears nothing.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut sensors = sensors(&format!("unix:path={}", socket.display()));
    let began = std::time::Instant::now();
    assert_eq!(read(&mut sensors, 0).metered, None);
    assert!(began.elapsed() < Duration::from_secs(30));
    // For a minute nobody waits again.
    assert_eq!(read(&mut sensors, 59).metered, None);
}
