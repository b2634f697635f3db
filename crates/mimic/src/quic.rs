//! Chromium over QUIC: its hello, its transport parameters, and the splitting of its first packets.

mod dress;
mod pump;
mod tunnel;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_carrier::client::{Facts, Trust};
use betanet_carrier::{BoxedCarrier, Error, Quic, SecuredQuic, ToQuic, Visited, pin_of};
use boring::error::ErrorStack;
use boring::rand::rand_bytes;
use boring::ssl::{
    SslAlert, SslContext, SslContextBuilder, SslMethod, SslRef, SslVerifyError, SslVerifyMode,
};
use quiche::ConnectionId;

use crate::hello::{Brotli, GROUPS, SHARES, TRUST_ANCHORS, shown};
use crate::raw;
use dress::Dress;
use pump::Pump;
use tunnel::{Exchange, QuicheTunnel};

/// Signature algorithms for servers: unlike over TCP, without ML-DSA and with SHA-1.
const SIGNATURES: [u16; 9] = [
    0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601, 0x0201,
];
/// Length of the connection ID that a client draws for the server.
const DCID: usize = 8;
/// Length of a datagram with Initial packets.
pub(crate) const INITIAL: usize = 1250;

/// Chromium 156's transport parameters with integer values.
const INTEGERS: [(u64, u64); 9] = [
    (0x01, 30_000),
    (0x03, 1472),
    (0x04, 15_728_640),
    (0x05, 6_291_456),
    (0x06, 6_291_456),
    (0x07, 6_291_456),
    (0x08, 100),
    (0x09, 103),
    (0x20, 65_536),
];

fn other<E: std::error::Error + Send + Sync + 'static>(error: E) -> Error {
    Error::Quic(io::Error::other(error))
}

fn builder() -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls())?;
    context.set_curves_list(GROUPS)?;
    context.set_permute_extensions(true);
    context.add_certificate_compression_algorithm(Brotli)?;
    Ok(context)
}

fn config() -> Result<quiche::Config, Error> {
    let context = builder().map_err(other)?;
    let mut config = quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, context)
        .map_err(other)?;
    config.set_application_protos(&[b"h3"]).map_err(other)?;
    // The values that the parameters below announce.
    config.set_max_idle_timeout(30_000);
    config.set_max_recv_udp_payload_size(1472);
    config.set_max_send_udp_payload_size(INITIAL);
    config.set_initial_max_data(15_728_640);
    config.set_initial_max_stream_data_bidi_local(6_291_456);
    config.set_initial_max_stream_data_bidi_remote(6_291_456);
    config.set_initial_max_stream_data_uni(6_291_456);
    config.set_initial_max_streams_bidi(100);
    config.set_initial_max_streams_uni(103);
    config.set_max_connection_window(15_728_640);
    config.set_max_stream_window(15_728_640);
    config.enable_dgram(true, 16, 16);
    config.enable_pacing(false);
    config.set_cc_algorithm(quiche::CongestionControlAlgorithm::CUBIC);
    Ok(config)
}

fn draw<const N: usize>() -> Result<[u8; N], Error> {
    let mut out = [0; N];
    rand_bytes(&mut out).map_err(other)?;
    Ok(out)
}

fn varint(out: &mut Vec<u8>, n: u64) {
    match n {
        0..0x40 => out.push(u8::try_from(n).unwrap_or(0)),
        0x40..0x4000 => {
            let n = u16::try_from(n).unwrap_or(0) | 0x4000;
            out.extend_from_slice(&n.to_be_bytes());
        }
        0x4000..0x4000_0000 => {
            let n = u32::try_from(n).unwrap_or(0) | 0x8000_0000;
            out.extend_from_slice(&n.to_be_bytes());
        }
        _ => out.extend_from_slice(&(n | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Transport parameters as Chromium sends them: in a random order, with a reserved one.
fn parameters() -> Result<Vec<u8>, Error> {
    let dice: [u8; 64] = draw()?;
    let mut all: Vec<(u64, Vec<u8>)> = INTEGERS
        .iter()
        .map(|(id, n)| {
            let mut value = Vec::new();
            varint(&mut value, *n);
            (*id, value)
        })
        .collect();
    // The client's own connection ID is empty.
    all.push((0x0f, Vec::new()));
    // Google's connection options.
    all.push((0x3128, b"ORIG".to_vec()));
    // Version 1 was chosen from version 1 and a reserved one (RFC 9368).
    let one = quiche::PROTOCOL_VERSION.to_be_bytes();
    let reserved = [dice[0], dice[1], dice[2], dice[3]].map(|b| b & 0xf0 | 0x0a);
    let offered = if dice[4] & 1 == 0 {
        [one, reserved]
    } else {
        [reserved, one]
    };
    all.push((0x11, [&one[..], &offered.concat()].concat()));
    // A reserved parameter, with up to sixteen bytes.
    let n = u64::from_be_bytes([0, 0, dice[5], dice[6], dice[7], dice[8], dice[9], dice[10]]);
    let len = usize::from(dice[11] % 17);
    all.push((27 + 31 * n, dice[12..12 + len].to_vec()));
    for (i, die) in (1..all.len()).rev().zip(&dice[32..]) {
        all.swap(i, usize::from(*die) % (i + 1));
    }
    let mut out = Vec::new();
    for (id, value) in &all {
        varint(&mut out, *id);
        varint(&mut out, value.len() as u64);
        out.extend_from_slice(value);
    }
    Ok(out)
}

fn shape(ssl: &mut SslRef) -> Result<(), Error> {
    let set = |ssl: &mut SslRef| {
        ssl.set_enable_ech_grease(true);
        raw::verify_algorithms(ssl, &SIGNATURES)?;
        raw::trust_anchors(ssl, TRUST_ANCHORS)?;
        raw::application_settings(ssl, b"h3", b"")?;
        raw::key_shares(ssl, &SHARES)
    };
    set(ssl).map_err(other)?;
    raw::transport_parameters(ssl, &parameters()?).map_err(other)
}

fn bind(to: SocketAddr, from: Option<IpAddr>) -> io::Result<std::net::UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = from.filter(|f| f.is_ipv4() == to.is_ipv4()).unwrap_or(any);
    // Connected, as a browser's socket is: the system then reports ports without a listener.
    let socket = std::net::UdpSocket::bind((from, 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Makes a connection with Chromium's fingerprint.
pub(crate) async fn handshake(to: ToQuic<'_>) -> Result<SecuredQuic, Error> {
    let ToQuic {
        to,
        from,
        host,
        trust,
    } = to;
    let socket = bind(to, from).map_err(Error::Connect)?;
    let local = socket.local_addr().map_err(Error::Connect)?;
    let dcid: [u8; DCID] = draw()?;
    let name = host.parse::<IpAddr>().is_err().then_some(host);
    let mut connection = quiche::connect_with_dcid(
        name,
        &ConnectionId::from_ref(&[]),
        &ConnectionId::from_ref(&dcid),
        local,
        to,
        &mut config()?,
    )
    .map_err(other)?;
    let problem = Arc::new(Mutex::new(None));
    let ssl: &mut SslRef = connection.as_mut();
    shape(ssl)?;
    check(ssl, trust.clone(), host.to_owned(), Arc::clone(&problem));
    let mut pump = Pump::new(connection, socket, to, Dress::new(&dcid))?;
    let done = poll_fn(|cx| pump.poll_established(cx)).await;
    done.map_err(|error| {
        let noted = problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        noted.unwrap_or(error)
    })?;
    let facts = facts(pump.connection())?;
    Ok(SecuredQuic {
        quic: Box::new(Connected(pump)),
        facts,
    })
}

fn check(ssl: &mut SslRef, trust: Trust, host: String, problem: Arc<Mutex<Option<Error>>>) {
    ssl.set_custom_verify_callback(SslVerifyMode::PEER, move |ssl| {
        trust.check(&shown(ssl), &host).map_err(|error| {
            *problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            SslVerifyError::Invalid(SslAlert::CERTIFICATE_UNKNOWN)
        })
    });
}

fn facts(connection: &mut quiche::Connection) -> Result<Facts, Error> {
    let alpn = String::from_utf8_lossy(connection.application_proto()).into_owned();
    let own = connection.peer_cert().map(<[u8]>::to_vec);
    let own = own.ok_or(Error::Pem("no certificate was shown"))?;
    let ssl: &mut SslRef = connection.as_mut();
    let suite = ssl.current_cipher().and_then(|c| c.standard_name());
    Ok(Facts {
        version: "QUICv1".into(),
        suite: suite.unwrap_or_default().replace("TLS_", "TLS13_"),
        group: ssl.curve_name().unwrap_or_default().to_owned(),
        alpn,
        pin: pin_of(&own)?,
        instead: None,
        held: Duration::ZERO,
    })
}

fn export(
    connection: &mut quiche::Connection,
    label: &str,
    context: &[u8],
    out: &mut [u8],
) -> Result<(), Error> {
    let ssl: &mut SslRef = connection.as_mut();
    ssl.export_keying_material(out, label, Some(context))
        .map_err(|_| Error::Export)
}

struct Connected(Pump);

impl Quic for Connected {
    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.0.export(label, context, out)
    }

    fn open(self: Box<Self>, request: http::Request<()>) -> BoxedCarrier {
        Box::pin(async move {
            let exchange = Exchange::begin(self.0, &request, false)?;
            Ok(Box::new(QuicheTunnel::new(exchange)) as _)
        })
    }

    fn visit(self: Box<Self>, request: http::Request<()>) -> Visited {
        Box::pin(async move {
            let mut exchange = Exchange::begin(self.0, &request, true)?;
            let head = poll_fn(|cx| exchange.poll_head(cx)).await?;
            exchange.close();
            Ok(head)
        })
    }
}
