//! Uploads to a node: few at a time, with a deadline.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_machine::Time;
use betanet_mix::DIRECTORY_MAX;
use betanet_session::Clock;
use betanet_wire::ChargeTo;

use super::plane::lock;

/// Maximum number of concurrent uploads, of at most a mebibyte each.
const UPLOADS_MAX: usize = 8;
/// Maximum number of those charged to one party. A session has one.
const PAYER_MAX: usize = 2;
/// Time limit from a request's head to its body's end.
const DEADLINE: Duration = Duration::from_secs(10);

struct Upload {
    session: u64,
    charge: ChargeTo,
    until: Time,
    body: Vec<u8>,
}

#[derive(Default)]
struct State {
    held: BTreeMap<u64, Upload>,
    next: u64,
    sweeps: bool,
}

/// The uploads in progress.
#[derive(Clone, Default)]
pub(super) struct Uploads(Arc<Mutex<State>>);

/// The reason why bytes of an upload are refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unfit {
    /// The body exceeds the maximum size of a directory. Holds its size in bytes.
    Long(usize),
    /// The deadline has passed.
    Late,
}

/// The place of an upload, released on drop.
pub(crate) struct Seat {
    uploads: Uploads,
    id: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.uploads.0).held.remove(&self.id);
    }
}

impl State {
    fn sweep(&mut self, now: Time) {
        self.held.retain(|_, u| u.until > now);
    }
}

impl Uploads {
    /// Begins an upload. Returns `None` if the limit is reached.
    pub(super) fn begin(&self, now: Time, session: u64, charge: ChargeTo) -> Option<Seat> {
        let mut state = lock(&self.0);
        state.sweep(now);
        let of_payer = state.held.values().filter(|u| u.charge == charge).count();
        let of_session = state.held.values().any(|u| u.session == session);
        if state.held.len() >= UPLOADS_MAX || of_payer >= PAYER_MAX || of_session {
            return None;
        }
        let id = state.next;
        state.next += 1;
        let upload = Upload {
            session,
            charge,
            until: now + DEADLINE,
            body: Vec::new(),
        };
        state.held.insert(id, upload);
        Some(Seat {
            uploads: self.clone(),
            id,
        })
    }

    /// Frees the memory of late uploads, for as long as there are any uploads. Runs as one task of its own.
    pub(super) fn watch(&self, clock: Clock) {
        if std::mem::replace(&mut lock(&self.0).sweeps, true) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(until) = this.look(clock.now().mono) {
                tokio::time::sleep_until(clock.instant(until)).await;
            }
        });
    }

    /// Frees the memory of late uploads. Returns when to check again, or `None` without uploads.
    fn look(&self, now: Time) -> Option<Time> {
        let mut state = lock(&self.0);
        state.sweep(now);
        let until = state.held.values().map(|u| u.until).min();
        state.sweeps = until.is_some();
        until
    }

    /// Returns the number of bytes held.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        lock(&self.0).held.values().map(|u| u.body.len()).sum()
    }
}

impl Seat {
    /// Adds bytes to the upload.
    pub(super) fn push(&self, now: Time, bytes: &[u8]) -> Result<(), Unfit> {
        let mut state = lock(&self.uploads.0);
        state.sweep(now);
        let upload = state.held.get_mut(&self.id).ok_or(Unfit::Late)?;
        let len = upload.body.len() + bytes.len();
        if len > DIRECTORY_MAX {
            return Err(Unfit::Long(len));
        }
        upload.body.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns the whole body, if it is complete in time.
    pub(super) fn take(&self, now: Time) -> Result<Vec<u8>, Unfit> {
        let mut state = lock(&self.uploads.0);
        state.sweep(now);
        let upload = state.held.get_mut(&self.id).ok_or(Unfit::Late)?;
        Ok(std::mem::take(&mut upload.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    fn of(n: u8) -> ChargeTo {
        ChargeTo::V4([192, 0, 2, n])
    }

    #[test]
    fn bodies_are_few_of_all_of_a_payer_and_of_a_session() {
        let uploads = Uploads::default();
        let first = uploads.begin(at(0), 1, of(1)).unwrap();
        assert!(uploads.begin(at(0), 1, of(1)).is_none(), "the session");
        let second = uploads.begin(at(0), 2, of(1)).unwrap();
        assert!(uploads.begin(at(0), 3, of(1)).is_none(), "the payer");
        let others: Vec<Seat> = (4..10_u8)
            .map(|n| uploads.begin(at(0), n.into(), of(n)).unwrap())
            .collect();
        assert!(uploads.begin(at(0), 99, of(99)).is_none(), "all");
        for seat in [&first, &second].into_iter().chain(&others) {
            assert_eq!(seat.push(at(1), &vec![0; DIRECTORY_MAX]), Ok(()));
            let long = Unfit::Long(DIRECTORY_MAX + 1);
            assert_eq!(seat.push(at(1), &[0]), Err(long));
        }
        assert_eq!(uploads.bytes(), UPLOADS_MAX * DIRECTORY_MAX);
        drop(first);
        assert!(uploads.begin(at(1), 99, of(99)).is_some());
        assert_eq!(second.take(at(9)).unwrap().len(), DIRECTORY_MAX);
    }

    #[test]
    fn who_sends_nothing_for_ten_seconds_holds_nothing() {
        let uploads = Uploads::default();
        let seat = uploads.begin(at(0), 1, of(1)).unwrap();
        seat.push(at(9), &[1; 1000]).unwrap();
        assert!(uploads.begin(at(10), 1, of(1)).is_some());
        assert_eq!(uploads.bytes(), 0);
        assert_eq!(seat.push(at(10), &[1]), Err(Unfit::Late));
        assert_eq!(seat.take(at(10)), Err(Unfit::Late));
    }

    #[test]
    fn its_memory_is_freed_though_nobody_sends() {
        let uploads = Uploads::default();
        let seat = uploads.begin(at(3), 1, of(1)).unwrap();
        seat.push(at(3), &[1; 1000]).unwrap();
        assert_eq!(uploads.look(at(3)), Some(at(13)));
        assert_eq!(uploads.look(at(12)), Some(at(13)));
        assert_eq!(uploads.bytes(), 1000);
        assert_eq!((uploads.look(at(13)), uploads.bytes()), (None, 0));
    }
}
