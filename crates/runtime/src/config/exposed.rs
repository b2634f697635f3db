//! Detects secrets of a node that are in served folders.

use std::path::{Path, PathBuf};

use super::GatewayConfig;
use crate::Error;

/// A secret's file, and the folder that would serve it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Exposed {
    /// The setting that names the file.
    pub(crate) key: &'static str,
    pub(crate) file: PathBuf,
    /// The setting that names the folder.
    pub(crate) by: &'static str,
    pub(crate) folder: PathBuf,
}

/// Returns the absolute path of a file, which need not exist. Follows symbolic links as far as they exist.
fn place(file: &Path) -> PathBuf {
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    real(parent).join(file.file_name().unwrap_or_default())
}

/// Returns whether a folder would serve a file. Names that begin with a dot are not served.
fn is_served(file: &Path, folder: &Path) -> bool {
    let hidden = |name: std::path::Component<'_>| {
        let name = name.as_os_str().as_encoded_bytes();
        name.starts_with(b".")
    };
    file.strip_prefix(folder)
        .is_ok_and(|below| !below.components().any(hidden))
}

fn real(path: &Path) -> PathBuf {
    let found = path.canonicalize().or_else(|_| std::path::absolute(path));
    found.unwrap_or_else(|_| path.to_owned())
}

impl GatewayConfig {
    /// Checks that no secret of the node is in a folder that is served to others. Otherwise the node does not start.
    ///
    /// # Errors
    ///
    /// [`Error::Exposed`].
    pub fn keeps_secrets(&self) -> Result<(), Error> {
        match self.exposed() {
            None => Ok(()),
            Some(Exposed {
                key,
                file,
                by,
                folder,
            }) => Err(Error::Exposed {
                key,
                file,
                by,
                folder,
            }),
        }
    }

    /// Returns the first secret in a folder that is served to others.
    pub(crate) fn exposed(&self) -> Option<Exposed> {
        let certificate_key = self.tls.certificate_key.as_ref();
        let state = Some(self.state()).filter(|state| !state.as_os_str().is_empty());
        let secrets = [
            (
                "key",
                Some(&self.node.key).filter(|key| !key.as_os_str().is_empty()),
            ),
            ("state", state.as_ref()),
            ("certificate_key", certificate_key),
            ("compat11_tickets", self.legacy.tickets.as_ref()),
        ];
        let folders = [
            ("serve", self.folder.serve.as_ref()),
            ("cover", self.site.cover.as_ref()),
        ];
        for (key, file) in secrets {
            let Some(file) = file else { continue };
            // A symbolic link's target may be elsewhere. The server follows the link too.
            let places = [place(file), file.canonicalize().unwrap_or_default()];
            for (by, folder) in folders {
                let Some(folder) = folder else { continue };
                if places.iter().any(|p| is_served(p, &real(folder))) {
                    return Some(Exposed {
                        key,
                        file: file.clone(),
                        by,
                        folder: folder.clone(),
                    });
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_public_folder_is_found_however_it_is_written() {
        let home = tempfile::tempdir().unwrap();
        for folder in ["pub", "pub/in", "cover", "keys"] {
            std::fs::create_dir(home.path().join(folder)).unwrap();
        }
        std::fs::write(home.path().join("cover/index.html"), "x").unwrap();
        std::os::unix::fs::symlink("pub", home.path().join("link")).unwrap();
        let of = |key: &str, serve: &str| {
            let mut config = GatewayConfig::default();
            config.folder.serve = Some(home.path().join(serve));
            config.site.cover = Some(home.path().join("cover"));
            config.node.key = home.path().join(key);
            config.check().unwrap();
            config.exposed().map(|e| (e.key, e.by))
        };
        assert_eq!(of("keys/k.pem", "pub"), None);
        assert_eq!(of("k.pem", "pub"), None);
        for (key, serve) in [
            ("pub/k.pem", "pub"),
            ("pub/in/../k.pem", "pub"),
            ("pub/in/k.pem", "link"),
            ("link/k.pem", "pub"),
            ("pub/not-there/k.pem", "pub"),
        ] {
            assert_eq!(of(key, serve), Some(("key", "serve")), "{key} {serve}");
        }
        assert_eq!(of("cover/k.pem", "pub"), Some(("key", "cover")));
        // A relative path starts at the process's working folder.
        assert_eq!(
            place(Path::new("k.pem")),
            real(Path::new(".")).join("k.pem")
        );
        // Hidden files are not served.
        assert_eq!(of("pub/.state/k.pem", "pub"), None);
        assert_eq!(of("pub/.k.pem", "pub"), None);
    }
}
