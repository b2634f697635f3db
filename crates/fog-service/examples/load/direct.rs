//! Without sockets: requests go to the machine as values.

use std::sync::Arc;
use std::time::Duration;

use betanet_coordinator::{Item, Reply, Request};
use betanet_fog::{Received, Signed, Text};
use betanet_fog_service::Handle;
use tokio::sync::Semaphore;

use crate::Load;
use crate::world::{COORDINATOR, NODE, OPERATOR, Times, USER, Who, beat, identity, token};

/// Lets a node join, whose room is that of 6 400 copies.
pub(crate) async fn prepare(handle: Handle) -> Who {
    let node = Who::new(NODE, 0);
    join(&handle, &node).await;
    node
}

/// Runs all tasks on one node.
pub(crate) async fn run(handle: Handle, node: Who, load: Load) {
    let user = Who::new(USER, 0);
    let under_way = Arc::new(Semaphore::new(load.under_way));
    let total = load.signed.len();
    let took = (Arc::clone(&load.times), Arc::clone(&under_way));
    let worker = tokio::spawn(work(handle.clone(), node, took, total));
    for task in load.signed {
        under_way.acquire().await.unwrap().forget();
        let (handle, caller) = (handle.clone(), user.caller.clone());
        load.times.sent(task.id());
        tokio::spawn(async move {
            let submit = Request::Submit {
                task: Box::new(task),
                missing: None,
            };
            handle.ask(caller, submit).await.unwrap();
        });
    }
    worker.await.unwrap();
}

async fn join(handle: &Handle, node: &Who) {
    let order = Request::IssueToken(token());
    let operator = Who::new(OPERATOR, 0).caller;
    let Ok(Reply::Token(token)) = handle.ask(operator, order).await else {
        panic!("no token")
    };
    let token = Signed::sign(*token, &identity(COORDINATOR, 0)).unwrap();
    let token: Text = token.to_text().unwrap();
    let join = Request::Join {
        node: Box::new(Received::new(node.node().envelope().clone()).unwrap()),
        token: token.into(),
    };
    handle.ask(node.caller.clone(), join).await.unwrap();
    let beat = Request::Beat(node.caller.node, Box::new(beat(1)));
    handle.ask(node.caller.clone(), beat).await.unwrap();
}

/// A node that takes its items and hands in receipts.
async fn work(
    handle: Handle,
    node: Who,
    (times, under_way): (Arc<Times>, Arc<Semaphore>),
    total: usize,
) {
    let node = Arc::new(node);
    let mut after = 0;
    while times.done() < total {
        let asked = Request::Work {
            node: node.caller.node,
            after,
        };
        let Ok(Reply::Work(items)) = handle.ask(node.caller.clone(), asked).await else {
            panic!("no work")
        };
        if items.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for item in items {
            after = after.max(item.at());
            let Item::Run { work, .. } = item else {
                continue;
            };
            let (handle, node) = (handle.clone(), Arc::clone(&node));
            let (times, under_way) = (Arc::clone(&times), Arc::clone(&under_way));
            tokio::spawn(async move {
                let done = Request::Done(work.task, Box::new(node.receipt(&work)));
                handle.ask(node.caller.clone(), done).await.unwrap();
                times.ended(work.task);
                under_way.add_permits(1);
            });
        }
    }
}
