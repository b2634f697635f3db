//! A node's settings, by component. Each component declares a section with its defaults and checks.
//!
//! One line declares a setting: its TOML key, flag, variable and help derive from it (`knob`). [`Given`] reads the values that
//! were given. [`GatewayConfig::faults`] reports all faults at once.

mod exposed;
mod given;
mod knob;
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "help texts: [::] is an address there"
)]
mod sections;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub use betanet_legacy::{Compat11, Server11};
pub use given::{Given, Origins, ReadSettings, SettingsError};
pub use knob::{Form, Kind, Knob};
pub use sections::folder::FolderSettings;
pub use sections::legacy::LegacySettings;
pub use sections::limits::LimitSettings;
pub use sections::listener::ListenerSettings;
pub use sections::mesh::MeshSettings;
pub use sections::mix::MixSettings;
pub use sections::node::NodeSettings;
pub use sections::operator::OperatorSettings;
pub use sections::relay::RelaySettings;
pub use sections::site::SiteSettings;
pub use sections::tls::TlsSettings;
pub use sections::traffic::TrafficSettings;

use crate::OriginProxy;
use knob::{Allowed, Section};

/// Range of the jitter, in milliseconds.
pub const JITTER: RangeInclusive<u64> = 1..=1000;

/// A fault of a setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Source of the value: a file's path and line, the command line, or a variable.
    pub origin: String,
    /// The key, as it was written.
    pub key: Cow<'static, str>,
    /// Its value.
    pub value: String,
    /// The fault, or the allowed values.
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
        if !origin.is_empty() {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{key} = {value:?}: {allowed}")
    }
}

/// All invalid settings, one per line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// The results of a check of settings.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Faults that keep the node from starting or from being reached.
    pub problems: Vec<Problem>,
    /// Settings that may be intended but look wrong.
    pub warnings: Vec<Problem>,
}

/// The web site that visitors without a tunnel see.
#[derive(Clone, Debug)]
pub enum CoverSite {
    /// The files of a folder.
    Folder(PathBuf),
    /// A front origin's pages.
    Origin(OriginProxy),
    /// Pages generated for this node alone, stored beside its key.
    Made,
}

/// Combines sections into a configuration.
macro_rules! config {
    ($($(#[doc = $doc:literal])* $part:ident: $section:ty,)*) => {
        /// The settings of a gateway. [`Default`] lacks only a key: [`GatewayConfig::in_state`] has one.
        #[derive(Clone, Debug, Default)]
        #[non_exhaustive]
        pub struct GatewayConfig {
            $($(#[doc = $doc])* pub $part: $section,)*
        }

        impl GatewayConfig {
            /// Returns all settings, in the order of their sections.
            #[must_use]
            pub fn knobs() -> Vec<Knob> {
                let mut all = Vec::new();
                $(all.extend(<$section as Section>::knobs());)*
                all
            }

            fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
                $(if let Some(done) = self.$part.set(name, texts) {
                    return Some(done);
                })*
                None
            }

            fn check_sections(&self, found: &mut Found<'_>) {
                $(Section::check(&self.$part, self, found);)*
            }

            fn look_sections(&self, found: &mut Found<'_>) {
                $(Section::look(&self.$part, self, found);)*
            }
        }
    };
}

config! {
    /// The node's identity, and how it dials.
    node: NodeSettings,
    /// Listening addresses, and the addresses that are advertised.
    listener: ListenerSettings,
    /// The certificate of the listeners, and the trusted roots.
    tls: TlsSettings,
    /// The web site shown to visitors.
    site: SiteSettings,
    /// Shape of the traffic.
    traffic: TrafficSettings,
    /// The served folder.
    folder: FolderSettings,
    /// Relaying of other nodes' paths.
    relay: RelaySettings,
    /// The network that the node is part of.
    mesh: MeshSettings,
    /// Relaying of mix packets.
    mix: MixSettings,
    /// Peers of version 1.1.
    legacy: LegacySettings,
    /// Limits on the resources that others can occupy.
    limits: LimitSettings,
    /// The admin address and log lines.
    operator: OperatorSettings,
}

impl GatewayConfig {
    /// Returns the default configuration of a node that keeps its key and its state in `folder`, which need not exist.
    #[must_use]
    pub fn in_state(folder: impl Into<PathBuf>) -> Self {
        let mut config = Self::default();
        config.node.keep_in(folder.into());
        config
    }

    /// Returns the folder of the node's state: the configured one, or one beside the key.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        let beside = || match self.node.key.as_os_str().is_empty() {
            true => PathBuf::new(),
            false => self.node.key.with_extension("state"),
        };
        self.node.state.clone().unwrap_or_else(beside)
    }

    /// Checks all settings together. Does not read the keys, certificates and addresses that they name.
    ///
    /// # Errors
    ///
    /// All faults, not only the first.
    pub fn check(&self) -> Result<(), Problems> {
        let found = self.faults(&Origins::default());
        if found.problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(found.problems))
        }
    }

    /// Returns the faults of all settings together, without reading the files that they name. A setting that could not be parsed
    /// is not reported again.
    #[must_use]
    pub fn faults(&self, origins: &Origins) -> Looked {
        let mut found = Found::new(origins);
        self.check_sections(&mut found);
        found.looked
    }

    /// Like [`GatewayConfig::faults`], and also checks everything that the settings name. Keys, certificates and files must be
    /// readable and match, folders usable, and addresses local. Creates no file, binds no port, and sends nothing.
    #[must_use]
    pub fn look(&self, origins: &Origins) -> Looked {
        let mut found = Found::new(origins);
        self.check_sections(&mut found);
        found.begin_look();
        self.look_sections(&mut found);
        found.looked
    }

    /// Returns the file of the self-signed certificate, if the node has one.
    #[must_use]
    pub fn own_certificate(&self) -> Option<PathBuf> {
        let key = &self.node.key;
        let mut name = key.file_name()?.to_owned();
        name.push(".tls.pem");
        self.tls.keep.then(|| key.with_file_name(name))
    }
}

/// The faults found so far.
pub(crate) struct Found<'a> {
    origins: &'a Origins,
    looked: Looked,
    /// Names of settings with a fault, whose resources need no check.
    wrong: BTreeSet<&'static str>,
    told: BTreeSet<&'static str>,
}

impl<'a> Found<'a> {
    fn new(origins: &'a Origins) -> Self {
        Self {
            origins,
            looked: Looked::default(),
            wrong: BTreeSet::new(),
            told: BTreeSet::new(),
        }
    }

    /// Starts the second stage: settings that already have a fault are not reported again.
    fn begin_look(&mut self) {
        self.told.clone_from(&self.wrong);
    }

    /// Returns whether the setting holds a given value, and not a default in place of an invalid one.
    pub(crate) fn is_read(&self, name: &str) -> bool {
        !self.origins.is_unread(name)
    }

    pub(crate) fn problem(&mut self, name: &'static str, value: &str, why: impl Into<String>) {
        if self.is_read(name) && !self.told.contains(name) {
            self.wrong.insert(name);
            let problem = self.origins.problem(name, value, why.into());
            self.looked.problems.push(problem);
        }
    }

    pub(crate) fn warning(&mut self, name: &'static str, value: &str, why: impl Into<String>) {
        if self.is_read(name) && !self.told.contains(name) {
            let warning = self.origins.problem(name, value, why.into());
            self.looked.warnings.push(warning);
        }
    }

    pub(crate) fn within(
        &mut self,
        name: &'static str,
        value: usize,
        range: RangeInclusive<usize>,
    ) {
        if !range.contains(&value) {
            let why = format!("{} to {}", range.start(), range.end());
            self.problem(name, &value.to_string(), why);
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Formats an error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => {
            format!("{error}: {source}")
        }
        _ => error.to_string(),
    }
}
