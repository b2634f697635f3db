//! The web site that everybody sees who opens no tunnel.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::OriginProxy;
use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{CoverSite, Found, GatewayConfig, shown};

section! {
    /// The web site that everybody sees who opens no tunnel.
    SiteSettings "site" "The web site" {
        /// The folder of the web site that everybody sees. Without it, and without --origin, pages that no other node has are made
        /// and kept beside the key; pages of one's own hide more.
        cover "cover" "DIR": Option<PathBuf> = None;
        /// In place of --cover: show this front origin's pages, https://HOST[:PORT] or http://HOST[:PORT]. Fields by which visitors
        /// say where they are (x-forwarded-for and the like) are not passed on. An origin on this machine takes every visitor for a
        /// local one: it must let nobody in for that. It alone gets the visitor's address, as x-forwarded-for.
        origin "origin" "URL": Option<OriginProxy> = None;
        /// Be the web site and nothing else, so that the two can be compared: no tunnel is taken.
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
