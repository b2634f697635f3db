//! Rewrites output below TLS during the handshake: records of rustls in, records of OpenSSL out.

use betanet_traffic::template;

use super::hello::{Client, server_hello};
use super::refuse::Refusal;
use super::seal::WRAPPED;

/// Maximum length of a record's plaintext.
const FRAGMENT: usize = 16_384;
/// Maximum number of bytes kept of a hello's records: more than any parsed hello, plus the excess of one record.
const HELLO_MAX: usize = 2 * template::HELLO_MAX;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// Rewrites the output of rustls until the handshake's end.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// The client's first bytes, by which some are refused.
    first: Vec<u8>,
    /// An incomplete record of the client.
    came: Vec<u8>,
    /// Handshake bytes of the complete records.
    hello: Vec<u8>,
    client: Option<Client>,
    heard: bool,
    /// An incomplete record of rustls.
    record: Vec<u8>,
    /// Incomplete messages in the clear.
    messages: Vec<u8>,
    /// Whether handshake messages are sealed, after TLS 1.2's change of ciphers.
    sealed: bool,
    tls13: bool,
    /// Whether a TLS 1.2 session was resumed, after which no ticket follows.
    resumed12: bool,
    /// Whether alerts leave unchanged. Until then [`Refusal`] decides the bytes sent in their place.
    answering: bool,
    refusal: Option<Refusal>,
}

impl Outgoing {
    /// Takes input from the client.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        if self.heard {
            return;
        }
        let few = Refusal::LOOKS.saturating_sub(self.first.len());
        self.first.extend_from_slice(&bytes[..bytes.len().min(few)]);
        self.refusal = Refusal::of_bytes(&self.first);
        self.came.extend_from_slice(bytes);
        // Each byte is inspected once, however few arrive at a time.
        let mut at = 0;
        while !self.heard
            && let Some((head, rest)) = self.came[at..].split_first_chunk::<5>()
        {
            let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
            if head[0] != HANDSHAKE || self.hello.len() + len > HELLO_MAX {
                self.heard = true;
            } else if let Some(payload) = rest.get(..len) {
                self.hello.extend_from_slice(payload);
                at += head.len() + len;
                self.read_hello();
            } else {
                break;
            }
        }
        self.came.drain(..at);
        if self.heard {
            self.first = Vec::new();
            self.came = Vec::new();
            self.hello = Vec::new();
        }
    }

    /// Parses the hello once it is complete; later input is ignored.
    fn read_hello(&mut self) {
        let whole = self.hello.first_chunk::<4>().is_some_and(|head| {
            let len = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
            self.hello.len() >= 4 + len
        });
        if whole {
            self.client = Client::of(&self.hello);
            self.heard = true;
        }
    }

    /// Refusal of the input, before rustls has seen it, or in place of a retained alert of rustls.
    pub(crate) const fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// From now on all output of rustls leaves, including alerts.
    pub(crate) const fn answer(&mut self) {
        self.answering = true;
    }

    /// Contents of the client's hello, once it is complete.
    pub(crate) const fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Takes output of rustls, and appends the bytes to send in its place.
    pub(crate) fn say(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.record.extend_from_slice(bytes);
        let record = std::mem::take(&mut self.record);
        let mut rest = &record[..];
        while let Some((head, behind)) = rest.split_first_chunk::<5>() {
            let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
            let Some((payload, next)) = behind.split_at_checked(len) else {
                break;
            };
            let version = u16::from_be_bytes([head[1], head[2]]);
            match head[0] {
                _ if version == WRAPPED => out.extend_from_slice(payload),
                ALERT if !self.answering => {
                    let code = payload.get(1).copied().unwrap_or_default();
                    self.refusal = self.refusal.or(Some(Refusal::with(code)));
                }
                HANDSHAKE if !self.sealed => self.clear(version, payload, out),
                kind => {
                    self.sealed |= kind == CHANGE_CIPHER_SPEC && !self.tls13;
                    out.extend_from_slice(head);
                    out.extend_from_slice(payload);
                }
            }
            rest = next;
        }
        self.record = rest.to_vec();
    }

    /// Writes messages in the clear, each in a record of its own.
    fn clear(&mut self, version: u16, payload: &[u8], out: &mut Vec<u8>) {
        self.messages.extend_from_slice(payload);
        let messages = std::mem::take(&mut self.messages);
        let mut rest = &messages[..];
        while let Some(head) = rest.first_chunk::<4>() {
            let len = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
            let Some((message, next)) = rest.split_at_checked(4 + len) else {
                break;
            };
            let hello = server_hello(message, self.client.as_ref());
            if let Some(hello) = &hello {
                self.tls13 = hello.tls13;
                self.resumed12 = hello.resumed && !hello.tls13;
            }
            rest = next;
            if self.resumed12 && head[0] == 4 {
                continue;
            }
            let said = hello.as_ref().map_or(message, |h| &h.message);
            for part in said.chunks(FRAGMENT) {
                out.push(HANDSHAKE);
                out.extend(version.to_be_bytes());
                // A part never exceeds a record.
                let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
                out.extend(len.to_be_bytes());
                out.extend_from_slice(part);
            }
        }
        self.messages = rest.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest possible hello without its end is kept; further bytes are not.
    #[test]
    fn a_hello_that_does_not_end_is_kept_up_to_its_bound_and_then_no_more() {
        let len = u16::try_from(FRAGMENT).unwrap().to_be_bytes();
        let head = [HANDSHAKE, 3, 1, len[0], len[1]];
        // A ClientHello of 2^17 bytes, which OpenSSL awaits and rustls refuses.
        let first = [&[1, 2, 0, 0][..], &[0; FRAGMENT - 4]].concat();
        let mut bytes = [&head[..], &first].concat();
        for _ in 0..7 {
            bytes.extend(head);
            bytes.extend([0; FRAGMENT]);
        }
        for piece in [1_000, 70_000] {
            let mut outgoing = Outgoing::default();
            let mut most = 0;
            for some in bytes.chunks(piece) {
                outgoing.hear(some);
                most = most.max(outgoing.came.len());
            }
            assert!(most <= HELLO_MAX, "{most}");
            assert!(outgoing.heard && outgoing.client().is_none());
            assert_eq!(outgoing.came.capacity(), 0, "nothing of it is kept");
        }
    }
}
