use std::sync::{Arc, Mutex};

use betanet_blobs::Place;
use betanet_journal::MemoryStore;
use betanet_keys::{Identity, Peer};
use betanet_store::State;
use bytes::Bytes;
use futures_util::stream::iter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::api::{Asked, Method, Refused, Who};
use crate::{Coordinator, Role, Running, Settings, Stores};

const CONTENT: &[u8] = b"a module";

/// Stored length of a blob of one byte.
const STORED: usize = 1 + 16 + 64;

/// A bucket that always lists two blobs. It keeps the methods of the requests that change it.
struct Bucket {
    endpoint: String,
    changes: Arc<Mutex<Vec<String>>>,
}

impl Bucket {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let changes = Arc::default();
        let of = Arc::clone(&changes);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(answer(tcp, Arc::clone(&of)));
            }
        });
        Self { endpoint, changes }
    }

    async fn stores(&self, state: &Arc<State>) -> Stores {
        let Ok(Place::S3(mut bucket)) = "s3://fog/blobs".parse() else {
            panic!()
        };
        for (variable, value) in [
            ("AWS_ENDPOINT_URL", &*self.endpoint),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
            ("AWS_REGION", "us-east-1"),
        ] {
            bucket = bucket.with(variable, value);
        }
        // One of the two has room.
        Stores::open_at(state, &Place::S3(bucket), 4096)
            .await
            .unwrap()
    }
}

fn list() -> String {
    let object = |n: u8| {
        let name = BlobDigest([n; 32]).to_string();
        format!(
            "<Contents><Key>blobs/{}/{name}</Key><LastModified>2026-11-29T12:00:00.000Z</LastModified>\
             <ETag>&quot;1&quot;</ETag><Size>{STORED}</Size></Contents>",
            &name[..2]
        )
    };
    format!(
        "<ListBucketResult><Name>fog</Name><IsTruncated>false</IsTruncated>{}{}</ListBucketResult>",
        object(1),
        object(2)
    )
}

async fn answer(mut tcp: TcpStream, changes: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let head = loop {
        if tcp.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            break head.to_owned();
        }
    };
    let length = head.split_once("content-length: ").map_or(0, |(_, n)| {
        n.lines().next().unwrap().trim().parse::<usize>().unwrap()
    });
    while request.len() < head.len() + 4 + length {
        if tcp.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let body = if head.starts_with("get ") {
        list()
    } else {
        let method = head.split(' ').next().unwrap().to_owned();
        // Objects are deleted by a list in a POST, whose answer names those that were not.
        let body = if method == "post" {
            "<DeleteResult><Deleted><Key>it</Key></Deleted></DeleteResult>"
        } else {
            ""
        };
        changes.lock().unwrap().push(method);
        body.to_owned()
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\netag: \"1\"\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = tcp.write_all(answer.as_bytes()).await;
}

struct One {
    coordinator: Coordinator,
    running: Running,
    _home: tempfile::TempDir,
}

async fn one(n: u8, bucket: &Bucket, journal: &MemoryStore, name: &str) -> One {
    let home = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(&home.path().join("state")).unwrap());
    let me = Identity::from_seed(&[n; 32]);
    let stores = bucket.stores(&state).await;
    let coordinator = Coordinator::new(me.clone(), Settings::default(), stores);
    let peer = Peer {
        key: *me.public(),
        addrs: Vec::new(),
        pin: None,
    };
    let journal = Arc::new(journal.open(name));
    let running = coordinator.start(&peer, journal).await.unwrap();
    One {
        coordinator,
        running,
        _home: home,
    }
}

impl One {
    async fn ask(&self, method: Method) -> Result<u16, Refused> {
        let digest = BlobDigest::of(CONTENT);
        let asked = Asked {
            who: Who::Admin,
            charge: None,
            method,
            target: format!("/fog/1/blob/{digest}"),
            range: None,
            length: Some(CONTENT.len() as u64),
            body: Body(Box::pin(iter([Ok(Bytes::from_static(CONTENT))]))),
        };
        match self.coordinator.shared_api().serve(asked).await? {
            Answer::Bare(status) | Answer::Bytes(status, ..) => Ok(status),
            _ => panic!("another answer"),
        }
    }
}

#[tokio::test]
async fn of_coordinators_that_share_a_bucket_the_leader_alone_uses_it() {
    let (bucket, journal) = (Bucket::start().await, MemoryStore::new());
    let leads = |role: &Role| matches!(role, Role::Leads(_));
    let first = one(1, &bucket, &journal, "one").await;
    first.running.handle().wait_for(leads).await;
    // It evicts what exceeds the quota.
    first.coordinator.shared_api().sweep().await;
    assert!(!bucket.changes.lock().unwrap().is_empty());
    let second = one(2, &bucket, &journal, "two").await;
    let follows = Role::Follows("one".into());
    second.running.handle().wait_for(|r| *r == follows).await;
    bucket.changes.lock().unwrap().clear();
    for method in [Method::Put, Method::Get] {
        let refused = second.ask(method).await.err().unwrap();
        assert_eq!(refused.body.known(), Some(RefusalCode::NotLeader));
        let leader = ("location", "one".to_owned());
        assert!(refused.headers.contains(&leader), "{:?}", refused.headers);
    }
    second.coordinator.shared_api().sweep().await;
    let facts = second.coordinator.shared_api().blobs.facts().await;
    assert_eq!((facts.blobs, facts.evicted), (2, 0));
    assert!(bucket.changes.lock().unwrap().is_empty());
    let put = first.ask(Method::Put).await;
    assert!(
        matches!(put, Ok(201)),
        "{:?}",
        put.map_err(|refused| refused.body)
    );
    // This bucket gives nothing back that a reader would take, but the leader asks it.
    let got = first.ask(Method::Get).await.err();
    assert!(got.is_none_or(|r| r.body.known() != Some(RefusalCode::NotLeader)));
    // Another leads.
    first.running.stop().await;
    second.running.handle().wait_for(leads).await;
    assert_eq!(second.ask(Method::Put).await.ok(), Some(201));
}
