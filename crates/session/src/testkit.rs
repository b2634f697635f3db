//! Two sessions in one process, over a carrier that can be stopped.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    clippy::missing_panics_doc,
    reason = "tests are its users"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use betanet_carrier::{Carrier, Error as CarrierError, Received};
use betanet_htx::{Config, Secrets, Session};
use betanet_keys::Identity;
use betanet_machine::{Rng, Seed};
use betanet_stack::Connection;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::ops::OPS;
use crate::{Admit, Clock, Controls, Dialled, Driver, OuterFacts, Service, SessionHandle};

/// One direction of the carrier.
#[derive(Default)]
pub struct Pipe {
    bytes: VecDeque<Bytes>,
    stopped: bool,
    ended: bool,
    wakers: Vec<Waker>,
}

pub type Shared = Arc<Mutex<Pipe>>;

fn lock(pipe: &Shared) -> std::sync::MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stops or resumes a direction.
pub fn stop(pipe: &Shared, stopped: bool) {
    let mut pipe = lock(pipe);
    pipe.stopped = stopped;
    pipe.wakers.drain(..).for_each(Waker::wake);
}

struct Ends {
    from: Shared,
    to: Shared,
}

impl Carrier for Ends {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, CarrierError>> {
        let mut from = lock(&self.from);
        if let Some(bytes) = from.bytes.pop_front() {
            from.wakers.drain(..).for_each(Waker::wake);
            return Poll::Ready(Ok(Received::Bytes(bytes)));
        }
        if std::mem::take(&mut from.ended) {
            return Poll::Ready(Ok(Received::End));
        }
        from.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarrierError>> {
        let mut to = lock(&self.to);
        if to.stopped || to.bytes.len() > 64 {
            to.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), CarrierError> {
        let mut to = lock(&self.to);
        to.bytes.push_back(bytes);
        to.wakers.drain(..).for_each(Waker::wake);
        Ok(())
    }

    fn push(&mut self, _: &mut Context<'_>) {}

    fn end(&mut self) {
        let mut to = lock(&self.to);
        to.ended = true;
        to.wakers.drain(..).for_each(Waker::wake);
    }

    fn reset(&mut self) {
        self.end();
    }

    fn go_away(&mut self) {}

    fn export_as(&self, _: &str, _: &[u8], out: &mut [u8]) -> Result<(), CarrierError> {
        out.fill(7);
        Ok(())
    }

    fn poll_flushed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

fn secrets(seed: u64) -> Secrets {
    Secrets::draw(&mut Rng::new(&Seed::from_number(seed)))
}

/// Creates a client's session with a server, and returns the pipe between them.
pub async fn joined(service: Arc<dyn Service>) -> (SessionHandle, Shared) {
    joined_behind(service, Box::new(Dialled)).await
}

/// Like [`joined`], with `admit` deciding at the server.
pub async fn joined_behind(
    service: Arc<dyn Service>,
    admit: Box<dyn Admit>,
) -> (SessionHandle, Shared) {
    let clock = Clock::start();
    let ekm0 = [7; 32];
    let (client, server) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let key = *server.public();
    let connect = Session::connect(
        clock.now(),
        Config::default(),
        &client,
        &key,
        &ekm0,
        secrets(1),
    );
    let (up, down) = (Shared::default(), Shared::default());
    let carrier = Ends {
        from: Arc::clone(&down),
        to: Arc::clone(&up),
    };
    let (ops, asked) = mpsc::channel(OPS);
    let (opened, open) = oneshot::channel();
    let driver = Driver::new(
        Connection::new(connect.unwrap()),
        Box::new(carrier),
        clock,
        Controls::Handles(asked),
        None,
        Arc::new(()),
        Some(opened),
    );
    let identity = driver.identity();
    tokio::spawn(driver.run());
    let server_up = Arc::clone(&up);
    tokio::spawn(async move {
        let message = std::future::poll_fn(|cx| {
            let mut up = lock(&server_up);
            match up.bytes.pop_front() {
                Some(bytes) => Poll::Ready(bytes),
                None => {
                    up.wakers.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        let session = Session::accept(
            clock.now(),
            Config::default(),
            &server,
            &ekm0,
            &message[2..],
            secrets(2),
        );
        let carrier = Ends {
            from: server_up,
            to: down,
        };
        let driver = Driver::new(
            Connection::new(session.unwrap()),
            Box::new(carrier),
            clock,
            Controls::stop(CancellationToken::new()),
            None,
            Arc::new(()),
            None,
        );
        driver.behind(admit).serving(service).run().await;
    });
    open.await.unwrap().unwrap();
    let outer = OuterFacts {
        version: String::new(),
        suite: String::new(),
        group: String::new(),
        alpn: String::new(),
        pin: [0; 32],
        instead: None,
        held: Duration::ZERO,
    };
    (SessionHandle::new(ops, key, outer, identity), up)
}
