//! Hellos from recordings of `tcpdump` or Wireshark: the beginnings of TLS over TCP, and of QUIC.

mod streams;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::IpAddr;

use betanet_traffic::shape::Record;
use betanet_traffic::template::{HELLO_MAX, Hello, Initials};
use betanet_wire::text::hex;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::data::{PacketData, get_packetdata};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::Sent;
use streams::Streams;

/// Maximum number of flows that are examined.
const FLOWS: usize = 4096;
const MICROS: u64 = 1_000_000;
/// Buffer size for one block of a file.
const BLOCK: usize = 1 << 20;

/// Returns whether a file begins like pcap (either byte order, either resolution) or pcapng.
pub(crate) fn is_pcap(bytes: &[u8]) -> bool {
    let magic = bytes.first_chunk::<4>().map(|m| u32::from_be_bytes(*m));
    matches!(
        magic,
        Some(0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1 | 0x0a0d_0d0a)
    )
}

/// Source and destination of a packet.
type Flow = (IpAddr, u16, IpAddr, u16);

/// One direction of a TCP connection, up to its hello.
#[derive(Default)]
struct Stream {
    /// Sequence number of its first byte.
    start: Option<u32>,
    segments: BTreeMap<u32, Vec<u8>>,
    done: bool,
}

impl Stream {
    /// Returns the contiguous bytes from the beginning.
    fn beginning(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for (offset, data) in &self.segments {
            let Some(known) = bytes.len().checked_sub(*offset as usize) else {
                break;
            };
            bytes.extend_from_slice(data.get(known..).unwrap_or_default());
        }
        bytes
    }
}

#[derive(Default)]
struct Found {
    tcp: BTreeMap<Flow, Stream>,
    /// Received data of QUIC clients. `None` once the hello is complete, or if it is not a client.
    quic: BTreeMap<Flow, Option<(Initials, Vec<String>)>>,
    sent: Sent,
}

impl Found {
    fn packet(&mut self, packet: &SlicedPacket<'_>) {
        let Some((from, to)) = ends(packet) else {
            return;
        };
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let flow = (from, tcp.source_port(), to, tcp.destination_port());
                let (number, syn) = (tcp.sequence_number(), tcp.syn());
                self.tcp(flow, number, syn, tcp.payload());
            }
            Some(TransportSlice::Udp(udp)) => {
                let flow = (from, udp.source_port(), to, udp.destination_port());
                self.udp(flow, udp.payload());
            }
            _ => {}
        }
    }

    fn tcp(&mut self, flow: Flow, number: u32, syn: bool, payload: &[u8]) {
        if self.tcp.len() >= FLOWS && !self.tcp.contains_key(&flow) {
            return;
        }
        let stream = self.tcp.entry(flow).or_default();
        if syn {
            // A port may be reused.
            *stream = Stream {
                start: Some(number.wrapping_add(1)),
                ..Stream::default()
            };
        }
        let start = *stream.start.get_or_insert(number);
        let offset = number.wrapping_sub(start);
        if stream.done || payload.is_empty() || offset as usize > HELLO_MAX {
            return;
        }
        stream
            .segments
            .entry(offset)
            .or_insert_with(|| payload.to_vec());
        let bytes = stream.beginning();
        match Hello::from_stream(&bytes) {
            Ok(None) => {}
            Ok(Some(_)) => {
                stream.done = true;
                self.sent.hellos.push(hex(&bytes));
            }
            // The data is of another protocol, or of the server's direction.
            Err(_) => stream.done = true,
        }
    }

    fn udp(&mut self, flow: Flow, payload: &[u8]) {
        if self.quic.len() >= FLOWS && !self.quic.contains_key(&flow) {
            return;
        }
        // A server's first packets have different keys, and do not decrypt with a client's.
        let entry = self
            .quic
            .entry(flow)
            .or_insert_with(|| Some((Initials::default(), Vec::new())));
        let Some((initials, datagrams)) = entry else {
            return;
        };
        datagrams.push(hex(payload));
        match initials.take(payload) {
            Ok(None) => {}
            Ok(Some(_)) => {
                let datagrams = std::mem::take(datagrams);
                self.sent.quic.push(datagrams);
                *entry = None;
            }
            Err(_) => *entry = None,
        }
    }
}

/// Parses a packet's headers. Skips a packet that is cut short within them.
fn sliced(packet: Option<PacketData<'_>>) -> Option<SlicedPacket<'_>> {
    match packet? {
        PacketData::L2(data) => SlicedPacket::from_ethernet(data).ok(),
        PacketData::L3(_, data) => SlicedPacket::from_ip(data).ok(),
        _ => None,
    }
}

/// Returns source and destination of a packet.
fn ends(packet: &SlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
            ))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
            ))
        }
        NetSlice::Arp(_) => None,
    }
}

/// Returns the hellos of all clients in a file.
pub(super) fn read(bytes: &[u8]) -> Result<Sent, String> {
    let mut found = Found::default();
    packets(bytes, &mut |_, packet| {
        if let Some(packet) = sliced(packet) {
            found.packet(&packet);
        }
    })?;
    Ok(found.sent)
}

/// Returns the TLS records of all connections whose beginning is in the file, in the order of completion.
pub(crate) fn records(bytes: &[u8]) -> Result<Vec<Vec<Record>>, String> {
    let mut streams = Streams::default();
    packets(bytes, &mut |at, packet| {
        if let Some(packet) = sliced(packet) {
            streams.packet(at, &packet);
        }
    })?;
    Ok(streams.done())
}

/// Passes each packet in a file to `give`, with its time in microseconds.
fn packets(bytes: &[u8], give: &mut dyn FnMut(u64, Option<PacketData<'_>>)) -> Result<(), String> {
    let mut reader = create_reader(BLOCK, Cursor::new(bytes)).map_err(|e| e.to_string())?;
    // The link type of each interface, and its clock's units per second.
    let mut links: Vec<(Linktype, u64)> = Vec::new();
    let mut waits = false;
    loop {
        match reader.next() {
            Ok((used, block)) => {
                match &block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        let fine = header.is_nanosecond_precision();
                        links.push((header.network, if fine { 1_000_000_000 } else { MICROS }));
                    }
                    PcapBlockOwned::Legacy(p) => {
                        if let Some((link, units)) = links.first() {
                            let part = u64::from(p.ts_usec) * MICROS / units;
                            let data = get_packetdata(p.data, *link, p.caplen as usize);
                            give(u64::from(p.ts_sec) * MICROS + part, data);
                        }
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => links.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(i)) => {
                        links.push((i.linktype, i.ts_resolution().unwrap_or(MICROS).max(1)));
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(p)) => {
                        if let Some((link, units)) = links.get(p.if_id as usize) {
                            let at = u64::from(p.ts_high) << 32 | u64::from(p.ts_low);
                            let at = u128::from(at) * u128::from(MICROS) / u128::from(*units);
                            let data = get_packetdata(p.data, *link, p.caplen as usize);
                            give(u64::try_from(at).unwrap_or(u64::MAX), data);
                        }
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(used);
            }
            Err(PcapError::Eof) => return Ok(()),
            // Twice in a row means that a block exceeds the buffer.
            Err(PcapError::Incomplete(_)) if !waits => {
                waits = true;
                reader
                    .refill()
                    .map_err(|e| format!("it does not read: {e}"))?;
                continue;
            }
            Err(PcapError::Incomplete(_) | PcapError::UnexpectedEof) => {
                return Err("it is cut short in the middle of a packet".into());
            }
            Err(e) => return Err(format!("it does not read: {e}")),
        }
        waits = false;
    }
}
