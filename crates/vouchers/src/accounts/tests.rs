use betanet_keys::Identity;

use super::*;
use crate::meter::{Counted, Meter};

const DAY: u64 = 20_000 * PERIOD;
const MIB: u64 = 1 << 20;

struct Pair {
    relay: Identity,
    from: Identity,
    /// The accounts of each.
    of_relay: Accounts,
    of_from: Accounts,
    /// Their journals.
    records: [Vec<Vec<u8>>; 2],
}

fn counted(peer: NodeId, given: u64, taken: u64) -> Counted {
    Counted {
        period: DAY / PERIOD,
        peer,
        given,
        taken,
    }
}

/// The counts as the batch after the last one.
fn next(all: &mut Accounts, now: u64, counts: &[Counted]) -> (Option<Vec<u8>>, u64) {
    let batch = Batch {
        number: all.last_batch() + 1,
        counts: counts.to_vec(),
    };
    all.count(now, &batch)
}

impl Pair {
    fn new() -> Self {
        let (relay, from) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let node = |who: &Identity| who.public().node_id();
        Self {
            of_relay: Accounts::new(node(&relay)),
            of_from: Accounts::new(node(&from)),
            relay,
            from,
            records: Default::default(),
        }
    }

    fn forwards(&mut self, by_relay: u64, by_from: u64) {
        let (relay, from) = (self.relay.public().node_id(), self.from.public().node_id());
        let (record, _) = next(&mut self.of_relay, DAY, &[counted(from, by_relay, 0)]);
        self.records[0].extend(record);
        let (record, _) = next(&mut self.of_from, DAY, &[counted(relay, 0, by_from)]);
        self.records[1].extend(record);
    }

    fn claims(&mut self, now: u64) -> Vec<Account> {
        let (claims, record) = self.of_relay.claim(now, &self.from.public().node_id());
        self.records[0].extend(record);
        claims
    }

    /// What the peer answers to a claim.
    fn asked(&mut self, now: u64, claim: &Account) -> Result<Countersigned, Code> {
        let relay = (*self.relay.public(), claim.sign(&self.relay));
        self.records[1].extend(self.of_from.sign(now, claim, &relay)?);
        Ok(Countersigned {
            record: claim.to_bytes(),
            relay,
            from: (*self.from.public(), claim.sign(&self.from)),
        })
    }

    fn settle(&mut self, now: u64) -> Vec<Result<u64, Code>> {
        let mut out = Vec::new();
        for claim in self.claims(now) {
            let answer = self.asked(now, &claim);
            let record = self
                .of_relay
                .answered(&claim, answer.as_ref().map_err(|c| *c));
            self.records[0].extend(record);
            out.push(answer.map(|a| a.verify().unwrap().bytes));
        }
        out
    }

    /// Both nodes start again, from their journals alone.
    fn restarts(&mut self) {
        for (state, records) in [&mut self.of_relay, &mut self.of_from]
            .into_iter()
            .zip(&self.records)
        {
            let mut again = Accounts::new(state.me);
            records.iter().for_each(|r| again.apply(r).unwrap());
            assert_eq!(again, *state);
            let mut from_snapshot = Accounts::new(state.me);
            state
                .snapshot()
                .iter()
                .for_each(|p| from_snapshot.apply(p).unwrap());
            assert_eq!(from_snapshot, *state);
            *state = again;
        }
    }

    fn open(&self) -> u64 {
        self.of_relay.open(DAY).values().sum()
    }
}

#[test]
fn counts_that_agree_are_settled_and_outlive_a_restart() {
    let mut pair = Pair::new();
    pair.forwards(10 * MIB, 10 * MIB);
    assert_eq!(pair.open(), 10 * MIB);
    assert_eq!(pair.settle(DAY), [Ok(10 * MIB)]);
    assert_eq!((pair.open(), pair.claims(DAY)), (0, Vec::new()));
    pair.restarts();
    // Later bytes of the period raise the same account; the highest number counts.
    pair.forwards(MIB, MIB);
    assert_eq!(pair.settle(DAY + PERIOD), [Ok(11 * MIB)]);
    pair.restarts();
    let key = *pair.relay.public();
    let evidence: Vec<Account> = pair
        .of_relay
        .evidence(&key)
        .map(|e| e.verify().unwrap())
        .collect();
    assert_eq!(
        evidence
            .iter()
            .map(|a| (a.seq, a.bytes))
            .collect::<Vec<_>>(),
        [(2, 11 * MIB)]
    );
}

#[test]
fn a_lying_counter_is_refused_and_stays_open() {
    let mut pair = Pair::new();
    pair.forwards(20 * MIB, 10 * MIB);
    assert_eq!(pair.settle(DAY), [Err(Code::POLICY_REJECTED)]);
    let (_, row) = pair.of_relay.given().next().unwrap();
    assert_eq!(
        (row.refused, row.unsettled()),
        (Code::POLICY_REJECTED.0, 20 * MIB)
    );
    assert_eq!(pair.of_relay.evidence(pair.relay.public()).count(), 0);
    // Once the peer has counted as much itself, the next number settles it.
    pair.forwards(0, 10 * MIB);
    assert_eq!(pair.settle(DAY), [Ok(20 * MIB)]);
    assert_eq!(pair.of_relay.given().next().unwrap().1.refused, 0);
}

#[test]
fn a_lost_message_or_answer_is_repeated_and_counted_once() {
    let mut pair = Pair::new();
    pair.forwards(MIB, MIB);
    let lost = pair.claims(DAY);
    pair.restarts();
    // More was forwarded meanwhile, but the claim is the one that may have been signed.
    pair.forwards(MIB, MIB);
    assert_eq!(pair.claims(DAY), lost);
    // This time the answer is lost.
    let answer = pair.asked(DAY, &lost[0]).unwrap();
    pair.restarts();
    assert_eq!(
        pair.asked(DAY, &pair.of_relay.clone().claim(DAY, &lost[0].from).0[0]),
        Ok(answer)
    );
    assert_eq!(pair.of_from.taken().next().unwrap().1.times, 1);
    assert_eq!(pair.settle(DAY), [Ok(MIB)]);
    assert_eq!(pair.settle(DAY), [Ok(2 * MIB)]);
    assert_eq!(pair.of_relay.evidence(pair.relay.public()).count(), 1);
}

#[test]
fn a_batch_whose_answer_is_lost_is_counted_once() {
    let (peer, by) = (NodeId([7; 20]), betanet_wire::ChargeTo::V4([9; 4]));
    let (mut all, mut meter) = (Accounts::new(NodeId([9; 20])), Meter::default());
    meter.set_known([peer].into());
    meter.given(DAY, &peer, by, 100);
    meter.taken(DAY, &peer, by, 30);
    let batch = meter.take(DAY, all.last_batch(), 9).unwrap();
    let record = all.count(DAY, &batch).0.unwrap();
    // The answer is lost, and the node goes on from its journal, or from a snapshot.
    let mut again = Accounts::new(NodeId([9; 20]));
    again.apply(&record).unwrap();
    assert_eq!(again, all);
    let mut restored = Accounts::new(NodeId([9; 20]));
    let pieces = all.snapshot();
    pieces.iter().for_each(|p| restored.apply(p).unwrap());
    meter.given(DAY, &peer, by, 11);
    for mut state in [again, restored] {
        let mut meter = meter.clone();
        while let Some(batch) = meter.take(DAY, state.last_batch(), 9) {
            assert_eq!(state.count(DAY, &batch).1, 0);
            meter.written(batch.number);
        }
        assert_eq!(state.given().next().unwrap().1.bytes, 111);
        assert_eq!(state.taken().next().unwrap().1.bytes, 30);
    }
}

#[test]
fn what_a_peer_refuses_to_sign() {
    let mut pair = Pair::new();
    pair.forwards(MIB, MIB);
    let good = pair.claims(DAY)[0];
    let stranger = Account {
        relay: NodeId([7; 20]),
        ..good
    };
    let relay = (*pair.relay.public(), stranger.sign(&pair.relay));
    assert_eq!(
        pair.of_from.sign(DAY, &stranger, &relay),
        Err(Code::POLICY_REJECTED)
    );
    let other = Account {
        from: NodeId([7; 20]),
        ..good
    };
    assert_eq!(pair.asked(DAY, &other), Err(Code::POLICY_REJECTED));
    // Of a day on which nothing was sent, and of tomorrow.
    for period in [good.period - 1, good.period - CLAIMED - 1, good.period + 1] {
        let at = Account {
            period,
            bytes: 10,
            ..good
        };
        assert_eq!(pair.asked(DAY, &at), Err(Code::POLICY_REJECTED));
    }
    let second = Account { seq: 2, ..good };
    assert!(pair.asked(DAY, &second).is_ok());
    for (seq, bytes, code) in [
        (1, MIB, Code::REPLAY),
        (2, MIB + 1, Code::REPLAY),
        (3, MIB - 1, Code::POLICY_REJECTED),
        (3, 4 * MIB, Code::POLICY_REJECTED),
    ] {
        let claim = Account { seq, bytes, ..good };
        assert_eq!(pair.asked(DAY, &claim), Err(code), "{seq} {bytes}");
    }
    for seq in 3..SIGNED_MAX + 2 {
        let claim = Account { seq, ..good };
        let relay = (*pair.relay.public(), [0; 64]);
        assert!(pair.of_from.sign(DAY, &claim, &relay).is_ok());
    }
    let beyond = Account {
        seq: SIGNED_MAX + 2,
        ..good
    };
    assert_eq!(pair.asked(DAY, &beyond), Err(Code::POLICY_REJECTED));
    // An answer to another claim changes nothing.
    let answer = pair
        .asked(
            DAY,
            &Account {
                seq: SIGNED_MAX + 1,
                ..good
            },
        )
        .unwrap();
    let wrong = Account { bytes: 5, ..good };
    assert_eq!(pair.of_relay.answered(&wrong, Ok(&answer)), None);
}

#[test]
fn rows_are_bounded_and_forgotten_in_time() {
    let mut all = Accounts::new(NodeId([9; 20]));
    let peers = |n: u32| {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&n.to_be_bytes());
        counted(NodeId(id), 1, 1)
    };
    let most: Vec<Counted> = (0..u32::try_from(ROWS_MAX).unwrap()).map(peers).collect();
    assert_eq!(next(&mut all, DAY, &most).1, 0);
    assert_eq!(next(&mut all, DAY, &[peers(u32::MAX)]), (None, 2));
    // Those that have a row are counted on.
    assert_eq!(next(&mut all, DAY, &[peers(3)]).1, 0);
    assert!(all.snapshot().iter().all(|p| p.len() < 1 << 20));
    let later = DAY + (KEPT + 1) * PERIOD;
    assert!(all.open(later).is_empty());
    let (record, lost) = next(
        &mut all,
        later,
        &[Counted {
            period: later / PERIOD,
            ..peers(7)
        }],
    );
    assert_eq!((lost, all.given().count(), all.taken().count()), (0, 1, 1));
    let mut again = Accounts::new(NodeId([9; 20]));
    again.apply(&record.unwrap()).unwrap();
    assert_eq!(again, all);
    // What came late is not taken up again.
    assert_eq!(next(&mut all, later, &[peers(8)]), (None, 0));
}
