//! With which page load of a shape the next connection begins.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use betanet_machine::{Rng, Seed};
use betanet_traffic::shape::{Pauses, Shape, TRACES_MAX};

/// Of a shape's ID.
const ID: usize = 32;

/// The page loads of a shape, with each of which a connection begins once before one does again with any: who sees two connections with the same gaps to the
/// microsecond knows that neither was a browser's.
pub struct TraceSelector {
    shape: Arc<Shape>,
    /// Where it is kept which were followed, for who follows the shape after this one or beside it.
    file: Option<PathBuf>,
    /// The same, where it is not.
    followed: Mutex<Vec<bool>>,
}

impl TraceSelector {
    /// Knows what was followed for as long as it lives.
    #[must_use]
    pub fn new(shape: Arc<Shape>) -> Self {
        let followed = Mutex::new(vec![false; shape.traces().len()]);
        Self {
            shape,
            file: None,
            followed,
        }
    }

    /// Keeps in this file what was followed.
    #[must_use]
    pub fn with_file(mut self, file: PathBuf) -> Self {
        self.file = Some(file);
        self
    }

    pub(crate) const fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// How long the client of that load took for what no burst shows.
    pub(crate) fn pauses(&self, trace: u16) -> Pauses {
        let pauses = self.shape.pauses().nth(trace.into());
        pauses.unwrap_or_default()
    }

    /// Draws one that was not followed yet, and takes note of it.
    pub(crate) fn draw(&self, seed: &Seed) -> u16 {
        let mut rng = Rng::new(seed);
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file {
            match self.draw_kept(file, &mut rng) {
                Ok(trace) => return trace,
                Err(e) => tracing::warn!(
                    "{}: which page loads were followed is not kept: {e}",
                    file.display()
                ),
            }
        }
        draw(&mut followed, &mut rng)
    }

    fn draw_kept(&self, path: &Path, rng: &mut Rng) -> io::Result<u16> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.mode(0o600);
        let mut file = options.open(path)?;
        // Others that follow the same shape wait for the length of this.
        file.lock()?;
        let mut kept = Vec::new();
        let most = ID + TRACES_MAX.div_ceil(8);
        (&mut file).take(most as u64).read_to_end(&mut kept)?;
        let (id, count) = (self.shape.id(), self.shape.traces().len());
        // Of another shape, or of none: nothing of this one was followed.
        let bits = kept.strip_prefix(&id[..]).unwrap_or_default();
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
        let kept: Vec<u8> = id.into_iter().chain(bytes).collect();
        file.rewind()?;
        file.write_all(&kept)?;
        file.set_len(kept.len() as u64)?;
        Ok(trace)
    }
}

/// Draws among those that were not followed; among all, when all were.
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
    fn nor_by_who_follows_the_same_shape_with_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("site.shape.followed");
        let selector = |loads| TraceSelector::new(shape(loads)).with_file(file.clone());
        let (one, other) = (selector(20), selector(20));
        let mut all = [drawn(&one, 0, 9), drawn(&other, 9, 9)].concat();
        all.extend(drawn(&selector(20), 18, 2));
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        // Another shape's is another one, and what is cut short, or is anything else, is nothing.
        assert_eq!(drawn(&selector(3), 0, 3), [0, 1, 2]);
        for bad in [&b"short"[..], &[7; 5000]] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(drawn(&selector(3), 0, 3), [0, 1, 2]);
            assert_eq!(std::fs::read(&file).unwrap().len(), 33);
        }
    }

    #[test]
    fn where_nothing_can_be_kept_it_is_known_all_the_same() {
        let file = PathBuf::from("/nowhere/at/all");
        let selector = TraceSelector::new(shape(5)).with_file(file);
        assert_eq!(drawn(&selector, 0, 5), [0, 1, 2, 3, 4]);
    }
}
