//! Clocks and randomness of components.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynPollable, Pollable,
    bindings::{
        clocks::{monotonic_clock, wall_clock},
        random::{insecure, insecure_seed, random},
    },
    subscribe,
};

use crate::guest::{Guest, clock::Clock, lock};

/// Most random bytes of one call.
const RANDOM_MAX: u64 = 1 << 20;

pub(super) fn datetime(nanos: u64) -> wall_clock::Datetime {
    let nanoseconds = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    wall_clock::Datetime {
        seconds: nanos / 1_000_000_000,
        nanoseconds,
    }
}

impl wall_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(datetime(lock(&self.clock).wall()))
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(datetime(lock(&self.clock).resolution()))
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(lock(&self.clock).monotonic())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(lock(&self.clock).resolution())
    }

    fn subscribe_instant(&mut self, due: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = Timer {
            clock: self.clock.clone(),
            waiting: self.waiting.clone(),
            due,
        };
        let timer = self.table.push(timer)?;
        subscribe(&mut self.table, timer)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = lock(&self.clock).monotonic();
        monotonic_clock::Host::subscribe_instant(self, now.saturating_add(duration))
    }
}

/// When the timers of one wait are due, and how many are due then.
pub(crate) type Waiting = Arc<Mutex<BTreeMap<u64, u32>>>;

struct Timer {
    clock: Arc<Mutex<Clock>>,
    waiting: Waiting,
    due: u64,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        let passed = lock(&self.clock).passed();
        let Some(passed) = passed else {
            let left = self.due.saturating_sub(lock(&self.clock).monotonic());
            return tokio::time::sleep(Duration::from_nanos(left)).await;
        };
        if self.due <= passed {
            return;
        }
        // All that is waited for is asked once, so that what is ready goes first. Then the earliest timer moves the clock.
        let _listed = Listed::new(&self.waiting, self.due);
        let mut asked = false;
        poll_fn(|cx| {
            let first = lock(&self.waiting).first_key_value().map(|(due, _)| *due);
            if asked && first == Some(self.due) {
                lock(&self.clock).advance(self.due);
                return Poll::Ready(());
            }
            asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// One timer among those of a wait, for as long as it is waited for.
struct Listed {
    waiting: Waiting,
    due: u64,
}

impl Listed {
    fn new(waiting: &Waiting, due: u64) -> Self {
        *lock(waiting).entry(due).or_default() += 1;
        Self {
            waiting: waiting.clone(),
            due,
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        if let Some(count) = waiting.get_mut(&self.due) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.due);
            }
        }
    }
}

impl Guest {
    fn random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        if len > RANDOM_MAX {
            return Err(wasmtime::Error::msg(
                "it asked for more random bytes at once than there are",
            ));
        }
        let mut bytes = vec![0; usize::try_from(len)?];
        self.random
            .fill(&mut bytes)
            .map_err(|_| wasmtime::Error::msg("the system gave no randomness"))?;
        Ok(bytes)
    }

    fn random_u64(&mut self) -> wasmtime::Result<u64> {
        let bytes = self.random_bytes(8)?;
        Ok(bytes.try_into().map_or(0, u64::from_le_bytes))
    }
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_u64()
    }
}

impl insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_u64()
    }
}

impl insecure_seed::Host for Guest {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.random_u64()?, self.random_u64()?))
    }
}
