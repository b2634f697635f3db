//! A coordinator with its folder, and what users and nodes send to it.

use std::sync::Arc;

use betanet_coordinator::Caller;
use betanet_fog::{Module, Signed, Task};
use betanet_fog_client::testkit;
use betanet_fog_service::{Coordinator, Handle, Namespace, Role, Running, Settings, Stores};
use betanet_journal::Journal;
use betanet_keys::{Identity, Peer};
use betanet_store::State;

pub(crate) const OPERATOR: u8 = 1;
pub(crate) const USER: u8 = 2;

pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

pub(crate) fn caller(n: u8) -> Caller {
    let key = *identity(n).public();
    Caller {
        key: *key.as_bytes(),
        node: key.node_id(),
        operator: n == OPERATOR,
        namespaces: if n == USER {
            vec!["lab".parse().unwrap()]
        } else {
            Vec::new()
        },
    }
}

pub(crate) fn settings() -> Settings {
    let users = vec![*identity(USER).public()];
    let lab = Namespace {
        users,
        ..Namespace::default()
    };
    Settings {
        operators: vec![*identity(OPERATOR).public()],
        namespaces: [("lab".parse().unwrap(), lab)].into(),
        ..Settings::default()
    }
}

/// A coordinator without a network.
pub(crate) struct Alone {
    pub(crate) handle: Handle,
    pub(crate) running: Running,
    _home: tempfile::TempDir,
}

pub(crate) async fn alone(n: u8, journal: Arc<dyn Journal>, settings: Settings) -> Alone {
    let home = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(&home.path().join("state")).unwrap());
    let stores = Stores::open(&state, 1 << 20).await.unwrap();
    let coordinator = Coordinator::new(identity(n), settings, stores);
    let peer = Peer {
        key: *identity(n).public(),
        addrs: vec!["127.0.0.1:1".into()],
        pin: None,
    };
    let running = coordinator.start(&peer, journal).await.unwrap();
    Alone {
        handle: coordinator.handle(),
        running,
        _home: home,
    }
}

impl Alone {
    pub(crate) async fn leads(&self) {
        let leads = |role: &Role| matches!(role, Role::Leads(_));
        self.handle.wait_for(leads).await;
    }
}

pub(crate) fn task(nonce: u64, module: [u8; 32], size: u64, now_ms: u64) -> Signed<Task> {
    let owner = identity(USER);
    let mut task = testkit::task(&owner, nonce, now_ms);
    task.module = Module {
        digest: module,
        size,
    };
    Signed::sign(task, &owner).unwrap()
}
