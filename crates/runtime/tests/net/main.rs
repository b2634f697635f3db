//! Tests over real sockets on loopback: the gateway with a client of another implementation, browsers, scanners and attackers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a test stops where it is surprised, and may look at the clock"
)]

mod aes;
mod codes;
mod cover;
mod ends;
mod forward;
mod fronts;
mod interface;
mod legacy;
mod mesh;
mod mix;
mod padding;
mod peer;
mod proxy;
mod quic;
mod second;
mod shape;
mod shares;
#[cfg(feature = "mimic")]
mod templates;
mod transfers;

use std::path::Path;

use betanet_runtime::{Gateway, GatewayConfig, Identity};

/// A gateway over a new folder, with everything that has to live as long.
struct Fixture {
    gateway: Gateway,
    config: GatewayConfig,
    home: tempfile::TempDir,
}

impl Fixture {
    async fn start(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::start_as(2, change).await
    }

    async fn start_as(seed: u8, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let home = tempfile::tempdir().unwrap();
        for folder in ["served", "cover"] {
            std::fs::create_dir(home.path().join(folder)).unwrap();
        }
        let page = "<h1>A garden diary</h1>\n";
        std::fs::write(home.path().join("cover/index.html"), page).unwrap();
        std::fs::write(home.path().join("served/hello.txt"), "hello").unwrap();
        let mut config = GatewayConfig::default();
        config.folder.serve = Some(home.path().join("served"));
        config.site.cover = Some(home.path().join("cover"));
        config.node.key = home.path().join("key.pem");
        config.listener.quic = true;
        config.check().unwrap();
        change(&mut config);
        let gateway = Gateway::start(Identity::from_seed(&[seed; 32]), &config)
            .await
            .unwrap();
        Self {
            gateway,
            config,
            home,
        }
    }

    fn address(&self) -> String {
        self.gateway.listening().addresses[0].clone()
    }

    fn served(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join("served").join(name)
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.gateway.render_metrics();
        let line = text
            .lines()
            .find(|l| l.starts_with(name) && !l.starts_with('#'));
        line.and_then(|l| l.rsplit_once(' ')?.1.parse().ok())
            .unwrap_or(0)
    }
}

/// Returns bytes without short repetitions.
fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| ((i * 2_654_435_761) >> 13) as u8)
        .collect()
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}
