//! `betanet template`: the fingerprint of a client, and how closely this program resembles another.

mod origin;
pub(crate) mod pcap;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_carrier::disk::{self, write_shared};
use betanet_runtime::{
    CHROMIUM_156, Capture, Captured, CertSource, Certificate, FIREFOX_153, QuicCapture, visit,
};
use betanet_traffic::template::{Flight, Hello, Initial, Initials, Template, Transport};
use betanet_wire::text::{hex, unhex};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use crate::Fail;
use crate::args::{CaptureArgs, CheckArgs, TemplateCommand};
use crate::fail::interruptible;

/// Maximum number of clients that are captured at once.
const AT_ONCE: usize = 64;

/// The data that clients of one kind sent, in the form of a file.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    /// TLS records up to the end of the ClientHello, in hex, one entry per connection.
    hellos: Vec<String>,
    /// HTTP/2 bytes up to the end of the first request.
    flights: Vec<String>,
    /// For each QUIC connection, its datagrams up to the end of the ClientHello.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    quic: Vec<Vec<String>>,
}

/// The parsed form of [`Sent`].
struct Seen {
    hellos: Vec<Hello>,
    flights: Vec<Flight>,
    initials: Vec<Initial>,
}

/// Whether a client sends its extensions in a different order each time.
#[derive(Clone, Copy, Eq, PartialEq, Serialize)]
struct Permutes {
    tcp: bool,
    quic: bool,
}

impl std::fmt::Display for Permutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "over TCP {}, over QUIC {}", self.tcp, self.quic)
    }
}

/// The beginning of one client's connection.
enum Came {
    Tcp(Captured),
    Quic(Vec<Vec<u8>>),
}

impl Sent {
    fn of(captured: &[Came]) -> Self {
        let mut sent = Self::default();
        for came in captured {
            match came {
                Came::Tcp(captured) => {
                    sent.hellos.push(hex(&captured.hello));
                    sent.flights.extend(captured.flight.as_deref().map(hex));
                }
                Came::Quic(datagrams) => sent.quic.push(datagrams.iter().map(|d| hex(d)).collect()),
            }
        }
        sent
    }

    fn read(&self) -> Result<Seen, String> {
        let bytes = |text: &String| unhex(text).ok_or("not hex digits");
        let mut seen = Seen {
            hellos: Vec::new(),
            flights: Vec::new(),
            initials: Vec::new(),
        };
        for (i, text) in self.hellos.iter().enumerate() {
            let hello = Hello::from_stream(&bytes(text)?).map_err(|e| format!("hello {i}: {e}"))?;
            let hello = hello.ok_or(format!("hello {i}: cut short"))?;
            seen.hellos.push(hello);
        }
        for (i, text) in self.flights.iter().enumerate() {
            let flight = Flight::from_stream(&bytes(text)?);
            let flight = flight.map_err(|e| format!("flight {i}: {e}"))?;
            seen.flights
                .push(flight.ok_or(format!("flight {i}: cut short"))?);
        }
        for (i, datagrams) in self.quic.iter().enumerate() {
            let (mut initials, mut found) = (Initials::default(), None);
            for datagram in datagrams {
                let taken = initials.take(&bytes(datagram)?);
                found = taken.map_err(|e| format!("quic {i}: {e}"))?;
            }
            seen.initials
                .push(found.ok_or(format!("quic {i}: cut short"))?);
        }
        if seen.hellos.is_empty() && seen.initials.is_empty() {
            return Err("no hello in it".into());
        }
        Ok(seen)
    }
}

impl Seen {
    fn template(&self) -> Option<Template> {
        Template::of_client(&self.hellos, self.flights.first())
    }

    fn quic_template(&self) -> Option<Template> {
        Template::of_quic_client(&self.initials)
    }

    /// Returns whether extensions come in a different order each time, over TCP and over QUIC.
    fn permutes(&self) -> Permutes {
        let of = |t: Option<Template>| t.is_some_and(|t| t.permute);
        Permutes {
            tcp: of(self.template()),
            quic: of(self.quic_template()),
        }
    }

    /// Returns whether both permute extensions alike, as far as is known. It takes two hellos to see a permutation.
    fn orders_alike(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.permutes(), other.permutes());
        let tcp = ours.tcp == theirs.tcp || other.hellos.len() < 2;
        let quic = ours.quic == theirs.quic || other.initials.len() < 2;
        tcp && quic
    }

    fn ja4(&self) -> Vec<String> {
        let tcp = self.hellos.iter().map(|h| h.ja4(Transport::Tcp));
        let quic = self.initials.iter().map(|i| i.hello.ja4(Transport::Quic));
        let mut all: Vec<String> = quic.chain(tcp).collect();
        all.sort();
        all.dedup();
        all
    }

    fn ja3(&self) -> Vec<String> {
        let quic = self.initials.iter().map(|i| &i.hello);
        self.hellos.iter().chain(quic).map(Hello::ja3).collect()
    }

    /// Returns each field, with all values that it had.
    fn fields(&self, permuted: Permutes) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let hellos = self.hellos.iter().flat_map(|h| h.fields(permuted.tcp));
        let flights = self.flights.iter().flat_map(flight_fields);
        let quic = self.initials.iter().flat_map(|i| {
            let hello = i.hello.fields(permuted.quic).into_iter();
            let hello = hello.map(|(name, value)| (format!("quic {name}"), value));
            hello.chain(i.fields()).collect::<Vec<_>>()
        });
        for (name, value) in hellos.chain(flights).chain(quic) {
            let values = all.entry(name).or_default();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        for values in all.values_mut() {
            values.sort();
        }
        all
    }
}

fn flight_fields(flight: &Flight) -> Vec<(String, String)> {
    let settings = flight.order.iter().map(|n| {
        let value = flight.settings.0.get(&u64::from(*n));
        format!("{n}={}", value.copied().unwrap_or_default())
    });
    let settings: Vec<String> = settings.collect();
    let priority = flight
        .priority
        .map_or("none".into(), |(exclusive, on, weight)| {
            format!(
                "on {on}, exclusive {exclusive}, weight {}",
                u16::from(weight) + 1
            )
        });
    [
        ("h2 settings", settings.join(" ")),
        ("h2 window", flight.window.to_string()),
        ("h2 frames", format!("{:?}", flight.frames)),
        ("h2 stream", flight.stream.to_string()),
        ("h2 priority", priority),
        ("h2 pseudo-header order", flight.pseudo.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

pub(crate) async fn run(command: TemplateCommand) -> Result<(), Fail> {
    match command {
        TemplateCommand::Capture(args) => interruptible(capture(args)).await,
        TemplateCommand::Check(args) => interruptible(check(args)).await,
        TemplateCommand::Calibrate(args) => interruptible(origin::calibrate(args)).await,
        TemplateCommand::Record(args) => origin::record(&args),
        TemplateCommand::Sign(args) => origin::sign(&args),
    }
}

/// Opens a listener for TCP and UDP at one port, as far as both are free.
async fn listener(at: &str) -> Result<(TcpListener, UdpSocket, std::net::SocketAddr), Fail> {
    let wrong = |e: std::io::Error| Fail::Local(format!("{at}: {e}"));
    let tcp = TcpListener::bind(at).await.map_err(wrong)?;
    let local = tcp.local_addr().map_err(wrong)?;
    let udp = UdpSocket::bind(local).await.map_err(wrong)?;
    Ok((tcp, udp, local))
}

/// Captures the data of clients of a listener, each in its own task.
fn listen(listener: TcpListener, udp: UdpSocket) -> Result<mpsc::Receiver<Came>, Fail> {
    let certificate = Certificate::self_signed(&["localhost".into()]);
    let certificate = certificate.map_err(|e| Fail::Local(e.to_string()))?;
    let capture = Capture::new(Arc::new(CertSource::fixed(certificate)));
    let capture = Arc::new(capture.map_err(|e| Fail::Local(e.to_string()))?);
    let (taken, captured) = mpsc::channel(AT_ONCE);
    let quic = taken.clone();
    tokio::spawn(async move {
        let mut capture = QuicCapture::new(udp);
        while let Ok(client) = capture.take().await {
            match client {
                Ok(datagrams) => drop(quic.send(Came::Quic(datagrams)).await),
                Err((from, error)) => note!("{from}: {error}"),
            }
        }
    });
    tokio::spawn(async move {
        let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((tcp, from)) = listener.accept().await else {
                continue;
            };
            let (capture, taken) = (Arc::clone(&capture), taken.clone());
            tokio::spawn(async move {
                let _place = place;
                match capture.take(tcp).await {
                    // The receiver may be gone.
                    Ok(captured) => drop(taken.send(Came::Tcp(captured)).await),
                    Err(error) => note!("{from}: {error}"),
                }
            });
        }
    });
    Ok(captured)
}

async fn capture(args: CaptureArgs) -> Result<(), Fail> {
    let (tcp, udp, at) = listener(&args.listen).await?;
    let port = at.port();
    note!(
        "visit https://localhost:{port}/ {} times over TCP and {} times over QUIC",
        args.connections,
        args.quic
    );
    let mut clients = listen(tcp, udp)?;
    let until = tokio::time::Instant::now() + Duration::from_secs(args.wait);
    let mut captured = Vec::new();
    let (mut over_tcp, mut over_quic) = (0, 0);
    while over_tcp < args.connections || over_quic < args.quic {
        let came = tokio::time::timeout_at(until, clients.recv()).await;
        let (count, wanted, name) = match &came {
            Ok(Some(Came::Tcp(_))) => (&mut over_tcp, args.connections, "TCP"),
            Ok(Some(Came::Quic(_))) => (&mut over_quic, args.quic, "QUIC"),
            Ok(None) | Err(_) => {
                return Err(Fail::Peer(format!(
                    "{over_tcp} of {} clients came over TCP to {at} in {} s, and {over_quic} of {} over QUIC",
                    args.connections, args.wait, args.quic
                )));
            }
        };
        if *count < wanted {
            *count += 1;
            note!("{count} of {wanted} over {name}");
            captured.extend(came.ok().flatten());
        }
    }
    let sent = Sent::of(&captured);
    let seen = sent.read().map_err(Fail::Peer)?;
    if let Some(path) = &args.output {
        let text = serde_json::to_string_pretty(&sent).map_err(|e| Fail::Local(e.to_string()))?;
        write_shared(path, text + "\n").map_err(Fail::file(path))?;
    }
    let fields = seen.fields(seen.permutes());
    if args.json {
        let shape = seen.template().map(|t| hex(&t.to_bytes()));
        let quic_shape = seen.quic_template().map(|t| hex(&t.to_bytes()));
        say!(
            "{}",
            json!({
                "hellos": seen.hellos.len(),
                "quic": seen.initials.len(),
                "quic_shape": quic_shape,
                "flights": seen.flights.len(),
                "ja4": seen.ja4(),
                "ja3": seen.ja3(),
                "permutes": seen.permutes(),
                "shape": shape,
                "fields": fields,
            })
        );
    } else {
        say!("ja4  {}", seen.ja4().join(" "));
        say!("permutes its extensions  {}", seen.permutes());
        for (name, values) in fields {
            say!("{name}  {}", values.join(" | "));
        }
    }
    Ok(())
}

/// Reads a capture, or the built-in one.
fn read(path: Option<&Path>) -> Result<Seen, Fail> {
    let shipped = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let (name, text) = match path.map(|p| p.to_str()) {
        None | Some(Some("chromium")) => shipped("chromium 156", CHROMIUM_156),
        Some(Some("firefox")) => shipped("firefox 153", FIREFOX_153),
        Some(_) => {
            let path = path.unwrap_or_else(|| Path::new(""));
            let bytes = disk::read_bounded(path, disk::CAPTURE_MAX).map_err(Fail::file(path))?;
            let name = path.display().to_string();
            if pcap::is_pcap(&bytes) {
                let sent = pcap::read(&bytes).map_err(|e| Fail::Local(format!("{name}: {e}")))?;
                return sent.read().map_err(|e| Fail::Local(format!("{name}: {e}")));
            }
            let text = String::from_utf8(bytes);
            (
                name,
                text.map_err(|_| {
                    Fail::Local(format!("{}: neither a capture nor pcap", path.display()))
                })?,
            )
        }
    };
    let wrong = |e: String| Fail::Local(format!("{name}: {e}"));
    let sent: Sent = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    sent.read().map_err(wrong)
}

/// Captures the data that this program sends to its own listener. Includes QUIC if there is something to compare it with.
async fn own(connections: usize, over: &Seen) -> Result<Seen, Fail> {
    let (tcp, udp, at) = listener("127.0.0.1:0").await?;
    let mut clients = listen(tcp, udp)?;
    let mut captured = Vec::new();
    for _ in 0..connections {
        if !over.hellos.is_empty() {
            visit(&format!("localhost:{}", at.port())).await?;
            captured.extend(clients.recv().await);
        }
        if !over.initials.is_empty() {
            let address = format!("quic:localhost:{}", at.port());
            // Nobody answers. The dial is abandoned once its hello has arrived.
            tokio::select! {
                came = clients.recv() => captured.extend(came),
                visited = visit(&address) => return Err(visited.map_or_else(Fail::from, |_| {
                    Fail::Local("a listener that does not answer was answered".into())
                })),
            }
        }
    }
    Sent::of(&captured).read().map_err(Fail::Local)
}

async fn check(args: CheckArgs) -> Result<(), Fail> {
    let theirs = read(args.capture.as_deref())?;
    let ours = own(args.connections, &theirs).await?;
    let (a, b) = (ours.permutes(), theirs.permutes());
    let permuted = Permutes {
        tcp: a.tcp || b.tcp,
        quic: a.quic || b.quic,
    };
    let (a, b) = (ours.fields(permuted), theirs.fields(permuted));
    let mut differences = Vec::new();
    for name in a.keys().chain(b.keys().filter(|n| !a.contains_key(*n))) {
        let (x, y) = (a.get(name), b.get(name));
        // A capture without HTTP/2 gives no information about it.
        let unknown = name.starts_with("h2 ") && theirs.flights.is_empty();
        if x != y && !unknown {
            differences.push((name, x, y));
        }
    }
    let orders = ours.orders_alike(&theirs);
    if args.json {
        let list = differences
            .iter()
            .map(|(name, ours, theirs)| json!({"field": name, "ours": ours, "theirs": theirs}));
        say!(
            "{}",
            json!({
                "same": differences.is_empty() && orders,
                "differences": list.collect::<Vec<_>>(),
                "ja4": {"ours": ours.ja4(), "theirs": theirs.ja4()},
                "ja3": {"ours": ours.ja3(), "theirs": theirs.ja3()},
                "permutes": {"ours": ours.permutes(), "theirs": theirs.permutes()},
            })
        );
    } else {
        say!(
            "ja4  ours {}  theirs {}",
            ours.ja4().join(" "),
            theirs.ja4().join(" ")
        );
        if !permuted.tcp && !permuted.quic {
            say!("ja3  ours {}  theirs {}", ours.ja3()[0], theirs.ja3()[0]);
        }
        say!(
            "permutes  ours {}  theirs {}",
            ours.permutes(),
            theirs.permutes()
        );
        let shown =
            |values: Option<&Vec<String>>| values.map_or("nothing".into(), |v| v.join(" | "));
        for (name, ours, theirs) in &differences {
            say!(
                "{name}\n  ours    {}\n  theirs  {}",
                shown(*ours),
                shown(*theirs)
            );
        }
    }
    if differences.is_empty() && orders {
        Ok(())
    } else {
        let mut names: Vec<&str> = differences.iter().map(|(n, ..)| n.as_str()).collect();
        if !orders {
            names.push("permutation");
        }
        Err(Fail::Peer(format!("these differ: {}", names.join(", "))))
    }
}
