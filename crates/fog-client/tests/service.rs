//! The client against a scripted coordinator, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

#[cfg(feature = "serve")]
#[path = "service/blobs.rs"]
mod blobs;
#[path = "service/requests.rs"]
mod requests;
#[path = "service/streams.rs"]
mod streams;
#[path = "service/worker.rs"]
mod worker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_fog::RefusalCode;
use betanet_fog::bodies::RefusalBody;
use betanet_fog_client::{Direct, FogClient, Patience};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Call, Gateway, GatewayConfig, Node, Reply, SessionConfig};

/// Answers a request, given its method, target and body, and the number of requests before it.
type Script = dyn Fn(&str, &str, &[u8], usize) -> Reply + Send + Sync;

/// A node whose service answers by a script, and remembers the requests.
struct Coordinator {
    gateway: Gateway,
    seen: Arc<Mutex<Vec<String>>>,
    _home: tempfile::TempDir,
}

impl Coordinator {
    async fn start(
        seed: u8,
        script: impl Fn(&str, &str, &[u8], usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = GatewayConfig::in_state(home.path());
        let script: Arc<Script> = Arc::new(script);
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&seen);
        let service = move |mut call: Call| {
            let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
            async move {
                let body = call.body.all(1 << 22).await.unwrap().unwrap();
                let method = call.request.method.as_str();
                let target = call.request.target.clone();
                let n = {
                    let mut heard = heard.lock().unwrap();
                    heard.push(format!("{method} {target}"));
                    heard.len() - 1
                };
                script(method, &target, &body, n)
            }
        };
        let gateway = Gateway::builder(Identity::from_seed(&[seed; 32]), &config)
            .service("/fog/1/", service)
            .start()
            .await
            .unwrap();
        Self {
            gateway,
            seen,
            _home: home,
        }
    }

    fn peer(&self) -> Peer {
        self.gateway.listening().peer()
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn me() -> Identity {
    Identity::from_seed(&[50; 32])
}

fn client(coordinators: &[&Coordinator]) -> FogClient {
    let node = Node::new(Some(me()), SessionConfig::default()).unwrap();
    let peers = coordinators.iter().map(|c| c.peer()).collect();
    let patience = Patience {
        repeat: Duration::from_secs(8),
        answer: Duration::from_secs(5),
    };
    FogClient::with_patience(me(), Direct::new(node.into(), peers), patience)
}

fn refuse(code: RefusalCode, key: &'static str) -> Reply {
    let body = betanet_fog::to_vec(&RefusalBody::from(code.of(key)));
    Reply::new(code.status()).with_body(body)
}

fn body<T: betanet_fog::Item>(item: &T) -> Reply {
    Reply::new(200).with_body(betanet_fog::to_vec(item))
}
