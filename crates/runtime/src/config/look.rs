//! What settings name, looked at without touching it: keys, certificates, folders, addresses.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use betanet_carrier::Certificate;
use betanet_carrier::client::Trust;
use betanet_keys::{Address, Endpoint, Host};
use betanet_mesh::Role;

use super::exposed::Exposed;
use super::{CoverSite, GatewayConfig, Problem, SettingSource};
use crate::health::writable;
use crate::reach::interfaces;
use crate::{Clock, FrontRules, Network, load_identity, readable_log};

/// Ports below which a process needs a capability, unless the system says otherwise.
const PRIVILEGED: u16 = 1024;
/// CAP_NET_BIND_SERVICE's bit.
const MAY_BIND: u32 = 10;

/// What was found wrong with settings that read well.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// What keeps the node from starting, or from being reached.
    pub problems: Vec<Problem>,
    /// What may be meant so.
    pub warnings: Vec<Problem>,
}

struct Look<'a> {
    origin: &'a SettingSource,
    found: Looked,
}

impl GatewayConfig {
    /// Looks at all that the settings name: whether keys, certificates and files read and fit, folders can be used, and addresses are
    /// this machine's. Makes no file, binds no port, asks no network.
    #[must_use]
    pub fn look(&self, origin: &SettingSource) -> Looked {
        let mut look = Look {
            origin,
            found: Looked::default(),
        };
        look.key(self);
        look.certificate(self);
        look.folders(self);
        look.network(self);
        look.addresses(self);
        // The process that is started may have another limit than this one.
        let connections = self.max_connections;
        if let Err(e) = crate::descriptors::connections(connections, self.jitter.is_some()) {
            let value = connections.map_or_else(String::new, |n| n.to_string());
            look.warning("max_connections", &value, e.to_string());
        }
        if let Err(why) = readable_log(&self.log) {
            look.problem("log", &self.log, why);
        }
        if let Some(file) = &self.ca
            && let Err(e) = Trust::roots_of(file)
        {
            look.problem("ca", &shown(file), told(&e));
        }
        look.found
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// An error and what caused it.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => {
            format!("{error}: {source}")
        }
        _ => error.to_string(),
    }
}

impl Look<'_> {
    fn make(&self, key: &'static str, value: &str, why: impl Into<String>) -> Problem {
        Problem {
            origin: self.origin.of(key).to_owned(),
            key: key.into(),
            value: value.to_owned(),
            allowed: why.into(),
        }
    }

    fn problem(&mut self, key: &'static str, value: &str, why: impl Into<String>) {
        let problem = self.make(key, value, why);
        self.found.problems.push(problem);
    }

    fn warning(&mut self, key: &'static str, value: &str, why: impl Into<String>) {
        let warning = self.make(key, value, why);
        self.found.warnings.push(warning);
    }

    fn key(&mut self, config: &GatewayConfig) {
        let path = &config.key;
        if path.exists() {
            if let Err(e) = load_identity(path) {
                // The error names the path too.
                let text = told(&e);
                let why = text.strip_prefix(&format!("{}: ", path.display()));
                self.problem("key", &shown(path), why.unwrap_or(&text));
            }
        } else {
            let mut folder = path.parent().unwrap_or(Path::new(""));
            while !folder.exists() && folder.parent().is_some() {
                folder = folder.parent().unwrap_or(folder);
            }
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            if let Err(e) = writable(folder) {
                let why = format!("it is to be made, but in {}: {e}", folder.display());
                self.problem("key", &shown(path), why);
            }
        }
        if let Some(Exposed { key, file, by, .. }) = config.exposed() {
            let why = format!("it lies in the folder of {by}, where others could fetch it");
            self.problem(key, &shown(&file), why);
        }
    }

    fn certificate(&mut self, config: &GatewayConfig) {
        let Some((chain, key)) = &config.certificate else {
            return;
        };
        let certificate = match Certificate::from_pem_files(chain, key) {
            Ok(certificate) => certificate,
            Err(e) => return self.problem("certificate", &shown(chain), told(&e)),
        };
        let facts = certificate.facts();
        let now = i64::try_from(Clock::start().now().unix_ms / 1000).unwrap_or(i64::MAX);
        if let Err(why) = facts.counts_at(now) {
            self.problem("certificate", &shown(chain), why);
        }
        if facts.self_signed {
            let why = "it is signed by its own key: clients are told its pin, and a renewal with another key cuts them off";
            return self.warning("certificate", &shown(chain), why);
        }
        for advertised in &config.advertise {
            let Ok(endpoint) = Endpoint::dialled(advertised) else {
                continue;
            };
            let host = endpoint.address.host.bare().to_lowercase();
            if !facts.hosts.iter().any(|h| covers(h, &host)) {
                let why = format!("the certificate is for {}", facts.hosts.join(", "));
                self.problem("advertise", advertised, why);
            }
        }
        if config.advertise.is_empty() && facts.hosts.iter().all(|h| h.starts_with("*.")) {
            let why = "needed: the certificate names no host that could be printed";
            self.problem("advertise", "", why);
        }
    }

    fn folders(&mut self, config: &GatewayConfig) {
        if let Some(folder) = &config.serve {
            if let Err(e) = std::fs::read_dir(folder) {
                self.problem("serve", &shown(folder), e.to_string());
            } else if config.may_write()
                && let Err(e) = writable(folder)
            {
                let why = format!("others are let write, and it cannot be written: {e}");
                self.problem("serve", &shown(folder), why);
            }
        }
        if let Some(folder) = cover_folder(config) {
            if let Err(e) = std::fs::read_dir(&folder) {
                self.problem("cover", &shown(&folder), e.to_string());
            } else if !folder.join("index.html").is_file() {
                let why = "it has no index.html: the site's first page is an error";
                self.warning("cover", &shown(&folder), why);
            }
        }
    }

    fn network(&mut self, config: &GatewayConfig) {
        let Some(file) = &config.network else {
            return;
        };
        let network = match Network::read(file) {
            Ok(network) => network,
            Err(e) => return self.problem("network", &shown(file), e.to_string()),
        };
        if let Some(records) = &config.front_origins
            && let Err(e) = FrontRules::read(config.profile, Some(records), &network)
        {
            self.problem("front_origins", &shown(records), told(&e));
        }
        if network.mix.is_none() && config.roles.has(Role::Mix) {
            self.problem("roles", "mix", "the network has no [mix] part");
        }
        if network.mix.is_some() {
            let needed = crate::replay_memory::needed(config.mix_rate);
            if needed > config.mix_memory {
                let why = format!("mix_rate = {} needs {needed}", config.mix_rate);
                self.problem("mix_memory", &config.mix_memory.to_string(), why);
            }
        }
        if config.roles.has(Role::Seed)
            && let Ok(identity) = load_identity(&config.key)
            && !network.seeds.iter().any(|s| s.key == *identity.public())
        {
            let why = "the network's file names other keys as its seeds: nobody asks this node";
            self.warning("roles", "seed", why);
        }
    }

    fn addresses(&mut self, config: &GatewayConfig) {
        let own = interfaces();
        let mine = |ip: &IpAddr| {
            ip.is_unspecified() || ip.is_loopback() || own.is_empty() || own.contains(ip)
        };
        for text in &config.listen {
            let Ok(Address { host, port }) = text.parse::<Address>() else {
                continue;
            };
            if let Host::Ip(ip) = &host
                && !mine(ip)
            {
                self.problem("listen", text, "it is no address of this machine");
            }
            if let Some(admin) = &config.admin
                && admin.port() == port
                && port != 0
                && matches!(&host, Host::Ip(ip) if ip.is_unspecified() || *ip == admin.ip())
            {
                self.problem("admin", &admin.to_string(), "listen has this port already");
            }
            if port != 0 && port < privileged() && !may_bind() {
                let why = "this user may not listen there: it takes root, or CAP_NET_BIND_SERVICE, which the systemd unit gives";
                self.warning("listen", text, why);
            }
        }
        if let Some(ip) = config.dial_from.filter(|ip| !mine(ip)) {
            let why = "it is no address of this machine";
            self.problem("dial_from", &ip.to_string(), why);
        }
    }
}

fn cover_folder(config: &GatewayConfig) -> Option<PathBuf> {
    match &config.cover {
        CoverSite::Folder(folder) => Some(folder.clone()),
        CoverSite::Origin(_) | CoverSite::Made => None,
    }
}

/// Whether a host of a certificate covers this one (RFC 6125: `*` stands for one label).
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, r)| r == rest),
        None => pattern == host,
    }
}

/// The first port that anybody may listen at.
fn privileged() -> u16 {
    let told = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let told = told.ok().and_then(|t| t.trim().parse().ok());
    told.unwrap_or(PRIVILEGED)
}

/// Whether this process may listen at any port; held to be so where the system does not tell.
fn may_bind() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caps = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let caps = caps.and_then(|c| u64::from_str_radix(c.trim(), 16).ok());
    caps.is_none_or(|caps| caps >> MAY_BIND & 1 == 1)
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
