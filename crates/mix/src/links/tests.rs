use alloc::boxed::Box;

use betanet_machine::testkit::Checked;

use super::*;
use crate::packet::{PACKET, Packet};
use crate::share::Via;

fn at(ms: u64) -> Now {
    Now::new(Time::from_micros(ms * 1000), 0)
}

const fn node(n: u8) -> NodeId {
    NodeId([n; 20])
}

const fn payer(n: u8) -> ChargeTo {
    ChargeTo::V4([192, 0, 2, n])
}

fn packet(next: NodeId, ms: u64, session: u64, charge: ChargeTo) -> Departure {
    Departure {
        next,
        packet: Box::new(Packet([7; PACKET])),
        due: at(ms).mono,
        via: Via { session, charge },
    }
}

type Tested = Checked<Links>;

fn links() -> Tested {
    Checked::new(Links::new(0))
}

/// Gives a packet to the link with `next`, for which payer 1 pays.
fn send(links: &mut Tested, ms: u64, next: u8) -> Result<(), Cause> {
    let one = packet(node(next), ms, 1, payer(1));
    let sent = links.get_mut().send(at(ms), one, || payer(1));
    sent.map_err(|(cause, _)| cause)
}

fn transmits(links: &mut Tested) -> Vec<LinkTransmit> {
    core::iter::from_fn(|| links.poll_transmit()).collect()
}

/// The stream that is wanted.
fn wanted(links: &mut Tested) -> Op {
    match transmits(links).pop() {
        Some(LinkTransmit::Open { op, .. }) => op,
        other => panic!("{other:?}"),
    }
}

/// The packets to write.
fn write(links: &mut Tested) -> (Op, Vec<Departure>) {
    match transmits(links).pop() {
        Some(LinkTransmit::Write { op, packets, .. }) => (op, packets),
        other => panic!("{other:?}"),
    }
}

fn tell(links: &mut Tested, ms: u64, input: LinkInput) {
    links.handle_input(at(ms), input).unwrap();
}

/// How many were dropped, by what; and how many sent.
fn ended(links: &mut Tested) -> (Vec<(Cause, usize)>, usize) {
    let (mut dropped, mut sent) = (Vec::new(), 0);
    while let Some(event) = links.poll_event() {
        match event {
            LinkEvent::Sent { packets } => sent += packets.len(),
            LinkEvent::Dropped { cause, packets } => dropped.push((cause, packets.len())),
        }
    }
    (dropped, sent)
}

/// Lets time pass; the links are asked when they want to be.
fn pass(links: &mut Tested, until: u64) {
    while let Some(wake) = links.poll_timeout()
        && wake.at <= at(until).mono
    {
        let now = Now::new(wake.at, 0);
        links.handle_timeout(now);
        if links.poll_timeout().is_none_or(|w| w.at <= wake.at) {
            return;
        }
    }
}

#[test]
fn what_comes_while_a_stream_opens_or_takes_goes_together_with_the_next() {
    let mut links = links();
    for _ in 0..30 {
        send(&mut links, 0, 2).unwrap();
    }
    let op = wanted(&mut links);
    tell(&mut links, 5, LinkInput::Opened { op });
    let (op, packets) = write(&mut links);
    assert_eq!((packets.len(), links.get().waiting()), (TOGETHER, 30));
    send(&mut links, 6, 2).unwrap();
    assert!(transmits(&mut links).is_empty(), "one thing at a time");
    tell(&mut links, 7, LinkInput::Written { op, packets });
    let (op, packets) = write(&mut links);
    assert_eq!(packets.len(), 5);
    tell(&mut links, 8, LinkInput::Written { op, packets });
    assert_eq!(ended(&mut links), (Vec::new(), 31));
    assert!(links.get().waiting() == 0 && links.get().shares.is_empty());
    // A link without packets is closed.
    assert_eq!(links.poll_timeout().unwrap().at, at(8).mono + IDLE);
    links.handle_timeout(at(300_008));
    assert!(matches!(
        transmits(&mut links)[..],
        [LinkTransmit::Close { id: 1 }]
    ));
    assert!(links.get().is_empty() && links.poll_timeout().is_none());
}

#[test]
fn a_batch_is_one_write_for_each_next_node_and_what_is_not_taken_comes_back() {
    let mut links = links();
    let give = |links: &mut Tested, ms, nexts: &[u8]| {
        let one = |(by, next): (u8, &u8)| packet(node(*next), ms, by.into(), payer(by));
        let by = (0..8).cycle();
        let mut batch: Vec<Departure> = by.zip(nexts).map(one).collect();
        let (mut payers, mut back) = (Vec::new(), Vec::new());
        let payer = |next, charge| {
            payers.push(next);
            charge
        };
        let not = |(cause, one): NotTaken| back.push((cause, one.next));
        links.get_mut().send_all(at(ms), &mut batch, payer, not);
        assert!(batch.is_empty());
        (payers, back)
    };
    let open = |links: &mut Tested, ms| {
        for transmit in transmits(links) {
            let LinkTransmit::Open { op, .. } = transmit else {
                panic!("{transmit:?}");
            };
            tell(links, ms, LinkInput::Opened { op });
        }
    };
    // A link is made, and its payer asked for, once.
    let made = give(&mut links, 0, &[2, 3, 2, 3, 2]);
    assert_eq!(made, (alloc::vec![node(2), node(3)], Vec::new()));
    open(&mut links, 1);
    for n in [3, 2] {
        let (op, packets) = match links.poll_transmit() {
            Some(LinkTransmit::Write { op, packets, .. }) => (op, packets),
            other => panic!("{other:?}"),
        };
        assert_eq!((op.next, packets.len()), (node(5 - n), usize::from(n)));
        tell(&mut links, 2, LinkInput::Written { op, packets });
    }
    // Idle links write a batch as a whole, in its order of next nodes.
    give(&mut links, 3, &[3, 2, 3, 2, 2, 2]);
    let written = transmits(&mut links).into_iter().map(|t| match t {
        LinkTransmit::Write { op, packets, .. } => (op.next, packets.len()),
        other => panic!("{other:?}"),
    });
    assert_eq!(written.collect::<Vec<_>>(), [(node(3), 2), (node(2), 4)]);
    // Those over the queue's bound come back, and the others are taken.
    let (_, back) = give(&mut links, 4, &[2; QUEUE]);
    assert_eq!(back, [(Cause::LinkFull, node(2)); 4]);
    assert_eq!(give(&mut links, 4, &[2, 3]).1, [(Cause::LinkFull, node(2))]);
}

#[test]
fn a_next_node_that_is_down_rests_longer_each_time_and_its_packets_die() {
    let mut links = links();
    send(&mut links, 0, 2).unwrap();
    let op = wanted(&mut links);
    let why = Fails::Down;
    tell(&mut links, 10, LinkInput::Failed { op, why });
    pass(&mut links, 249);
    assert!(transmits(&mut links).is_empty());
    pass(&mut links, 250);
    let again = wanted(&mut links);
    // The outcome of a request that was given up counts no more.
    tell(&mut links, 251, LinkInput::Opened { op });
    assert!(transmits(&mut links).is_empty());
    tell(&mut links, 252, LinkInput::Failed { op: again, why });
    pass(&mut links, 750);
    wanted(&mut links);
    // This one hangs until the packet is dead, and longer.
    pass(&mut links, 2_000);
    assert_eq!(ended(&mut links).0, [(Cause::Dead, 1)]);
    pass(&mut links, 10_750);
    assert!(matches!(
        transmits(&mut links)[..],
        [LinkTransmit::Close { .. }]
    ));
    links.handle_timeout(at(10_751));
    assert_eq!(send(&mut links, 10_751, 2), Err(Cause::Dead));
    // It rests for two seconds now, and for as long again after its next failure.
    links.handle_timeout(at(12_751));
    send(&mut links, 12_751, 2).unwrap();
    let op = wanted(&mut links);
    tell(&mut links, 12_752, LinkInput::Failed { op, why });
    pass(&mut links, 14_750);
    assert!(transmits(&mut links).is_empty());
    pass(&mut links, 14_752);
    assert_eq!(ended(&mut links).0, [(Cause::Dead, 1)]);
    assert_eq!(send(&mut links, 18_750, 2), Err(Cause::Dead));
    assert_eq!(send(&mut links, 18_752, 2), Ok(()));
}

#[test]
fn a_name_that_nobody_has_costs_its_packets_and_is_left_alone_for_a_second() {
    let mut links = links();
    for (ms, why) in [(0, Fails::Unknown), (1_010, Fails::Busy)] {
        links.handle_timeout(at(ms));
        send(&mut links, ms, 2).unwrap();
        send(&mut links, ms, 2).unwrap();
        let op = wanted(&mut links);
        tell(&mut links, ms + 5, LinkInput::Failed { op, why });
        assert_eq!(ended(&mut links).0, [(Cause::Unknown, 2)]);
        assert!(matches!(
            transmits(&mut links)[..],
            [LinkTransmit::Close { .. }]
        ));
        let busy = why == Fails::Busy;
        assert_eq!(send(&mut links, ms + 6, 2).is_ok(), busy);
    }
}

#[test]
fn what_a_broken_stream_did_not_take_goes_first_over_another_while_there_is_time() {
    let mut links = links();
    for ms in [0, 1_500] {
        links.handle_timeout(at(ms));
        send(&mut links, ms, 2).unwrap();
    }
    let op = wanted(&mut links);
    tell(&mut links, 1_501, LinkInput::Opened { op });
    let (op, packets) = write(&mut links);
    send(&mut links, 1_502, 2).unwrap();
    tell(&mut links, 2_000, LinkInput::Broken { op, packets });
    assert_eq!(ended(&mut links).0, [(Cause::Dead, 1)]);
    let op = wanted(&mut links);
    tell(&mut links, 2_001, LinkInput::Opened { op });
    let (op, packets) = write(&mut links);
    let due: Vec<Time> = packets.iter().map(|p| p.due).collect();
    assert_eq!(due, [at(1_500).mono, at(1_502).mono]);
    // Its link has gone meanwhile: what it had is dropped, and counted no more.
    links.get_mut().remove(at(9_000).mono, node(2), Cause::Dead);
    tell(&mut links, 9_000, LinkInput::Broken { op, packets });
    assert_eq!(ended(&mut links).0, [(Cause::Dead, 2)]);
    assert!(links.get().shares.is_empty() && links.get().waiting() == 0);
}

#[test]
fn a_session_a_payer_and_a_next_node_have_no_more_than_their_part() {
    let mut links = links();
    let most = QUEUE * SESSION_ONE_IN;
    let mut push = |next: u16, session: u64, charge: ChargeTo| {
        let mut name = node(3);
        name.0[..2].copy_from_slice(&next.to_be_bytes());
        let sent = links
            .get_mut()
            .send(at(0), packet(name, 0, session, charge), || charge);
        sent.map_err(|(cause, _)| cause)
    };
    let part = most / SESSION_ONE_IN;
    for n in 0..part {
        let next = u16::try_from(n % 3).unwrap();
        assert_eq!(push(next, 1, payer(1)), Ok(()));
    }
    assert_eq!(push(0, 1, payer(1)), Err(Cause::Session));
    for n in 0..part {
        let next = u16::try_from(n % 3).unwrap();
        assert_eq!(push(next, 2, payer(1)), Ok(()));
    }
    assert_eq!(push(0, 3, payer(1)), Err(Cause::Address));
    assert_eq!(push(0, 4, payer(4)), Ok(()));
    let taken = (0..QUEUE).filter(|_| push(0, 5, payer(5)).is_ok());
    assert!(taken.count() < QUEUE);
    assert_eq!(push(0, 6, payer(6)), Err(Cause::LinkFull));
    assert_eq!(push(9, 6, payer(6)), Ok(()));
}

#[test]
fn one_payer_has_a_share_of_the_links_and_its_idlest_gives_way() {
    let mut links = links();
    let name = |n: u16| {
        let mut name = node(9);
        name.0[..2].copy_from_slice(&n.to_be_bytes());
        name
    };
    let (mut taken, mut n) = (0, 0);
    let send = |links: &mut Tested, ms, next, by| {
        let one = packet(next, ms, 1, payer(by));
        let sent = links.get_mut().send(at(ms), one, || payer(by));
        sent.map_err(|(cause, _)| cause)
    };
    while send(&mut links, 0, name(n), 1).is_ok() {
        (taken, n) = (taken + 1, n + 1);
    }
    assert_eq!(taken, LINKS_SHARE);
    assert_eq!(send(&mut links, 0, name(n), 1), Err(Cause::LinkShare));
    assert_eq!(send(&mut links, 0, name(n), 2), Ok(()));
    // A packet of any payer goes over the link that stands.
    assert_eq!(send(&mut links, 0, name(n), 1), Ok(()));
    let before = links.get().len();
    assert_eq!(
        send(&mut links, 3_999, name(n + 1), 1),
        Err(Cause::LinkShare)
    );
    assert_eq!(send(&mut links, 4_000, name(n + 1), 1), Ok(()));
    assert_eq!(links.get().len(), before);
}
