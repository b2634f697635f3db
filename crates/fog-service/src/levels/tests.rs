use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use betanet_coordinator::{Reply, Request};
use betanet_fog::RefusalCode;
use betanet_fog::bodies::{TokenRequest, TokenText};
use betanet_fog::{Amounts, Module, Resources, Signed};
use betanet_fog_client::testkit;
use betanet_journal::MemoryStore;
use betanet_keys::{Identity, Peer};
use betanet_store::State;

use super::*;
use crate::{Coordinator, Namespace, Settings, Stores};

/// A network in which some nodes answer over some numbers of relays.
#[derive(Default)]
struct Table {
    answers: BTreeMap<(NodeId, Level), bool>,
    asked: Mutex<Vec<(NodeId, Level)>>,
}

impl Ways for Table {
    fn ask(&self, node: NodeId, level: Level) -> Asking {
        let asked = self.asked.lock();
        asked
            .unwrap_or_else(PoisonError::into_inner)
            .push((node, level));
        let answers = self.answers.get(&(node, level)).copied();
        Box::pin(async move {
            match answers {
                Some(true) => Ok(()),
                _ => Err(Unproved::Answer),
            }
        })
    }
}

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

#[tokio::test]
async fn a_leader_asks_for_claims_alone_and_a_task_needs_what_was_proved() {
    let home = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(&home.path().join("state")).unwrap());
    let (me, user) = (identity(1), identity(2));
    let lab = Namespace {
        users: vec![*user.public()],
        ..Namespace::default()
    };
    let settings = Settings {
        namespaces: [("lab".parse().unwrap(), lab)].into(),
        ..Settings::default()
    };
    let stores = Stores::open(&state, 1 << 20).await.unwrap();
    let coordinator = Coordinator::new(me.clone(), settings, stores);
    let peer = Peer {
        key: *me.public(),
        addrs: Vec::new(),
        pin: None,
    };
    let journal = Arc::new(MemoryStore::new().open("one"));
    let running = coordinator.start(&peer, journal).await.unwrap();
    let handle = running.handle().clone();
    let leads = |role: &Role| matches!(role, Role::Leads(_));
    handle.wait_for(leads).await;
    let now_ms = handle.shared.clock.now().unix_ms;
    // One claims nothing, one more than it proves.
    let (plain, claims) = (identity(10), identity(11));
    for (n, (node, level)) in [(&plain, Level::Public), (&claims, Level::Secret)]
        .into_iter()
        .enumerate()
    {
        let asked = TokenRequest {
            id: [u8::try_from(n).unwrap(); 16],
            exp: now_ms + 3_600_000,
            org: "".parse().unwrap(),
            node: None,
            kinds: vec![betanet_fog::Kind::Compute].try_into().unwrap(),
        };
        let own = crate::settings::itself(me.public());
        let token = handle.ask(own, Request::IssueToken(asked)).await.unwrap();
        let Reply::Token(token) = token else {
            panic!("{token:?}")
        };
        let token = Signed::sign(*token, &me).unwrap().to_text().unwrap();
        let mut described = testkit::node(node, now_ms);
        described.level = level;
        let mut cap = described.cap.amounts();
        cap.relay = 10_000_000;
        described.cap = Resources::capacity(cap).unwrap();
        let described = Signed::sign(described, node).unwrap();
        let described = betanet_fog::Received::new(described.envelope().clone()).unwrap();
        let join = Request::Join {
            node: Box::new(described),
            token: TokenText::from(token),
        };
        let caller = coordinator_caller(node);
        handle.ask(caller, join).await.unwrap();
    }
    let mut task = testkit::task(&user, 1, now_ms);
    task.module = Module {
        digest: [7; 32],
        size: 1,
    };
    task.level = Level::Private;
    task.res = Resources::demand(Amounts {
        relay: 1_000_000,
        ..task.res.amounts()
    })
    .unwrap();
    let of = |level: Level| {
        let mut task = task.clone();
        task.level = level;
        Request::Submit {
            task: Box::new(Signed::sign(task, &user).unwrap()),
            missing: None,
        }
    };
    let mut caller = coordinator_caller(&user);
    caller.namespaces = vec!["lab".parse().unwrap()];
    let refused = handle.ask(caller.clone(), of(Level::Private)).await;
    assert_eq!(refused, Err(RefusalCode::PrivacyUnavailable.of("level")));
    // It answers over 5 relays at most.
    let id = claims.public().node_id();
    let ways = Arc::new(Table {
        answers: [((id, Level::Confidential), true)].into(),
        ..Table::default()
    });
    let rng = Rng::new(&betanet_machine::Seed::new([1; 32]));
    let asking = tokio::spawn(run(handle.clone(), Arc::clone(&ways) as Arc<dyn Ways>, rng));
    let taken = async {
        loop {
            match handle.ask(caller.clone(), of(Level::Confidential)).await {
                Ok(reply) => return reply,
                Err(refusal) => assert_eq!(refusal.code, RefusalCode::PrivacyUnavailable),
            }
            tokio::task::yield_now().await;
        }
    };
    let taken = timeout(Duration::from_secs(20), taken).await.unwrap();
    assert_eq!(taken, Reply::Created);
    let refused = handle.ask(caller.clone(), of(Level::Secret)).await;
    assert_eq!(refused, Err(RefusalCode::PrivacyUnavailable.of("level")));
    // A user's direct request about a task above public is refused; other direct requests are taken.
    let hidden = {
        let Request::Submit { task, .. } = of(Level::Confidential) else {
            unreachable!()
        };
        task.id()
    };
    let route = Err(RefusalCode::PrivacyRoute.of("level"));
    for request in [
        Request::Status(hidden),
        Request::Cancel(hidden),
        of(Level::Private),
    ] {
        let directly = handle.ask_directly(caller.clone(), request).await;
        assert_eq!(directly, route);
    }
    let status = handle.ask(caller.clone(), Request::Status(hidden)).await;
    assert!(matches!(status, Ok(Reply::Status(_))), "{status:?}");
    assert!(handle.ask_directly(caller, Request::Price).await.is_ok());
    let asked = ways.asked.lock().unwrap().clone();
    assert_eq!(asked, [(id, Level::Secret), (id, Level::Confidential)]);
    running.stop().await;
    timeout(Duration::from_secs(20), asking)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_question_that_fails_frees_its_place() {
    let mut questions = Questions::default();
    let node = |n: u8| NodeId([n; 20]);
    for n in 0..3 {
        questions.ask(node(n), std::future::pending());
    }
    // As when the task of a question panics.
    questions.tasks.abort_all();
    questions.ask(node(3), async { Level::Secret });
    let mut answers = BTreeMap::new();
    while let Some((node, level)) = questions.answered().await {
        assert!(answers.insert(node, level).is_none());
    }
    let expected = [Level::Public, Level::Public, Level::Public, Level::Secret];
    assert_eq!(answers, (0..).map(node).zip(expected).collect());
    assert!(questions.nodes.is_empty());
}

fn coordinator_caller(of: &Identity) -> betanet_coordinator::Caller {
    crate::settings::stranger(of.public())
}
