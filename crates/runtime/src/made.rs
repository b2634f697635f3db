//! The web site of a node whose operator gave none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use betanet_carrier::make_site;
use betanet_machine::Seed;
use betanet_wire::text::{hex, unhex};

use crate::files::{file_error, write_secret};
use crate::{Error, seed};

/// A path beside the key.
fn beside(key: &Path, ending: &str) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A folder beside the key with a web site that no other node has, made when it is not there.
///
/// It is drawn from a seed that is kept beside the key too: whoever has that can tell the site.
///
/// # Errors
///
/// A file cannot be read or written.
pub(crate) fn made_site(key: &Path, now: SystemTime) -> Result<PathBuf, Error> {
    let folder = beside(key, ".site");
    // The last file that is written.
    if folder.join("index.html").exists() {
        return Ok(folder);
    }
    let path = beside(key, ".site-seed");
    if !path.exists() {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let drawn = betanet_machine::Rng::new(&seed()?).array::<32>();
        let text = format!("{} {}\n", hex(&drawn), since.map_or(0, |s| s.as_secs()));
        write_secret(&path, text.as_bytes())?;
    }
    let text = fs::read_to_string(&path).map_err(file_error(&path))?;
    let (seed, made) = read(&text).ok_or_else(|| Error::KeyFile {
        path: path.clone(),
        why: "not a site's seed; remove it, and another site is made",
    })?;
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(made);
    fs::create_dir_all(&folder).map_err(file_error(&folder))?;
    make_site(&folder, &seed, made).map_err(file_error(&folder))?;
    Ok(folder)
}

/// The seed, and when it was drawn, in seconds since 1970.
fn read(text: &str) -> Option<(Seed, u64)> {
    let (seed, made) = text.trim_end().split_once(' ')?;
    let seed: [u8; 32] = unhex(seed)?.try_into().ok()?;
    // Until the year 9999.
    let made: u64 = made.parse().ok()?;
    (made < 253_402_300_800).then_some((Seed::new(seed), made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_site_and_no_other_has_it() {
        let home = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let page = |folder: &Path| fs::read_to_string(folder.join("index.html")).unwrap();
        let (one, two) = (home.path().join("one.pem"), home.path().join("two.pem"));
        let folder = made_site(&one, now).unwrap();
        let first = page(&folder);
        assert_ne!(first, page(&made_site(&two, now).unwrap()));
        fs::remove_dir_all(&folder).unwrap();
        let later = now + Duration::from_secs(1_000_000);
        assert_eq!(first, page(&made_site(&one, later).unwrap()));
        // What an operator changes stays.
        fs::write(folder.join("index.html"), "mine").unwrap();
        assert_eq!(page(&made_site(&one, later).unwrap()), "mine");
        fs::remove_file(folder.join("index.html")).unwrap();
        fs::write(beside(&one, ".site-seed"), "x 1").unwrap();
        let why = made_site(&one, later).unwrap_err().to_string();
        assert!(why.contains("one.pem.site-seed"), "{why}");
    }
}
