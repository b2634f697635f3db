//! Captures the first bytes of clients: the ClientHello and the first HTTP/2 frames, which are answered with `200` and nothing
//! else; or the first QUIC datagrams, which are not answered.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use betanet_traffic::template::{FLIGHT_MAX, Flight, Hello, HelloError, InitialError, Initials};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, join};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::site::tls_config;
use crate::{CertSource, Error};

/// Silence after which a client is considered done.
const PATIENCE: Duration = Duration::from_secs(10);
/// Empty SETTINGS, and the acknowledgement of the client's.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];

/// First bytes of three visits of Debian's Chromium 156 to `https://localhost`, as `betanet template capture` wrote them: a
/// JSON object of hex strings. `hellos` holds TLS records up to the end of the ClientHello, and `flights` HTTP/2 up to the end
/// of the first request. `quic` holds, for each visit over QUIC, its datagrams up to the end of the ClientHello.
pub const CHROMIUM_156: &str = include_str!("../shapes/chromium-156.json");

/// The same data of Debian's Firefox 153 ESR.
pub const FIREFOX_153: &str = include_str!("../shapes/firefox-153.json");

/// Captured bytes of one client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Captured {
    /// TLS records up to the end of the ClientHello.
    pub hello: Vec<u8>,
    /// HTTP/2 bytes up to the end of the first request; `None` if the client ended earlier or spoke another protocol.
    pub flight: Option<Vec<u8>>,
}

/// Why nothing was captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The received bytes are not a ClientHello.
    #[error("a client that sends no ClientHello: {0}")]
    Hello(#[from] HelloError),
    /// The client closed the connection, or sent nothing for ten seconds.
    #[error("a client that ends before its ClientHello does")]
    Ended,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
}

/// Captures TCP clients.
pub struct Capture(TlsAcceptor);

impl Capture {
    /// Uses this certificate; a browser must be configured to accept a self-signed one.
    ///
    /// # Errors
    ///
    /// TLS cannot be configured.
    pub fn new(certificate: Arc<CertSource>) -> Result<Self, Error> {
        let mut config = tls_config(certificate)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A ticket would make the next hello a resumption instead of a first visit.
        config.send_tls13_tickets = 0;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Captures a client's hello and the start of its HTTP/2.
    ///
    /// # Errors
    ///
    /// The received bytes are not a ClientHello, or the connection ended or failed.
    pub async fn take(&self, mut tcp: TcpStream) -> Result<Captured, CaptureError> {
        let mut hello = Vec::new();
        while Hello::from_stream(&hello)?.is_none() {
            if timeout(PATIENCE, tcp.read_buf(&mut hello))
                .await
                .map_err(|_| CaptureError::Ended)??
                == 0
            {
                return Err(CaptureError::Ended);
            }
        }
        let flight = timeout(PATIENCE, self.flight(&hello, tcp)).await;
        Ok(Captured {
            hello,
            flight: flight.ok().flatten(),
        })
    }

    async fn flight(&self, hello: &[u8], tcp: TcpStream) -> Option<Vec<u8>> {
        let (reader, writer) = tcp.into_split();
        let socket = join(Cursor::new(hello.to_vec()).chain(reader), writer);
        let mut tls = self.0.accept(socket).await.ok()?;
        let mut bytes = Vec::new();
        let flight = loop {
            match Flight::from_stream(&bytes) {
                Ok(Some(flight)) => break flight,
                Ok(None) => {}
                Err(_) => return None,
            }
            if tls.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        // HEADERS with `:status: 200` (HPACK's static table), which end the stream.
        let mut answer = SETTINGS.to_vec();
        answer.extend_from_slice(&[0, 0, 1, 1, 5]);
        answer.extend_from_slice(&flight.stream.to_be_bytes());
        answer.push(0x88);
        tls.write_all(&answer).await.ok()?;
        tls.flush().await.ok()?;
        // Wait until the client has received it and closes.
        let mut rest = Vec::new();
        while rest.len() < FLIGHT_MAX && matches!(tls.read_buf(&mut rest).await, Ok(1..)) {}
        Some(bytes)
    }
}

/// Maximum number of QUIC clients with an incomplete hello.
const QUIC_MAX: usize = 64;

/// A client's address, and the connection ID that it chose for the server.
type Client = (SocketAddr, Vec<u8>);

/// The server's connection ID in a long header (RFC 8999 §5.1); empty for any other datagram.
fn chosen(datagram: &[u8]) -> &[u8] {
    let long = datagram.first().is_some_and(|b| b & 0x80 != 0);
    let id = datagram
        .get(5)
        .filter(|_| long)
        .map(|n| 6 + usize::from(*n));
    id.and_then(|end| datagram.get(6..end)).unwrap_or_default()
}

/// Captures QUIC clients.
pub struct QuicCapture {
    socket: UdpSocket,
    clients: BTreeMap<Client, (Initials, Vec<Vec<u8>>)>,
    /// Clients with a complete hello, to recognize their repeated datagrams.
    done: Vec<Client>,
}

impl QuicCapture {
    /// Captures clients at this socket.
    #[must_use]
    pub const fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            clients: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    /// The next client's datagrams up to the end of its hello, or the address that sent something else.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub async fn take(&mut self) -> io::Result<Result<Vec<Vec<u8>>, (SocketAddr, InitialError)>> {
        let mut buf = vec![0; 65_536];
        loop {
            let (n, from) = self.socket.recv_from(&mut buf).await?;
            // A port may soon belong to another client; a drawn connection ID does not.
            let client = (from, chosen(&buf[..n]).to_vec());
            if self.done.contains(&client) {
                continue;
            }
            if self.clients.len() >= QUIC_MAX && !self.clients.contains_key(&client) {
                self.clients.pop_first();
            }
            let (initials, datagrams) = self.clients.entry(client.clone()).or_default();
            datagrams.push(buf[..n].to_vec());
            match initials.take(&buf[..n]) {
                Ok(None) => continue,
                Ok(Some(_)) => {
                    let (_, datagrams) = self.clients.remove(&client).unwrap_or_default();
                    if self.done.len() >= QUIC_MAX {
                        self.done.remove(0);
                    }
                    self.done.push(client);
                    return Ok(Ok(datagrams));
                }
                Err(error) => {
                    self.clients.remove(&client);
                    return Ok(Err((from, error)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_the_id_that_it_chose() {
        let long = [&[0xc0, 0, 0, 0, 1, 3][..], &[7, 8, 9], &[0; 20]].concat();
        assert_eq!(chosen(&long), [7, 8, 9]);
        for short in 0..9 {
            assert_eq!(chosen(&long[..short]), [0; 0]);
        }
        assert_eq!(chosen(&[0x40; 30]), [0; 0]);
    }

    #[tokio::test]
    async fn who_comes_again_begins_as_the_first_time() {
        let certificate = crate::Certificate::self_signed(&["localhost".to_owned()]).unwrap();
        let capture = Capture::new(Arc::new(CertSource::fixed(certificate))).unwrap();
        let mut config =
            crate::verify::tls_config(&crate::Trust::Anything, &Default::default()).unwrap();
        config.resumption = rustls::client::Resumption::in_memory_sessions(8);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let file: serde_json::Value = serde_json::from_str(CHROMIUM_156).unwrap();
        let flight = betanet_wire::text::unhex(file["flights"][0].as_str().unwrap()).unwrap();
        for _ in 0..3 {
            let visit = async {
                let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
                let name = "localhost".try_into().unwrap();
                let mut tls = connector.connect(name, tcp.unwrap()).await.unwrap();
                tls.write_all(&flight).await.unwrap();
                // Messages after the handshake come before this.
                let mut answer = [0; 28];
                tls.read_exact(&mut answer).await.unwrap();
                tls.shutdown().await.unwrap();
            };
            let taken = async { capture.take(listener.accept().await.unwrap().0).await };
            let (captured, ()) = tokio::join!(taken, visit);
            let captured = captured.unwrap();
            assert_eq!(captured.flight.unwrap(), flight);
            let hello = Hello::from_stream(&captured.hello).unwrap().unwrap();
            assert_eq!(hello.extension(41), None);
        }
    }

    #[tokio::test]
    async fn a_port_may_be_another_clients() {
        let file: serde_json::Value = serde_json::from_str(CHROMIUM_156).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        from.connect(socket.local_addr().unwrap()).await.unwrap();
        let mut capture = QuicCapture::new(socket);
        for visit in file["quic"].as_array().unwrap() {
            let visit: Vec<Vec<u8>> = visit
                .as_array()
                .unwrap()
                .iter()
                .map(|d| betanet_wire::text::unhex(d.as_str().unwrap()).unwrap())
                .collect();
            // Repeated datagrams belong to the finished client.
            for datagram in visit.iter().chain(&visit) {
                from.send(datagram).await.unwrap();
            }
            assert_eq!(capture.take().await.unwrap().unwrap(), visit);
        }
    }
}
