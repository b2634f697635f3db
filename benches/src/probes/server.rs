//! The servers that are asked: the gateway, the same program as a site and nothing else, and nginx.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What nginx is installed from.
const INSTALL: &str = "nginx is missing; run: apt-get install -y nginx-core";

/// Which program is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Which {
    Gateway,
    /// The gateway's program with `--cover-only`.
    Site,
    Nginx,
}

/// A server's process, gone with this.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's first process ends the others when it is asked to, and not when it is killed.
        let pid = i32::try_from(self.child.id()).ok();
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A peer that nobody is.
fn nobody() -> String {
    let key = *betanet_keys::Identity::from_seed(&[8; 32]).public();
    let addrs = vec!["127.0.0.1:9".to_owned()];
    let pin = Some([0; 32]);
    betanet_keys::Peer { key, addrs, pin }.to_string()
}

/// Where nginx is.
pub(super) fn nginx() -> PathBuf {
    let places = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    let found = places.iter().map(PathBuf::from).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("{INSTALL}"))
}

/// What is compared: folders, keys and the site's files, the same for all servers.
pub(super) struct Place {
    pub(super) home: PathBuf,
    pub(super) gateway: PathBuf,
}

impl Place {
    /// Makes the files that the servers show, with old and equal dates.
    pub(super) fn make(home: &Path, gateway: PathBuf) -> Self {
        for folder in ["served", "cover", "cover/folder", "cover/empty", "nginx"] {
            std::fs::create_dir(home.join(folder)).unwrap();
        }
        let page = "<h1>A garden diary</h1>\n";
        let css = "body { color: green; margin: 2em; }\n".repeat(80);
        let files: [(&str, &[u8]); 6] = [
            ("cover/index.html", page.as_bytes()),
            ("cover/folder/index.html", page.as_bytes()),
            ("cover/style.css", css.as_bytes()),
            ("cover/long.html", &page.repeat(100).into_bytes()),
            ("cover/large.bin", &vec![7; 200_000]),
            ("served/hello.txt", b"hello"),
        ];
        for (name, bytes) in files {
            std::fs::write(home.join(name), bytes).unwrap();
            let file = std::fs::File::options().write(true).open(home.join(name));
            let dated = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            file.unwrap().set_modified(dated).unwrap();
        }
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(home.join("cert.pem"), made.cert.pem()).unwrap();
        let key = home.join("cert.key");
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, mode).unwrap();
        Self {
            home: home.to_owned(),
            gateway,
        }
    }

    /// Starts one of the servers; `quic` over HTTP/3 too.
    pub(super) fn start(&self, which: Which, quic: bool) -> Server {
        match which {
            Which::Nginx => self.start_nginx(),
            Which::Gateway => self.start_gateway(false, quic),
            Which::Site => self.start_gateway(true, quic),
        }
    }

    fn start_gateway(&self, cover_only: bool, quic: bool) -> Server {
        let home = &self.home;
        let config = home.join(if quic { "quic.toml" } else { "gateway.toml" });
        let mut text =
            String::from("connections_per_address = 1000000\nconnects_per_second = 1000000\n");
        let at = |name: &str| home.join(name).display().to_string();
        let _ = writeln!(text, "certificate = {:?}", at("cert.pem"));
        let _ = writeln!(text, "certificate_key = {:?}", at("cert.key"));
        let _ = writeln!(text, "quic = {quic}");
        std::fs::write(&config, text).unwrap();
        // One core for the servers, the other for who asks: otherwise a process keeps what the scheduler made of its threads.
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", "1"])
            .arg(&self.gateway)
            .args(["--listen", "127.0.0.1:0", "--json", "--serve"])
            .arg(home.join("served"))
            .arg("--cover")
            .arg(home.join("cover"))
            .arg("--key")
            .arg(home.join("key.pem"))
            // One process at a time uses a state folder.
            .arg("--state")
            .arg(home.join(format!("state-{cover_only}-{quic}")))
            .arg("--config")
            .arg(config)
            .arg("--compat11-tickets")
            .arg(home.join("tickets11.key"))
            .args(["--compat11-to", &nobody()])
            .args(cover_only.then_some("--cover-only"));
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = piped.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).expect("a gateway that says where it is");
        let address = facts["addresses"][0].as_str().unwrap();
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        Server { child, port }
    }

    /// nginx as Debian's file configures it, and one server block.
    fn start_nginx(&self) -> Server {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let home = self.home.display();
        let text = format!(
            "user root;\nworker_processes auto;\npid {home}/nginx/pid-{port};\nerror_log {home}/nginx/error.log;\n\
             events {{ worker_connections 768; }}\n\
             http {{\n\
             sendfile on;\ntcp_nopush on;\ntypes_hash_max_size 2048;\n\
             include /etc/nginx/mime.types;\ndefault_type application/octet-stream;\n\
             ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;\nssl_prefer_server_ciphers on;\n\
             access_log {home}/nginx/access.log;\ngzip on;\n\
             server {{\nlisten 127.0.0.1:{port} ssl http2;\n\
             ssl_certificate {home}/cert.pem;\nssl_certificate_key {home}/cert.key;\n\
             root {home}/cover;\nindex index.html;\nlocation / {{ try_files $uri $uri/ =404; }}\n}}\n}}\n"
        );
        let conf = self.home.join("nginx/nginx.conf");
        std::fs::write(&conf, text).unwrap();
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", "1"])
            .arg(nginx())
            .arg("-p")
            .arg(self.home.join("nginx"))
            .arg("-c")
            .arg(&conf)
            .args(["-g", "daemon off;"]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = quiet.stderr(Stdio::null()).spawn().unwrap();
        let server = Server { child, port };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(server.address()).is_err() {
            assert!(
                Instant::now() < until,
                "nginx does not listen: see {home}/nginx/error.log"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }
}

impl Server {
    pub(super) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}
