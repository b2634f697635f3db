//! `tokio-rustls` and `quinn` as they are.

use std::net::Ipv4Addr;
use std::sync::Arc;

use quinn::{Connection, Endpoint};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Kind, Later, Line, ask, keep, serve};
use crate::parts;

pub(super) const TLS: &str = "tokio-rustls";
pub(super) const QUIC: &str = "quinn";

struct Tls {
    at: std::net::SocketAddr,
    connector: TlsConnector,
}

/// A server of TLS 1.3.
pub(super) async fn tls() -> Box<dyn Kind> {
    let (server, client) = parts::tls_pair();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(async move { serve(acceptor.accept(tcp).await.unwrap()).await });
        }
    });
    let connector = TlsConnector::from(Arc::new(client));
    Box::new(Tls { at, connector })
}

impl Kind for Tls {
    fn name(&self) -> &'static str {
        TLS
    }

    fn session(&self) -> Later<'_, Arc<dyn Line>> {
        let (at, connector) = (self.at, self.connector.clone());
        Box::pin(keep(move || {
            let connector = connector.clone();
            async move {
                let tcp = TcpStream::connect(at).await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let name = "localhost".try_into().unwrap();
                connector.connect(name, tcp).await.unwrap()
            }
        }))
    }
}

struct Quic {
    at: std::net::SocketAddr,
    client: Endpoint,
}

struct QuicLine(Connection);

/// A server of QUIC.
pub(super) fn quic() -> Box<dyn Kind> {
    let (mut server, mut client) = parts::tls_pair();
    client.alpn_protocols = vec![b"h3".to_vec()];
    server.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(server).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let at = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await.unwrap();
                while let Ok((out, into)) = connection.accept_bi().await {
                    tokio::spawn(serve(tokio::io::join(into, out)));
                }
            });
        }
    });
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(client).unwrap();
    let mut client = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    client.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    Box::new(Quic { at, client })
}

impl Kind for Quic {
    fn name(&self) -> &'static str {
        QUIC
    }

    fn session(&self) -> Later<'_, Arc<dyn Line>> {
        Box::pin(async {
            let connecting = self.client.connect(self.at, "localhost").unwrap();
            Arc::new(QuicLine(connecting.await.unwrap())) as Arc<dyn Line>
        })
    }
}

impl Line for QuicLine {
    fn fetch(&self, len: u64) -> Later<'_, u64> {
        Box::pin(async move {
            let (out, into) = self.0.open_bi().await.unwrap();
            ask(&mut tokio::io::join(into, out), len).await
        })
    }
}
