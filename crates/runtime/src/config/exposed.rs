//! Secrets of a node that lie where others could fetch them.

use std::path::{Path, PathBuf};

use super::GatewayConfig;
use crate::Error;

/// A secret's file, and the folder that it would be fetched from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Exposed {
    /// The setting that names the file.
    pub(crate) key: &'static str,
    pub(crate) file: PathBuf,
    /// The setting that names the folder.
    pub(crate) by: &'static str,
    pub(crate) folder: PathBuf,
}

/// Where the file lies, whether it is there yet or not, links followed as far as there are any.
fn place(file: &Path) -> PathBuf {
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    real(parent).join(file.file_name().unwrap_or_default())
}

/// Whether a file could be fetched from a folder: names that begin with a dot are not given to anybody.
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
    /// Whether none of the node's secrets lies in a folder whose files are given to others. A node does not start otherwise.
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

    /// The first secret that lies in a folder whose files are given to others.
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
            // The file itself, where a link leads to it, lies elsewhere; the link is followed by who serves it as well.
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
        // Without a folder in its name it lies where the process runs.
        assert_eq!(
            place(Path::new("k.pem")),
            real(Path::new(".")).join("k.pem")
        );
        // What is hidden is not served.
        assert_eq!(of("pub/.state/k.pem", "pub"), None);
        assert_eq!(of("pub/.k.pem", "pub"), None);
    }
}
