//! What can be read: lists, events, history, secrets of days, a node's stream.

use betanet_coordinator::{Item, Reply, Request};
use betanet_fog::{Level, RefusalCode, Resources, TaskId, seed_hash};

use crate::ways::{W, world};
use crate::world::{UNIX_MS, amounts, caller, identity, node_of, task_of};

#[test]
fn lists_hide_what_is_secret_and_foreign_and_come_in_pages() {
    let (mut w, _) = world(1);
    let user = identity(20);
    let hidden = identity(900);
    let mut node = node_of(&hidden, "z9", "org9");
    node.level = Level::Secret;
    w.join(&hidden, node);
    let now = w.clock();
    let reached = betanet_coordinator::Input::Reached(hidden.public().node_id(), Level::Secret);
    betanet_machine::Machine::handle_input(&mut w.members[0].machine, now, reached).unwrap();
    let mut secret = task_of(&user, 1);
    secret.level = Level::Secret;
    let mut res = amounts(1_000, 1 << 30);
    res.relay = 1_000_000;
    secret.res = Resources::demand(res).unwrap();
    let secret = w.put(&user, secret);
    let mut open: Vec<TaskId> = (2..9).map(|n| w.put(&user, task_of(&user, n))).collect();
    open.sort_unstable();
    let (mut listed, mut next) = (Vec::new(), None);
    loop {
        let request = Request::Tasks {
            ns: "lab".parse().unwrap(),
            state: None,
            after: next,
            n: 3,
        };
        let Ok(Reply::Tasks(page)) = w.ask(caller(&user, false), request) else {
            panic!("no list");
        };
        assert!(page.items.len() <= 3);
        listed.extend(page.items.iter().map(|t| t.id));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(listed, open);
    let mut stranger = caller(&identity(21), false);
    stranger.namespaces.clear();
    let all = Request::Tasks {
        ns: "".parse().unwrap(),
        state: None,
        after: None,
        n: 1_000,
    };
    let Ok(Reply::Tasks(none)) = w.ask(stranger, all) else {
        panic!("no list");
    };
    assert!(none.items.is_empty());
    let (mut after, mut kinds, mut about) = (0, Vec::new(), Vec::new());
    loop {
        let Ok(Reply::Events(events)) = w.ask(caller(&user, false), Request::Events { after })
        else {
            panic!("no events");
        };
        let Some(last) = events.last() else {
            break;
        };
        assert!(events.iter().all(|e| e.at > after) && events.is_sorted_by_key(|e| e.at));
        after = last.at;
        kinds.extend(events.iter().map(|e| e.kind.to_string()));
        about.extend(events.iter().filter_map(|e| e.task));
    }
    assert!(!about.contains(&secret) && about.contains(&open[0]));
    for kind in ["leads", "joined", "online", "accepted", "ready", "assigned"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind}");
    }
    w.check();
}

#[test]
fn the_cluster_is_counted_every_minute_and_secrets_are_shown_a_day_late() {
    let (mut w, ids) = world(2);
    let user = identity(20);
    w.put(&user, task_of(&user, 1));
    w.pass(60_000);
    let Ok(Reply::Topology(history)) = w.ask(caller(&user, false), Request::Topology) else {
        panic!("no history");
    };
    assert_eq!(history.len(), 2);
    let last = history.last().unwrap();
    assert_eq!(
        (last.kinds["compute"], last.nodes["active"], last.cap.cpu),
        (2, 2, 8_000)
    );
    let day = UNIX_MS / 86_400_000;
    let seed = |w: &mut W| match w.ask(caller(&user, false), Request::Seed(day)) {
        Ok(Reply::Seed(seed)) => seed,
        other => panic!("{other:?}"),
    };
    let before = seed(&mut w);
    assert_eq!((before.seed, before.hash), (None, last.seed));
    w.pass((day + 1) * 86_400_000 - w.unix() + 60_000);
    assert_eq!(
        seed(&mut w).seed,
        None,
        "the day is over, and another has to be"
    );
    w.pass(86_400_000);
    assert_eq!(seed_hash(&seed(&mut w).seed.unwrap()), before.hash);
    assert_eq!(
        w.refused(caller(&user, false), Request::Seed(day + 9)),
        RefusalCode::Unknown
    );
    let Ok(Reply::Topology(history)) = w.ask(caller(&user, false), Request::Topology) else {
        panic!("no history");
    };
    assert_eq!(history.len(), 100);
    assert!(history.last().unwrap().nodes["offline"] == 2 && !ids.is_empty());
    w.check();
}

#[test]
fn a_nodes_stream_begins_again_where_it_was() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let first = w.put(&user, task_of(&user, 1));
    let second = w.put(&user, task_of(&user, 2));
    w.ask(caller(&user, false), Request::Cancel(first)).unwrap();
    let node = ids[0].public().node_id();
    let work = |w: &mut W, after| match w.ask(caller(&ids[0], false), Request::Work { node, after })
    {
        Ok(Reply::Work(items)) => items,
        other => panic!("{other:?}"),
    };
    let all = work(&mut w, 0);
    assert!(all.is_sorted_by_key(Item::at));
    let [Item::Run { work: run, .. }, Item::Drop { task, .. }] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!((run.task, *task), (second, first));
    let at = run.fence;
    assert_eq!(work(&mut w, at).len(), 1);
    assert!(work(&mut w, all[1].at()).is_empty());
    // Under another leader too.
    let other = w.add_member();
    w.elect(other);
    assert_eq!(work(&mut w, 0).len(), 2);
    w.check();
}

#[test]
fn blobs_are_named_while_a_task_lives_and_the_task_until_it_is_forgotten() {
    let (mut w, _) = world(1);
    let user = identity(20);
    let task = task_of(&user, 1);
    let module = task.module.digest;
    let id = w.put(&user, task);
    let named = |w: &mut W| {
        let now_ms = w.unix();
        let leader = w.leader();
        let machine = w.members[leader].machine.get();
        let first = machine.named_blobs(now_ms, None);
        // One call looks at all of so few, the next at none.
        let last = machine.named_blobs(now_ms, first.next);
        assert_eq!((last.tasks.len(), last.next), (0, None));
        (first.tasks, first.digests)
    };
    assert_eq!(named(&mut w), (vec![id], vec![module]));
    w.ask(caller(&user, false), Request::Cancel(id)).unwrap();
    assert_eq!(named(&mut w), (vec![id], vec![]));
}
