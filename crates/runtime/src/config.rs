mod legacy;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_htx::pace::Padding;
use betanet_htx::shape::{Shape, ShapeError};
use betanet_htx::template::front::Profile;
use betanet_keys::{Name, Peer};
use betanet_mesh::{Role, Roles};
use serde::Deserialize;

pub use legacy::{Compat11, Server11};

use crate::{FrontOrigin, LogFormat};

/// Milliseconds that jitter may be.
pub const JITTER: RangeInclusive<u64> = 1..=1000;

/// A gateway's settings as a file or the command line gives them, before they are checked.
///
/// The file's keys are the fields' names; the command line's flags win over the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Addresses to listen on, `HOST:PORT`; port 0 lets the system choose.
    pub listen: Option<Vec<String>>,
    /// Addresses to print instead of the local ones, where others reach the node by other ones.
    pub advertise: Option<Vec<String>>,
    /// The folder that is served over BAR.
    pub serve: Option<PathBuf>,
    /// The folder of the web site that everybody sees.
    pub cover: Option<PathBuf>,
    /// In its place, a front origin whose pages are shown: `https://HOST[:PORT]` or `http://…`.
    pub origin: Option<String>,
    /// Listen for QUIC too, at the UDP ports of the same numbers; without a word not, as the web server that listeners look like.
    pub quic: Option<bool>,
    /// Tell visitors over TCP that the site is there over HTTP/3.
    pub alt_svc: Option<bool>,
    /// Be the web site and nothing else: every tunnel's request is answered as any POST is. For comparing the two.
    pub cover_only: Option<bool>,
    /// Take sessions that are joined with a leg of version 1.1 at their other end.
    pub compat11: Option<bool>,
    /// Take legs of clients of 1.1: the file of the key for their tickets, made when it is not there; needs `compat11_to`.
    pub compat11_tickets: Option<PathBuf>,
    /// The peer that they are joined with, as its gateway prints it.
    pub compat11_to: Option<String>,
    /// Join the sessions that are taken with legs to this server of 1.1: `HOST:PORT,key=…,id=…[,pin=…]`; needs `compat11`.
    pub compat11_dial: Option<String>,
    /// A shape of traffic, as `betanet shape learn` writes it, that is followed with clients that follow it.
    pub shape: Option<PathBuf>,
    /// How what is sent to other clients is padded: `buckets`, a rate as `64k` bytes a second, or two as `16k..1m`.
    pub padding: Option<String>,
    /// What leaves over TCP waits for a drawn time, up to so many milliseconds.
    pub jitter: Option<u64>,
    /// Signed records of front origins, an envelope a line in hex; needs `network`, whose maintainers sign them.
    pub front_origins: Option<PathBuf>,
    /// `standard`, or `extended`: end sessions whose template is not in `front_origins`.
    pub profile: Option<String>,
    /// The identity's PKCS#8 PEM file.
    pub key: Option<PathBuf>,
    /// A PEM certificate chain, with `certificate_key`; else a self-signed one is kept beside `key`.
    pub certificate: Option<PathBuf>,
    /// The chain's PEM key.
    pub certificate_key: Option<PathBuf>,
    /// Host names of a self-signed certificate.
    pub hosts: Option<Vec<String>>,
    /// Let whoever asks PUT, POST and DEL.
    pub writable: Option<bool>,
    /// Let only these names PUT, POST and DEL.
    pub allow: Option<Vec<String>>,
    /// Bytes that the served folder may grow to: each file's length, and 4 096 for each file and folder.
    pub quota: Option<u64>,
    /// Files and folders that it may grow to; headers that are kept with a file are one more.
    pub entries: Option<u64>,
    /// Answer the GET of a folder that has no `index.html` with a list of what is in it.
    pub listing: Option<bool>,
    /// Carry paths of others on to these peers, as gateways print them; without any the node is no relay.
    pub onward: Option<Vec<String>>,
    /// The file of the network that this node is part of, `NETWORK.toml`.
    pub network: Option<PathBuf>,
    /// What it does there: entry, core, exit, mix, gateway, coordinator, worker, seed.
    pub roles: Option<Vec<String>>,
    /// Who runs it.
    pub org: Option<String>,
    /// Names that this node has nothing to do with.
    pub ban: Option<Vec<String>>,
    /// The local address to dial from.
    pub dial_from: Option<String>,
    /// Sessions that one address may have (IPv6: one /56).
    pub per_address: Option<usize>,
    /// Streams that one peer may open at once.
    pub opens: Option<u32>,
    /// How many more each second.
    pub opens_per_second: Option<u32>,
    /// The local address of `/metrics`, `/healthz` and `/peers`.
    pub admin: Option<String>,
    /// Sessions at once.
    pub max_sessions: Option<usize>,
    /// TCP connections at once.
    pub max_connections: Option<usize>,
    /// TCP connections at once of one address (IPv6: one /56), before any handshake.
    pub connections_per_address: Option<usize>,
    /// New TCP connections a second of one address.
    pub connects_per_second: Option<usize>,
    /// Packets of the mix a second that the replay memory is for.
    pub mix_rate: Option<u32>,
    /// Mebibytes that the replay memory may take; a node that needs more for its rate does not start.
    pub mix_memory: Option<usize>,
    /// For rehearsals: packets in a thousand that this relay loses, by dice of `mix_lose_seed`.
    pub mix_lose: Option<u16>,
    /// The dice of `mix_lose`.
    pub mix_lose_seed: Option<u64>,
    /// Threads that unwrap packets.
    pub mix_workers: Option<usize>,
    /// Packets that wait for their time at once, of which one session has a sixteenth.
    pub mix_waiting: Option<usize>,
    /// Offer ML-KEM-768.
    pub pq: Option<bool>,
    /// `text` or `json`.
    pub log_format: Option<String>,
    /// `error`, `warn`, `info`, `debug`, `trace`, or tracing directives.
    pub log: Option<String>,
}

/// Where settings come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// All from one place, named so.
    One(String),
    /// From a file, but for these keys, which the command line gave.
    File(String, Vec<&'static str>),
}

impl Origin {
    fn of(&self, key: &str) -> &str {
        match self {
            Self::One(name) => name,
            Self::File(_, flags) if flags.contains(&key) => "command line",
            Self::File(path, _) => path,
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where it came from: a file's path, or the command line.
    pub origin: String,
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What is allowed.
    pub allowed: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin,
            key,
            value,
            allowed,
        } = self;
        write!(f, "{origin}: {key} = {value:?}: {allowed}")
    }
}

/// What everybody sees who opens no tunnel.
#[derive(Clone, Debug)]
pub enum CoverSite {
    /// The files of a folder.
    Folder(PathBuf),
    /// A front origin's pages.
    Origin(FrontOrigin),
    /// Pages that are made for this node alone, and kept beside its key.
    Made,
}

/// A gateway's settings, checked.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// Addresses to print, when not those.
    pub advertise: Vec<String>,
    /// The folder that is served over BAR.
    pub serve: Option<PathBuf>,
    /// The web site.
    pub cover: CoverSite,
    /// Listen for QUIC too.
    pub quic: bool,
    /// Tell visitors of HTTP/3.
    pub alt_svc: bool,
    /// Take no tunnels.
    pub cover_only: bool,
    /// What it does about peers of version 1.1.
    pub compat11: Compat11,
    /// The shape that is followed with clients that follow it.
    pub shape: Option<Shape>,
    /// How what is sent to other clients is padded.
    pub padding: Option<Padding>,
    /// What leaves over TCP waits for a drawn time, up to that.
    pub jitter: Option<Duration>,
    /// Records of front origins.
    pub front_origins: Option<PathBuf>,
    /// How strictly they are taken.
    pub profile: Profile,
    /// The identity's file; a fresh one is made there when it is not.
    pub key: PathBuf,
    /// PEM chain and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Where a self-signed certificate is kept.
    pub own_certificate: Option<PathBuf>,
    /// Its host names.
    pub hosts: Vec<String>,
    /// Whoever asks may write.
    pub writable: bool,
    /// Who may write.
    pub allow: Vec<Name>,
    /// Bytes that the served folder may grow to.
    pub quota: u64,
    /// Files and folders that it may grow to.
    pub entries: u64,
    /// A folder's names are told.
    pub listing: bool,
    /// Where paths of others may go on to.
    pub onward: Vec<Peer>,
    /// The network's file.
    pub network: Option<PathBuf>,
    /// What the node does there.
    pub roles: Roles,
    /// Who runs it.
    pub org: String,
    /// Whom it has nothing to do with.
    pub ban: Vec<Name>,
    /// The local address to dial from.
    pub dial_from: Option<IpAddr>,
    /// Sessions that one address may have; what the network says, or the profile's 8, where nothing is given.
    pub per_address: Option<usize>,
    /// Streams that one peer may open at once, and how many more each second.
    pub opens: Option<(u32, u32)>,
    /// Where `/metrics`, `/healthz` and `/peers` are.
    pub admin: Option<SocketAddr>,
    /// Sessions at once.
    pub max_sessions: usize,
    /// TCP connections at once; up to 20 000 as the limit of open files allows, where nothing is given.
    pub max_connections: Option<usize>,
    /// TCP connections at once of one address.
    pub connections_per_address: usize,
    /// New TCP connections a second of one address.
    pub connects_per_second: usize,
    /// Packets of the mix a second that the replay memory is for.
    pub mix_rate: u32,
    /// Mebibytes that it may take.
    pub mix_memory: usize,
    /// For rehearsals: packets in a thousand that it loses, and the dice's seed.
    pub mix_lose: (u16, u64),
    /// Threads that unwrap packets.
    pub mix_workers: usize,
    /// Packets that wait for their time at once.
    pub mix_waiting: usize,
    /// Offer ML-KEM-768.
    pub pq: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines there are.
    pub log: String,
}

impl GatewayConfig {
    /// Whether anybody may write.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.writable || !self.allow.is_empty()
    }
}

impl Settings {
    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or holds what it should not; the text says where.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// These settings, and below them those of the file at `path`.
    #[must_use]
    pub fn over(mut self, file: Self, path: &Path) -> (Self, Origin) {
        let mut flags = Vec::new();
        macro_rules! below {
            ($($key:ident)*) => {
                $(if self.$key.is_some() {
                    flags.push(stringify!($key));
                } else {
                    self.$key = file.$key;
                })*
            };
        }
        below! {
            listen advertise serve cover origin quic alt_svc cover_only compat11 compat11_tickets compat11_to compat11_dial shape padding jitter front_origins profile key certificate certificate_key hosts writable allow quota entries listing onward network roles org ban
            dial_from per_address opens opens_per_second admin max_sessions
            max_connections connections_per_address connects_per_second mix_rate mix_memory mix_workers mix_waiting mix_lose mix_lose_seed
            pq log_format log
        }
        (self, Origin::File(path.display().to_string(), flags))
    }

    /// Checks all settings together.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, not only the first.
    pub fn check(self, origin: &Origin) -> Result<GatewayConfig, Vec<Problem>> {
        let mut found = Check {
            origin,
            problems: Vec::new(),
        };
        let listen = self.listen.unwrap_or_else(|| vec!["127.0.0.1:0".into()]);
        found.addresses("listen", &listen);
        let advertise = self.advertise.unwrap_or_default();
        found.addresses("advertise", &advertise);
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
        let key = found.given("key", self.key, "the path of a key file is needed");
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
                Err(_) => found.problem("onward", &peer, "a peer as its gateway prints it, bnp1…"),
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
            key,
            certificate,
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

/// Whether an address names no host: `0.0.0.0`, `[::]`.
fn unspecified(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(h, _)| h);
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    ip.is_ok_and(|ip| ip.is_unspecified())
}

/// Where the self-signed certificate of an identity is kept.
fn beside(key: &Path) -> PathBuf {
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(".tls.pem");
    key.with_file_name(name)
}

struct Check<'a> {
    origin: &'a Origin,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, key: &'static str, value: &str, allowed: &'static str) {
        self.problems.push(Problem {
            origin: self.origin.of(key).to_owned(),
            key,
            value: value.to_owned(),
            allowed,
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

    fn addresses(&mut self, key: &'static str, list: &[String]) {
        for text in list {
            let port = text.rsplit_once(':').map(|(_, p)| p.parse::<u16>());
            if !matches!(port, Some(Ok(_))) {
                self.problem(key, text, "HOST:PORT, with a port from 0 to 65535");
            }
        }
    }

    fn shape(&mut self, path: &Path) -> Option<Shape> {
        let shape = std::fs::read(path).map(|b| Shape::from_bytes(&b));
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
                Err(_) => {
                    let allowed = "a peer as its gateway prints it, bnp1…";
                    self.problem("compat11_to", &to, allowed);
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
        match FrontOrigin::new(url) {
            Ok(origin) => CoverSite::Origin(origin),
            Err(_) => {
                let allowed = "https://HOST[:PORT] or http://HOST[:PORT], without a path";
                self.problem("origin", url, allowed);
                CoverSite::Folder(PathBuf::new())
            }
        }
    }

    fn given(
        &mut self,
        key: &'static str,
        path: Option<PathBuf>,
        allowed: &'static str,
    ) -> PathBuf {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_said_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.toml");
        std::fs::write(
            &file,
            "listen = [\"here\"]\nserve = \"/no/such/folder\"\nadmin = \"0.0.0.0:9\"\nlog_format = \"xml\"\nallow = [\"bob\"]\nmax_sessions = 0\njitter = 1001\ncertificate = \"a.pem\"\n",
        )
        .unwrap();
        let problems = Settings::from_file(&file)
            .unwrap()
            .check(&Origin::One("g.toml".into()))
            .unwrap_err();
        let keys: Vec<_> = problems.iter().map(|p| p.key).collect();
        let all = [
            "listen",
            "jitter",
            "key",
            "certificate",
            "allow",
            "serve",
            "admin",
            "log_format",
            "max_sessions",
        ];
        assert_eq!(keys, all);
        let said = problems[0].to_string();
        assert_eq!(
            said,
            "g.toml: listen = \"here\": HOST:PORT, with a port from 0 to 65535"
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.toml");
        std::fs::write(&file, "lisen = [\"127.0.0.1:1\"]\n").unwrap();
        let said = Settings::from_file(&file).unwrap_err();
        assert!(said.contains("lisen") && said.contains("line 1"), "{said}");
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Settings {
            quota: Some(1),
            ..Settings::default()
        };
        let file = Settings {
            quota: Some(2),
            pq: Some(false),
            ..Settings::default()
        };
        let (both, origin) = flags.over(file, Path::new("g.toml"));
        assert_eq!((both.quota, both.pq), (Some(1), Some(false)));
        assert_eq!(origin.of("quota"), "command line");
        assert_eq!(origin.of("pq"), "g.toml");
    }
}
