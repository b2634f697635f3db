//! Templates of front origins: observed with one GET, kept for a day, and sent to peers in message 3.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_carrier::client::{Trust, Way};
use betanet_carrier::{CHROMIUM_156, Fingerprint, OriginSeen, calibrate, calibrate_quic};
use betanet_store::{Damage, Kind, SharedFolder, Storage as _, entry_name};
use betanet_traffic::template::{Flight, Hello, Initial, Initials, Numbers, Template};
use betanet_wire::text::{hex, unhex};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::address::QUIC;
use crate::files::on_disk;

/// The stored template of one origin.
const TEMPLATE: Kind = Kind::new("template", 1);

/// Time for which an observation is valid.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// The stored form of an origin's template.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    fetched_ms: u64,
    /// The template's map, in hex.
    map: String,
}

/// The result of a calibration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Calibrated {
    /// The template.
    pub template: Template,
    /// Time of the observation, in milliseconds since the UNIX epoch.
    pub fetched_ms: u64,
    /// Whether the origin was observed now.
    pub fresh: bool,
    /// Whether the origin's half differs from the stored one.
    pub changed: bool,
    /// Requested path and status of the answer, if the origin was observed now.
    pub asked: Option<(&'static str, u16)>,
}

/// The templates of one client, stored in a state folder.
#[derive(Clone, Debug)]
pub struct Templates {
    folder: SharedFolder,
    client: Template,
    over_quic: Template,
}

/// The client's halves for Chromium 156 over TCP and over QUIC, from its capture.
fn chromium() -> Option<(Template, Template)> {
    #[derive(Deserialize)]
    struct Sent {
        hellos: Vec<String>,
        flights: Vec<String>,
        quic: Vec<Vec<String>>,
    }
    let sent: Sent = serde_json::from_str(CHROMIUM_156).ok()?;
    let hellos = sent
        .hellos
        .iter()
        .filter_map(|h| Hello::from_stream(&unhex(h)?).ok()?);
    let hellos: Vec<Hello> = hellos.collect();
    let flight = Flight::from_stream(&unhex(sent.flights.first()?)?).ok()??;
    let initials = sent.quic.iter().filter_map(|datagrams| {
        let mut parts = Initials::default();
        let taken = datagrams.iter().map(|d| parts.take(&unhex(d)?).ok()?);
        taken.flatten().next()
    });
    let initials: Vec<Initial> = initials.collect();
    let tcp = Template::of_client(&hellos, Some(&flight))?;
    Some((tcp, Template::of_quic_client(&initials)?))
}

/// Parses a stored template and the time of its observation.
fn parse(bytes: &[u8]) -> Option<(Template, u64)> {
    let kept: Kept = serde_json::from_slice(bytes).ok()?;
    let template = Template::from_bytes(&unhex(&kept.map)?).ok()?;
    Some((template, kept.fetched_ms))
}

impl Templates {
    /// Creates templates stored in the state folder `dir`. Returns `None` in a build without a browser's fingerprint, which has
    /// no client's half for templates.
    #[must_use]
    pub fn new(dir: &Path) -> Option<Self> {
        if !cfg!(feature = "mimic") {
            return None;
        }
        let (client, over_quic) = chromium()?;
        Some(Self {
            folder: SharedFolder::new(dir),
            client,
            over_quic,
        })
    }

    /// Returns the client's half for an address over TCP or QUIC.
    fn client(&self, address: &str) -> Template {
        if address.starts_with(QUIC) {
            self.over_quic.clone()
        } else {
            self.client.clone()
        }
    }

    /// Returns the file in which an earlier version stored it.
    fn old(&self, address: &str) -> PathBuf {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '_'
            }
        };
        let name: String = address.chars().map(plain).collect();
        let folder = self.folder.folder().join("templates");
        folder.join(format!("{name}.json"))
    }

    fn kept(&self, address: &str) -> Result<Option<(Template, u64)>, betanet_store::Error> {
        let name = entry_name("template", address);
        let reads = |bytes: &[u8]| parse(bytes).map(|_| bytes.to_vec());
        let loaded = self
            .folder
            .load_or_move((TEMPLATE, &name), &self.old(address), reads)?;
        let Some(loaded) = loaded else {
            return Ok(None);
        };
        let unread = || betanet_store::Error::Damaged {
            path: self.folder.folder().join(&name),
            why: Damage::Content,
        };
        parse(&loaded.bytes).ok_or_else(unread).map(Some)
    }

    /// Returns the template of the origin at `address`, if this client observed it within the last day.
    #[must_use]
    pub fn known(&self, address: &str, now_ms: u64) -> Option<Template> {
        // The operation that is about to replace an invalid entry reports it.
        let (template, fetched_ms) = self.kept(address).ok()??;
        // A clock that was set back does not prolong the validity.
        let fresh = fetched_ms <= now_ms && now_ms - fetched_ms < DAY_MS;
        (fresh && template == self.joined(address, &template)).then_some(template)
    }

    /// Discards the stored template of an origin that sends other SETTINGS, so that it is observed again. Returns whether it did.
    pub(crate) fn compare(&self, address: &str, told: &Template, seen: BTreeMap<u64, u64>) -> bool {
        let changed = told.origin_h2.as_ref() != Some(&Numbers(seen));
        if changed {
            let name = entry_name("template", address);
            if let Err(error) = on_disk(|| self.folder.hold(|state| state.remove(&name))) {
                tracing::warn!(%error, "a template that is no longer true is still kept");
            }
        }
        changed
    }

    /// Combines this client's half with the origin's half of a template.
    fn joined(&self, address: &str, origin: &Template) -> Template {
        Template {
            origin_alpn: origin.origin_alpn.clone(),
            origin_h2: origin.origin_h2.clone(),
            ping_ms: origin.ping_ms,
            ..self.client(address)
        }
    }

    fn of(&self, address: &str, seen: &OriginSeen) -> Template {
        Template {
            origin_alpn: seen.alpn.clone(),
            origin_h2: seen.settings.clone().map(Numbers),
            ping_ms: seen.ping_ms,
            ..self.client(address)
        }
    }

    /// Returns the template of the origin at `address`. Observes it if there is no observation of the last day, or if `again` is
    /// set.
    ///
    /// `idle` extends the observation, to see PINGs. An address with the prefix `quic:` is observed over QUIC, which has a
    /// separate template and shows no PINGs.
    ///
    /// # Errors
    ///
    /// The origin cannot be reached, is not trusted or does not support HTTP/2, or the template cannot be stored.
    pub async fn calibrate(
        &self,
        address: &str,
        trust: &Trust,
        shape: &dyn Fingerprint,
        now_ms: u64,
        (again, idle): (bool, Duration),
    ) -> Result<Calibrated, Error> {
        if !again && let Some(template) = self.known(address, now_ms) {
            let fetched_ms = self.kept(address)?.map_or(now_ms, |(_, at)| at);
            return Ok(Calibrated {
                template,
                fetched_ms,
                fresh: false,
                changed: false,
                asked: None,
            });
        }
        let before = on_disk(|| self.kept(address))?.map(|(t, _)| t);
        let way = Way::default();
        let seen = match address.strip_prefix(QUIC) {
            Some(to) => calibrate_quic(to, trust, way, shape).await,
            None => calibrate(address, trust, way, shape, idle).await,
        };
        let seen = seen.map_err(|source| Error::Outer {
            address: address.to_owned(),
            source,
        })?;
        let template = self.of(address, &seen);
        let changed = before.is_some_and(|t| self.joined(address, &t) != template);
        let kept = Kept {
            fetched_ms: now_ms,
            map: hex(&template.to_bytes()),
        };
        let text = serde_json::to_string(&kept).unwrap_or_default();
        let name = entry_name("template", address);
        on_disk(|| self.folder.replace(TEMPLATE, &name, text.as_bytes()))?;
        Ok(Calibrated {
            template,
            fetched_ms: now_ms,
            fresh: true,
            changed,
            asked: Some(seen.asked),
        })
    }
}
