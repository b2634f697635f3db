//! A site that is made for a node whose operator gave none: a few pages, a style and drawings, all of them drawn from a seed.
//!
//! Names, titles, texts, the markup's shape, the style, sizes and dates differ from node to node, and two sites have no string in
//! common by which a rule could find both: where markup has to be alike, something that was drawn from many stands on both sides of it.
//! Who reads one closely sees that nobody wrote it: a site of one's own hides more.

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

/// The oldest file is up to so many days old.
const OLDEST: u64 = 900;

/// Makes the site of a seed in a folder, as if it had been written by `now`. Files that are there are replaced.
///
/// # Errors
///
/// The folder cannot be written.
pub fn make_site(folder: &Path, seed: &Seed, now: SystemTime) -> io::Result<()> {
    let mut rng = Rng::new(seed);
    // Apart from what the files are drawn with.
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

/// The files of a seed's site, and what is in them; the first page comes last.
fn drawn(seed: &Seed) -> Vec<(String, String)> {
    let mut rng = Rng::new(seed);
    let mut draw = Draw(&mut rng);
    let plan = Plan::new(&mut draw);
    plan.files(&mut draw)
}

#[cfg(test)]
mod tests;
