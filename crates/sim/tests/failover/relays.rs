//! The relays of the world: each is the machine that `runtime` runs, on sessions and streams of the simulated world.

use std::collections::VecDeque;

use betanet_machine::Machine as _;
use betanet_machine::testkit::Checked;
use betanet_path::relay::{self, First, Relay, Rules};
use betanet_path::{Cf, Control};
use betanet_sim::{Id, LinkId, Side};
use betanet_stack::Command;
use bytes::{Bytes, BytesMut};

use super::{EXIT, End, Fabric, Tunnel, identity};

/// A stream with a known path ID.
pub(super) type Begun = (End, First);
/// A relay, keyed by the world's sessions and streams.
pub(super) type Carrier = Relay<(LinkId, Side), LinkId, Begun>;
pub(super) type Told = relay::Input<(LinkId, Side), LinkId, Begun>;
pub(super) type Wanted = relay::Transmit<(LinkId, Side), LinkId, Begun>;

/// A relay whose paths may continue to all nodes.
pub(super) fn carrier(id: Id) -> Checked<Carrier> {
    let nodes = (1..=EXIT).map(|n| identity(n).public().node_id());
    let rules = Rules {
        onward: nodes.collect(),
        carries: false,
    };
    Checked::new(Relay::new(identity(id).public().node_id(), rules, 1024))
}

impl Fabric {
    /// Passes an input to a relay and carries out its outputs.
    pub(super) fn told(&mut self, me: Id, input: Told) {
        let now = self.now();
        let relay = self.relays.get_mut(&me).unwrap();
        relay.handle_input(now, input).unwrap();
        self.carries(me);
    }

    pub(super) fn carries(&mut self, me: Id) {
        while let Some(wanted) = self.relays.get_mut(&me).unwrap().poll_transmit() {
            self.perform(me, wanted);
        }
        while let Some(event) = self.relays.get_mut(&me).unwrap().poll_event() {
            let relay::Event::Session { stream, nodes, .. } = event else {
                continue;
            };
            let (end, mut first) = stream;
            first.ends_here(self.now());
            let tunnel = Tunnel {
                inner: None,
                first: Some(first),
                nodes,
                waiting: VecDeque::new(),
            };
            self.tunnels.insert(end, tunnel);
            self.inward(end, &Bytes::new());
        }
    }

    fn perform(&mut self, me: Id, wanted: Wanted) {
        use relay::Transmit::{Acknowledge, Answer, Check, Dial, Fail, Open, Refuse, Reject};
        match wanted {
            Check(work) => self.told(me, relay::Input::Judged(work.run(&identity(me)))),
            Answer { to, message } => self.message(to, &message.sign(&identity(me))),
            Acknowledge { to, token } => {
                let cf = Cf::default();
                self.message(to, &Control::ProbeAck { token, cf });
            }
            Dial {
                dial,
                next,
                control,
                ..
            } => {
                let to = (1..=EXIT).find(|id| identity(*id).public().node_id() == next);
                let ahead = self.links[&(me, to.unwrap())];
                self.message((ahead, Side::Client), &control);
                self.told(me, relay::Input::Reached { dial, ahead });
            }
            Open {
                stream: (end, first),
                ahead,
                onward,
                place,
            } => {
                let mut head = BytesMut::from(&onward[..]);
                head.extend_from_slice(&first.into_rest());
                let opened = self.open(me, self.ends(ahead).1, head.freeze());
                self.splices.insert(end, opened);
                self.splices.insert(opened, end);
                self.places.insert(opened, place);
            }
            Fail { told, streams } => {
                assert!(streams.is_empty(), "dials are over at once");
                if let Some((to, message)) = told {
                    self.message(to, &message.sign(&identity(me)));
                }
            }
            refused @ (Refuse { .. } | Reject { .. }) => panic!("{me}: {refused:?}"),
        }
    }

    fn message(&mut self, (link, side): (LinkId, Side), control: &Control) {
        let control = Command::PathControl(control.to_bytes().into());
        // A session that is gone needs no message.
        let _ = self.world.command(link, side, control);
    }
}
