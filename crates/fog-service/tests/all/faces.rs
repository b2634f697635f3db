//! The life of a task over real sessions, and the same requests at the admin address.

use std::sync::Arc;

use betanet_bar::{Headers, Method, Request};
use betanet_fog::bodies::{
    Beat, BeatAnswer, Held, Join, JoinAnswer, NodeList, RefusalBody, Start, Status, TokenAnswer,
    WorkItem,
};
use betanet_fog::{
    Assignment, List, Outcome, Output, Receipt, Received, Signed, TaskState, from_slice, to_vec,
};
use betanet_fog_service::{Coordinator, PREFIX, Running, Stores};
use betanet_journal::MemoryStore;
use betanet_keys::{Identity, hash};
use betanet_runtime::{
    Clock, Gateway, GatewayConfig, Node, SessionError, SessionHandle, serve_admin,
};
use betanet_wire::text::hex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use betanet_fog_client::testkit::{node, token_request};

use super::world::{OPERATOR, USER, identity, settings, task};

struct Fog {
    gateway: Arc<Gateway>,
    running: Running,
    home: tempfile::TempDir,
}

async fn fog() -> Fog {
    let home = tempfile::tempdir().unwrap();
    let mut config = GatewayConfig::in_state(home.path().join("state"));

    config.listener.listen = vec!["127.0.0.1:0".into()];
    let state = Arc::new(betanet_store::State::open(&config.state()).unwrap());
    let stores = Stores::open(&state, 1 << 20).await.unwrap();
    let coordinator = Coordinator::new(identity(10), settings(), stores);
    let gateway = Gateway::builder(identity(10), &config)
        .with_storage(state)
        .service(PREFIX, coordinator.service())
        .extension(coordinator.extension())
        .start()
        .await
        .unwrap();
    let journal = Arc::new(MemoryStore::new().open("one"));
    let peer = gateway.listening().peer();
    let running = coordinator.start(&peer, journal).await.unwrap();
    let leads = |role: &_| matches!(role, betanet_fog_service::Role::Leads(_));
    running.handle().wait_for(leads).await;
    Fog {
        gateway: Arc::new(gateway),
        running,
        home,
    }
}

impl Fog {
    async fn session(&self, who: u8) -> SessionHandle {
        let node = Node::new(Some(Identity::from_seed(&[who; 32])), Default::default()).unwrap();
        node.connect(&self.gateway.listening().peer())
            .await
            .unwrap()
    }

    async fn end(self) {
        self.running.stop().await;
        self.gateway.shutdown().await;
        drop(self.home);
    }
}

async fn ask(session: &SessionHandle, method: Method, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let length = Headers::default().with("content-length", body.len().to_string());
    let headers = if method.has_body() {
        length
    } else {
        Headers::default()
    };
    let mut request = Request::new(method, &format!("{PREFIX}/{path}"), headers);
    request.body = body;
    let mut answer = session.ask(request).await.unwrap();
    let body = answer.body.all(1 << 21).await.unwrap().unwrap();
    (answer.head.status, body)
}

/// Asks with a body that comes after the head, and may be long. An answer may come before its end.
async fn upload(
    session: &SessionHandle,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> (u16, Vec<u8>) {
    let length = Headers::default().with("content-length", body.len().to_string());
    let request = Request::new(method, &format!("{PREFIX}/{path}"), length);
    let upload = session.upload(request).await.unwrap();
    match upload.send(body.into()).await {
        Ok(()) | Err(SessionError::Answered) => {}
        Err(error) => panic!("{error}"),
    }
    let mut answer = upload.finish().await.unwrap();
    let body = answer.body.all(1 << 21).await.unwrap().unwrap();
    (answer.head.status, body)
}

fn refusal(body: &[u8]) -> (String, String) {
    let refused: RefusalBody = from_slice(body).unwrap();
    (refused.code.to_string(), refused.key.to_string())
}

fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let (item, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        all.push(item.to_vec());
        bytes = rest;
    }
    all
}

fn beat(seq: u64, have: Vec<Held>) -> Vec<u8> {
    to_vec(&Beat {
        rtt: List::new(),
        seq,
        gone: List::new(),
        have: List::try_from(have).unwrap(),
        work: true,
    })
}

fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_lives_from_its_submission_to_its_result() {
    let fog = fog().await;
    let [operator, user, worker] = [
        fog.session(OPERATOR).await,
        fog.session(USER).await,
        fog.session(20).await,
    ];
    let id = hex(&identity(20).public().node_id().0);

    // The operator orders a token, and the node joins with it.
    let order = to_vec(&token_request(1, now_ms()));
    let (status, body) = ask(&operator, Method::Post, "tokens", order.clone()).await;
    assert_eq!(status, 201);
    let TokenAnswer { token } = from_slice(&body).unwrap();
    let (status, body) = ask(&user, Method::Post, "tokens", order).await;
    assert_eq!((status, refusal(&body).0.as_str()), (403, "role"));
    let join = to_vec(&Join {
        node: Signed::sign(node(&identity(20), 1), &identity(20))
            .unwrap()
            .envelope()
            .clone(),
        token,
    });
    let (status, body) = ask(&worker, Method::Post, "join", join).await;
    assert_eq!(status, 201);
    let joined: JoinAnswer = from_slice(&body).unwrap();
    assert_eq!(&*joined.coords, &[*identity(10).public().as_bytes()]);
    let path = format!("nodes/{id}/beat");
    let (status, body) = ask(&worker, Method::Post, &path, beat(1, Vec::new())).await;
    assert_eq!(status, 200);
    let answer: BeatAnswer = from_slice(&body).unwrap();
    assert!(answer.down > answer.ttl);
    let (status, body) = ask(&user, Method::Post, &path, beat(2, Vec::new())).await;
    assert_eq!((status, refusal(&body).0.as_str()), (403, "not_yours"));

    // A task whose module is not stored is refused; then the module is stored.
    let module = b"a module of no use".to_vec();
    let digest = hash(&[&module]);
    let signed = task(1, digest, module.len() as u64, now_ms());
    let tid = hex(&signed.id().0);
    let put = format!("tasks/{tid}");
    let (status, body) = ask(&user, Method::Put, &put, signed.to_bytes()).await;
    assert_eq!(
        (status, refusal(&body)),
        (404, ("unknown".into(), "module".into()))
    );
    let blob = format!("blob/{}", hex(&digest));
    let (status, body) = ask(&user, Method::Put, &blob, b"another".to_vec()).await;
    assert_eq!((status, refusal(&body).0.as_str()), (400, "digest"));
    let stranger = fog.session(99).await;
    let (status, _) = ask(&stranger, Method::Put, &blob, module.clone()).await;
    assert_eq!(status, 403);
    assert_eq!(ask(&user, Method::Put, &blob, module.clone()).await.0, 201);
    assert_eq!(ask(&user, Method::Put, &blob, module.clone()).await.0, 204);
    assert_eq!(
        ask(&user, Method::Put, &put, signed.to_bytes()).await.0,
        201
    );
    assert_eq!(
        ask(&user, Method::Put, &put, signed.to_bytes()).await.0,
        204
    );
    assert_eq!(
        ask(&worker, Method::Get, &blob, Vec::new()).await,
        (200, module)
    );

    // The node takes it from its stream, starts it, and hands in a receipt.
    let work = format!("nodes/{id}/work?wait=0");
    let (status, body) = ask(&worker, Method::Get, &work, Vec::new()).await;
    assert_eq!(status, 200);
    let items = messages(&body);
    assert_eq!(items.len(), 1);
    let WorkItem::Run(run) = from_slice(&items[0]).unwrap() else {
        panic!()
    };
    assert_eq!(run.task, *signed.envelope());
    let work = Received::<Assignment>::new(run.work)
        .unwrap()
        .verify()
        .unwrap();
    assert_eq!(work.signer(), identity(10).public());
    let work = work.check(now_ms()).unwrap();
    let fence = work.fence;
    let start = to_vec(&Start { fence });
    let (status, _) = ask(&worker, Method::Post, &format!("{put}/start"), start).await;
    assert_eq!(status, 204);
    let log = format!("{put}/log?fence={fence}&off=0");
    let (status, _) = ask(&worker, Method::Post, &log, b"hello\n".to_vec()).await;
    assert_eq!(status, 200);
    let output = to_vec(&Output {
        exit: 0,
        files: List::new(),
    });
    let out = hash(&[&output]);
    let blob = format!("blob/{}", hex(&out));
    assert_eq!(ask(&worker, Method::Put, &blob, output).await.0, 201);
    let receipt = Receipt {
        copy: work.copy,
        end: now_ms(),
        epoch: work.epoch,
        fence,
        fuel: 1_000,
        start: now_ms(),
        engine: "test".parse().unwrap(),
        inputs: work.inputs_digest(),
        key: *identity(20).public().as_bytes(),
        module: digest,
        task: signed.id(),
        out: Some(out),
        status: Outcome::Ok,
    };
    let receipt = Signed::sign(receipt, &identity(20)).unwrap().to_bytes();
    let done = format!("{put}/done");
    let (status, body) = ask(&worker, Method::Post, &done, receipt.clone()).await;
    assert_eq!(status, 204, "{:?}", refusal(&body));
    assert_eq!(ask(&worker, Method::Post, &done, receipt).await.0, 204);

    // Whoever knows the TaskID sees the end; the stream of its states ends there.
    let (status, body) = ask(
        &stranger,
        Method::Get,
        &format!("{put}?wait=60000"),
        Vec::new(),
    )
    .await;
    assert_eq!(status, 200);
    let last: Status = from_slice(messages(&body).last().unwrap()).unwrap();
    assert_eq!((last.state, last.out), (TaskState::Succeeded, Some(out)));
    let (_, log) = ask(&user, Method::Get, &format!("{put}/log"), Vec::new()).await;
    assert_eq!(log, b"hello\n");
    let (status, body) = ask(&stranger, Method::Get, "nodes", Vec::new()).await;
    assert_eq!((status, refusal(&body).0.as_str()), (403, "role"));
    let (_, body) = ask(&user, Method::Get, "nodes?state=active", Vec::new()).await;
    let nodes: NodeList = from_slice(&body).unwrap();
    assert_eq!(nodes.items.len(), 1);
    fog.end().await;
}

async fn http(address: std::net::SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let status = answer[9..12].parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_address_answers_the_same_requests_as_json() {
    let fog = fog().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _admin = serve_admin(listener, Arc::clone(&fog.gateway)).unwrap();
    let exp = now_ms() + 60_000;
    let id = "07".repeat(16);
    let order =
        format!(r#"{{"exp":{exp},"id":"{id}","kinds":["compute"],"node":"","org":"acme"}}"#);
    let (status, body) = http(address, "POST /fog/1/tokens", &order).await;
    assert_eq!(status, 201, "{body}");
    assert!(body.contains("bnj1"), "{body}");
    // A web page may not order one.
    let page = "POST /fog/1/tokens HTTP/1.1\r\norigin: https://evil.example\r\nx:";
    assert_eq!(http(address, page, &order).await.0, 403);
    let wrong = order.replace("\"org\"", "\"orb\"");
    let (status, body) = http(address, "POST /fog/1/tokens", &wrong).await;
    assert_eq!(status, 400);
    assert!(body.contains("malformed"), "{body}");
    let (status, body) = http(address, "GET /fog/1/nodes", "").await;
    assert_eq!(status, 200);
    assert!(body.contains("\"items\":[]"), "{body}");
    let (status, body) = http(address, "GET /fog/1/events", "").await;
    assert_eq!(status, 200);
    assert!(body.contains("\"kind\":\"leads\""), "{body}");
    let (status, body) = http(address, &format!("DELETE /fog/1/tokens/{id}"), "").await;
    assert_eq!(status, 204, "{body}");
    let (status, body) = http(address, "GET /openapi.json", "").await;
    assert_eq!(status, 200);
    assert!(body.contains("\"openapi\":\"3.1.0\""));
    let (_, metrics) = http(address, "GET /metrics", "").await;
    assert!(metrics.contains("betanet_fog_commits_total"), "{metrics}");
    assert!(metrics.contains("betanet_fog_epoch 1"), "{metrics}");
    let (status, body) = http(address, "POST /coordinator/snapshot", "").await;
    assert_eq!(status, 200);
    assert!(body.contains("betanet-snapshot 1"));
    fog.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_their_bound_are_refused_and_the_session_goes_on() {
    let fog = fog().await;
    let user = fog.session(USER).await;
    let path = format!("tasks/{}", "11".repeat(32));
    let log = format!("{path}/log?fence=1&off=0");
    for (method, path, most) in [
        (Method::Put, path.as_str(), 1 << 20),
        (Method::Post, "plan", 1 << 20),
        (Method::Post, log.as_str(), 64 << 10),
    ] {
        let (status, body) = upload(&user, method, path, vec![0; most + 1]).await;
        let refused = refusal(&body);
        assert_eq!((status, refused.0.as_str()), (400, "too_large"), "{path}");
    }
    // A record has a bound of its own, and what is none is told.
    let (status, body) = upload(&user, Method::Put, &path, vec![0; 70 << 10]).await;
    assert_eq!((status, refusal(&body).0.as_str()), (400, "too_large"));
    let (status, body) = ask(&user, Method::Put, &path, vec![0; 100]).await;
    assert_eq!((status, refusal(&body).0.as_str()), (400, "malformed"));
    let (status, _) = ask(&user, Method::Get, "price", Vec::new()).await;
    assert_eq!(status, 200);
    fog.end().await;
}
