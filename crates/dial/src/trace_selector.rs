//! Selects the page load of a shape with which the next connection begins.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use betanet_machine::{Rng, Seed};
use betanet_store::{Error, Kind, SharedFolder, Storage as _, load_or_move};
use betanet_traffic::shape::{Pauses, Shape};
use betanet_wire::text::hex;

use crate::files::on_disk;

/// One bit for each page load, set if it was followed.
const FOLLOWED: Kind = Kind::new("followed", 1);

/// Selects page loads of a shape so that each is used once before any is used again. An observer of two connections with gaps
/// that match to the microsecond would know that neither is a browser's.
pub struct TraceSelector {
    shape: Arc<Shape>,
    /// Storage of the followed page loads, shared with later and concurrent users of the shape; and the file of an earlier
    /// version.
    kept: Option<(SharedFolder, PathBuf)>,
    /// The followed page loads, if they are not stored.
    followed: Mutex<Vec<bool>>,
}

impl TraceSelector {
    /// Creates a selector that remembers the followed page loads in memory.
    #[must_use]
    pub fn new(shape: Arc<Shape>) -> Self {
        let followed = Mutex::new(vec![false; shape.traces().len()]);
        Self {
            shape,
            kept: None,
            followed,
        }
    }

    /// Stores the followed page loads in this folder. Data in the file `old` of an earlier version is moved there.
    #[must_use]
    pub fn with_state(mut self, folder: SharedFolder, old: PathBuf) -> Self {
        self.kept = Some((folder, old));
        self
    }

    pub(crate) const fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// Returns the pauses of that load's client that no burst shows.
    pub(crate) fn pauses(&self, trace: u16) -> Pauses {
        let pauses = self.shape.pauses().nth(trace.into());
        pauses.unwrap_or_default()
    }

    /// Draws a page load that was not followed yet, and marks it as followed.
    pub(crate) fn draw(&self, seed: &Seed) -> u16 {
        let mut rng = Rng::new(seed);
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((folder, old)) = &self.kept {
            match on_disk(|| self.draw_kept(folder, old, &mut rng)) {
                Ok(trace) => return trace,
                Err(error) => tracing::warn!(%error, "which page loads were followed is not kept"),
            }
        }
        draw(&mut followed, &mut rng)
    }

    /// Other users of the same shape wait for this to finish.
    fn draw_kept(&self, folder: &SharedFolder, old: &Path, rng: &mut Rng) -> Result<u16, Error> {
        let (id, count) = (self.shape.id(), self.shape.traces().len());
        let name = format!("followed-{}", hex(&id[..16]));
        folder.hold(|state| {
            // If the entry is missing or of another shape, no page load of this shape was followed.
            let of_this =
                |bytes: &[u8]| Some(bytes.strip_prefix(&id[..]).unwrap_or_default().to_vec());
            let kept = load_or_move(state, (FOLLOWED, &name), old, of_this)?;
            let bits = kept.map(|k| k.bytes).unwrap_or_default();
            let bit = |n: usize| {
                bits.get(n / 8)
                    .is_some_and(|byte| byte & (1 << (n % 8)) != 0)
            };
            let mut followed: Vec<bool> = (0..count).map(bit).collect();
            let trace = draw(&mut followed, rng);
            let bytes = followed.chunks(8).map(|bits| {
                let bits = bits.iter().enumerate();
                bits.fold(0, |byte, (n, bit)| byte | u8::from(*bit) << n)
            });
            state.replace(FOLLOWED, &name, &bytes.collect::<Vec<u8>>())?;
            Ok(trace)
        })
    }
}

/// Draws from the page loads that were not followed, or from all if all were.
fn draw(followed: &mut [bool], rng: &mut Rng) -> u16 {
    if followed.iter().all(|f| *f) {
        followed.fill(false);
    }
    let left: Vec<usize> = (0..followed.len()).filter(|n| !followed[*n]).collect();
    let drawn = rng.below(left.len().max(1) as u64);
    let trace = left[usize::try_from(drawn).unwrap_or(0)];
    followed[trace] = true;
    u16::try_from(trace).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use betanet_traffic::shape::Step;

    use super::*;

    fn shape(loads: u16) -> Arc<Shape> {
        let load = |n| {
            vec![Step {
                gap: betanet_traffic::shape::Gap::default(),
                up: true,
                size: 100 + n,
            }]
        };
        Arc::new(Shape::new((0..loads).map(load).collect()).unwrap())
    }

    fn drawn(selector: &TraceSelector, from: u8, n: u8) -> Vec<u16> {
        let mut all: Vec<_> = (from..from + n)
            .map(|n| selector.draw(&Seed::new([n; 32])))
            .collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn none_is_followed_twice_before_all_were() {
        let selector = TraceSelector::new(shape(20));
        for round in 0..3 {
            assert_eq!(
                drawn(&selector, 20 * round, 20),
                (0..20).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn nor_by_who_follows_the_same_shape_with_the_same_folder() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("site.shape.followed");
        let folder = SharedFolder::new(dir.path().join("state"));
        let selector =
            |loads| TraceSelector::new(shape(loads)).with_state(folder.clone(), old.clone());
        let (one, other) = (selector(20), selector(20));
        let mut all = [drawn(&one, 0, 9), drawn(&other, 9, 9)].concat();
        all.extend(drawn(&selector(20), 18, 2));
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        // Another shape has a separate entry.
        assert_eq!(drawn(&selector(3), 0, 3), [0, 1, 2]);
    }

    #[test]
    fn the_file_of_an_earlier_version_is_moved_and_one_of_another_shape_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("site.shape.followed");
        let mut file = shape(3).id().to_vec();
        file.push(0b011);
        for (n, (text, first)) in [(&file[..], Some(2)), (b"short", None), (&[7; 5000], None)]
            .into_iter()
            .enumerate()
        {
            std::fs::write(&old, text).unwrap();
            let folder = SharedFolder::new(dir.path().join(n.to_string()));
            let selector = TraceSelector::new(shape(3)).with_state(folder, old.clone());
            let left: Vec<u16> = first.map_or(vec![0, 1, 2], |f| vec![f]);
            let many = u8::try_from(left.len()).unwrap();
            assert_eq!(drawn(&selector, 0, many), left);
            assert!(!old.exists());
        }
    }

    #[test]
    fn where_nothing_can_be_kept_it_is_known_all_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let folder = SharedFolder::new(file.path().join("below"));
        let selector = TraceSelector::new(shape(5)).with_state(folder, PathBuf::from("/nowhere"));
        assert_eq!(drawn(&selector, 0, 5), [0, 1, 2, 3, 4]);
    }
}
