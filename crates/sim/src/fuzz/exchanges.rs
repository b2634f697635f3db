//! Directories and registries, and a gateway's exchanges with arbitrary clients.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_bar::{Access, MemoryStore, Service};
use betanet_keys::Envelope;
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Time};
use betanet_mix::{
    Ack, Delivered, Directory, Fragment, Kind, MixKeys, Net, PAYLOAD, RecipientConfig, SURB, Surb,
    Via,
};
use betanet_wire::ChargeTo;

use crate::MixServer;

/// Directories, envelopes and relay keys: decoding and encoding agree.
pub fn directory(data: &[u8]) {
    if let Ok(envelope) = Envelope::from_bytes(data) {
        assert!(Envelope::from_bytes(&envelope.to_bytes()) == Ok(envelope));
    }
    if let Ok(directory) = Directory::from_record(data) {
        assert!(directory.relays.len() <= 4096 && (1..=7).contains(&directory.layers));
        let again = Directory::from_record(&directory.to_record());
        assert!(again.as_ref() == Ok(&directory));
    }
    if let Ok(keys) = MixKeys::from_bytes(data) {
        assert!(MixKeys::from_bytes(&keys.to_bytes()) == Ok(keys));
    }
    if let Some(net) = core::str::from_utf8(data)
        .ok()
        .and_then(|t| t.parse::<Net>().ok())
    {
        assert!(
            alloc::format!("{net}").as_bytes() == data,
            "one way of writing it"
        );
    }
}

/// A gateway with arbitrary input from several clients at once: it keeps its contract and its bounds.
pub fn exchanges(data: &[u8]) {
    let service = Service::new(MemoryStore::new(1 << 16), Access::Anyone);
    let config = RecipientConfig { exchanges: 8 };
    let mut server = Checked::new(MixServer::new(config, service));
    let mut mono = Time::ZERO;
    let mut rest = data;
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        rest = after;
        let [what, session, message, index, count, blocks, len, step] = *head;
        mono = mono + Duration::from_millis(u64::from(step) * u64::from(step));
        let now = Now::new(mono, mono.as_micros() / 1000);
        server.handle_timeout(now);
        let len = usize::from(len).min(rest.len());
        let (bytes, after) = rest.split_at(len);
        rest = after;
        let kind = match what % 4 {
            0 | 1 => Kind::Request,
            2 => Kind::Acknowledgement,
            _ => Kind::Loop,
        };
        let data = match kind {
            Kind::Acknowledgement => Ack {
                base: index.into(),
                bitmap: u64::from_le_bytes([*bytes.first().unwrap_or(&0); 8]),
            }
            .to_bytes()
            .to_vec(),
            _ => bytes.to_vec(),
        };
        let fragment = Fragment {
            kind,
            message: [message % 16; 8],
            index: index.into(),
            count: count.into(),
            surbs: (0..blocks % 5)
                .map(|b| Surb::from_bytes([b; SURB]))
                .collect::<Vec<_>>(),
            data,
        };
        let payload = match fragment.to_payload() {
            Ok(payload) => payload,
            // Input that no client would send is passed as it is.
            Err(_) => {
                let mut payload = [what; PAYLOAD];
                let len = bytes.len().min(PAYLOAD);
                payload[..len].copy_from_slice(&bytes[..len]);
                payload
            }
        };
        let delivered = Delivered {
            via: Via {
                session: (session % 4).into(),
                charge: ChargeTo::V4([session % 2; 4]),
            },
            payload: Box::new(payload),
        };
        // Refused only if too much is queued, and everything is taken below.
        assert!(server.handle_input(now, delivered).is_ok());
        while server.poll_transmit().is_some() {}
        while server.poll_event().is_some() {}
        assert!(server.get().exchanges() <= 8);
    }
}
