use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Users that a cluster runs as when the tests run as root, which PostgreSQL refuses.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// A running cluster in a temporary folder, on a Unix socket. It is stopped and removed on drop.
#[derive(Debug)]
pub struct Cluster {
    home: tempfile::TempDir,
    programs: PathBuf,
    /// User and group that the programs run as, if not this process's own.
    user: Option<(u32, u32)>,
    /// Port of a server that also listens on TCP, with TLS alone.
    port: Option<u16>,
}

/// Returns the folder of `initdb` and `pg_ctl`, of the newest version in Debian's place.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql");
    let folders = versions.into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = folders
        .filter_map(|dir| {
            let version = dir.file_name().to_str()?.parse().ok()?;
            Some((version, dir.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    let newest = found.pop();
    newest
        .expect("PostgreSQL is missing; run: apt-get install -y postgresql")
        .1
}

fn user() -> Option<(u32, u32)> {
    // The owner of this process's own entry is the user that it runs as.
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let all = fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = all.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    USERS.into_iter().find_map(of)
}

impl Cluster {
    /// Creates and starts a cluster.
    ///
    /// # Panics
    ///
    /// PostgreSQL is missing or does not start.
    #[must_use]
    pub fn start() -> Self {
        let cluster = Self::create(None);
        cluster.launch();
        cluster
    }

    /// Creates and starts a cluster that also listens on a port of `127.0.0.1`, with this certificate and key in PEM.
    ///
    /// # Panics
    ///
    /// PostgreSQL is missing or does not start.
    #[must_use]
    pub fn start_tls(certificate: &str, key: &str) -> Self {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        let cluster = Self::create(Some(port));
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = cluster.data().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            cluster.give(&path);
        }
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
        fs::write(cluster.data().join("pg_hba.conf"), rules).unwrap();
        drop(free);
        cluster.launch();
        cluster
    }

    fn create(port: Option<u16>) -> Self {
        // Root's folders may be closed to the cluster's user.
        let home = tempfile::Builder::new()
            .prefix("betanet-pg-")
            .tempdir_in("/tmp");
        let cluster = Self {
            home: home.unwrap(),
            programs: programs(),
            user: user(),
            port,
        };
        cluster.give(cluster.folder());
        let data = cluster.data();
        let data = data.to_str().unwrap();
        let options = [
            "-A",
            "trust",
            "-U",
            "fog",
            "-E",
            "UTF8",
            "--locale",
            "C",
            "--no-sync",
        ];
        cluster.run("initdb", &[&["-D", data], &options[..]].concat());
        cluster
    }

    /// Makes the cluster's user the owner of a file.
    fn give(&self, path: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    ///
    /// It does not start.
    pub fn launch(&self) {
        let socket = self.folder().display();
        let tcp = match self.port {
            Some(port) => format!("-c listen_addresses=127.0.0.1 -p {port} -c ssl=on"),
            None => "-c listen_addresses=''".into(),
        };
        let options = format!("-k {socket} {tcp} -c max_connections=50");
        let log = self.folder().join("log");
        let (data, log) = (self.data(), log.display().to_string());
        let data = data.to_str().unwrap();
        self.run(
            "pg_ctl",
            &[
                "start", "-w", "-t", "120", "-D", data, "-l", &log, "-o", &options,
            ],
        );
    }

    /// Stops the server: in `immediate` mode as a crash does, in `fast` mode by ending its sessions.
    ///
    /// # Panics
    ///
    /// It does not stop.
    pub fn stop(&self, mode: &str) {
        let data = self.data();
        let data = data.to_str().unwrap();
        self.run(
            "pg_ctl",
            &["stop", "-w", "-t", "120", "-D", data, "-m", mode],
        );
    }

    fn run(&self, program: &str, args: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(args)
            .current_dir(self.folder())
            .stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        // A server that goes on must not hold this process's pipes.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().unwrap();
        assert!(
            status.success(),
            "{program} {args:?}: {status}: {}",
            self.log()
        );
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Returns the folder with the server's socket.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Returns the path of the server's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder().join(".s.PGSQL.5432")
    }

    /// Returns the port of a cluster that listens on TCP.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the settings of a connection by the socket, as a text of libpq.
    #[must_use]
    pub fn url(&self) -> String {
        let socket = self.folder().display();
        format!("host={socket} user=fog dbname=postgres")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut command = Command::new(self.programs.join("pg_ctl"));
        command
            .args(["stop", "-w", "-m", "immediate", "-D"])
            .arg(self.data());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let _ = command.status();
    }
}
