//! Style, script and icon: in the program, with their hash in the name, and compressed once.

use std::io::Write as _;
use std::sync::OnceLock;

use betanet_keys::hash;
use betanet_wire::text::hex;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A file that pages name.
pub(crate) struct Asset {
    /// Name below `/assets/`, with the hash of the content.
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) plain: Bytes,
    /// By gzip; `None` if that failed.
    pub(crate) gzip: Option<Bytes>,
}

impl Asset {
    fn new(stem: &str, end: &str, kind: &'static str, plain: &'static str) -> Self {
        let digest = hex(&hash(&[plain.as_bytes()]));
        let short = digest.get(..16).unwrap_or_default();
        Self {
            name: format!("{stem}-{short}.{end}"),
            kind,
            plain: Bytes::from_static(plain.as_bytes()),
            gzip: compressed(plain.as_bytes()),
        }
    }
}

/// The files.
pub(crate) struct Assets {
    pub(crate) style: Asset,
    pub(crate) script: Asset,
    pub(crate) icon: Asset,
}

impl Assets {
    /// The file of a name.
    pub(crate) fn find(&self, name: &str) -> Option<&Asset> {
        let mut all = [&self.style, &self.script, &self.icon].into_iter();
        all.find(|a| a.name == name)
    }
}

/// Compresses by gzip; `None` if that fails.
pub(crate) fn compressed(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// The files, made at first use.
pub(crate) fn assets() -> &'static Assets {
    static ALL: OnceLock<Assets> = OnceLock::new();
    ALL.get_or_init(|| Assets {
        style: Asset::new(
            "panel",
            "css",
            "text/css; charset=utf-8",
            include_str!("../assets/panel.css"),
        ),
        script: Asset::new(
            "panel",
            "js",
            "text/javascript; charset=utf-8",
            include_str!("../assets/panel.js"),
        ),
        icon: Asset::new(
            "icon",
            "svg",
            "image/svg+xml",
            include_str!("../assets/icon.svg"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_load_is_small() {
        let all = assets();
        let files = [&all.style, &all.script, &all.icon];
        let raw: usize = files.iter().map(|a| a.plain.len()).sum();
        let gzip: usize = files
            .iter()
            .filter_map(|a| a.gzip.as_ref())
            .map(Bytes::len)
            .sum();
        // 60 KB and 20 KB are for the page too.
        assert!(raw < 30_000 && gzip < 10_000, "{raw} {gzip}");
        assert!(all.script.plain.split(|b| *b == b'\n').count() <= 400);
        assert!(files.iter().all(|a| all.find(&a.name).is_some()));
        assert!(all.find("panel.css").is_none());
    }
}
