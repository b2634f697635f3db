//! Settings checked together: everything that is wrong is said at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_carrier::disk;
use betanet_htx::shape::{Shape, ShapeError};
use betanet_htx::template::front::Profile;
use betanet_keys::{Address, AddressError, Endpoint, Host, Name, Peer, PeerError};
use betanet_mesh::{Role, Roles};

use super::{
    Compat11, CoverSite, GatewayConfig, JITTER, Problem, Server11, SettingSource, Settings,
};
use crate::{LogFormat, OriginProxy};

impl Settings {
    /// Checks all settings together.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, not only the first.
    pub fn check(self, origin: &SettingSource) -> Result<GatewayConfig, Vec<Problem>> {
        let mut found = Check {
            origin,
            problems: Vec::new(),
        };
        let listen = self.listen.unwrap_or_else(|| vec!["127.0.0.1:0".into()]);
        let listen = found.addresses("listen", listen, str::parse::<Address>);
        let advertise = self.advertise.unwrap_or_default();
        let advertise = found.addresses("advertise", advertise, Endpoint::dialled);
        let cover = match (self.cover, self.origin) {
            (None, None) => CoverSite::Made,
            (cover, None) => CoverSite::Folder(found.folder("cover", cover)),
            (None, Some(url)) => found.origin(&url),
            (Some(_), Some(url)) => {
                found.problem("origin", &url, "a folder or an origin, one of them");
                CoverSite::Folder(PathBuf::new())
            }
        };
        let compat11 = Compat11 {
            accept: self.compat11.unwrap_or(false),
            take: found.legs(self.compat11_tickets, self.compat11_to),
            dial: found.server11(self.compat11_dial, self.compat11.unwrap_or(false)),
        };
        let shape = self.shape.and_then(|path| found.shape(&path));
        let padding = self.padding.and_then(|text| {
            let padding = text.parse().ok();
            if padding.is_none() {
                let allowed = "buckets, a rate as 64k or 1m bytes a second, or two as 16k..1m; from 4k to 64m";
                found.problem("padding", &text, allowed);
            }
            padding
        });
        if let Some(other) = self.jitter.filter(|ms| !JITTER.contains(ms)) {
            found.problem("jitter", &other.to_string(), "milliseconds, 1 to 1000");
        }
        let profile = self.profile.as_deref().unwrap_or("standard");
        let profile = Profile::of_name(&profile.to_ascii_uppercase()).unwrap_or_else(|| {
            found.problem("profile", profile, "standard or extended");
            Profile::Standard
        });
        if self.network.is_none()
            && let Some(path) = &self.front_origins
        {
            let allowed = "with network, whose maintainers sign the records";
            found.problem("front_origins", &path.display().to_string(), allowed);
        }
        let in_state = self.state.as_ref().map(|folder| folder.join("id.pem"));
        let key = self.key.or(in_state);
        let key = found.given("key", key, "the path of a key file is needed");
        let certificate = match (self.certificate, self.certificate_key) {
            (Some(chain), Some(key)) => Some((chain, key)),
            (None, None) => None,
            (chain, key) => {
                let half = chain.or(key).unwrap_or_default();
                found.problem(
                    "certificate",
                    &half.display().to_string(),
                    "certificate and certificate_key go together",
                );
                None
            }
        };
        let allow = found.names("allow", self.allow);
        let ban = found.names("ban", self.ban);
        let names = self.roles.unwrap_or_else(|| vec!["gateway".into()]);
        let (roles, all) = Roles::of_names(names.iter().map(String::as_str));
        if !all {
            let allowed = "entry, core, exit, mix, gateway, coordinator, worker or seed";
            found.problem("roles", &names.join(", "), allowed);
        }
        // Who does not say to serve, need not.
        let serve = match self.serve {
            None if !roles.has(Role::Gateway) => None,
            serve => Some(found.folder("serve", serve)),
        };
        let dial_from = self.dial_from.and_then(|text| {
            let ip = text.parse().ok();
            if ip.is_none() {
                found.problem("dial_from", &text, "a local IP address");
            }
            ip
        });
        let opens = match (self.opens, self.opens_per_second) {
            (None, None) => None,
            (burst, refill) => Some((burst.unwrap_or(100), refill.unwrap_or(20))),
        };
        if let Some((burst, refill)) = opens.filter(|(b, r)| *b == 0 || *r == 0) {
            found.problem(
                "opens",
                &format!("{burst}, {refill} a second"),
                "at least 1",
            );
        }
        let per_address = self.per_address;
        if per_address == Some(0) {
            found.problem("per_address", "0", "at least 1");
        }
        if self.network.is_some() {
            let reachable = if advertise.is_empty() {
                &listen
            } else {
                &advertise
            };
            if reachable.iter().all(|a| unspecified(a)) {
                let allowed =
                    "in a network, an address that others can dial: listen there, or advertise it";
                found.problem("listen", "", allowed);
            }
        }
        let mut onward = Vec::new();
        for peer in self.onward.unwrap_or_default() {
            match peer.parse() {
                Ok(peer) => onward.push(peer),
                Err(why) => found.problem("onward", &peer, &PeerError::to_string(&why)),
            }
        }
        let admin = self.admin.and_then(|text| {
            let address: Option<SocketAddr> = text.parse().ok();
            let local = address.filter(|a| a.ip().is_loopback());
            if local.is_none() {
                found.problem(
                    "admin",
                    &text,
                    "a loopback address and port, as 127.0.0.1:9090",
                );
            }
            local
        });
        let log_format = match self.log_format.as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                found.problem("log_format", other, "text or json");
                LogFormat::Text
            }
        };
        let max_sessions = found.number("max_sessions", self.max_sessions, 16_384);
        let max_connections = self.max_connections;
        found.number("max_connections", max_connections, 1);
        let connections_per_address =
            found.number("connections_per_address", self.connections_per_address, 256);
        let connects_per_second =
            found.number("connects_per_second", self.connects_per_second, 100);
        let mix_rate = match self.mix_rate {
            Some(0) => {
                found.problem("mix_rate", "0", "at least 1");
                1
            }
            rate => rate.unwrap_or(500),
        };
        let mix_lose = (self.mix_lose.unwrap_or(0), self.mix_lose_seed.unwrap_or(0));
        if mix_lose.0 > 1000 {
            found.problem("mix_lose", &mix_lose.0.to_string(), "packets in a thousand");
        }
        let mix_memory = found.number("mix_memory", self.mix_memory, 1024);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mix_workers = found.number("mix_workers", self.mix_workers, cores);
        let mix_waiting = found.number("mix_waiting", self.mix_waiting, 16_384);
        let hosts = self.hosts.unwrap_or_else(|| vec!["localhost".into()]);
        if hosts.is_empty() {
            found.problem("hosts", "[]", "at least one host name");
        }
        let repeated = listen.iter().collect::<BTreeSet<_>>().len() < listen.len();
        if repeated && listen.iter().any(|a| !a.ends_with(":0")) {
            found.problem("listen", &listen.join(", "), "each address once");
        }
        if !found.problems.is_empty() {
            return Err(found.problems);
        }
        Ok(GatewayConfig {
            listen,
            advertise,
            serve,
            cover,
            quic: self.quic.unwrap_or(false),
            alt_svc: self.alt_svc.unwrap_or(true),
            cover_only: self.cover_only.unwrap_or(false),
            compat11,
            shape,
            padding,
            jitter: self.jitter.map(Duration::from_millis),
            front_origins: self.front_origins,
            profile,
            own_certificate: Some(beside(&key)),
            state: self.state.unwrap_or_else(|| key.with_extension("state")),
            key,
            certificate,
            ca: self.ca,
            hosts,
            writable: self.writable.unwrap_or(false),
            allow,
            quota: self.quota.unwrap_or(1 << 30),
            entries: self.entries.unwrap_or(100_000),
            listing: self.listing.unwrap_or(false),
            onward,
            network: self.network,
            roles,
            org: self.org.unwrap_or_default(),
            ban,
            dial_from,
            per_address,
            opens,
            admin,
            max_sessions,
            max_connections,
            connections_per_address,
            connects_per_second,
            mix_rate,
            mix_memory,
            mix_lose,
            mix_workers,
            mix_waiting,
            pq: self.pq.unwrap_or(true),
            log_format,
            log: self.log.unwrap_or_else(|| "info".into()),
        })
    }
}

/// Whether an address names no host: `0.0.0.0`, `[::]`. What does not read was complained of.
fn unspecified(address: &str) -> bool {
    let host = address.parse().map(|a: Endpoint| a.address.host);
    matches!(host, Ok(Host::Ip(ip)) if ip.is_unspecified())
}

/// Where the self-signed certificate of an identity is kept.
fn beside(key: &Path) -> PathBuf {
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(".tls.pem");
    key.with_file_name(name)
}

struct Check<'a> {
    origin: &'a SettingSource,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, key: &'static str, value: &str, allowed: &str) {
        self.problems.push(Problem {
            origin: self.origin.of(key).to_owned(),
            key: key.into(),
            value: value.to_owned(),
            allowed: allowed.to_owned(),
        });
    }

    fn names(&mut self, key: &'static str, list: Option<Vec<String>>) -> Vec<Name> {
        let mut names = Vec::new();
        for name in list.unwrap_or_default() {
            match name.parse() {
                Ok(name) => names.push(name),
                Err(_) => self.problem(key, &name, "a name is bn1: and 39 characters"),
            }
        }
        names
    }

    /// Addresses in the one form in which they are printed.
    fn addresses<T: ToString>(
        &mut self,
        key: &'static str,
        list: Vec<String>,
        read: impl Fn(&str) -> Result<T, AddressError>,
    ) -> Vec<String> {
        let mut one = |text: String| match read(&text) {
            Ok(address) => address.to_string(),
            Err(why) => {
                self.problem(key, &text, &why.to_string());
                text
            }
        };
        list.into_iter().map(&mut one).collect()
    }

    fn shape(&mut self, path: &Path) -> Option<Shape> {
        let shape = disk::read_bounded(path, disk::CAPTURE_MAX).map(|b| Shape::from_bytes(&b));
        let allowed = match shape {
            Ok(Ok(shape)) => return Some(shape),
            Ok(Err(ShapeError::Version)) => {
                "a shape of today's format: `betanet shape learn` writes it anew"
            }
            _ => "a file that `betanet shape learn` wrote",
        };
        self.problem("shape", &path.display().to_string(), allowed);
        None
    }

    fn legs(&mut self, tickets: Option<PathBuf>, to: Option<String>) -> Option<(PathBuf, Peer)> {
        match (tickets, to) {
            (None, None) => None,
            (Some(tickets), Some(to)) => match to.parse() {
                Ok(peer) => Some((tickets, peer)),
                Err(why) => {
                    self.problem("compat11_to", &to, &PeerError::to_string(&why));
                    None
                }
            },
            (tickets, to) => {
                let half = tickets.map(|t| t.display().to_string()).or(to);
                let allowed = "compat11_tickets and compat11_to go together";
                self.problem("compat11_tickets", &half.unwrap_or_default(), allowed);
                None
            }
        }
    }

    fn server11(&mut self, text: Option<String>, accepts: bool) -> Option<Server11> {
        let text = text?;
        if !accepts {
            let allowed = "with compat11 = true: the sessions that it takes are joined";
            self.problem("compat11_dial", &text, allowed);
        }
        match text.parse() {
            Ok(server) => Some(server),
            Err(allowed) => {
                self.problem("compat11_dial", &text, allowed);
                None
            }
        }
    }

    fn origin(&mut self, url: &str) -> CoverSite {
        match OriginProxy::new(url) {
            Ok(origin) => CoverSite::Origin(origin),
            Err(_) => {
                let allowed = "https://HOST[:PORT] or http://HOST[:PORT], without a path";
                self.problem("origin", url, allowed);
                CoverSite::Folder(PathBuf::new())
            }
        }
    }

    fn given(&mut self, key: &'static str, path: Option<PathBuf>, allowed: &str) -> PathBuf {
        path.unwrap_or_else(|| {
            self.problem(key, "", allowed);
            PathBuf::new()
        })
    }

    fn folder(&mut self, key: &'static str, path: Option<PathBuf>) -> PathBuf {
        match path {
            Some(path) if path.is_dir() => path,
            Some(path) => {
                self.problem(key, &path.display().to_string(), "a folder that is there");
                path
            }
            None => self.given(key, None, "a folder is needed"),
        }
    }

    fn number(&mut self, key: &'static str, value: Option<usize>, default: usize) -> usize {
        let value = value.unwrap_or(default);
        if !(1..=1_000_000).contains(&value) {
            self.problem(key, &value.to_string(), "1 to 1000000");
        }
        value
    }
}
