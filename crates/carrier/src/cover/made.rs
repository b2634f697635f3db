//! Generates a site for a node whose operator gave none: a few pages, a style and drawings, all drawn from a seed.
//!
//! Names, titles, texts, the shape of the markup, the style, sizes and dates differ from node to node. Two sites share no
//! string by which a rule could find both: where markup must be equal, it is enclosed by parts drawn from many. A close reader
//! notices that no human wrote the site: an operator's own site hides more.

mod hand;
mod page;
mod plan;
mod style;
mod text;
mod words;

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use betanet_machine::{Rng, Seed};

use plan::Plan;
use text::Draw;

/// Maximum age of the oldest file, in days.
const OLDEST: u64 = 900;

/// Writes the site of a seed into a folder, with dates up to `now`. Existing files are replaced.
///
/// # Errors
///
/// The folder cannot be written.
pub fn make_site(folder: &Path, seed: &Seed, now: SystemTime) -> io::Result<()> {
    let mut rng = Rng::new(seed);
    // Separate from the randomness of the files.
    let _ = rng.array::<64>();
    let mut days = 20 + rng.below(OLDEST - 20);
    for (name, text) in drawn(seed) {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        days = days.saturating_sub(rng.below(days / 3 + 1)).max(3);
        let age = Duration::from_secs(days * 86_400 + rng.below(86_400));
        let modified = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        fs::File::options()
            .append(true)
            .open(&path)?
            .set_modified(modified)?;
    }
    Ok(())
}

/// Names and contents of the files of a seed's site; the first page comes last.
fn drawn(seed: &Seed) -> Vec<(String, String)> {
    let mut rng = Rng::new(seed);
    let mut draw = Draw(&mut rng);
    let plan = Plan::new(&mut draw);
    plan.files(&mut draw)
}

#[cfg(test)]
mod tests;
