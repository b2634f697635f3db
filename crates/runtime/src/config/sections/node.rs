//! The node itself: its identity, and how it dials.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use betanet_store::{Error, State};

use crate::config::exposed::Exposed;
use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig, shown, told};
use crate::health::writable;
use crate::load_identity;
use crate::reach::interfaces;

section! {
    /// The node itself.
    NodeSettings "node" "The node" {
        /// PKCS#8 PEM file of the identity; created if missing.
        key "key" "FILE": PathBuf = PathBuf::new();
        /// Folder of the node's state, used by one process at a time. By default it is beside the key, and its name ends in .state.
        /// Without --key, it also holds the key as id.pem.
        state "state" "DIR": Option<PathBuf> = None;
        /// Local address to dial from.
        dial_from "dial_from" "IP": Option<IpAddr> = None;
        /// Offer ML-KEM-768 beside X25519.
        pq "pq" "": bool = true;
        /// Offer AES-256-GCM for sessions where the processor has instructions for it.
        aes "aes" "": bool = true;
    }
}

impl NodeSettings {
    /// Keeps the state in a folder, and the key in it as `id.pem`.
    pub(crate) fn keep_in(&mut self, folder: PathBuf) {
        self.key = folder.join("id.pem");
        self.state = Some(folder);
    }
}

impl Section for NodeSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        if self.key.as_os_str().is_empty() {
            found.problem("key", "", "the path of a key file is needed");
        }
    }

    fn look(&self, all: &GatewayConfig, found: &mut Found<'_>) {
        let path = &self.key;
        if path.as_os_str().is_empty() {
            return;
        }
        if path.exists() {
            if let Err(e) = load_identity(path) {
                // The error names the path too.
                let text = told(&e);
                let why = text.strip_prefix(&format!("{}: ", path.display()));
                found.problem("key", &shown(path), why.unwrap_or(&text));
            }
        } else if let Err(why) = can_be_made(path) {
            found.problem("key", &shown(path), why);
        }
        look_at_state(all, found);
        if let Some(Exposed { key, file, by, .. }) = all.exposed() {
            let why = format!("it lies in the folder of {by}, where others could fetch it");
            found.problem(key, &shown(&file), why);
        }
        let own = interfaces();
        let mine = |ip: &IpAddr| {
            ip.is_unspecified() || ip.is_loopback() || own.is_empty() || own.contains(ip)
        };
        if let Some(ip) = self.dial_from.filter(|ip| !mine(ip)) {
            let why = "it is no address of this machine";
            found.problem("dial_from", &ip.to_string(), why);
        }
    }
}

/// Checks whether a file or folder that does not exist can be created. Returns the fault.
fn can_be_made(path: &Path) -> Result<(), String> {
    let mut folder = path.parent().unwrap_or(Path::new(""));
    while !folder.exists() && folder.parent().is_some() {
        folder = folder.parent().unwrap_or(folder);
    }
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    writable(folder).map_err(|e| format!("it is to be made, but in {}: {e}", folder.display()))
}

/// Checks the state folder: whether it can be used or made. A folder in use is a warning, since the node may be running.
fn look_at_state(all: &GatewayConfig, found: &mut Found<'_>) {
    let folder = all.state();
    let fault = match State::look(&folder) {
        Err(e @ Error::Held { .. }) => {
            return found.warning("state", &shown(&folder), own_words(&e, &folder));
        }
        Err(e) => Some(own_words(&e, &folder)),
        Ok(()) if folder.exists() => writable(&folder).err().map(|e| e.to_string()),
        Ok(()) => can_be_made(&folder).err(),
    };
    match fault {
        Some(why) if all.needs_state() => found.problem("state", &shown(&folder), why),
        Some(why) => found.warning("state", &shown(&folder), why),
        None => {}
    }
}

/// Formats an error without the path that it begins with.
fn own_words(error: &Error, path: &Path) -> String {
    let text = told(error);
    let own = text.strip_prefix(&format!("{}: ", path.display()));
    own.unwrap_or(&text).to_owned()
}
