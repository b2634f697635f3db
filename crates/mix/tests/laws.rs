//! Payloads, windows and the lottery.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops where it is surprised"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use betanet_machine::{Rng, Seed, Time};
use betanet_mix::{
    Ack, DATA_MAX, Fragment, FragmentError, Kind, Net, PAYLOAD, Receiver, SURB, SURBS_MAX, Sender,
    StreamError, Surb, Ticket, WINDOW, draw, lottery_seed,
};
use betanet_wire::NodeId;
use proptest::prelude::*;

fn fragment(kind: Kind, surbs: usize, data: Vec<u8>) -> Fragment {
    Fragment {
        kind,
        message: *b"exchange",
        index: 3,
        count: 0,
        surbs: (0..surbs)
            .map(|n| Surb::from_bytes([n as u8; SURB]))
            .collect(),
        data,
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        kind in prop_oneof![
            Just(Kind::Request),
            Just(Kind::Reply),
            Just(Kind::Acknowledgement),
            Just(Kind::Loop)
        ],
        surbs in 0..=SURBS_MAX,
        data in prop::collection::vec(any::<u8>(), 0..=DATA_MAX),
    ) {
        let fits = surbs * SURB + data.len() <= DATA_MAX;
        let written = fragment(kind, surbs, data.clone()).to_payload();
        prop_assert_eq!(written.is_ok(), fits);
        if let Ok(payload) = written {
            let read = Fragment::from_payload(&payload).unwrap();
            prop_assert_eq!(&read.data, &data);
            prop_assert_eq!((read.kind, read.surbs.len()), (kind, surbs));
            prop_assert_eq!(read.to_payload(), Ok(payload));
        }
    }

    #[test]
    fn acknowledgements_read_back(base: u16, bitmap: u64) {
        let ack = Ack { base, bitmap };
        prop_assert_eq!(Ack::from_bytes(&ack.to_bytes()), Some(ack));
    }

    /// Over any link that loses, delays and repeats, everything arrives once and in order.
    #[test]
    fn a_stream_arrives_whole(seed: u64, pieces in 1_u32..400, loss_percent in 0_u64..60) {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        let mut now = Time::ZERO;
        let mut wire: Vec<(Time, u16, u16, Vec<u8>)> = Vec::new();
        let (mut pushed, mut got, mut sent) = (0_u32, 0_u32, 0_u32);
        while !sender.is_done() {
            while pushed < pieces && sender.room() > 0 {
                pushed += 1;
                prop_assert!(sender.push(pushed.to_be_bytes().to_vec(), pushed == pieces));
            }
            while let Some(piece) = sender.poll(now) {
                sent += 1;
                for _ in 0..=rng.below(2) {
                    let at = now + Duration::from_millis(50 + rng.below(200));
                    if rng.below(100) >= loss_percent {
                        wire.push((at, piece.index, piece.count, piece.data.to_vec()));
                    }
                }
            }
            now = now + Duration::from_millis(40);
            let (here, later) = wire.into_iter().partition(|(at, ..)| *at <= now);
            wire = later;
            let here: Vec<(Time, u16, u16, Vec<u8>)> = here;
            for (_, index, count, data) in here {
                for piece in receiver.take(index, count, data).unwrap() {
                    got += 1;
                    prop_assert_eq!(piece, got.to_be_bytes());
                }
                if rng.below(100) >= loss_percent {
                    sender.acknowledged(now, receiver.ack());
                }
            }
            prop_assert!(sent < 200 * pieces + 1000, "it goes on");
            if wire.is_empty() && let Some(wake) = sender.wake() {
                now = now.max(wake);
            }
        }
        prop_assert_eq!(got, pieces);
        prop_assert!(receiver.is_done());
    }
}

#[test]
fn each_wrong_payload_has_its_error() {
    let good = fragment(Kind::Request, 1, vec![7; 10])
        .to_payload()
        .unwrap();
    let with = |at: usize, byte: u8| {
        let mut payload = good;
        payload[at] = byte;
        Fragment::from_payload(&payload).map(|_| ())
    };
    assert_eq!(with(0, 0), Err(FragmentError::Kind(0)));
    assert_eq!(with(0, 5), Err(FragmentError::Kind(5)));
    assert_eq!(with(1, 1), Err(FragmentError::NotZero));
    assert_eq!(with(17, 1), Err(FragmentError::NotZero));
    assert_eq!(with(PAYLOAD - 1, 1), Err(FragmentError::NotZero));
    assert_eq!(with(14, 8), Err(FragmentError::Length));
    assert_eq!(with(16, 5), Err(FragmentError::Length));
    let index = FragmentError::Index { index: 3, count: 3 };
    assert_eq!(with(13, 3), Err(index));
}

#[test]
fn nothing_is_kept_beyond_the_window_or_against_what_was_said() {
    let mut receiver = Receiver::new();
    assert_eq!(receiver.take(0, 0, vec![0]), Ok(vec![vec![0]]));
    let beyond = 2 + WINDOW;
    let error = StreamError::Window {
        index: beyond,
        base: 1,
    };
    assert_eq!(receiver.take(beyond, 0, vec![]), Err(error));
    assert_eq!(receiver.take(1 + WINDOW, 0, vec![]), Ok(vec![]));
    let error = StreamError::Count { count: 5, known: 0 };
    assert_eq!(receiver.take(3, 5, vec![]), Err(error));
    assert_eq!(receiver.take(3, 100, vec![]), Ok(vec![]));
    let error = StreamError::Count {
        count: 101,
        known: 100,
    };
    assert_eq!(receiver.take(4, 101, vec![]), Err(error));
    let long = vec![0; DATA_MAX + 1];
    assert_eq!(
        receiver.take(1, 0, long),
        Err(StreamError::Length(DATA_MAX + 1))
    );
    // What was here brings nothing.
    assert_eq!(receiver.take(0, 0, vec![9]), Ok(vec![]));
    assert_eq!(receiver.pieces(), 3);
}

#[test]
fn what_gives_no_sign_is_sent_again_after_twice_the_median_trip_and_no_sooner_than_in_a_second() {
    let mut sender = Sender::new();
    let at = |ms: u64| Time::from_micros(ms * 1000);
    assert!(sender.push(vec![1], false) && sender.push(vec![2], true));
    assert_eq!(sender.poll(at(0)).map(|p| (p.index, p.count)), Some((0, 2)));
    assert_eq!(sender.poll(at(0)).map(|p| p.index), Some(1));
    assert!(sender.poll(at(999)).is_none());
    assert_eq!(sender.wake(), Some(at(1000)));
    sender.acknowledged(at(800), Ack { base: 1, bitmap: 0 });
    assert_eq!(sender.patience(), Duration::from_millis(1600));
    assert!(sender.poll(at(1599)).is_none());
    assert_eq!(sender.poll(at(1600)).map(|p| p.index), Some(1));
    // A second sending's acknowledgement tells no trip.
    sender.acknowledged(at(9000), Ack { base: 2, bitmap: 0 });
    assert_eq!(sender.patience(), Duration::from_millis(1600));
    assert!(sender.is_done() && sender.wake().is_none());
}

/// Relays in three layers, of as many organisations as given.
fn relays(n: usize, orgs: &[String]) -> Vec<Ticket<'_>> {
    let relay = |i: usize| Ticket {
        node: NodeId([i as u8; 20]),
        layer: (i % 3) as u8,
        weight: 100 * (1 + i as u16 % 4),
        org: &orgs[i % orgs.len()],
        net: Net::V4([10, i as u8]),
    };
    (0..n).map(relay).collect()
}

#[test]
fn paths_keep_to_the_layers_and_meet_nobody_twice() {
    let orgs: Vec<String> = (0..20).map(|n| format!("org {n}")).collect();
    let relays = relays(60, &orgs);
    let mut first = vec![0_u32; relays.len()];
    for n in 0..30_000_u64 {
        let seed = lottery_seed(&[1; 32], n, &[2; 16]);
        let guard = (n % 2 == 0).then_some(7);
        let path = draw(&seed, &relays, 3, 5, guard).unwrap();
        assert_eq!(path, draw(&seed, &relays, 3, 5, guard).unwrap());
        for (position, at) in path.iter().enumerate().skip(usize::from(guard.is_some())) {
            assert_eq!(usize::from(relays[*at].layer), position % 3);
        }
        assert!(guard.is_none_or(|g| path[0] == g));
        let orgs: BTreeSet<&str> = path.iter().map(|at| relays[*at].org).collect();
        assert_eq!(orgs.len(), 5);
        if guard.is_none() {
            first[path[0]] += 1;
        }
    }
    // Position 0 is drawn by weight: chi-square of 19 degrees of freedom, one in a thousand.
    let layer: Vec<usize> = (0..60).filter(|i| i % 3 == 0).collect();
    let total: f64 = layer.iter().map(|i| f64::from(relays[*i].weight)).sum();
    let chi: f64 = layer
        .iter()
        .map(|i| {
            let expected = 15_000.0 * f64::from(relays[*i].weight) / total;
            (f64::from(first[*i]) - expected).powi(2) / expected
        })
        .sum();
    assert!(chi < 43.8, "{chi}");
}

#[test]
fn too_few_relays_are_an_error_and_never_a_shorter_path() {
    let orgs: Vec<String> = (0..2).map(|n| format!("org {n}")).collect();
    let few = relays(9, &orgs);
    let seed = lottery_seed(&[1; 32], 0, &[2; 16]);
    let error = draw(&seed, &few, 3, 3, None).unwrap_err();
    assert_eq!(error.position, 2, "two organisations make no path of three");
    assert_eq!(draw(&seed, &[], 3, 1, None).unwrap_err().position, 0);
}
