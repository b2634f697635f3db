use std::task::Context;

use super::*;

fn keeper(max: usize) -> AdmissionControl {
    AdmissionControl::new(&Policy::default(), max, Arc::new(Metrics::new()))
}

fn at(last: u8, port: u16) -> (Option<SocketAddr>, ChargeTo) {
    let ip = IpAddr::from([192, 0, 2, last]);
    (Some((ip, port).into()), ChargeTo::address(ip))
}

#[test]
fn four_of_a_connection_and_32_of_an_address_are_under_way_and_no_more() {
    let keeper = keeper(16);
    let begin = |(from, charge)| keeper.begin(from, charge);
    let one: Vec<_> = (0..9).filter_map(|_| begin(at(1, 1))).collect();
    assert_eq!(one.len(), 4);
    let all: Vec<_> = (2..99).filter_map(|port| begin(at(1, port))).collect();
    assert_eq!(all.len(), 28);
    assert!(begin(at(2, 1)).is_some(), "each for itself");
    drop(one);
    assert!(begin(at(1, 1)).is_some());
    drop(all);
    keeper.with(|c| {
        assert!(c.half_open.is_empty() && c.connections.is_empty());
        assert_eq!(c.beginning, 0);
    });
}

#[test]
fn handshakes_take_no_place_of_sessions_and_those_over_relays_are_charged() {
    let keeper = keeper(600);
    let mut under_way = Vec::new();
    for last in 1..=255 {
        for port in 1..=8 {
            under_way
                .extend((0..4).filter_map(|_| keeper.begin(at(last, port).0, at(last, port).1)));
        }
    }
    assert_eq!(under_way.len(), HALF_OPEN);
    assert!(keeper.begin(at(0, 1).0, at(0, 1).1).is_none());
    assert_eq!(keeper.standing(), 0);
    // Finished sessions keep their places, whatever else begins.
    let half_open = under_way.pop().unwrap();
    let ip = half_open.from.unwrap().ip();
    let entrance = SessionPermit::new(half_open, Some(ip));
    assert_eq!((entrance.enter(), entrance.enter()), (Ok(()), Ok(())));
    assert_eq!(keeper.standing(), 1);
    drop(under_way);
    let over = |charge| {
        let entrance = SessionPermit::new(keeper.begin(None, charge).unwrap(), None);
        entrance.enter().map(|()| entrance)
    };
    let charge = at(9, 1).1;
    let mut standing: Vec<_> = (0..FORWARDED_AN_ADDRESS)
        .map(|_| over(charge).unwrap())
        .collect();
    assert_eq!(
        over(charge).unwrap_err(),
        Refusal::Forwarded(FORWARDED_AN_ADDRESS)
    );
    // Half of all places, whichever address takes them.
    standing.extend((0..44).map(|_| over(at(8, 1).1).unwrap()));
    assert_eq!(over(at(7, 1).1).unwrap_err(), Refusal::Full(300));
    assert_eq!(keeper.standing(), 301);
    drop((standing, entrance));
    assert_eq!(keeper.standing(), 0);
}

#[test]
fn a_session_that_is_over_gives_its_place_back_before_its_last_bytes_are_taken() {
    let keeper = keeper(64);
    let (from, charge) = at(1, 1);
    let enter = || {
        let half_open = keeper.begin(from, charge).unwrap();
        let entrance = SessionPermit::new(half_open, Some(from.unwrap().ip()));
        entrance.enter().map(|()| entrance)
    };
    let eight: Vec<_> = (0..8).map(|_| enter().unwrap()).collect();
    assert!(enter().is_err());
    eight.iter().for_each(SessionPermit::leave);
    // A second call has no further effect.
    eight[0].leave();
    assert_eq!(keeper.standing(), 0);
    let next = enter().unwrap();
    // The limit of leaving sessions is reached, so this one keeps its place until it is gone.
    next.leave();
    assert_eq!(keeper.standing(), 1);
    drop((next, eight));
    assert_eq!(keeper.standing(), 0);
    keeper.with(|c| assert!(c.leaving.is_empty()));
    let again = enter().unwrap();
    again.leave();
    assert_eq!(keeper.standing(), 0);
}

#[test]
fn who_finds_no_place_has_those_of_its_address_asked() {
    let keeper = keeper(64);
    let enter = |n| {
        let (from, charge) = at(n, 1);
        let half_open = keeper.begin(from, charge).unwrap();
        let entrance = SessionPermit::new(half_open, from.map(|f| f.ip()));
        entrance.enter().map(|()| entrance)
    };
    let cx = Context::from_waker(std::task::Waker::noop());
    let other = enter(2).unwrap();
    let mut eight: Vec<_> = (0..8).map(|_| enter(1).unwrap()).collect();
    assert!(eight.iter().all(|e| !e.is_doubted(&cx)));
    assert!(enter(1).is_err());
    assert!(eight.iter().all(|e| e.is_doubted(&cx)) && !other.is_doubted(&cx));
    assert!(eight.iter().all(|e| !e.is_doubted(&cx)), "once");
    eight.pop();
    eight.push(enter(1).unwrap());
    drop((eight, other));
    keeper.with(|c| assert!(c.doubts.is_empty()));
}

#[test]
fn a_refusal_says_which_limit_it_is() {
    let keeper = keeper(16);
    let (from, charge) = at(1, 1);
    let enter = || {
        let half_open = keeper.begin(from, charge).unwrap();
        let entrance = SessionPermit::new(half_open, from.map(|f| f.ip()));
        entrance.enter().map(|()| entrance)
    };
    let all: Vec<_> = (0..8).map(|_| enter().unwrap()).collect();
    let refused = enter().unwrap_err().to_string();
    assert_eq!(
        refused,
        "8 sessions of this address already stand (per_address)"
    );
    drop(all);
    assert!(enter().is_ok());
}
