//! Peers of version 1.1.

use std::ffi::OsString;
use std::path::PathBuf;

use betanet_keys::Peer;

use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Compat11, Found, GatewayConfig, Server11, shown};

section! {
    /// Connections to peers of version 1.1, which is off by default.
    LegacySettings "legacy" "Version 1.1" {
        /// Accept sessions that a translating peer joins with a connection of protocol version 1.1.
        accept "compat11" "": bool = false;
        /// Accept connections of clients of 1.1. FILE holds the key for their tickets, and is created if missing.
        tickets "compat11_tickets" "FILE": Option<PathBuf> = None;
        /// Peer to which those connections are joined, as its gateway prints it. A client may ask for a path to it that begins
        /// with an --onward peer, or a peer known from --network.
        to "compat11_to" "PEER": Option<Peer> = None;
        /// Join the sessions of --compat11 with connections to this server of 1.1: HOST:PORT,key=HEX,id=HEX[,pin=HEX].
        dial "compat11_dial" "SERVER": Option<Server11> = None;
    }
}

impl LegacySettings {
    /// The same, as the part that speaks 1.1 takes it.
    #[must_use]
    pub fn compat11(&self) -> Compat11 {
        Compat11 {
            accept: self.accept,
            take: self.tickets.clone().zip(self.to.clone()),
            dial: self.dial.clone(),
        }
    }
}

impl Section for LegacySettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        let together = "compat11_tickets and compat11_to go together";
        match (&self.tickets, &self.to) {
            (Some(tickets), None) if found.is_read("compat11_to") => {
                found.problem("compat11_tickets", &shown(tickets), together);
            }
            (None, Some(to)) if found.is_read("compat11_tickets") => {
                found.problem("compat11_to", &to.to_string(), together);
            }
            _ => {}
        }
        if !self.accept && found.is_read("compat11") {
            let joins = "compat11_dial joins the sessions that compat11 = true (--compat11) takes";
            match &self.dial {
                Some(server) => found.problem("compat11_dial", &server.address, joins),
                None if !found.is_read("compat11_dial") => {
                    found.problem("compat11", "false", joins);
                }
                None => {}
            }
        }
    }

    fn look(&self, _all: &GatewayConfig, _found: &mut Found<'_>) {}
}
