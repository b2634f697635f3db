//! The generated web site of a node whose operator configured none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use betanet_carrier::make_site;
use betanet_dial::FileError;
use betanet_machine::Seed;
use betanet_store::{Kind, Storage, load_or_move};
use betanet_wire::text::{hex, unhex};

use crate::{Error, seed};

/// Returns a path beside the key.
fn beside(key: &Path, ending: &str) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The seed of a node's site, and when it was drawn.
const SITE: (Kind, &str) = (Kind::new("site", 1), "site");

/// Returns the folder of the site. It is beside the key, so that the operator can change it.
fn folder(key: &Path) -> PathBuf {
    beside(key, ".site")
}

/// Returns whether the site is not generated yet, which needs the seed from the node's state.
pub(crate) fn is_missing(key: &Path) -> bool {
    // This file is written last.
    !folder(key).join("index.html").exists()
}

/// Returns a folder beside the key with a web site that no other node has. Generates it if it does not exist.
///
/// The site derives from a seed in the node's state: with the seed, anyone can recognize the site. A seed of an earlier version
/// is moved there from beside the key.
///
/// # Errors
///
/// A file cannot be read or written.
pub(crate) fn made_site(
    state: Option<&dyn Storage>,
    key: &Path,
    now: SystemTime,
) -> Result<PathBuf, Error> {
    let folder = folder(key);
    let Some(state) = state.filter(|_| is_missing(key)) else {
        return Ok(folder);
    };
    let old = beside(key, ".site-seed");
    let reads = |bytes: &[u8]| read(bytes).map(|_| bytes.to_vec());
    let kept = match load_or_move(state, SITE, &old, reads)? {
        Some(kept) => kept.bytes,
        None => {
            let since = now.duration_since(SystemTime::UNIX_EPOCH);
            let drawn = betanet_machine::Rng::new(&seed()?).array::<32>();
            let text = format!("{} {}\n", hex(&drawn), since.map_or(0, |s| s.as_secs()));
            state.replace(SITE.0, SITE.1, text.as_bytes())?;
            text.into_bytes().into()
        }
    };
    let (seed, made) = read(&kept).ok_or_else(|| state.unreadable(SITE.1))?;
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(made);
    fs::create_dir_all(&folder).map_err(FileError::io(&folder))?;
    make_site(&folder, &seed, made).map_err(FileError::io(&folder))?;
    Ok(folder)
}

/// Parses the seed and its time, in seconds since 1970.
fn read(text: &[u8]) -> Option<(Seed, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seed, made) = text.trim_end().split_once(' ')?;
    let seed: [u8; 32] = unhex(seed)?.try_into().ok()?;
    // This is valid until the year 9999.
    let made: u64 = made.parse().ok()?;
    (made < 253_402_300_800).then_some((Seed::new(seed), made))
}

#[cfg(test)]
mod tests {
    use betanet_store::MemoryStorage;

    use super::*;

    #[test]
    fn a_node_keeps_its_site_and_no_other_has_it() {
        let home = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let page = |folder: &Path| fs::read_to_string(folder.join("index.html")).unwrap();
        let (one, two) = (home.path().join("one.pem"), home.path().join("two.pem"));
        let (of_one, of_two) = (MemoryStorage::default(), MemoryStorage::default());
        let folder = made_site(Some(&of_one), &one, now).unwrap();
        let first = page(&folder);
        assert_ne!(first, page(&made_site(Some(&of_two), &two, now).unwrap()));
        fs::remove_dir_all(&folder).unwrap();
        let later = now + Duration::from_secs(1_000_000);
        let again = || made_site(Some(&of_one), &one, later);
        assert_eq!(first, page(&again().unwrap()));
        // An operator's changes are kept.
        fs::write(folder.join("index.html"), "mine").unwrap();
        assert_eq!(page(&again().unwrap()), "mine");
        assert_eq!(page(&made_site(None, &one, later).unwrap()), "mine");
        fs::remove_file(folder.join("index.html")).unwrap();
        of_one.replace(SITE.0, SITE.1, b"x 1").unwrap();
        assert!(matches!(again(), Err(Error::State(_))));
    }

    #[test]
    fn the_seed_of_an_earlier_version_is_moved() {
        let home = tempfile::tempdir().unwrap();
        let key = home.path().join("one.pem");
        let old = beside(&key, ".site-seed");
        fs::write(&old, "x 1").unwrap();
        let state = MemoryStorage::default();
        let why = made_site(Some(&state), &key, SystemTime::UNIX_EPOCH).unwrap_err();
        assert!(why.to_string().contains("one.pem.site-seed"), "{why}");
        let text = format!("{} 1800000000\n", "07".repeat(32));
        fs::write(&old, &text).unwrap();
        made_site(Some(&state), &key, SystemTime::UNIX_EPOCH).unwrap();
        let kept = state.load(SITE.0, SITE.1).unwrap().unwrap();
        assert_eq!(&kept.bytes[..], text.as_bytes());
        assert!(!old.exists() && !is_missing(&key));
    }
}
