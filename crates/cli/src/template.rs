//! `betanet template`: what a client looks like from outside, and how far this one looks like another.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_htx::template::{Flight, Hello, Template, Transport};
use betanet_runtime::{CHROMIUM_156, Capture, Captured, CertSource, Certificate, visit};
use betanet_wire::text::{hex, unhex};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::Fail;
use crate::args::{CaptureArgs, CheckArgs, TemplateCommand};
use crate::fail::interruptible;

/// Clients that are captured at once.
const AT_ONCE: usize = 64;

/// What clients of one kind sent, as it stands in a file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    /// Records up to the end of the ClientHello, in hex, one entry a connection.
    hellos: Vec<String>,
    /// HTTP/2 up to the end of the first request.
    flights: Vec<String>,
}

/// The same, read.
struct Seen {
    hellos: Vec<Hello>,
    flights: Vec<Flight>,
}

impl Sent {
    fn of(captured: &[Captured]) -> Self {
        let flights = captured.iter().filter_map(|c| c.flight.as_deref());
        Self {
            hellos: captured.iter().map(|c| hex(&c.hello)).collect(),
            flights: flights.map(hex).collect(),
        }
    }

    fn read(&self) -> Result<Seen, String> {
        let bytes = |text: &String| unhex(text).ok_or("not hex digits");
        let mut seen = Seen {
            hellos: Vec::new(),
            flights: Vec::new(),
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
        if seen.hellos.is_empty() {
            return Err("no hello in it".into());
        }
        Ok(seen)
    }
}

impl Seen {
    fn template(&self) -> Option<Template> {
        Template::of_client(&self.hellos, self.flights.first())
    }

    fn permutes(&self) -> bool {
        self.template().is_some_and(|t| t.permute)
    }

    fn ja4(&self) -> Vec<String> {
        let mut all: Vec<String> = self.hellos.iter().map(|h| h.ja4(Transport::Tcp)).collect();
        all.sort();
        all.dedup();
        all
    }

    fn ja3(&self) -> Vec<String> {
        self.hellos.iter().map(Hello::ja3).collect()
    }

    /// Each field with all the values that it had.
    fn fields(&self, permuted: bool) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let hellos = self.hellos.iter().flat_map(|h| h.fields(permuted));
        let flights = self.flights.iter().flat_map(flight_fields);
        for (name, value) in hellos.chain(flights) {
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
    }
}

/// Takes what clients send to a listener, each in a task of its own.
async fn listen(listener: TcpListener) -> Result<mpsc::Receiver<Captured>, Fail> {
    let certificate = Certificate::self_signed(&["localhost".into()]);
    let certificate = certificate.map_err(|e| Fail::Local(e.to_string()))?;
    let capture = Capture::new(Arc::new(CertSource::fixed(certificate)));
    let capture = Arc::new(capture.map_err(|e| Fail::Local(e.to_string()))?);
    let (taken, captured) = mpsc::channel(AT_ONCE);
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
                    // Nobody may want more.
                    Ok(captured) => drop(taken.send(captured).await),
                    Err(error) => eprintln!("{from}: {error}"),
                }
            });
        }
    });
    Ok(captured)
}

async fn capture(args: CaptureArgs) -> Result<(), Fail> {
    let at = &args.listen;
    let listener = TcpListener::bind(at).await;
    let listener = listener.map_err(|e| Fail::Local(format!("{at}: {e}")))?;
    let at = listener
        .local_addr()
        .map_err(|e| Fail::Local(e.to_string()))?;
    eprintln!(
        "visit https://localhost:{}/ {} times",
        at.port(),
        args.connections
    );
    let mut clients = listen(listener).await?;
    let until = tokio::time::Instant::now() + Duration::from_secs(args.wait);
    let mut captured = Vec::new();
    while captured.len() < args.connections {
        match tokio::time::timeout_at(until, clients.recv()).await {
            Ok(Some(one)) => {
                eprintln!("{} of {}", captured.len() + 1, args.connections);
                captured.push(one);
            }
            Ok(None) | Err(_) => {
                return Err(Fail::Peer(format!(
                    "{} of {} clients came to {at} in {} s",
                    captured.len(),
                    args.connections,
                    args.wait
                )));
            }
        }
    }
    let sent = Sent::of(&captured);
    let seen = sent.read().map_err(Fail::Peer)?;
    if let Some(path) = &args.output {
        let text = serde_json::to_string_pretty(&sent).map_err(|e| Fail::Local(e.to_string()))?;
        std::fs::write(path, text + "\n").map_err(Fail::file(path))?;
    }
    let fields = seen.fields(seen.permutes());
    if args.json {
        let shape = seen.template().map(|t| hex(&t.to_bytes()));
        say!(
            "{}",
            json!({
                "hellos": seen.hellos.len(),
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

/// Reads a capture, or the one that comes with the program.
fn read(path: Option<&Path>) -> Result<Seen, Fail> {
    let (name, text) = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(Fail::file(path))?;
            (path.display().to_string(), text)
        }
        None => ("chromium 156".into(), CHROMIUM_156.to_owned()),
    };
    let wrong = |e: String| Fail::Local(format!("{name}: {e}"));
    let sent: Sent = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    sent.read().map_err(wrong)
}

/// What this program itself sends, to a listener of its own.
async fn own(connections: usize) -> Result<Seen, Fail> {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(|e| Fail::Local(e.to_string()))?;
    let at = listener
        .local_addr()
        .map_err(|e| Fail::Local(e.to_string()))?;
    let mut clients = listen(listener).await?;
    let mut captured = Vec::new();
    for _ in 0..connections {
        visit(&format!("localhost:{}", at.port())).await?;
        captured.extend(clients.recv().await);
    }
    Sent::of(&captured).read().map_err(Fail::Local)
}

async fn check(args: CheckArgs) -> Result<(), Fail> {
    let theirs = read(args.capture.as_deref())?;
    let ours = own(args.connections).await?;
    let permuted = theirs.permutes() || ours.permutes();
    let (a, b) = (ours.fields(permuted), theirs.fields(permuted));
    let mut differences = Vec::new();
    for name in a.keys().chain(b.keys().filter(|n| !a.contains_key(*n))) {
        let (x, y) = (a.get(name), b.get(name));
        // A capture without HTTP/2 says nothing of it.
        let unknown = name.starts_with("h2 ") && theirs.flights.is_empty();
        if x != y && !unknown {
            differences.push((name, x, y));
        }
    }
    let orders = ours.permutes() == theirs.permutes() || theirs.hellos.len() < 2;
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
        if !permuted {
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
