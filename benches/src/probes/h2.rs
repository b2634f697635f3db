//! HTTP/2 by its frames: what is sent is written out, what comes is taken apart.

pub(super) mod frames;
mod kinds;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use loona_hpack::Decoder;
use rustls::ClientConfig;
use tokio::io::AsyncWriteExt as _;

pub(super) use kinds::all;

use super::answer::{Answer, PORT, body, value};
use super::client::{self, End, LINGER};
use frames::{ACK, END_HEADERS, END_STREAM, Type, frame};

/// What is sent within TLS, and which streams' ends are waited for.
#[derive(Clone, Default)]
pub(super) struct Script {
    pub(super) said: Vec<u8>,
    /// Sent one by one behind the rest.
    pub(super) drops: Vec<Vec<u8>>,
    /// Streams whose end is waited for; with none, a PING's answer or the connection's end.
    pub(super) awaits: Vec<u32>,
    /// A head without END_STREAM is enough, as of an answer to a body that never comes.
    pub(super) patience: Option<Duration>,
}

static CONFIG: LazyLock<Arc<ClientConfig>> =
    LazyLock::new(|| Arc::new(client::config(&[&rustls::version::TLS13], &[b"h2"])));

/// Asked behind what was said, to see that all of it was read.
const SENTINEL: &[u8] = b"sentinel";

/// What came so far.
struct Reading {
    decoder: Decoder<'static>,
    port: u16,
    answer: Answer,
    ended: Vec<u32>,
    bodies: Vec<(u32, Vec<u8>)>,
    /// A header block that CONTINUATION goes on with.
    block: Option<(u32, Vec<u8>)>,
    ponged: bool,
    gone: bool,
}

impl Reading {
    fn new(port: u16) -> Self {
        Self {
            decoder: Decoder::new(),
            port,
            answer: Answer::default(),
            ended: Vec::new(),
            bodies: Vec::new(),
            block: None,
            ponged: false,
            gone: false,
        }
    }

    /// Takes the whole frames off the front.
    fn take(&mut self, bytes: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(header) = bytes.get(at..at + 9) {
            let len =
                usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            let (kind, flags) = (header[3], header[4]);
            let stream =
                u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & 0x7fff_ffff;
            let Some(payload) = bytes.get(at + 9..at + 9 + len) else {
                break;
            };
            let payload = payload.to_vec();
            self.frame(kind, flags, stream, &payload);
            at += 9 + len;
        }
        bytes.drain(..at);
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4).unwrap_or(&[0; 4]);
            u32::from_be_bytes(bytes.try_into().unwrap())
        };
        match (Type::of(kind), flags) {
            (Type::Settings, ACK) => self.answer.append("control", "SETTINGS+ACK"),
            (Type::Settings, _) => {
                let list: Vec<String> = payload
                    .chunks_exact(6)
                    .map(|s| {
                        let value = u32::from_be_bytes([s[2], s[3], s[4], s[5]]);
                        format!("{}:{value}", u16::from_be_bytes([s[0], s[1]]))
                    })
                    .collect();
                self.answer
                    .append("control", &format!("SETTINGS({})", list.join(",")));
            }
            (Type::WindowUpdate, _) if stream == 0 => {
                self.answer
                    .append("control", &format!("WINDOW_UPDATE({})", number(0)));
            }
            (Type::WindowUpdate, _) => {
                self.answer
                    .append(&format!("window {stream}"), &number(0).to_string());
            }
            (Type::Ping, _) if flags & ACK != 0 && payload == SENTINEL => self.ponged = true,
            (Type::Ping, _) => {
                let text = String::from_utf8_lossy(payload).into_owned();
                self.answer
                    .append("control", &format!("PING+{flags}({text})"));
            }
            (Type::GoAway, _) => {
                let text =
                    String::from_utf8_lossy(payload.get(8..).unwrap_or_default()).into_owned();
                let what = format!("last {} code {} {text:?}", number(0), number(4));
                self.answer.append("goaway", &what);
                self.gone = true;
            }
            (Type::RstStream, _) => {
                self.answer
                    .append(&format!("reset {stream}"), &number(0).to_string());
                self.ended.push(stream);
            }
            (Type::Headers, _) => {
                self.block = Some((stream, payload.to_vec()));
                self.answer.append(
                    &format!("frames {stream}"),
                    &format!("HEADERS+{flags}({})", payload.len()),
                );
                self.headers(flags);
                if flags & END_STREAM != 0 {
                    self.ended.push(stream);
                }
            }
            (Type::Continuation, _) => {
                if let Some((_, block)) = &mut self.block {
                    block.extend_from_slice(payload);
                }
                self.answer.append(
                    &format!("frames {stream}"),
                    &format!("CONTINUATION({})", payload.len()),
                );
                self.headers(flags);
            }
            (Type::Data, _) => {
                self.answer.append(
                    &format!("frames {stream}"),
                    &format!("DATA+{flags}({})", payload.len()),
                );
                match self.bodies.iter_mut().find(|(s, _)| *s == stream) {
                    Some((_, all)) => all.extend_from_slice(payload),
                    None => self.bodies.push((stream, payload.to_vec())),
                }
                if flags & END_STREAM != 0 {
                    self.ended.push(stream);
                }
            }
            (Type::Priority | Type::PushPromise | Type::Other, _) => {
                self.answer.append("control", &format!("frame {kind}"));
            }
        }
    }

    fn headers(&mut self, flags: u8) {
        if flags & END_HEADERS == 0 {
            return;
        }
        let Some((stream, block)) = self.block.take() else {
            return;
        };
        let fields = match self.decoder.decode(&block) {
            Ok(fields) => fields,
            Err(e) => {
                self.answer
                    .note(format!("header {stream}"), format!("undecodable: {e:?}"));
                return;
            }
        };
        let text: Vec<String> = fields
            .iter()
            .map(|(name, v)| {
                let name = String::from_utf8_lossy(name);
                format!(
                    "{name}: {}",
                    value(&name, &String::from_utf8_lossy(v), self.port)
                )
            })
            .collect();
        let text = text.join(" | ");
        if text.contains(PORT) {
            // Digits take five bits or six: the block's length tells the port.
            self.resize(stream, block.len(), "(by the port)");
        } else if let Some((_, date)) = fields.iter().find(|(name, _)| name == b"date") {
            // A second later its digits may take a byte more or less.
            let rest = block.len().saturating_sub(coded(date));
            self.resize(stream, block.len(), &format!("({rest} and the date)"));
        }
        self.answer.append(&format!("header {stream}"), &text);
        // Which fields are in the dynamic table, and which are Huffman's, shows in the length alone.
    }

    /// Writes something else in the place of a frame's length.
    fn resize(&mut self, stream: u32, len: usize, to: &str) {
        let frames = format!("frames {stream}");
        let mut fields = self.answer.fields.iter_mut();
        if let Some((_, said)) = fields.find(|(name, _)| *name == frames) {
            *said = said.replace(&format!("({len})"), to);
        }
    }

    fn done(&self, script: &Script) -> bool {
        if script.awaits.is_empty() {
            return self.ponged;
        }
        script.awaits.iter().all(|s| self.ended.contains(s))
    }
}

/// The bytes that a date takes in Huffman's code (RFC 7541, appendix B).
fn coded(date: &[u8]) -> usize {
    let bits = date.iter().map(|byte| match byte {
        b'0'..=b'2' | b'a' | b'c' | b'e' | b'i' | b'o' | b's' | b't' => 5,
        b',' => 8,
        b':' | b'B'..=b'Z' | b'v' | b'y' => 7,
        _ => 6,
    });
    bits.sum::<usize>().div_ceil(8)
}

pub(super) async fn ask(script: &Script, to: SocketAddr, look: bool) -> Answer {
    let mut tls = client::connect(to, &CONFIG).await;
    let mut reading = Reading::new(to.port());
    let ping = frame(Type::Ping, 0, 0, SENTINEL);
    let slow = script.patience.is_some();
    let began = Instant::now();
    let _ = tls.write_all(&script.said).await;
    if script.awaits.is_empty() && !slow {
        let _ = tls.write_all(&ping).await;
    }
    let _ = tls.flush().await;
    for part in &script.drops {
        let _ = tls.write_all(part).await;
        let _ = tls.flush().await;
    }
    let mut bytes = Vec::new();
    let patience = script.patience.unwrap_or(client::PATIENCE);
    let mut end = End::Open;
    while slow || !reading.done(script) {
        let how = client::read(&mut tls, &mut bytes, patience).await;
        reading.take(&mut bytes);
        if let Some(how) = how {
            end = how;
            break;
        }
    }
    reading.answer.took = began.elapsed();
    if look && end == End::Open && !slow {
        // Whether the connection goes on.
        reading.ponged = false;
        let _ = tls.write_all(&ping).await;
        let _ = tls.flush().await;
        loop {
            let how = client::read(&mut tls, &mut bytes, LINGER).await;
            reading.take(&mut bytes);
            if let Some(how) = how {
                end = how;
                break;
            }
        }
        let alive = if reading.ponged {
            "answered"
        } else {
            "not answered"
        };
        reading.answer.note("PING behind it", alive);
    }
    for (stream, all) in std::mem::take(&mut reading.bodies) {
        reading.answer.note(format!("body {stream}"), body(&all));
    }
    if look || slow {
        if !bytes.is_empty() {
            reading.answer.note("rest", body(&bytes));
        }
        reading.answer.note("end", end.name());
    } else if !script.awaits.is_empty() {
        // What comes behind the end that was waited for, and between the streams, is compared where it is waited for too.
        let behind = ["reset", "goaway", "control", "window"];
        let fields = &mut reading.answer.fields;
        fields.retain(|(name, _)| !behind.iter().any(|b| name.starts_with(b)));
    }
    reading.answer
}
