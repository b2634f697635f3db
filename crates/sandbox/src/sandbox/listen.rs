//! Listens to a child while it works, and keeps its time.

use std::{pin::pin, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::broken;
use crate::{
    Ended, Limits, Status,
    heard::{Heard, Keep, Lie, Told},
    parent::{
        code::Memory,
        keep::{Keeper, Parts},
        pool::{Pool, Running},
    },
};

/// Where bytes that a child sends go.
pub(super) enum To<'a> {
    Folder(&'a mut Keeper),
    Memory(&'a mut Memory),
}

/// Takes the one file that the compiler leaves.
struct Into<'a>(&'a mut Memory, std::io::Result<()>);

impl Keep for Into<'_> {
    fn file(&mut self, _: &str, _: u64) {}

    fn data(&mut self, bytes: &[u8]) {
        if self.1.is_ok() {
            self.1 = self.0.write(bytes);
        }
    }
}

/// Why a child told no end.
pub(super) enum Silence {
    Time,
    Lie(Lie),
    Gone,
    Memory(std::io::Error),
}

impl Silence {
    pub(super) fn ended(self, limits: &Limits) -> Ended {
        match self {
            Self::Time => Ended::new(
                Status::Time,
                format!("it ran longer than {} ms", limits.wall.as_millis()),
            ),
            Self::Lie(lie) => broken(&lie.to_string()),
            Self::Gone => broken("its child ended without a word"),
            Self::Memory(error) => broken(&format!("memory for its code: {error}")),
        }
    }
}

/// What a child took until its end, or until it was given up.
#[derive(Clone, Copy)]
pub(super) struct Burned {
    pub(super) fuel: u64,
    /// Time, pauses excepted.
    pub(super) ran: Duration,
}

/// Listens to a child until it tells its end, lies, or runs out of time. Its bounds are the limits and the folders of its inputs.
pub(super) async fn listen(
    pool: &Pool,
    running: &mut Running,
    (limits, folders): (Limits, u64),
    mut share: u8,
    log: &mut (impl FnMut(&[u8]) + Send),
    to: &mut To<'_>,
) -> (Result<Told, Silence>, Burned) {
    let mut heard = Heard::new(limits, folders);
    let mut paused = pool.paused.subscribe();
    let mut shares = pool.share.subscribe();
    let mut left = limits.wall;
    let mut bytes = vec![0; 64 * 1024];
    let result = loop {
        let stopped = *paused.borrow_and_update();
        let now = *shares.borrow_and_update();
        if now != share && running.kid.share(now) {
            share = now;
        }
        let began = Instant::now();
        let event = tokio::select! {
            biased;
            read = running.kid.hear(&mut bytes) => Event::Heard(read),
            _ = paused.changed() => Event::Changed,
            _ = shares.changed() => Event::Changed,
            // What it could not be told is told as soon as it listens.
            () = running.kid.listens(), if now != share => Event::Changed,
            () = sleep(left), if !stopped => Event::Time,
        };
        let n = match event {
            Event::Heard(Ok(0) | Err(_)) => break Err(Silence::Gone),
            Event::Heard(Ok(n)) => n,
            Event::Time => break Err(Silence::Time),
            Event::Changed => {
                pass(&mut left, stopped, began);
                continue;
            }
        };
        let mut parts = Parts::default();
        let told = match to {
            To::Folder(_) => heard.push(&bytes[..n], log, &mut parts),
            To::Memory(memory) => {
                let mut into = Into(memory, Ok(()));
                let told = heard.push(&bytes[..n], log, &mut into);
                if let Err(error) = into.1 {
                    break Err(Silence::Memory(error));
                }
                told
            }
        };
        // Whoever takes the log may have been slow: that time counts too.
        pass(&mut left, stopped, began);
        if let To::Folder(keeper) = to
            && within(&mut left, &mut paused, keeper.pass(parts))
                .await
                .is_none()
        {
            break Err(Silence::Time);
        }
        match told {
            Ok(Some(told)) => break Ok(told),
            Ok(None) if left.is_zero() && !stopped => break Err(Silence::Time),
            Ok(None) => {}
            Err(lie) => break Err(Silence::Lie(lie)),
        }
    };
    let ran = limits.wall.saturating_sub(left);
    let fuel = heard.fuel();
    (result, Burned { fuel, ran })
}

fn pass(left: &mut Duration, stopped: bool, began: Instant) {
    if !stopped {
        *left = left.saturating_sub(began.elapsed());
    }
}

/// Waits for work as long as there is time left. The time of a pause does not count.
async fn within<T>(
    left: &mut Duration,
    paused: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    loop {
        let stopped = *paused.borrow_and_update();
        let began = Instant::now();
        let done = tokio::select! {
            biased;
            done = &mut work => Some(Some(done)),
            _ = paused.changed() => None,
            () = sleep(*left), if !stopped => Some(None),
        };
        pass(left, stopped, began);
        if let Some(done) = done {
            return done;
        }
    }
}

enum Event {
    Heard(std::io::Result<usize>),
    Changed,
    Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_is_behind_costs_time_but_in_a_pause() {
        let pause = watch::Sender::new(false);
        let mut paused = pause.subscribe();
        let mut left = Duration::from_millis(50);
        let never = std::future::pending::<()>();
        assert_eq!(within(&mut left, &mut paused, never).await, None);
        assert!(left.is_zero());
        assert_eq!(within(&mut left, &mut paused, async { 1 }).await, Some(1));
        pause.send_replace(true);
        let slow = sleep(Duration::from_millis(50));
        assert_eq!(within(&mut left, &mut paused, slow).await, Some(()));
    }
}
