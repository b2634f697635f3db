//! The certificate that listeners show, and the roots that are trusted.

use std::ffi::OsString;
use std::path::PathBuf;

use betanet_carrier::Certificate;
use betanet_carrier::client::Trust;
use betanet_keys::Endpoint;

use crate::Clock;
use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig, shown, told};

section! {
    /// The certificate of the listeners, and the trusted roots.
    TlsSettings "tls" "TLS" {
        /// PEM certificate chain; reloaded when it changes. By default the node keeps a self-signed certificate beside the key.
        certificate "certificate" "FILE": Option<PathBuf> = None;
        /// PEM key of --certificate.
        certificate_key "certificate_key" "FILE": Option<PathBuf> = None;
        /// Trust the certificates of this PEM file instead of Mozilla's roots, when this node dials a peer without a pin.
        ca "ca" "FILE": Option<PathBuf> = None;
        /// Host name of the self-signed certificate.
        hosts "hosts" "HOST" as "host": Vec<String> = vec!["localhost".into()];
        + /// Whether the self-signed certificate is kept beside the key. Otherwise each start creates another.
        keep: bool = true;
    }
}

impl TlsSettings {
    /// The certificate chain and its key, where both are given.
    #[must_use]
    pub fn pair(&self) -> Option<(PathBuf, PathBuf)> {
        self.certificate.clone().zip(self.certificate_key.clone())
    }
}

impl Section for TlsSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        let together = "certificate and certificate_key go together";
        match (&self.certificate, &self.certificate_key) {
            (Some(chain), None) if found.is_read("certificate_key") => {
                found.problem("certificate", &shown(chain), together);
            }
            (None, Some(key)) if found.is_read("certificate") => {
                found.problem("certificate_key", &shown(key), together);
            }
            _ => {}
        }
        if self.hosts.is_empty() {
            found.problem("hosts", "[]", "at least one host name");
        }
    }

    fn look(&self, all: &GatewayConfig, found: &mut Found<'_>) {
        if let Some(file) = &self.ca
            && let Err(e) = Trust::roots_of(file)
        {
            found.problem("ca", &shown(file), told(&e));
        }
        let Some((chain, key)) = self.pair() else {
            return;
        };
        let certificate = match Certificate::from_pem_files(&chain, &key) {
            Ok(certificate) => certificate,
            Err(e) => return found.problem("certificate", &shown(&chain), told(&e)),
        };
        let facts = certificate.facts();
        let now = i64::try_from(Clock::start().now().unix_ms / 1000).unwrap_or(i64::MAX);
        if let Err(why) = facts.counts_at(now) {
            found.problem("certificate", &shown(&chain), why);
        }
        if facts.self_signed {
            let why = "it is signed by its own key: clients are told its pin, and a renewal with another key cuts them off";
            return found.warning("certificate", &shown(&chain), why);
        }
        let advertised = &all.listener.advertise;
        for text in advertised {
            let Ok(endpoint) = Endpoint::dialled(text) else {
                continue;
            };
            let host = endpoint.address.host.bare().to_lowercase();
            if !facts.hosts.iter().any(|h| covers(h, &host)) {
                let why = format!("the certificate is for {}", facts.hosts.join(", "));
                found.problem("advertise", text, why);
            }
        }
        if advertised.is_empty() && facts.hosts.iter().all(|h| h.starts_with("*.")) {
            let why = "needed: the certificate names no host that could be printed";
            found.problem("advertise", "", why);
        }
    }
}

/// Whether a host of a certificate covers this one (RFC 6125: `*` stands for one label).
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, r)| r == rest),
        None => pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(covers("node.example", "node.example"));
        assert!(covers("*.example", "node.example"));
        assert!(!covers("*.example", "a.node.example"));
        assert!(!covers("*.example", "example"));
    }
}
