//! The folder that is served over BAR.

use std::ffi::OsString;
use std::path::PathBuf;

use betanet_keys::Name;

use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig, shown};
use crate::health::writable;

section! {
    /// The folder that is served over BAR, and the clients that may change it.
    FolderSettings "folder" "The served folder" {
        /// Folder to serve over BAR.
        serve "serve" "DIR": Option<PathBuf> = None;
        /// Let every client PUT, POST and DEL.
        writable "writable" "": bool = false;
        /// Let only the clients with these names PUT, POST and DEL.
        allow "allow" "NAME": Vec<Name> = Vec::new();
        /// Maximum size of the served folder in bytes: each file's length, and 4096 for each file and folder.
        quota "quota" "BYTES": u64 = 1 << 30;
        /// Maximum number of files and folders in the served folder; kept headers count as a file.
        entries "entries" "COUNT": u64 = 100_000;
        /// List a folder without index.html on GET. Hidden names are not listed.
        listing "listing" "": bool = false;
    }
}

impl FolderSettings {
    /// Whether anybody may write.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.writable || !self.allow.is_empty()
    }
}

impl Section for FolderSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        // Without a folder, a node may serve what a program registers.
        if let Some(folder) = self.serve.as_ref().filter(|f| !f.is_dir()) {
            found.problem("serve", &shown(folder), "a folder that is there");
        }
        let default = Self::default();
        if !self.may_write() && found.is_read("writable") && found.is_read("allow") {
            let why = "it bounds nothing: nobody may write without writable or allow";
            if self.quota != default.quota {
                found.warning("quota", &self.quota.to_string(), why);
            }
            if self.entries != default.entries {
                found.warning("entries", &self.entries.to_string(), why);
            }
        }
    }

    fn look(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        let Some(folder) = &self.serve else {
            return;
        };
        if let Err(e) = std::fs::read_dir(folder) {
            found.problem("serve", &shown(folder), e.to_string());
        } else if self.may_write()
            && let Err(e) = writable(folder)
        {
            let why = format!("others are let write, and it cannot be written: {e}");
            found.problem("serve", &shown(folder), why);
        }
    }
}
