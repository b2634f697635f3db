//! The handle by which others steer a worker while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_fog::{Digest, Word};
use tokio::sync::{Notify, watch};

/// Most blobs whose loss waits to be told; beyond, a coordinator believes a little longer that the node holds some.
const LOST_MAX: usize = 4096;

/// Whether a worker takes copies that are placed on its node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Intake {
    /// It takes them.
    #[default]
    Open,
    /// It asks for none, and runs those that come all the same.
    Closed,
    /// It asks for none, and gives those back that come all the same.
    Refusing,
}

/// Numbers of copies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Copies {
    /// Copies whose programs run.
    pub running: usize,
    /// Copies that are held: running ones, and ended ones whose receipt no coordinator has taken yet.
    pub held: usize,
}

/// Requests to the worker that are not done yet.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) intake: Option<Intake>,
    pub(super) give_back: Option<Word>,
    pub(super) lost: Vec<Digest>,
}

#[derive(Debug, Default)]
struct Shared {
    wishes: Mutex<Wishes>,
    told: Notify,
    copies: watch::Sender<Copies>,
}

/// Steers a [`Worker`](super::Worker). Clones steer the same.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Shared>);

impl Control {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.0.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what becomes of copies that are placed on the node. The coordinator learns it with a beat at once.
    pub fn set_intake(&self, intake: Intake) {
        self.wishes().intake = Some(intake);
        self.0.told.notify_one();
    }

    /// Gives back all copies that run.
    pub fn give_back(&self, why: Word) {
        self.wishes().give_back = Some(why);
        self.0.told.notify_one();
    }

    /// Reports a blob that the node no longer holds, with the next beat.
    pub fn lost_blob(&self, blob: Digest) {
        let mut wishes = self.wishes();
        if wishes.lost.len() < LOST_MAX {
            wishes.lost.push(blob);
        }
        drop(wishes);
        self.0.told.notify_one();
    }

    /// The numbers of copies, as they change.
    #[must_use]
    pub fn copies(&self) -> watch::Receiver<Copies> {
        self.0.copies.subscribe()
    }

    pub(super) async fn asked(&self) -> Wishes {
        self.0.told.notified().await;
        std::mem::take(&mut *self.wishes())
    }

    pub(super) fn count(&self, copies: Copies) {
        self.0
            .copies
            .send_if_modified(|known| std::mem::replace(known, copies) != copies);
    }
}
