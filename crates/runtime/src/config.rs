mod check;
mod exposed;
mod file;
mod legacy;
mod look;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_htx::pace::Padding;
use betanet_htx::shape::Shape;
use betanet_htx::template::front::Profile;
use betanet_keys::{Name, Peer};
use betanet_mesh::Roles;
use serde::Deserialize;

pub use legacy::{Compat11, Server11};
pub use look::Looked;

use crate::{LogFormat, OriginProxy};

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
    /// Addresses to print instead of the local ones, where others reach the node by other ones: `HOST:PORT`, `quic:HOST:PORT`.
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
    /// The folder of the node's state; without it, one beside `key` with the ending `.state`. A key that is not named is in it.
    pub state: Option<PathBuf>,
    /// A PEM certificate chain, with `certificate_key`; else a self-signed one is kept beside `key`.
    pub certificate: Option<PathBuf>,
    /// The chain's PEM key.
    pub certificate_key: Option<PathBuf>,
    /// A PEM file of root certificates that are trusted in place of Mozilla's, where a peer that is dialled has no pin.
    pub ca: Option<PathBuf>,
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
pub enum SettingSource {
    /// All from one place, named so.
    One(String),
    /// From a file, but for these keys, which the command line gave.
    File(String, Vec<&'static str>),
}

impl SettingSource {
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
    pub key: Cow<'static, str>,
    /// Its value.
    pub value: String,
    /// What is wrong with it, or what is allowed.
    pub allowed: String,
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
    Origin(OriginProxy),
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
    /// The folder of the node's state.
    pub state: PathBuf,
    /// PEM chain and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Roots in place of Mozilla's.
    pub ca: Option<PathBuf>,
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
    /// These settings, and below them those of the file at `path`.
    #[must_use]
    pub fn over(mut self, file: Self, path: &Path) -> (Self, SettingSource) {
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
            listen advertise serve cover origin quic alt_svc cover_only compat11 compat11_tickets compat11_to compat11_dial shape padding jitter front_origins profile key state certificate certificate_key ca hosts writable allow quota entries listing onward network roles org ban
            dial_from per_address opens opens_per_second admin max_sessions
            max_connections connections_per_address connects_per_second mix_rate mix_memory mix_workers mix_waiting mix_lose mix_lose_seed
            pq log_format log
        }
        (self, SettingSource::File(path.display().to_string(), flags))
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
            .check(&SettingSource::One("g.toml".into()))
            .unwrap_err();
        let keys: Vec<_> = problems.iter().map(|p| p.key.as_ref()).collect();
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
            "g.toml: listen = \"here\": an address is HOST:PORT, as node.example:443 or [2001:db8::1]:443"
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
