//! A client assembled from parts, which may send anything.

use std::collections::BTreeMap;

use betanet_htx::frame::{self, Frame, HEADER, Head, TAG, ty};
use betanet_htx::handshake::{self, Initiator};
use betanet_htx::{
    Cipher, Config, Event, Extra, Input, Opener, Pq, Sealer, Secrets, Session, Transmit,
    offered_caps,
};
use betanet_keys::schedule::{self, TrafficSecret};
use betanet_keys::{Identity, hash};
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Time};
use betanet_wire::caps::{self, CapMsg, SelMsg};
use betanet_wire::{cbor, msg};
use bytes::Bytes;
use zeroize::Zeroizing;

pub(crate) const NOW: Now = Now::new(Time::ZERO, 0);
pub(crate) const EKM0: [u8; 32] = [5; 32];

pub(crate) fn server_identity() -> Identity {
    Identity::from_seed(&[2; 32])
}

/// An identity whose PeerID is above or below the server's, which decides the roles.
pub(crate) fn client_identity() -> Identity {
    identity_that(|c, s| c < s)
}

fn identity_that(order: impl Fn(betanet_wire::PeerId, betanet_wire::PeerId) -> bool) -> Identity {
    let server = server_identity().public().peer_id();
    (10..)
        .map(|n| Identity::from_seed(&[n; 32]))
        .find(|id| order(id.public().peer_id(), server))
        .unwrap()
}

pub(crate) fn secrets(n: u8) -> Secrets {
    Secrets::new([n; 32], [n; 64])
}

/// A Noise initiator without the crate's rules.
pub(crate) fn noise_initiator(identity: &Identity, ephemeral: [u8; 32]) -> snow::HandshakeState {
    let server = server_identity();
    let prologue = [b"betanet/1.2".as_slice(), &EKM0, server.public().as_bytes()].concat();
    snow::Builder::with_resolver(
        "Noise_XK_25519_ChaChaPoly_SHA256".parse().unwrap(),
        handshake::resolver(ephemeral),
    )
    .local_private_key(identity.x25519().as_slice())
    .and_then(|b| b.prologue(&prologue))
    .and_then(|b| {
        b.remote_public_key(&server.public().x25519())?
            .build_initiator()
    })
    .unwrap()
}

fn cap_msg(l2: &[&str], features: &[(&str, bool)]) -> Vec<u8> {
    cbor::to_vec(&CapMsg {
        l2: l2.to_vec(),
        l3: vec![caps::MESH],
        l4: vec![],
        l5: vec![],
        l6: None,
        l7: Some(vec![caps::BAR]),
        fog: None,
        features: features.iter().copied().collect::<BTreeMap<_, _>>(),
    })
}

pub(crate) fn caps(features: &[(&str, bool)]) -> Vec<u8> {
    cap_msg(&[caps::HTX], features)
}

pub(crate) fn caps_with_l2(l2: &[&str]) -> Vec<u8> {
    cap_msg(l2, &[("padding", true), ("pq", true)])
}

pub(crate) struct Raw {
    pub(crate) server: Checked<Session>,
    pub(crate) sealer: Sealer,
    opener: Opener,
    noise_secret: [u8; 32],
    caps: Vec<u8>,
    server_caps: Vec<u8>,
    /// The cipher with which this client seals and opens the frames of epoch 1.
    pub(crate) cipher: Cipher,
    sent: u64,
    last: Option<Transmit>,
    pub(crate) closed_streams: u32,
    /// The server's clock.
    pub(crate) now: Now,
}

impl Raw {
    /// A server that has answered message 1 and receives nothing more.
    pub(crate) fn after_message1() -> Checked<Session> {
        let server = server_identity();
        let (_, m1) = Initiator::start(
            &client_identity(),
            server.public(),
            &EKM0,
            [0; 32],
            Pq::Require,
            secrets(1),
        )
        .unwrap();
        let session =
            Session::accept(NOW, Config::default(), &server, &EKM0, &m1, secrets(2)).unwrap();
        let mut server = Checked::new(session);
        assert!(server.poll_transmit().is_some());
        server
    }

    /// Completes the Noise handshake and is in epoch 0, before any message.
    pub(crate) fn shake() -> Self {
        // A server that also offers the previous version, so that a wrong choice can be made.
        Self::shake_with(caps_with_l2(&["betanet/htx/1.1.0", caps::HTX]))
    }

    /// The same, with a server of these capabilities.
    pub(crate) fn shake_with(server_caps: Vec<u8>) -> Self {
        let server = server_identity();
        let (initiator, m1) = Initiator::start(
            &client_identity(),
            server.public(),
            &EKM0,
            [0; 32],
            Pq::Require,
            secrets(1),
        )
        .unwrap();
        let config = Config {
            caps: server_caps.clone(),
            ..Config::default()
        };
        let session = Session::accept(NOW, config, &server, &EKM0, &m1, secrets(2)).unwrap();
        let mut server = Checked::new(session);
        let Some(Transmit::Bytes(m2)) = server.poll_transmit() else {
            panic!()
        };
        let (outcome, m3) = initiator.finish(&m2[2..]).unwrap();
        let mut bytes = u16::try_from(m3.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&m3);
        server
            .handle_input(NOW, Input::Bytes(bytes.into()))
            .unwrap();
        let k0 = schedule::k0(&outcome.noise_secret, &EKM0);
        Self {
            server,
            sealer: Sealer::new(TrafficSecret::client(&k0), false),
            opener: Opener::new(TrafficSecret::server(&k0), false),
            noise_secret: *outcome.noise_secret,
            caps: Vec::new(),
            server_caps,
            cipher: Cipher::default(),
            sent: 0,
            last: None,
            closed_streams: 0,
            now: NOW,
        }
    }

    fn negotiate(&mut self, message: &[u8]) {
        let mut payload =
            frame::stream_fields(self.sent, false, u16::try_from(message.len()).unwrap()).to_vec();
        payload.extend_from_slice(message);
        self.sent += message.len() as u64;
        self.send(Head::of(ty::STREAM, 1), &payload);
    }

    pub(crate) fn send_caps(&mut self, caps: &[u8]) {
        self.caps = caps.to_vec();
        self.negotiate(&msg::to_vec(&cbor::Raw(caps)));
    }

    pub(crate) fn send_selection(&mut self, l2: &str) {
        let sel = SelMsg {
            l2,
            l3: caps::MESH,
            l4: "",
            l5: "",
            l6: None,
            l7: Some(caps::BAR),
            fog: None,
        };
        self.negotiate(&msg::to_vec(&sel));
    }

    /// Selects, and derives the keys of a context in which `whose` capabilities were `believed`.
    pub(crate) fn finish_negotiation(&mut self, whose: &str, believed: &[u8]) {
        self.send_selection(caps::HTX);
        let ours = self.caps.clone();
        let theirs = self.server_caps.clone();
        let (client, server) = match whose {
            "client" => (believed, theirs.as_slice()),
            "server" => (ours.as_slice(), believed),
            _ => (ours.as_slice(), theirs.as_slice()),
        };
        let sel = SelMsg {
            l2: caps::HTX,
            l3: caps::MESH,
            l4: "",
            l5: "",
            l6: None,
            l7: Some(caps::BAR),
            fog: None,
        };
        let mine = hash(&[b"ekm1", &caps::context(&sel, client, server, &[0; 32])]);
        while let Some(transmit) = self.server.poll_transmit() {
            if let Transmit::NeedExport(context) = transmit {
                let ekm1 = Zeroizing::new(hash(&[b"ekm1", &context]));
                self.server
                    .handle_input(NOW, Input::Exported(ekm1))
                    .unwrap();
                break;
            }
        }
        let k0 = schedule::k0(&self.noise_secret, &mine);
        self.sealer = Sealer::with(self.cipher, TrafficSecret::client(&k0), false);
        self.opener = Opener::with(self.cipher, TrafficSecret::server(&k0), false);
    }

    /// In epoch 1, before this side's first frame.
    pub(crate) fn before_first_frame() -> Self {
        let mut raw = Self::shake();
        raw.send_caps(&offered_caps(true, Extra::default()));
        raw.finish_negotiation("neither", &[]);
        raw.events();
        raw
    }

    /// In epoch 1, confirmed.
    pub(crate) fn open() -> Self {
        let mut raw = Self::before_first_frame();
        raw.send(
            Head::connection(ty::WINDOW_UPDATE),
            &frame::window_update(0, 196_609),
        );
        assert_eq!(raw.events(), []);
        raw
    }

    pub(crate) fn seal(&mut self, head: Head, payload: &[u8]) -> Bytes {
        self.sealer.seal(head, payload, &[])
    }

    pub(crate) fn many(&mut self, head: Head, payload: &[u8], n: usize) -> Vec<u8> {
        (0..n).flat_map(|_| self.seal(head, payload)).collect()
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        let now = self.now;
        self.server.handle_input(now, Input::Bytes(bytes)).unwrap();
    }

    /// Advances the clock by some milliseconds.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono + core::time::Duration::from_millis(ms);
    }

    pub(crate) fn send(&mut self, head: Head, payload: &[u8]) {
        let frame = self.seal(head, payload);
        self.feed(&frame);
    }

    pub(crate) fn send_stream(&mut self, id: u32, offset: u64, data: &[u8], fin: bool) {
        let mut payload =
            frame::stream_fields(offset, fin, u16::try_from(data.len()).unwrap()).to_vec();
        payload.extend_from_slice(data);
        self.send(Head::of(ty::STREAM, id), &payload);
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    /// Takes and decrypts the server's output.
    pub(crate) fn drain(&mut self) -> Vec<Head> {
        let mut heads = Vec::new();
        while let Some(transmit) = self.server.poll_transmit() {
            if let Transmit::Bytes(bytes) = &transmit {
                let mut bytes = bytes.to_vec();
                if let Ok(head) = self.opener.open(&mut bytes) {
                    let payload = &bytes[HEADER..bytes.len() - TAG];
                    let read = Frame::read(head, payload).unwrap();
                    if matches!(read, Frame::Close { .. }) && head.stream != 0 {
                        self.closed_streams += 1;
                    }
                    heads.push(head);
                }
            }
            self.last = Some(transmit);
        }
        while self.server.poll_event().is_some() {}
        heads
    }

    pub(crate) fn was_reset(&mut self) -> bool {
        self.drain();
        self.last == Some(Transmit::Reset)
    }

    pub(crate) fn was_ended(&mut self) -> bool {
        self.drain();
        self.last == Some(Transmit::End)
    }
}
