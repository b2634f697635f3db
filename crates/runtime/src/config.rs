//! A node's settings, by owner: each component declares a section with its defaults and checks.
//!
//! One line declares a setting; its TOML key, its flag, its variable and its help come from there (`knob`). Values that were given
//! are read by [`Given`]; [`GatewayConfig::faults`] tells all that is wrong with them at once.

mod exposed;
mod given;
mod knob;
mod legacy;
mod sections;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub use given::{Given, Origins, ReadSettings, SettingsError};
pub use knob::{Kind, Knob};
pub use legacy::{Compat11, Server11};
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

/// Milliseconds that jitter may be.
pub const JITTER: RangeInclusive<u64> = 1..=1000;

/// A setting that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where it came from: a file's path and line, the command line, or a variable.
    pub origin: String,
    /// The key, as it was given.
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
        if !origin.is_empty() {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{key} = {value:?}: {allowed}")
    }
}

/// All settings that cannot be used, one a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// The faults of settings.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Faults that keep the node from starting, or from being reached.
    pub problems: Vec<Problem>,
    /// Settings that may be meant so.
    pub warnings: Vec<Problem>,
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

/// Composes sections into a configuration.
macro_rules! config {
    ($($(#[doc = $doc:literal])* $part:ident: $section:ty,)*) => {
        /// A gateway's settings. Those of [`Default`] lack only a key and a folder to serve.
        #[derive(Clone, Debug, Default)]
        #[non_exhaustive]
        pub struct GatewayConfig {
            $($(#[doc = $doc])* pub $part: $section,)*
        }

        impl GatewayConfig {
            /// All settings there are, in the order of their sections.
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
    /// The node itself: its identity, and how it dials.
    node: NodeSettings,
    /// Where it listens, and which addresses others are told.
    listener: ListenerSettings,
    /// The certificate that its listeners show, and the roots that it trusts.
    tls: TlsSettings,
    /// The web site that everybody sees.
    site: SiteSettings,
    /// The traffic's looks.
    traffic: TrafficSettings,
    /// The folder that is served.
    folder: FolderSettings,
    /// Paths of others that it carries on.
    relay: RelaySettings,
    /// The network that it is part of.
    mesh: MeshSettings,
    /// Packets of the mix that it relays.
    mix: MixSettings,
    /// Peers of version 1.1.
    legacy: LegacySettings,
    /// The bounds of what others can make it hold.
    limits: LimitSettings,
    /// The admin address and log lines.
    operator: OperatorSettings,
}

impl GatewayConfig {
    /// Checks all settings together, without a look at keys, certificates and addresses that they name.
    ///
    /// # Errors
    ///
    /// All that is wrong, not only the first.
    pub fn check(&self) -> Result<(), Problems> {
        let found = self.faults(&Origins::default());
        if found.problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(found.problems))
        }
    }

    /// The faults of all settings together, without a look at what they name. A setting that could not be read is not told again.
    #[must_use]
    pub fn faults(&self, origins: &Origins) -> Looked {
        let mut found = Found::new(origins);
        self.check_sections(&mut found);
        found.looked
    }

    /// The same, with a look at all that the settings name: whether keys, certificates and files read and fit, folders can be used,
    /// and addresses are this machine's. Makes no file, binds no port, asks no network.
    #[must_use]
    pub fn look(&self, origins: &Origins) -> Looked {
        let mut found = Found::new(origins);
        self.check_sections(&mut found);
        found.begin_look();
        self.look_sections(&mut found);
        found.looked
    }

    /// The file of the self-signed certificate, where one is kept.
    #[must_use]
    pub fn own_certificate(&self) -> Option<PathBuf> {
        let key = &self.node.key;
        let mut name = key.file_name()?.to_owned();
        name.push(".tls.pem");
        self.tls.keep.then(|| key.with_file_name(name))
    }
}

/// The faults that were found so far.
pub(crate) struct Found<'a> {
    origins: &'a Origins,
    looked: Looked,
    /// Names of settings with a problem, and of those among them that need no look.
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

    /// From now on, settings with a problem are not told again.
    fn begin_look(&mut self) {
        self.told.clone_from(&self.wrong);
    }

    /// Whether the setting holds what was given, and not a default in place of a value that could not be read.
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

/// An error and what caused it.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => {
            format!("{error}: {source}")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (tempfile::TempDir, Vec<Problem>, Vec<Problem>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        let read = Given::from_file(&file).unwrap().read();
        let Looked { problems, warnings } = read.config.faults(&read.origins);
        let mut all = read.problems;
        all.extend(problems);
        (dir, all, warnings)
    }

    fn keys(problems: &[Problem]) -> Vec<&str> {
        let mut keys: Vec<&str> = problems.iter().map(|p| p.key.as_ref()).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let (dir, problems, _) = of(
            "listen = [\"here\"]\nserve = \"/no/such/folder\"\nadmin = \"0.0.0.0:9\"\nlog_format = \"xml\"\nallow = [\"bob\"]\njitter = 1001\ncertificate = \"a.pem\"\n[limits]\nmax_sessions = 0\n",
        );
        let all = [
            "admin",
            "allow",
            "certificate",
            "jitter",
            "key",
            "limits.max_sessions",
            "listen",
            "log_format",
            "serve",
        ];
        assert_eq!(keys(&problems), all);
        let said = problems.iter().find(|p| p.key == "listen").unwrap();
        let said = said.to_string().replace(dir.path().to_str().unwrap(), "");
        assert_eq!(
            said,
            "/gateway.toml: line 1: listen = \"here\": an address is HOST:PORT, as node.example:443 or [2001:db8::1]:443"
        );
    }

    #[test]
    fn a_half_names_itself_and_not_its_neighbour() {
        let base = "key = \"k.pem\"\nserve = \".\"\n";
        for (half, key) in [
            ("certificate = \"c.pem\"\n", "certificate"),
            ("certificate_key = \"c.pem\"\n", "certificate_key"),
            ("compat11_tickets = \"t.key\"\n", "compat11_tickets"),
            ("opens_per_second = 0\n", "opens_per_second"),
        ] {
            let (_dir, problems, _) = of(&format!("{base}{half}"));
            assert_eq!(keys(&problems), [key]);
        }
        // The other half that could not be read is not missing.
        let halves = "certificate = 3\ncertificate_key = \"c.pem\"\n";
        let (_dir, problems, _) = of(&format!("{base}{halves}"));
        assert_eq!(keys(&problems), ["certificate"]);
    }

    #[test]
    fn settings_that_do_nothing_are_told() {
        let base = "key = \"k.pem\"\nserve = \".\"\n";
        let (_dir, problems, warnings) = of(&format!("{base}quota = 5\nentries = 6\n"));
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(keys(&warnings), ["entries", "quota"]);
        let (_dir, _, warnings) = of(&format!("{base}quota = 5\nwritable = true\n"));
        assert!(warnings.is_empty(), "{warnings:?}");
        let quic = format!("{base}advertise = [\"quic:a.example:443\"]\n");
        assert_eq!(keys(&of(&quic).1), ["advertise"]);
        assert!(of(&format!("{quic}quic = true\n")).1.is_empty());
    }

    #[test]
    fn each_setting_is_declared_once_and_reads_its_own_default() {
        let knobs = GatewayConfig::knobs();
        let distinct = |of: fn(&Knob) -> String| knobs.iter().map(of).collect::<BTreeSet<_>>();
        let all = knobs.len();
        assert_eq!(distinct(|k| k.name.into()).len(), all);
        assert_eq!(distinct(|k| k.flag.clone()).len(), all);
        assert_eq!(distinct(|k| format!("{}.{}", k.table, k.field)).len(), all);
        // No table has the name of a setting, which stands at the top level too.
        assert!(
            knobs
                .iter()
                .all(|k| knobs.iter().all(|o| o.name != k.table))
        );
        for knob in &knobs {
            assert!(!knob.help.is_empty(), "{}", knob.name);
            assert_eq!(
                knob.value.is_empty(),
                knob.kind == Kind::Switch,
                "{}",
                knob.name
            );
            let Some(default) = &knob.default else {
                continue;
            };
            let mut given = Given::new("test");
            given.put(knob.name, "test", [default.into()]);
            assert!(given.read().problems.is_empty(), "{}", knob.name);
        }
    }

    /// The lines of a file of `dist` with those that only show a default or a sample.
    fn shown_settings(file: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist");
        let text = std::fs::read_to_string(path.join(file)).unwrap();
        let knobs = GatewayConfig::knobs();
        let is_one = |line: &str| {
            let key = line.split_once(" = ").map(|(key, _)| key);
            key.is_some_and(|key| knobs.iter().any(|k| k.field == key))
        };
        let lines = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_one(rest) => rest,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_files_of_dist_show_every_setting_in_its_table() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["gateway.toml", "mixnode.toml"] {
            let path = dir.path().join(file);
            std::fs::write(&path, shown_settings(file)).unwrap();
            let given = Given::from_file(&path).unwrap();
            if file == "gateway.toml" {
                for knob in GatewayConfig::knobs() {
                    assert!(given.has(knob.name), "{}", knob.name);
                }
            }
            // Samples such as bn1:… and files that are not there do not read; each key does.
            for problem in given.read().problems {
                let samples = ["allow", "ban", "onward", "to", "dial", "shape"];
                let field = problem.key.rsplit('.').next().unwrap();
                assert!(samples.contains(&field), "{file}: {problem}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn settings_read_alike_from_a_table_a_name_and_a_flag(
            which in 0..GatewayConfig::knobs().len(),
            text in "[a-z0-9:./,-]{0,12}",
            number in 0_i64..70_000,
            on: bool,
        ) {
            let knob = &GatewayConfig::knobs()[which];
            let (toml, flag) = match knob.form {
                knob::Form::Switch => (on.to_string(), on.to_string()),
                knob::Form::Number => (number.to_string(), number.to_string()),
                knob::Form::Text => (format!("{text:?}"), text),
            };
            let many = knob.kind == Kind::Many;
            let parts = flag.split(',').map(|part| format!("{part:?}")).collect::<Vec<_>>();
            let toml = if many { format!("[{}]", parts.join(", ")) } else { toml };
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("g.toml");
            let of_file = |text: String| {
                std::fs::write(&file, text).unwrap();
                Given::from_file(&file).unwrap().read()
            };
            let table = of_file(format!("[{}]\n{} = {toml}\n", knob.table, knob.field));
            let name = of_file(format!("{} = {toml}\n", knob.name));
            let mut given = Given::new("flags");
            given.put(knob.name, "flags", [flag.into()]);
            let flags = given.read();
            let config = format!("{:?}", table.config);
            for other in [&name, &flags] {
                proptest::prop_assert_eq!(&config, &format!("{:?}", other.config));
                proptest::prop_assert_eq!(table.problems.len(), other.problems.len());
            }
        }
    }

    #[test]
    fn defaults_lack_a_key_and_a_folder() {
        let problems = GatewayConfig::default().check().unwrap_err().0;
        assert_eq!(keys(&problems), ["key", "serve"]);
        assert!(!problems[0].to_string().starts_with(':'));
    }
}
