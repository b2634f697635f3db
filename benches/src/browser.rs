//! Handshakes that look like Chromium's, beside BoringSSL's own with the same key exchange; both ends' CPU time.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;

use betanet_carrier::Fingerprint as _;
use betanet_carrier::client::Trust;
use betanet_mimic::Chromium;
use boring::ssl::{SslConnector, SslMethod, SslVerifyMode};
use tokio::net::TcpStream;

use crate::{Effort, Figure, cpu, median, parts};

/// A server that makes handshakes and nothing else.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let (mut config, _) = parts::tls_pair();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    std::thread::spawn(move || {
        while let Ok((mut tcp, _)) = listener.accept() {
            tcp.set_nodelay(true).unwrap();
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            while tls.is_handshaking() {
                if tls.complete_io(&mut tcp).is_err() {
                    break;
                }
            }
            let _ = tcp.flush();
        }
    });
    at
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let (rounds, n) = if effort.quick { (5, 100) } else { (15, 400) };
    let runtime = parts::runtime(Some(1));
    let at = server();
    let chromium = Chromium::new().unwrap();
    let mut plain = SslConnector::builder(SslMethod::tls()).unwrap();
    plain.set_curves_list("X25519MLKEM768:X25519").unwrap();
    plain.set_alpn_protos(b"\x02h2").unwrap();
    plain.set_verify(SslVerifyMode::NONE);
    let plain = plain.build();
    let (mut ours, mut raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    runtime.block_on(async {
        let reach = async || {
            let tcp = TcpStream::connect(&at).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            tcp
        };
        for _ in 0..rounds {
            let before = cpu();
            for _ in 0..n {
                let tcp = reach().await;
                chromium
                    .handshake(tcp, "localhost", &Trust::Anything)
                    .await
                    .unwrap();
            }
            let between = cpu();
            for _ in 0..n {
                let config = plain.configure().unwrap();
                tokio_boring::connect(config, "localhost", reach().await)
                    .await
                    .unwrap();
            }
            let each = |d: std::time::Duration| d.as_secs_f64() / f64::from(n);
            let (one, other) = (each(between - before), each(cpu() - between));
            ours.push(one);
            raw.push(other);
            ratios.push(other / one);
        }
    });
    vec![Figure {
        name: "Chromium's handshake vs plain boring",
        ratio: median(ratios),
        bound: 0.75,
        at_least: true,
        detail: format!(
            "{:.0} of {:.0} a CPU second, both ends",
            1.0 / median(ours),
            1.0 / median(raw)
        ),
    }]
}
