//! Children kept ready, those that run, and what holds for all of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use rustix::process::Signal;
use tokio::sync::watch;

use super::{
    kid::{Kid, Life},
    nursery::Nursery,
};
use crate::{Error, child::Layer};

pub(crate) struct Pool {
    nursery: Nursery,
    spare: usize,
    /// Layers of the first child, which every other must have too.
    layers: u32,
    state: Mutex<State>,
    pub(crate) paused: watch::Sender<bool>,
    pub(crate) share: watch::Sender<u8>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Kid>,
    /// Children that are being started for `ready`.
    starting: usize,
    running: BTreeMap<u64, Weak<Life>>,
    next: u64,
}

impl Pool {
    pub(crate) fn new(nursery: Nursery, spare: usize, layers: u32) -> Arc<Self> {
        let state = Mutex::new(State::default());
        Arc::new(Self {
            nursery,
            spare,
            layers,
            state,
            paused: watch::Sender::new(false),
            share: watch::Sender::new(100),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a child that is ready, if one more is wanted.
    pub(crate) fn keep(&self, kid: Kid) {
        let mut state = self.state();
        if state.ready.len() < self.spare {
            state.ready.push_back(kid);
        }
    }

    /// A child that is ready and alive; those that died meanwhile are buried.
    fn ready(&self) -> Option<Kid> {
        let mut state = self.state();
        std::iter::from_fn(|| state.ready.pop_front()).find(|kid| kid.life().alive())
    }

    /// A child, ready if one is; its place is filled in the background.
    pub(crate) async fn take(self: &Arc<Self>, network: bool) -> Result<Running, Error> {
        let kid = if network { None } else { self.ready() };
        let kid = match kid {
            Some(kid) => kid,
            None => born(&self.nursery, network, self.layers).await?,
        };
        self.fill();
        Ok(self.run(kid))
    }

    /// Starts children until enough are ready.
    pub(crate) fn fill(self: &Arc<Self>) {
        let mut state = self.state();
        while state.ready.len() + state.starting < self.spare {
            state.starting += 1;
            let pool = Arc::downgrade(self);
            let (nursery, layers) = (self.nursery.clone(), self.layers);
            tokio::spawn(async move {
                let started = born(&nursery, false, layers).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut state = pool.state();
                state.starting -= 1;
                match started {
                    Ok(kid) => state.ready.push_back(kid),
                    // The next run starts one itself, and says why it cannot.
                    Err(error) => tracing::debug!(%error, "no child was started ahead"),
                }
            });
        }
    }

    fn run(self: &Arc<Self>, kid: Kid) -> Running {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.running.insert(id, Arc::downgrade(&kid.life()));
        // Under the lock, so that no change of the pause is missed.
        if *self.paused.borrow() {
            kid.life().signal(Signal::STOP);
        }
        Running {
            kid,
            id,
            pool: self.clone(),
        }
    }

    pub(crate) fn pause(&self, paused: bool) {
        let state = self.state();
        if self.paused.send_replace(paused) == paused {
            return;
        }
        for life in state.running.values().filter_map(Weak::upgrade) {
            life.signal(if paused { Signal::STOP } else { Signal::CONT });
        }
    }
}

/// A new child with all layers of the first: a machine that is short of something closes fewer.
async fn born(nursery: &Nursery, network: bool, layers: u32) -> Result<Kid, Error> {
    let kid = nursery.kid(network).await?;
    match Layer::lacking(layers, kid.layers(), network) {
        Some(layer) => Err(Error::Layer(layer.name())),
        None => Ok(kid),
    }
}

/// A child that works; it ends when this is dropped.
pub(crate) struct Running {
    pub(crate) kid: Kid,
    id: u64,
    pool: Arc<Pool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.pool.state().running.remove(&self.id);
    }
}
