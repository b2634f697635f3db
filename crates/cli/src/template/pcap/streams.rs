//! TLS records of TCP connections in both directions, with their times.

use std::collections::BTreeMap;

use betanet_traffic::shape::{Record, STEPS_MAX};
use etherparse::{SlicedPacket, TransportSlice};

use super::{FLOWS, Flow, ends};

/// Maximum number of bytes of one direction that wait for earlier ones.
const AHEAD: usize = 1 << 20;
/// Maximum number of records kept of one connection: more than a trace has.
const RECORDS: usize = 2 * STEPS_MAX;

/// One direction of a connection.
#[derive(Default)]
struct Direction {
    next: Option<u32>,
    ahead: BTreeMap<u32, Vec<u8>>,
    /// Received bytes of a record's header. `left` is the remaining length of its body.
    header: Vec<u8>,
    left: usize,
}

impl Direction {
    /// Adds a segment. Returns the records that it completes.
    fn take(&mut self, number: u32, syn: bool, payload: &[u8]) -> Vec<(u8, u16)> {
        if syn {
            self.next = Some(number.wrapping_add(1));
            return Vec::new();
        }
        // A connection whose beginning is not in the file is skipped.
        let Some(next) = self.next else {
            return Vec::new();
        };
        // The segment is a whole or partial retransmission.
        let known = next.wrapping_sub(number) as usize;
        let fresh = if known < 1 << 30 {
            payload.get(known..).unwrap_or_default()
        } else {
            let waiting: usize = self.ahead.values().map(Vec::len).sum();
            if waiting < AHEAD {
                self.ahead.insert(number, payload.to_vec());
            }
            return Vec::new();
        };
        let mut whole = Vec::new();
        self.read(fresh, &mut whole);
        let mut next = next.wrapping_add(u32::try_from(fresh.len()).unwrap_or(0));
        while let Some(bytes) = self.ahead.remove(&next) {
            self.read(&bytes, &mut whole);
            next = next.wrapping_add(u32::try_from(bytes.len()).unwrap_or(0));
        }
        self.next = Some(next);
        whole
    }

    fn read(&mut self, mut bytes: &[u8], whole: &mut Vec<(u8, u16)>) {
        while !bytes.is_empty() {
            if self.header.len() < 5 {
                let n = bytes.len().min(5 - self.header.len());
                self.header.extend_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
                if let Ok(header) = <[u8; 5]>::try_from(&self.header[..]) {
                    self.left = usize::from(u16::from_be_bytes([header[3], header[4]]));
                }
            }
            if let Ok(header) = <[u8; 5]>::try_from(&self.header[..]) {
                let n = bytes.len().min(self.left);
                self.left -= n;
                bytes = &bytes[n..];
                if self.left == 0 {
                    whole.push((header[0], u16::from_be_bytes([header[3], header[4]])));
                    self.header.clear();
                }
            }
        }
    }
}

#[derive(Default)]
struct Connection {
    up: Direction,
    down: Direction,
    began: u64,
    records: Vec<Record>,
}

/// All connections of a file, by their client.
#[derive(Default)]
pub(super) struct Streams {
    open: BTreeMap<Flow, Connection>,
    done: Vec<Vec<Record>>,
}

impl Streams {
    pub(super) fn packet(&mut self, at: u64, packet: &SlicedPacket<'_>) {
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            return;
        };
        let Some((from, to)) = ends(packet) else {
            return;
        };
        let flow = (from, tcp.source_port(), to, tcp.destination_port());
        let back = (to, tcp.destination_port(), from, tcp.source_port());
        if tcp.syn() && !tcp.ack() {
            // A port may be reused.
            if let Some(before) = self.open.remove(&flow) {
                self.done.push(before.records);
            }
            if self.open.len() + self.done.len() < FLOWS {
                let began = at;
                let fresh = Connection {
                    began,
                    ..Connection::default()
                };
                self.open.insert(flow, fresh);
            }
        }
        let (up, connection) = match (self.open.contains_key(&flow), self.open.contains_key(&back))
        {
            (true, _) => (true, self.open.get_mut(&flow)),
            (_, true) => (false, self.open.get_mut(&back)),
            _ => return,
        };
        let Some(connection) = connection else {
            return;
        };
        let direction = if up {
            &mut connection.up
        } else {
            &mut connection.down
        };
        let whole = direction.take(tcp.sequence_number(), tcp.syn(), tcp.payload());
        let at = at.saturating_sub(connection.began);
        for (kind, size) in whole {
            if connection.records.len() < RECORDS {
                connection.records.push(Record { at, up, kind, size });
            }
        }
    }

    /// Returns the records of all connections.
    pub(super) fn done(mut self) -> Vec<Vec<Record>> {
        self.done.extend(self.open.into_values().map(|c| c.records));
        self.done
    }
}
