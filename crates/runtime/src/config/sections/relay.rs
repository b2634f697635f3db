//! Paths of others that the node carries on.

use std::ffi::OsString;

use betanet_keys::Peer;

use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig};

section! {
    /// Paths of others that the node carries on.
    RelaySettings "relay" "Paths of others" {
        /// Carry paths of others on to this peer, as its gateway prints it. Without any, no path is carried on.
        onward "onward" "PEER": Vec<Peer> = Vec::new();
    }
}

impl Section for RelaySettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, _found: &mut Found<'_>) {}

    fn look(&self, _all: &GatewayConfig, _found: &mut Found<'_>) {}
}
