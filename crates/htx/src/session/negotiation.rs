//! Epoch 0: capabilities, the selection, and the step to epoch 1.

use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::Time;
use betanet_wire::caps::{self, Agreed, CapMsg, SelMsg};
use betanet_wire::{Code, cbor, msg};

use super::{CLIENT_DEADLINE, Phase, SERVER_DEADLINE, Session, Transmit};
use crate::Outer;
use crate::frame::{self, Frame, Head, ty};
use crate::handshake::Outcome;

/// The stream of epoch 0.
const STREAM: u32 = 1;

/// Bytes received and sent on stream 1.
#[derive(Debug, Default, Hash)]
pub(super) struct Negotiation {
    buffer: Vec<u8>,
    received: u64,
    sent: u64,
    theirs: Option<Vec<u8>>,
    decider: bool,
}

/// Why epoch 0 failed: code and reason of the CLOSE.
type Failure = (Code, &'static str);

const MALFORMED: Failure = (Code::MALFORMED_FRAME, "negotiation message");

impl Session {
    /// Starts epoch 0 with our capabilities after the handshake.
    pub(super) fn negotiate(&mut self, now: Time, outcome: Outcome) {
        let (ours, theirs) = (self.own.peer_id(), outcome.peer.peer_id());
        self.negotiation.decider = ours < theirs;
        self.outcome = Some(outcome);
        let ekm0 = self.ekm0.clone();
        self.install(&ekm0);
        self.begin_frames();
        if ours == theirs {
            return self.fail(now, Code::AUTH_FAILED, "both ends have one identity");
        }
        let caps = self.config.caps.clone();
        self.send_negotiation(now, &msg::to_vec(&cbor::Raw(&caps)));
    }

    fn send_negotiation(&mut self, now: Time, message: &[u8]) {
        for part in message.chunks(self.config.frame_data) {
            let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
            let fields = frame::stream_fields(self.negotiation.sent, false, len);
            self.negotiation.sent += part.len() as u64;
            self.send_frame(now, Head::of(ty::STREAM, STREAM), &fields, part);
        }
    }

    pub(super) fn route_epoch0(&mut self, now: Time, head: Head, frame: Frame<'_>) {
        match frame {
            Frame::Stream {
                offset,
                fin: false,
                data,
            } if head.stream == STREAM && offset == self.negotiation.received => {
                self.negotiation.received += data.len() as u64;
                self.negotiation.buffer.extend_from_slice(data);
                if data.is_empty() {
                    self.without_progress(now, 1);
                }
                if let Err((code, reason)) = self.read_negotiation(now) {
                    self.fail(now, code, reason);
                }
            }
            Frame::Close { code, reason } if head.stream == 0 => {
                self.peer_closed(now, code, reason);
            }
            _ => self.fail(now, Code::MALFORMED_FRAME, "not a frame of epoch 0"),
        }
    }

    fn read_negotiation(&mut self, now: Time) -> Result<(), Failure> {
        loop {
            let buffer = core::mem::take(&mut self.negotiation.buffer);
            let Some((message, rest)) =
                msg::split(&buffer, msg::CAPS_MAX).map_err(|_| MALFORMED)?
            else {
                self.negotiation.buffer = buffer;
                return Ok(());
            };
            self.negotiation.buffer = rest.to_vec();
            if self.negotiation.theirs.is_none() {
                self.read_caps(now, message)?;
            } else {
                self.read_selection(now, message)?;
            }
            if !matches!(self.phase, Phase::Negotiating) {
                return Ok(());
            }
        }
    }

    fn read_caps(&mut self, now: Time, message: &[u8]) -> Result<(), Failure> {
        let theirs: CapMsg<'_> = cbor::from_slice(message).map_err(|_| MALFORMED)?;
        let config_caps = self.config.caps.clone();
        let ours: CapMsg<'_> = cbor::from_slice(&config_caps)
            .map_err(|_| (Code::INTERNAL_ERROR, "our capabilities do not decode"))?;
        let offers = |c: &CapMsg<'_>| c.features.get("pq").copied() == Some(true);
        if self.pq() != (offers(&theirs) && offers(&ours)) {
            return Err((Code::AUTH_FAILED, "pq contradicts message 2"));
        }
        self.negotiation.theirs = Some(message.to_vec());
        if !self.negotiation.decider {
            return Ok(());
        }
        let sel = caps::select(&ours, &theirs)
            .map_err(|_| (Code::VERSION_NEGOTIATION_FAILED, "no common version"))?;
        self.send_negotiation(now, &msg::to_vec(&sel));
        self.settle(now, &ours, &theirs, &sel, message)
    }

    fn read_selection(&mut self, now: Time, message: &[u8]) -> Result<(), Failure> {
        let sel: SelMsg<'_> = cbor::from_slice(message).map_err(|_| MALFORMED)?;
        let config_caps = self.config.caps.clone();
        let raw = self.negotiation.theirs.clone().unwrap_or_default();
        let ours: CapMsg<'_> = cbor::from_slice(&config_caps).map_err(|_| MALFORMED)?;
        let theirs: CapMsg<'_> = cbor::from_slice(&raw).map_err(|_| MALFORMED)?;
        caps::verify(&ours, &theirs, &sel).map_err(|_| {
            (
                Code::VERSION_NEGOTIATION_FAILED,
                "not the selection that the offers give",
            )
        })?;
        self.settle(now, &ours, &theirs, &sel, &raw)
    }

    /// Requests the keys bound to the selection, once both ends know it.
    fn settle(
        &mut self,
        now: Time,
        ours: &CapMsg<'_>,
        theirs: &CapMsg<'_>,
        sel: &SelMsg<'_>,
        theirs_raw: &[u8],
    ) -> Result<(), Failure> {
        if !self.negotiation.buffer.is_empty() {
            return Err(MALFORMED);
        }
        self.agreed = Some(Agreed::new(ours, theirs, sel));
        let template = self.template().copied().unwrap_or_default();
        let (client, server) = if self.client {
            (self.config.caps.as_slice(), theirs_raw)
        } else {
            (theirs_raw, self.config.caps.as_slice())
        };
        let context = caps::context(sel, client, server, &template);
        // From here only the keys depend on the exchanged messages.
        self.negotiation = Negotiation::default();
        self.config.caps = Vec::new();
        self.phase = Phase::Exporting;
        match &self.config.outer {
            Outer::Tls => self.transmit(now, Transmit::NeedExport(context)),
            Outer::Forward(_) => {
                let ekm1 = betanet_keys::hash(&[b"BN-FWD1", &context]);
                self.enter_epoch1(now, &ekm1);
            }
        }
        Ok(())
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let within: Duration = if self.client {
            CLIENT_DEADLINE
        } else {
            SERVER_DEADLINE
        };
        match self.phase {
            Phase::Message2(_) | Phase::Message3(_) | Phase::Negotiating | Phase::Exporting => {
                Some(self.began + within)
            }
            Phase::Open { .. } | Phase::Closing | Phase::Closed => None,
        }
    }

    pub(super) fn check_deadline(&mut self, now: Time) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.break_locally(now, Code::AUTH_FAILED, "the handshake took too long");
        }
    }
}
