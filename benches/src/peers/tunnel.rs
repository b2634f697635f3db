//! A tunnel of another project: Debian's `shadowsocks-libev`, where it is installed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::{Kind, Later, Line, keep, serve};

const NAME: &str = "shadowsocks-libev, AES-GCM";

struct Tunnel {
    at: SocketAddr,
    both: [Child; 2],
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for child in &mut self.both {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Both ends of the tunnel, and the server behind it. Nothing where it is not installed.
pub(super) async fn start(home: &Path) -> Option<Box<dyn Kind>> {
    let there = Command::new("ss-server").arg("-h").output();
    if there.is_err() {
        println!("shadowsocks is not measured: apt-get install -y shadowsocks-libev");
        return None;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let behind = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(serve(tcp));
        }
    });
    let (server, local) = (free_port().await, free_port().await);
    let run = |program: &str, args: &[String]| {
        let mut command = Command::new(program);
        command.args(["-s", "127.0.0.1", "-p", &server.to_string()]);
        command.args([
            "-k",
            "of this measurement",
            "-m",
            "aes-256-gcm",
            "--no-delay",
        ]);
        command.args(args).current_dir(home);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let to = behind.to_string();
    let both = [
        run("ss-server", &[]),
        run(
            "ss-tunnel",
            &["-l".into(), local.to_string(), "-L".into(), to],
        ),
    ];
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, local));
    let tunnel = Tunnel { at, both };
    for port in [server, local] {
        let mut looks = 0;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .is_err()
        {
            looks += 1;
            assert!(looks < 100, "shadowsocks does not listen at port {port}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Some(Box::new(tunnel))
}

impl Kind for Tunnel {
    fn name(&self) -> &'static str {
        NAME
    }

    fn session(&self) -> Later<'_, Arc<dyn Line>> {
        let at = self.at;
        Box::pin(keep(move || async move {
            let tcp = TcpStream::connect(at).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            tcp
        }))
    }

    fn processes(&self) -> Vec<u32> {
        self.both.iter().map(Child::id).collect()
    }
}
