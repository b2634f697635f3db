//! Dependencies, jobs, retries, verification, preemption, and what can be read.

use betanet_coordinator::{Caller, Item, LastJob, Reply, Request};
use betanet_fog::{
    Assignment, Input, Job, List, Outcome, Output, OutputFile, Placement, RefusalCode, Resources,
    Retry, Signed, Source, TaskId, TaskState, Tier, Verification, Verify,
};
use betanet_keys::Identity;
use betanet_scheduler::Placer;

use crate::world::{UNIX_MS, World, amounts, caller, identity, node_of, receipt, task_of};

pub type W = World<Placer>;

pub fn world(nodes: u64) -> (W, Vec<Identity>) {
    let mut w = W::new(13);
    let ids: Vec<_> = (0..nodes).map(|n| identity(100 + n)).collect();
    for (n, id) in ids.iter().enumerate() {
        w.join(id, node_of(id, &format!("z{n}"), &format!("org{n}")));
    }
    (w, ids)
}

/// Lets every node finish what it was given since, with one outcome. Returns the number of copies.
fn finish(w: &mut W, ids: &[Identity], outcome: Outcome) -> usize {
    let mut n = 0;
    for id in ids {
        for item in w.take_items(id) {
            if let Item::Run { work, .. } = item {
                let answer = w.done(id, receipt(id, &work, outcome));
                n += usize::from(answer == Ok(Reply::Done));
            }
        }
    }
    n
}

fn after(w: &mut W, user: &Identity, nonce: u64, before: &[TaskId]) -> TaskId {
    let mut task = task_of(user, nonce);
    task.after = List::try_from(before.to_vec()).unwrap();
    w.put(user, task)
}

#[test]
fn tasks_come_after_others_and_end_with_those_that_fail() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let first = w.put(&user, task_of(&user, 1));
    let second = after(&mut w, &user, 2, &[first]);
    let third = after(&mut w, &user, 3, &[first, second]);
    assert_eq!(&*w.status(third).why[0].reason, "after");
    assert_eq!(finish(&mut w, &ids, Outcome::Ok), 1);
    w.pass(1);
    assert_eq!(
        [second, third].map(|t| w.state(t)),
        [TaskState::Assigned, TaskState::Accepted]
    );
    let fourth = after(&mut w, &user, 4, &[third]);
    assert_eq!(finish(&mut w, &ids, Outcome::Trap), 1);
    w.pass(1);
    assert_eq!(w.end(second), (TaskState::Failed, "trap".into()));
    for task in [third, fourth] {
        assert_eq!(w.end(task), (TaskState::Cancelled, "dependency".into()));
    }
    let late = after(&mut w, &user, 5, &[second]);
    w.pass(1);
    assert_eq!(w.end(late), (TaskState::Cancelled, "dependency".into()));
    let mut later = task_of(&user, 6);
    later.start = w.unix() + 10_000;
    let later = w.put(&user, later);
    assert_eq!(&*w.status(later).why[0].reason, "start");
    w.pass(9_990);
    assert_eq!(w.state(later), TaskState::Accepted);
    w.pass(20);
    assert_eq!(w.state(later), TaskState::Assigned);
    w.check();
}

#[test]
fn files_of_an_output_become_inputs() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let first = w.put(&user, task_of(&user, 1));
    let output = Output {
        exit: 0,
        files: List::try_from(vec![OutputFile {
            path: "out/part".parse().unwrap(),
            digest: [4; 32],
            size: 77,
        }])
        .unwrap(),
    };
    // The world's receipts name the task's ID as their output.
    w.outputs.insert(first.0, output);
    let of = |path: &str, nonce| {
        let mut task = task_of(&user, nonce);
        task.after = List::try_from(vec![first]).unwrap();
        task.inputs = List::try_from(vec![Input {
            path: "in/a".parse().unwrap(),
            source: Source::File {
                task: first,
                path: path.parse().unwrap(),
            },
        }])
        .unwrap();
        task
    };
    let good = w.put(&user, of("out/part", 2));
    let bad = w.put(&user, of("out/other", 3));
    finish(&mut w, &ids, Outcome::Ok);
    w.pass(1);
    let work = w.take_run(&ids[0]);
    assert_eq!(work.task, good);
    let input = &work.inputs[0];
    assert_eq!(
        (&*input.path, input.digest, input.size),
        ("in/a", [4; 32], 77)
    );
    assert_eq!(w.end(bad), (TaskState::Cancelled, "dependency".into()));
    let mut wrong = receipt(&ids[0], &work, Outcome::Ok);
    wrong.inputs = [0; 32];
    assert_eq!(
        w.done(&ids[0], wrong).unwrap_err(),
        RefusalCode::BadValue.of("in")
    );
    w.check();
}

#[test]
fn jobs_have_versions_and_the_tasks_of_the_old_one_alone_are_cancelled() {
    let (mut w, _) = world(1);
    let user = identity(20);
    let tasks: Vec<TaskId> = (0..4).map(|n| w.put(&user, task_of(&user, n))).collect();
    let job = |ver, tasks: &[TaskId]| {
        let job = Job {
            ns: "lab".parse().unwrap(),
            ver,
            name: "nightly".parse().unwrap(),
            owner: *user.public().as_bytes(),
            tasks: List::try_from(tasks.to_vec()).unwrap(),
        };
        Request::PutJob(Box::new(Signed::sign(job, &user).unwrap()))
    };
    let me = caller(&user, false);
    assert_eq!(
        w.refused(me.clone(), job(2, &tasks[..2])),
        RefusalCode::Version
    );
    assert_eq!(w.ask(me.clone(), job(1, &tasks[..3])), Ok(Reply::Created));
    assert_eq!(
        w.ask(me.clone(), job(1, &tasks[..3])),
        Ok(Reply::Done),
        "the same again"
    );
    assert_eq!(
        w.refused(me.clone(), job(1, &tasks[..2])),
        RefusalCode::Version
    );
    assert_eq!(
        w.refused(me.clone(), job(2, &[TaskId([1; 32])])),
        RefusalCode::Unknown
    );
    assert_eq!(w.ask(me.clone(), job(2, &tasks[2..])), Ok(Reply::Done));
    assert_eq!(w.end(tasks[0]), (TaskState::Cancelled, "cancel".into()));
    assert_eq!(w.end(tasks[1]), (TaskState::Cancelled, "cancel".into()));
    assert!(tasks[2..].iter().all(|t| !w.state(*t).ended()));
    let (ns, name) = ("lab".parse().unwrap(), "nightly".parse().unwrap());
    let delete = Request::DeleteJob(ns, name);
    assert_eq!(
        w.refused(caller(&identity(21), false), delete.clone()),
        RefusalCode::NotYours
    );
    assert_eq!(w.ask(me.clone(), delete.clone()), Ok(Reply::Done));
    assert_eq!(w.ask(me.clone(), delete), Ok(Reply::Done), "the same again");
    assert!(tasks.iter().all(|t| w.state(*t) == TaskState::Cancelled));
    let read = Request::Job("lab".parse().unwrap(), "nightly".parse().unwrap());
    assert_eq!(w.refused(me.clone(), read), RefusalCode::Unknown);
    let last = |name: &str| Request::LastJob("lab".parse().unwrap(), name.parse().unwrap());
    let (owner, ver, deleted) = (*user.public().as_bytes(), 2, true);
    let told = Reply::LastJob(LastJob {
        owner,
        ver,
        deleted,
    });
    assert_eq!(w.ask(me.clone(), last("nightly")), Ok(told));
    assert_eq!(w.refused(me.clone(), last("no")), RefusalCode::Unknown);
    let mut stranger = caller(&identity(21), false);
    stranger.namespaces.clear();
    assert_eq!(w.refused(stranger, last("nightly")), RefusalCode::Role);
    assert_eq!(
        w.refused(me.clone(), job(1, &[])),
        RefusalCode::Version,
        "versions go on"
    );
    assert_eq!(w.ask(me, job(3, &[])), Ok(Reply::Done));
    w.check();
}

#[test]
fn jobs_are_listed_page_by_page_to_those_who_may_see_them() {
    let (mut w, _) = world(1);
    let user = identity(20);
    let task = w.put(&user, task_of(&user, 0));
    let me = caller(&user, false);
    for name in ["a", "b", "c", "d"] {
        let job = Job {
            ns: "lab".parse().unwrap(),
            ver: 1,
            name: name.parse().unwrap(),
            owner: *user.public().as_bytes(),
            tasks: List::try_from(vec![task]).unwrap(),
        };
        let put = Request::PutJob(Box::new(Signed::sign(job, &user).unwrap()));
        assert_eq!(w.ask(me.clone(), put), Ok(Reply::Created));
    }
    let delete = Request::DeleteJob("lab".parse().unwrap(), "b".parse().unwrap());
    assert_eq!(w.ask(me.clone(), delete), Ok(Reply::Done));
    let mut list = |by: &Caller, ns: &str, n| {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let ns = ns.parse().unwrap();
            let Ok(Reply::Jobs(page)) = w.ask(by.clone(), Request::Jobs { ns, after, n }) else {
                panic!("a page of jobs");
            };
            for job in page.items {
                // The task was cancelled with the job that was deleted.
                assert_eq!(job.states, [(TaskState::Cancelled, 1)].into());
                assert_eq!((job.ver, job.tasks), (1, 1));
                names.push(job.name.to_string());
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return names,
            }
        }
    };
    for n in [0, 1, 2, 9] {
        assert_eq!(list(&me, "", n), ["a", "c", "d"]);
    }
    assert!(list(&me, "other", 9).is_empty());
    let mut stranger = caller(&identity(21), false);
    stranger.namespaces.clear();
    assert!(list(&stranger, "", 9).is_empty());
    assert_eq!(list(&caller(&identity(22), true), "", 9).len(), 3);
}

#[test]
fn a_plan_says_where_and_why_and_changes_nothing() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let before = w.machine().hash();
    let plan = |w: &mut W, task| {
        let task = Box::new(Signed::sign(task, &user).unwrap());
        match w.ask(caller(&user, false), Request::Plan(task)) {
            Ok(Reply::Plan(plan)) => plan,
            other => panic!("{other:?}"),
        }
    };
    let good = plan(&mut w, task_of(&user, 1));
    assert_eq!(
        (good.copies.len(), good.copies[0].node),
        (1, ids[0].public().node_id())
    );
    let mut gold = task_of(&user, 2);
    gold.tier = Tier::Gold;
    assert_eq!(&*plan(&mut w, gold).why[0].reason, "org");
    let mut big = task_of(&user, 3);
    big.res = Resources::demand(amounts(5_000, 1 << 30)).unwrap();
    assert_eq!(&*plan(&mut w, big).why[0].reason, "cpu_total");
    let mut poor = task_of(&user, 4);
    poor.budget = 1;
    assert_eq!(&*plan(&mut w, poor).why[0].reason, "budget");
    assert_eq!(w.machine().hash(), before);
}

#[test]
fn a_fault_is_tried_again_after_its_delay_and_then_kept_as_a_dead_letter() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let mut task = task_of(&user, 1);
    task.retry = Retry {
        most: 1,
        base: 5_000,
        cap: 10_000,
    };
    task.deadline = UNIX_MS + 100_000;
    let retry = task.retry;
    let id = w.put(&user, task);
    assert_eq!(finish(&mut w, &ids, Outcome::Input), 1);
    assert_eq!(&*w.status(id).why[0].reason, "backoff");
    let delay = retry.delay(&id, 1);
    w.pass(delay - 10);
    assert_eq!(w.status(id).attempts, 1);
    w.pass(20);
    assert_eq!(w.status(id).attempts, 2);
    assert_eq!(finish(&mut w, &ids, Outcome::Input), 1);
    assert_eq!(w.end(id), (TaskState::Failed, "input".into()));
    w.jump(86_400_000 + 100_000);
    let dead = |w: &mut W| {
        let request = Request::Tasks {
            ns: "lab".parse().unwrap(),
            state: Some(TaskState::Failed),
            after: None,
            n: 10,
        };
        match w.ask(caller(&user, false), request) {
            Ok(Reply::Tasks(list)) => list.items.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(dead(&mut w), 1, "30 days");
    w.jump(29 * 86_400_000);
    assert_eq!(dead(&mut w), 0);
    w.check();
}

#[test]
fn results_are_compared_until_two_agree_and_trust_is_earned() {
    let (mut w, ids) = world(3);
    let user = identity(20);
    let spot = |nonce| {
        let mut task = task_of(&user, nonce);
        task.verify = Verification {
            rule: Verify::Spot,
            k: 0,
            n: 0,
        };
        task
    };
    let id = w.put(&user, spot(1));
    let run = |w: &mut W| -> (usize, Box<Assignment>) {
        w.pass(1);
        for (at, id) in ids.iter().enumerate() {
            for item in w.take_items(id) {
                if let Item::Run { work, .. } = item {
                    return (at, work);
                }
            }
        }
        panic!("no copy to run");
    };
    let (liar, work) = run(&mut w);
    let mut lie = receipt(&ids[liar], &work, Outcome::Ok);
    lie.out = Some([1; 32]);
    w.done(&ids[liar], lie).unwrap();
    assert_eq!(w.state(id), TaskState::Verifying);
    for _ in 0..2 {
        let (at, work) = run(&mut w);
        w.done(&ids[at], receipt(&ids[at], &work, Outcome::Ok))
            .unwrap();
    }
    let status = w.status(id);
    assert_eq!(
        (status.state, status.out),
        (TaskState::Succeeded, Some(id.0))
    );
    let reps = |w: &mut W| match w.ask(
        caller(&user, false),
        Request::Nodes {
            state: None,
            after: None,
            n: 9,
        },
    ) {
        Ok(Reply::Nodes(list)) => {
            let of = |id: &Identity| {
                list.items
                    .iter()
                    .find(|n| n.id == id.public().node_id())
                    .unwrap()
                    .rep
            };
            [0, 1, 2].map(|n| of(&ids[n]))
        }
        other => panic!("{other:?}"),
    };
    let rep = reps(&mut w);
    assert_eq!(rep[liar], 0);
    assert_eq!(rep.iter().filter(|r| **r == 90_909).count(), 2);
    for nonce in 2..40 {
        let id = w.put(&user, spot(nonce));
        while w.state(id) != TaskState::Succeeded {
            let (at, work) = run(&mut w);
            w.done(&ids[at], receipt(&ids[at], &work, Outcome::Ok))
                .unwrap();
        }
    }
    assert!(
        reps(&mut w).iter().any(|r| *r >= 500_000),
        "ten in a row are trusted"
    );
    w.check();
}

#[test]
fn a_higher_tier_takes_the_place_of_bronze() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let bronze: Vec<TaskId> = (0..4).map(|n| w.put(&user, task_of(&user, n))).collect();
    w.take_items(&ids[0]);
    let mut task = task_of(&user, 10);
    task.tier = Tier::Silver;
    task.res = Resources::demand(amounts(2_000, 1 << 30)).unwrap();
    let silver = w.put(&user, task);
    assert_eq!(w.state(silver), TaskState::Assigned);
    let states: Vec<TaskState> = bronze.iter().map(|t| w.state(*t)).collect();
    assert_eq!(
        states.iter().filter(|s| **s == TaskState::Queued).count(),
        2,
        "{states:?}"
    );
    let drops = w.take_items(&ids[0]);
    let drops = drops
        .iter()
        .filter(|i| matches!(i, Item::Drop { .. }))
        .count();
    assert_eq!(drops, 2);
    w.machine().audit_capacity().unwrap();
    w.check();
}

#[test]
fn a_cancelled_task_pays_for_its_time_and_an_expired_one_without_a_start_nothing() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let id = w.put(&user, task_of(&user, 1));
    let work = w.take_run(&ids[0]);
    w.start(&ids[0], &work).unwrap();
    w.pass(10_000);
    assert_eq!(
        w.refused(caller(&identity(21), false), Request::Cancel(id)),
        RefusalCode::NotYours
    );
    w.ask(caller(&user, false), Request::Cancel(id)).unwrap();
    assert_eq!(
        w.refused(caller(&user, false), Request::Cancel(id)),
        RefusalCode::Ended
    );
    let status = w.status(id);
    assert!(status.cost > 0 && w.paid[&id] == status.cost);
    let mut short = task_of(&user, 2);
    short.deadline = w.unix() + 5_000;
    short.place = Placement {
        rep: 1_000_000,
        ..Placement::default()
    };
    let short = w.put(&user, short);
    assert_eq!(&*w.status(short).why[0].reason, "rep");
    w.pass(5_001);
    assert_eq!(w.end(short), (TaskState::Expired, "deadline".into()));
    assert_eq!((w.status(short).cost, w.paid.get(&short)), (0, None));
    w.check();
}
