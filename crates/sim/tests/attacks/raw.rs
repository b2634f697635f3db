//! An attacker with a correct handshake and arbitrary frames.

use betanet_bar::Handler;
use betanet_htx::frame::{self, Head, ty};
use betanet_htx::handshake::Initiator;
use betanet_htx::{Config, Extra, Input, Pq, Sealer, Secrets, Session, Transmit, offered_caps};
use betanet_keys::schedule::{self, TrafficSecret};
use betanet_keys::{Identity, hash};
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Rng};
use betanet_sim::Answering;
use betanet_stack::{Connection, Event};
use betanet_wire::caps::{self, SelMsg};
use betanet_wire::{Code, cbor, msg};
use zeroize::Zeroizing;

/// A node's side of an attacker's session, and the attacker's sealing keys.
pub(crate) struct Raw<H: Handler> {
    pub(crate) server: Checked<Answering<H>>,
    sealer: Sealer,
    /// Code with which the node ended the session.
    pub(crate) ended: Option<Code>,
}

impl<H: Handler> Raw<H> {
    /// Completes the handshake and opens the session.
    pub(crate) fn open(now: Now, node: &Identity, handler: H, rng: &mut Rng) -> Self {
        // The peer with the lower PeerID decides, and knows the selection at once.
        let me = core::iter::repeat_with(|| Identity::from_seed(&rng.array()))
            .find(|me| me.public().peer_id() < node.public().peer_id())
            .unwrap();
        let ekm0: [u8; 32] = rng.array();
        let secrets = |rng: &mut Rng| Secrets::draw(rng);
        let start = Initiator::start(
            &me,
            node.public(),
            &ekm0,
            [0; 32],
            Pq::Require,
            secrets(rng),
        );
        let (initiator, message1) = start.unwrap();
        let drawn = secrets(rng);
        let session =
            Session::accept(now, Config::default(), node, &ekm0, &message1, drawn).unwrap();
        let mut server =
            Checked::since(Answering::new(Connection::new(session), handler), now.mono);
        let Some(Transmit::Bytes(message2)) = server.poll_transmit() else {
            panic!("no message 2")
        };
        let (outcome, message3) = initiator.finish(&message2[2..]).unwrap();
        let len = u16::try_from(message3.len()).unwrap().to_be_bytes();
        let bytes = [&len[..], &message3].concat();
        server
            .handle_input(now, Input::Bytes(bytes.into()))
            .unwrap();
        let k0 = schedule::k0(&outcome.noise_secret, &ekm0);
        let mut this = Self {
            server,
            sealer: Sealer::new(TrafficSecret::client(&k0), false),
            ended: None,
        };
        let own = msg::to_vec(&cbor::Raw(&offered_caps(true, Extra::default())));
        let selected = msg::to_vec(&SelMsg {
            l2: caps::HTX,
            l3: caps::MESH,
            l4: "",
            l5: "",
            l6: None,
            l7: Some(caps::BAR),
            fog: None,
        });
        this.stream(now, 1, 0, &own, false);
        this.stream(now, 1, own.len() as u64, &selected, false);
        let context = core::iter::from_fn(|| this.server.poll_transmit()).find_map(|t| match t {
            Transmit::NeedExport(context) => Some(context),
            _ => None,
        });
        let ekm1 = hash(&[b"ekm1", &context.unwrap()]);
        let exported = Input::Exported(Zeroizing::new(ekm1));
        this.server.handle_input(now, exported).unwrap();
        let k0 = schedule::k0(&outcome.noise_secret, &ekm1);
        this.sealer = Sealer::new(TrafficSecret::client(&k0), false);
        let credit = frame::window_update(0, 196_609);
        this.frame(now, Head::connection(ty::WINDOW_UPDATE), &credit);
        assert_eq!(this.ended, None);
        this
    }

    pub(crate) fn frame(&mut self, now: Now, head: Head, payload: &[u8]) {
        let bytes = self.sealer.seal(head, payload, &[]);
        // Refused by a session that is over, which has reported its end.
        let _ = self.server.handle_input(now, Input::Bytes(bytes));
        while let Some(event) = self.server.poll_event() {
            if let Event::Closed { code, .. } = event {
                self.ended = Some(code);
            }
        }
    }

    pub(crate) fn stream(&mut self, now: Now, id: u32, at: u64, data: &[u8], fin: bool) {
        let len = u16::try_from(data.len()).unwrap();
        let fields = frame::stream_fields(at, fin, len);
        self.frame(now, Head::of(ty::STREAM, id), &[&fields, data].concat());
    }

    /// Drops the node's output.
    pub(crate) fn drain(&mut self, now: Now) {
        self.server.handle_timeout(now);
        while self.server.poll_transmit().is_some() {}
    }
}
