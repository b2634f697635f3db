//! The node's rules under a driven clock.

use betanet_fog::bodies::DropCopy;
use betanet_fog::{
    Amounts, Level, Map, Module, Offline, Placement, Policy, Resources, Retry, Strategy, Tier,
    Verification,
};
use betanet_keys::Identity;

use super::*;

const MS: u64 = 1_790_000_000_000;

fn at(ms: u64) -> Now {
    Now::new(Time::from_micros(ms * 1000), MS + ms)
}

fn leader() -> Identity {
    Identity::from_seed(&[1; 32])
}

fn me() -> NodeId {
    Identity::from_seed(&[2; 32]).public().node_id()
}

fn session() -> NodeSession {
    let joined = JoinAnswer {
        ttl: 30_000,
        down: 90_000,
        join: 3,
        epoch: 5,
        coords: vec![*leader().public().as_bytes()].try_into().unwrap(),
    };
    NodeSession::new(at(0), me(), &joined)
}

fn task(offline: Policy) -> Signed<Task> {
    let owner = Identity::from_seed(&[3; 32]);
    let res = Amounts {
        cpu: 100,
        memory: 1 << 20,
        ..Amounts::default()
    };
    let word = |w: &str| w.parse().unwrap();
    let task = Task {
        ns: word("acme"),
        env: Map::new(),
        res: Resources::demand(res).unwrap(),
        rsv: None,
        args: List::new(),
        fuel: 1_000_000,
        prio: 5,
        tier: Tier::Bronze,
        after: List::new(),
        group: word(""),
        level: Level::Public,
        nonce: [0; 16],
        owner: *owner.public().as_bytes(),
        place: Placement::default(),
        retry: Retry {
            most: 3,
            base: 1000,
            cap: 60_000,
        },
        start: 0,
        budget: 1_000_000,
        grants: List::new(),
        inputs: List::new(),
        module: Module {
            digest: [7; 32],
            size: 10,
        },
        run_ms: 60_000,
        verify: Verification::NONE,
        offline,
        out_max: 1 << 20,
        deadline: MS + 3_600_000,
        strategy: Strategy::LeastLoaded,
    };
    Signed::sign(task, &owner).unwrap()
}

const REPLACE: Policy = Policy {
    rule: Offline::Replace,
    ms: 0,
};

fn item(fence: u64, epoch: u64, policy: Policy, signer: &Identity) -> WorkItem {
    let task = task(policy);
    let work = Assignment {
        inputs: List::new(),
        end: MS + 60_000,
        key: *signer.public().as_bytes(),
        copy: 1,
        devs: List::new(),
        node: me(),
        task: task.id(),
        epoch,
        fence,
    };
    WorkItem::Run(RunCopy {
        at: fence,
        task: task.envelope().clone(),
        work: Signed::sign(work, signer).unwrap().envelope().clone(),
    })
}

fn drop_of(fence: u64, position: u64) -> WorkItem {
    WorkItem::Drop(DropCopy {
        at: position,
        why: "ended".parse().unwrap(),
        task: task(REPLACE).id(),
        fence,
    })
}

fn answer(epoch: u64) -> BeatAnswer {
    BeatAnswer {
        ttl: 30_000,
        down: 90_000,
        epoch,
    }
}

fn runs(order: &Result<Order, WorkError>) -> bool {
    matches!(order, Ok(Order::Run(_)))
}

#[test]
fn beats_list_all_copies_and_rise_in_sequence() {
    let mut node = session();
    assert_eq!(node.due(at(0)), [Due::Beat]);
    let first = node.beat(at(0));
    assert_eq!(node.beaten(at(0).mono, &first, &answer(5)), Beaten::Counts);
    assert_eq!(node.due(at(29_999)), []);
    for fence in [40, 41] {
        assert!(runs(&node.work(&item(fence, 5, REPLACE, &leader()))));
    }
    // A copy that comes again after a reconnection runs once.
    assert_eq!(
        node.work(&item(40, 5, REPLACE, &leader())),
        Ok(Order::Nothing)
    );
    assert!(node.ended(40) && !node.ended(40), "one receipt for a fence");
    assert_eq!(node.due(at(30_000)), [Due::Beat]);
    let second = node.beat(at(30_000));
    assert!(second.seq > first.seq);
    // An ended copy is reported until its receipt is taken.
    let have: Vec<u64> = second.have.iter().map(|held| held.fence).collect();
    assert_eq!(have, [40, 41]);
    node.forget(40);
    let third = node.beat(at(30_001));
    assert_eq!((third.have.len(), third.have[0].fence), (1, 41));
    // Nor does a stream from its beginning start it again.
    assert_eq!(
        node.work(&item(40, 5, REPLACE, &leader())),
        Ok(Order::Nothing)
    );
}

#[test]
fn a_lower_epoch_is_not_obeyed() {
    let mut node = session();
    let beat = node.beat(at(0));
    assert_eq!(node.beaten(at(0).mono, &beat, &answer(6)), Beaten::Counts);
    assert_eq!(
        node.work(&item(9, 5, REPLACE, &leader())),
        Err(WorkError::Epoch(5))
    );
    assert!(runs(&node.work(&item(10, 6, REPLACE, &leader()))));
    // A deposed leader answers a beat and orders a drop.
    let beat = node.beat(at(1000));
    assert_eq!(
        node.beaten(at(1000).mono, &beat, &answer(5)),
        Beaten::Deposed
    );
    assert_eq!(node.work(&drop_of(10, 12)), Ok(Order::Nothing));
    assert_eq!((node.epoch(), node.held()), (6, 1));
    // The leader's own order counts.
    let beat = node.beat(at(2000));
    node.beaten(at(2000).mono, &beat, &answer(6));
    let id = task(REPLACE).id();
    assert_eq!(node.work(&drop_of(10, 13)), Ok(Order::Drop(id, 10)));
    assert_eq!(node.held(), 0);
    // An assignment raises the epoch, even close to the end of all numbers.
    assert!(runs(&node.work(&item(14, 1 << 62, REPLACE, &leader()))));
    assert_eq!(node.epoch(), 1 << 62);
}

#[test]
fn orders_of_others_are_refused() {
    let mut node = session();
    let stranger = Identity::from_seed(&[9; 32]);
    assert_eq!(
        node.work(&item(9, 5, REPLACE, &stranger)),
        Err(WorkError::Signer)
    );
    let WorkItem::Run(mut forged) = item(10, 5, REPLACE, &leader()) else {
        panic!("a run");
    };
    forged.work.sig[3] ^= 1;
    let sig = Err(WorkError::Record(RefusalCode::SigInvalid.bare()));
    assert_eq!(node.work(&WorkItem::Run(forged)), sig);
    let WorkItem::Run(mut forged) = item(11, 5, REPLACE, &leader()) else {
        panic!("a run");
    };
    forged.task.sig[3] ^= 1;
    assert_eq!(node.work(&WorkItem::Run(forged)), sig);
    let WorkItem::Run(mut moved) = item(12, 5, REPLACE, &leader()) else {
        panic!("a run");
    };
    moved.at = 13;
    assert_eq!(node.work(&WorkItem::Run(moved)), Err(WorkError::Mismatch));
    assert_eq!(node.held(), 0);
}

#[test]
fn a_silent_coordinator_stops_copies_by_their_policy() {
    let stop = Policy {
        rule: Offline::Stop,
        ms: 10_000,
    };
    let keep = Policy {
        rule: Offline::Keep,
        ms: 10_000,
    };
    let mut node = session();
    let beat = node.beat(at(1000));
    node.beaten(at(1000).mono, &beat, &answer(5));
    for (fence, policy) in [(20, stop), (21, keep), (22, REPLACE)] {
        assert!(runs(&node.work(&item(fence, 5, policy, &leader()))));
    }
    // 4/5 of 90 s after the beat that was answered; the copies' ends come at 60 s.
    assert_eq!(node.wake(at(1000)), at(31_000).mono);
    let due = node.due(at(31_000));
    assert_eq!(due, [Due::Beat]);
    let due = node.due(at(60_000));
    let time: Vec<u64> = due
        .iter()
        .filter_map(|d| match d {
            Due::Time(fence) => Some(*fence),
            _ => None,
        })
        .collect();
    assert_eq!(time, [20, 21, 22]);
    for fence in [21, 22] {
        node.ended(fence);
    }
    let id = task(stop).id();
    let due = node.due(at(73_000));
    assert!(due.contains(&Due::Stop(id, 20)), "{due:?}");
    assert_eq!(node.held(), 2);
    assert!(stop.fence_dies(1000, 90_000) > 73_000);
}

#[test]
fn a_copy_whose_receipt_is_stored_does_not_run_again() {
    let mut node = session();
    node.settle(40);
    assert_eq!(
        node.work(&item(40, 5, REPLACE, &leader())),
        Ok(Order::Nothing)
    );
    assert!(runs(&node.work(&item(41, 5, REPLACE, &leader()))));
    // A change of the node is told with a beat at once.
    let beat = node.beat(at(0));
    node.beaten(at(0).mono, &beat, &answer(5));
    assert_eq!(node.due(at(1_000)), []);
    node.set_open(false);
    node.hurry(at(1_000));
    assert_eq!(node.due(at(1_000)), [Due::Beat]);
    assert!(!node.beat(at(1_000)).work);
}

#[test]
fn an_old_sequence_number_jumps_ahead() {
    let mut node = session();
    let mut seqs = Vec::new();
    for _ in 0..3 {
        seqs.push(node.beat(at(0)).seq);
        node.beat_refused(at(0), Some(RefusalCode::SeqOld));
        assert_eq!(node.due(at(0)), [Due::Beat]);
    }
    assert!(
        seqs[1] - seqs[0] > JUMP && seqs[2] - seqs[1] > 2 * JUMP,
        "{seqs:?}"
    );
}

#[test]
fn what_a_beat_told_is_not_told_again() {
    let mut node = session();
    for n in 0..=GONE_MAX {
        let mut blob = [0; 32];
        blob[..8].copy_from_slice(&n.to_be_bytes());
        node.lost_blob(blob);
    }
    for n in 0..20 {
        node.measured(RoundTrip {
            node: NodeId([n; 20]),
            ms: 5,
        });
    }
    let beat = node.beat(at(0));
    assert_eq!((beat.gone.len(), beat.rtt.len()), (GONE_MAX, TRIPS_MAX));
    // Without an answer, all of it is told again.
    assert_eq!(node.beat(at(1)).gone, beat.gone);
    node.beaten(at(1).mono, &beat, &answer(5));
    let next = node.beat(at(2));
    assert_eq!((next.gone.len(), next.rtt.len()), (1, 0));
}

#[test]
fn a_node_holds_so_many_copies_and_says_so() {
    let mut node = session();
    let most = COPIES_MAX as u64;
    for fence in 1..=most {
        assert!(runs(&node.work(&item(fence, 5, REPLACE, &leader()))));
    }
    let over = node.work(&item(most + 1, 5, REPLACE, &leader()));
    assert_eq!(over, Err(WorkError::Full));
    let beat = node.beat(at(0));
    assert_eq!((beat.have.len(), beat.work), (COPIES_MAX, false));
    // A beat of so many copies is within the bound of a body.
    assert!(betanet_fog::to_vec(&beat).len() < betanet_fog::BODY_MAX);
    node.forget(1);
    assert!(node.beat(at(1)).work);
}
