//! The versions of jobs that are kept.

use std::collections::{BTreeMap, VecDeque};

use betanet_wire::{cbor, message};

/// Jobs of which versions are kept. Beyond that, the one that was run longest ago is forgotten.
pub(crate) const JOBS_MAX: usize = 256;
/// Versions of a job that are kept.
pub(crate) const VERSIONS_MAX: usize = 8;

message! {
    /// A version of a job, as it was run.
    pub(crate) struct Version {
        /// When it was run, in UNIX ms.
        req "at" at: u64,
        /// Account that ran it.
        req "by" by: String,
        /// Namespace.
        req "ns" ns: String,
        /// Number.
        req "ver" ver: u64,
        /// Whether the file is JSON.
        req "json" json: bool,
        /// Name.
        req "name" name: String,
        /// The file.
        req "text" text: String,
    }
}

/// The versions that are kept, oldest first, by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Kept(BTreeMap<(String, String), VecDeque<Version>>);

impl Kept {
    /// Keeps a version.
    pub(crate) fn add(&mut self, version: Version) {
        let key = (version.ns.clone(), version.name.clone());
        let last = |all: &VecDeque<Version>| all.back().map_or(0, |v| v.at);
        if self.0.len() >= JOBS_MAX && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, all)| last(all));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        let all = self.0.entry(key).or_default();
        if all.len() >= VERSIONS_MAX {
            all.pop_front();
        }
        all.push_back(version);
    }

    /// Replays a stored version.
    pub(crate) fn replay(&mut self, body: &[u8]) -> Result<(), cbor::Error> {
        self.add(cbor::from_slice(body)?);
        Ok(())
    }

    /// The versions of a job, oldest first.
    pub(crate) fn of(&self, ns: &str, name: &str) -> Vec<Version> {
        let all = self.0.get(&(ns.to_owned(), name.to_owned()));
        all.map_or_else(Vec::new, |all| all.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: usize, ver: u64) -> Version {
        Version {
            at: ver,
            by: "root".to_owned(),
            ns: "lab".to_owned(),
            ver,
            json: false,
            name: format!("j{name}"),
            text: "x".to_owned(),
        }
    }

    #[test]
    fn jobs_and_their_versions_are_bounded() {
        let mut kept = Kept::default();
        for ver in 1..=VERSIONS_MAX as u64 + 3 {
            kept.add(version(0, ver));
        }
        let own: Vec<u64> = kept.of("lab", "j0").iter().map(|v| v.ver).collect();
        assert_eq!(own, [4, 5, 6, 7, 8, 9, 10, 11]);
        for name in 1..=JOBS_MAX {
            let body = cbor::to_vec(&version(name, 100 + name as u64));
            assert!(kept.replay(&body).is_ok());
        }
        assert_eq!(kept.0.len(), JOBS_MAX);
        assert!(kept.of("lab", "j0").is_empty(), "the oldest is forgotten");
        assert!(kept.replay(b"x").is_err());
    }
}
