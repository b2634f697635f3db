//! With sockets: users and nodes have sessions over loopback.

use std::sync::Arc;
use std::time::Duration;

use betanet_bar::{Headers, Method, Request};
use betanet_fog::bodies::{Join, TokenAnswer, WorkItem};
use betanet_fog::{Assignment, Received, from_slice, to_vec};
use betanet_fog_client::testkit::MODULE;
use betanet_fog_service::PREFIX;
use betanet_keys::{Identity, Peer, PreparedKey, hash};
use betanet_runtime::SessionHandle;
use betanet_wire::text::hex;
use tokio::sync::Semaphore;

use crate::Load;
use crate::world::{COORDINATOR, NODE, OPERATOR, Times, USER, Who, beat, identity, now_ms, token};

async fn ask(session: &SessionHandle, method: Method, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let mut headers = Headers::default();
    if method.has_body() {
        headers.set("content-length", body.len().to_string());
    }
    let mut request = Request::new(method, &format!("{PREFIX}/{path}"), headers);
    request.body = body;
    let mut answer = session.ask(request).await.unwrap();
    let body = answer.body.all(1 << 21).await.unwrap().unwrap();
    (answer.head.status, body)
}

async fn session(peer: &Peer, who: Identity) -> SessionHandle {
    let node = betanet_runtime::Node::new(Some(who), Default::default()).unwrap();
    node.with_transport(betanet_runtime::Transport::Tcp)
        .connect(peer)
        .await
        .unwrap()
}

/// A user and the nodes, with their sessions.
pub(crate) struct Ready {
    user: Arc<SessionHandle>,
    nodes: Vec<Arc<Joined>>,
}

/// Opens all sessions, stores the module, and lets the nodes join.
pub(crate) async fn prepare(peer: Peer, nodes: usize) -> Ready {
    let user = Arc::new(session(&peer, identity(USER, 0)).await);
    let blob = format!("blob/{}", hex(&hash(&[MODULE])));
    assert_eq!(ask(&user, Method::Put, &blob, MODULE.to_vec()).await.0, 201);
    let nodes = join(&peer, nodes).await;
    Ready { user, nodes }
}

/// Runs all tasks on all nodes.
pub(crate) async fn run(ready: Ready, load: Load) {
    let under_way = Arc::new(Semaphore::new(load.under_way));
    let total = load.signed.len();
    let coordinator = Arc::new(PreparedKey::new(*identity(COORDINATOR, 0).public()));
    let mut running = Vec::new();
    for node in ready.nodes {
        let took = (Arc::clone(&load.times), Arc::clone(&under_way));
        let coordinator = Arc::clone(&coordinator);
        running.push(tokio::spawn(work(node, coordinator, took)));
    }
    for task in load.signed {
        under_way.acquire().await.unwrap().forget();
        let (user, id) = (Arc::clone(&ready.user), task.id());
        load.times.sent(id);
        tokio::spawn(async move {
            let path = format!("tasks/{}", hex(&id.0));
            let (status, body) = ask(&user, Method::Put, &path, task.to_bytes()).await;
            assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        });
    }
    while load.times.done() < total {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A node with its session.
pub(crate) struct Joined {
    session: SessionHandle,
    who: Who,
    /// Its ID in hex.
    id: String,
}

/// Lets nodes join, each with a token of its own.
async fn join(peer: &Peer, nodes: usize) -> Vec<Arc<Joined>> {
    let operator = session(peer, identity(OPERATOR, 0)).await;
    let mut all = Vec::new();
    for n in 0..nodes {
        let mut order = token();
        order.id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let (_, body) = ask(&operator, Method::Post, "tokens", to_vec(&order)).await;
        let TokenAnswer { token } = from_slice(&body).unwrap();
        let who = Who::new(NODE, n);
        let session = session(peer, who.identity.clone()).await;
        let node = who.node().envelope().clone();
        let join = to_vec(&Join { node, token });
        assert_eq!(ask(&session, Method::Post, "join", join).await.0, 201);
        let id = hex(&who.caller.node.0);
        let path = format!("nodes/{id}/beat");
        let beat = to_vec(&beat(1));
        assert_eq!(ask(&session, Method::Post, &path, beat).await.0, 200);
        all.push(Arc::new(Joined { session, who, id }));
    }
    all
}

/// A node that takes its items and hands in receipts.
async fn work(
    node: Arc<Joined>,
    coordinator: Arc<PreparedKey>,
    (times, under_way): (Arc<Times>, Arc<Semaphore>),
) {
    let mut after = 0;
    loop {
        let path = format!("{PREFIX}/nodes/{}/work?after={after}&wait=60000", node.id);
        let request = Request::new(Method::Get, &path, Headers::default());
        let mut answer = node.session.ask(request).await.unwrap();
        let mut buffer: Vec<u8> = Vec::new();
        while let Ok(Some(bytes)) = answer.body.chunk().await {
            buffer.extend_from_slice(&bytes);
            while let Some((len, rest)) = buffer.split_first_chunk::<4>() {
                let len = u32::from_be_bytes(*len) as usize;
                if rest.len() < len {
                    break;
                }
                let item: WorkItem = from_slice(&rest[..len]).unwrap();
                buffer.drain(..4 + len);
                let run = match item {
                    WorkItem::Drop(drop) => {
                        after = drop.at;
                        continue;
                    }
                    WorkItem::Run(run) => run,
                };
                after = run.at;
                let node = Arc::clone(&node);
                let coordinator = Arc::clone(&coordinator);
                let (times, under_way) = (Arc::clone(&times), Arc::clone(&under_way));
                tokio::spawn(async move {
                    let work = Received::<Assignment>::new(run.work).unwrap();
                    // A node knows the keys of its coordinators, and prepares them.
                    let work = work.verify_prepared(&coordinator).unwrap();
                    let work = work.check(now_ms()).unwrap();
                    let body = node.who.receipt(&work).to_bytes();
                    let path = format!("tasks/{}/done", hex(&work.task.0));
                    let (status, _) = ask(&node.session, Method::Post, &path, body).await;
                    assert_eq!(status, 204);
                    times.ended(work.task);
                    under_way.add_permits(1);
                });
            }
        }
    }
}
