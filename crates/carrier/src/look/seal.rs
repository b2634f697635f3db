//! Sealing as OpenSSL does it: one record per handshake message, where rustls puts a flight into one.

use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};

use super::expand::DRAWN;
use super::hello::{self, message};
use super::{AGREED, Agreed};

/// Version of a record that wraps whole records instead of a payload, until [`super::Outgoing`] unwraps it. It never appears on
/// the wire.
pub(super) const WRAPPED: u16 = 0xbe7a;

pub(super) struct Aead(&'static dyn Tls13AeadAlgorithm);

impl Aead {
    pub(super) const fn of(inner: &'static dyn Tls13AeadAlgorithm) -> Self {
        Self(inner)
    }
}

impl Tls13AeadAlgorithm for Aead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Sealer {
            inner: self.0.encrypter(key, iv),
            agreed: AGREED.get(),
            more: 0,
            unfinished: 0,
            tickets: 0,
        })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

struct Sealer {
    inner: Box<dyn MessageEncrypter>,
    agreed: Agreed,
    /// Number of records unknown to rustls, to be added to a record's sequence number.
    more: u64,
    /// Remaining bytes of a message that began in the previous fragment.
    unfinished: usize,
    tickets: u64,
}

impl Sealer {
    /// A message in OpenSSL's form.
    fn said(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match bytes.first()? {
            8 => hello::encrypted_extensions(bytes, self.agreed),
            4 => {
                let body = bytes.get(4..)?;
                let (head, rest) = body.split_at_checked(8)?;
                let (nonce, rest) = rest.split_first()?;
                let ticket = rest.get(DRAWN..).filter(|_| usize::from(*nonce) == DRAWN)?;
                let mut out = head.to_vec();
                out.push(8);
                out.extend(self.tickets.to_be_bytes());
                self.tickets += 1;
                out.extend_from_slice(ticket);
                message(4, &out)
            }
            _ => None,
        }
    }

    /// Splits a fragment of a flight into parts, each sealed in its own record.
    fn parts(&mut self, mut rest: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        if self.unfinished > 0 {
            let (end, next) = rest.split_at(self.unfinished.min(rest.len()));
            self.unfinished -= end.len();
            out.push(end.to_vec());
            rest = next;
        }
        while !rest.is_empty() {
            let len = rest.first_chunk::<4>().map_or(rest.len(), |h| {
                4 + (usize::from(h[1]) << 16 | usize::from(h[2]) << 8 | usize::from(h[3]))
            });
            let (one, next) = rest.split_at(len.min(rest.len()));
            self.unfinished = len - one.len();
            let said = (self.unfinished == 0).then(|| self.said(one)).flatten();
            out.push(said.unwrap_or_else(|| one.to_vec()));
            rest = next;
        }
        out
    }
}

impl MessageEncrypter for Sealer {
    fn encrypt(
        &mut self,
        msg: OutboundPlainMessage<'_>,
        seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        if msg.typ != ContentType::Handshake {
            return self.inner.encrypt(msg, seq + self.more);
        }
        let flight = msg.payload.to_vec();
        let mut parts = self.parts(&flight);
        // OpenSSL gives one ticket to a resuming client, where rustls gives two.
        if self.agreed.resumed && parts.len() > 1 && parts.iter().all(|p| p.first() == Some(&4)) {
            parts.truncate(1);
        }
        // After the handshake nothing is unwrapped: a KeyUpdate is one message, which stays unchanged.
        if parts.len() == 1 && parts[0] == flight {
            return self.inner.encrypt(msg, seq + self.more);
        }
        let mut wrapped = PrefixedPayload::with_capacity(msg.payload.len() + 64 * parts.len());
        for (n, part) in parts.iter().enumerate() {
            self.more += u64::from(n > 0);
            let one = OutboundPlainMessage {
                typ: msg.typ,
                version: msg.version,
                payload: OutboundChunks::Single(part),
            };
            let sealed = self.inner.encrypt(one, seq + self.more)?;
            wrapped.extend_from_slice(&sealed.encode());
        }
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::from(WRAPPED),
            wrapped,
        ))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.inner.encrypted_payload_len(payload_len)
    }
}
