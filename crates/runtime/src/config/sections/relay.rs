//! Paths of others that the node carries on.

use std::ffi::OsString;

use betanet_keys::Peer;

use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig};

section! {
    /// Relaying of other nodes' paths.
    RelaySettings "relay" "Paths of others" {
        /// Carry other nodes' paths to this peer, as its gateway prints it. By default the node carries no paths.
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
