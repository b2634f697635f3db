//! The web site shown to visitors.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::OriginProxy;
use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{CoverSite, Found, GatewayConfig, shown};

section! {
    /// The web site shown to visitors.
    SiteSettings "site" "The web site" {
        /// Folder of the web site that every visitor sees. Without it and --origin, the node generates pages that no other node
        /// has, and keeps them beside the key. Your own pages hide more.
        cover "cover" "DIR": Option<PathBuf> = None;
        /// Show this front origin's pages instead of --cover: https://HOST[:PORT] or http://HOST[:PORT]. Visitors' own
        /// x-forwarded-for and similar fields are dropped. An origin on this machine takes every visitor for a local one, so it
        /// must not trust local visitors. Only it gets the visitor's address, as x-forwarded-for.
        origin "origin" "URL": Option<OriginProxy> = None;
        /// Show the web site only, and accept no tunnel, for comparison.
        cover_only "cover_only" "": bool = false;
    }
}

impl SiteSettings {
    /// The site that these settings name; an origin goes before a folder.
    #[must_use]
    pub fn cover_site(&self) -> CoverSite {
        match (&self.origin, &self.cover) {
            (Some(origin), _) => CoverSite::Origin(origin.clone()),
            (None, Some(folder)) => CoverSite::Folder(folder.clone()),
            (None, None) => CoverSite::Made,
        }
    }
}

impl Section for SiteSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        if let Some(origin) = &self.origin
            && self.cover.is_some()
        {
            let why = "a folder (cover) or an origin, one of them";
            found.problem("origin", &format!("{origin:?}"), why);
        }
        if let Some(folder) = &self.cover
            && !folder.is_dir()
        {
            found.problem("cover", &shown(folder), "a folder that is there");
        }
    }

    fn look(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        let Some(folder) = &self.cover else {
            return;
        };
        if let Err(e) = std::fs::read_dir(folder) {
            found.problem("cover", &shown(folder), e.to_string());
        } else if !folder.join("index.html").is_file() {
            let why = "it has no index.html: the site's first page is an error";
            found.warning("cover", &shown(folder), why);
        }
    }
}
