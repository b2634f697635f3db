//! Signatures: of a replaced key, for another ledger, and many at once.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod common;

use betanet_tokenomics::Code;
use betanet_tokenomics::account::DAY_MS;
use betanet_tokenomics::request::Op;
use common::FOG;

const DAY: u64 = DAY_MS;

#[test]
fn signatures_of_a_replaced_key_count_no_more_even_if_they_were_checked_before() {
    use betanet_keys::Identity;
    use betanet_tokenomics::account::{TREASURY, address};
    use betanet_tokenomics::journal::Record;
    use betanet_tokenomics::request::{Kind, Transfer};
    use betanet_tokenomics::{Asset, Economy, Envelope, GenesisDraft, Request};
    let [old, new] = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
    let draft = GenesisDraft {
        name: "keys",
        epoch_ms: DAY_MS,
        cap: 100 * FOG,
        halving: 1,
        alloc: &[(*old.public().as_bytes(), 0, 10 * FOG)],
        ..GenesisDraft::default()
    };
    let mut economy = Economy::new(&draft.to_bytes()).unwrap();
    let (id, genesis) = (address(old.public().as_bytes()), *economy.genesis().id());
    let signed = |n: u8, nonce: u64, op: &Op, by: &Identity| {
        let request = Request::new(&[(id, nonce)], 500, [n; 16], op).unwrap();
        Envelope::sign(request, &genesis, &[by])
    };
    // The second request is checked before the first is applied, as a server does on several threads.
    let key = *new.public().as_bytes();
    let rekey = economy.verify(signed(1, 0, &Op::Rekey { key }, &old));
    let kind = Kind::Plain {
        from: id,
        to: TREASURY,
        asset: Asset::Fog,
        amt: FOG,
    };
    let list = vec![Transfer::new([9; 16], false, &kind).unwrap()];
    let op = Op::Transfers { list };
    let late = economy.verify(signed(2, 1, &op, &old)).unwrap();
    assert_eq!(
        economy.apply_verified(1, &rekey.unwrap()).unwrap().code,
        Code::Ok
    );
    assert_eq!(
        economy.apply_verified(2, &late).unwrap().code,
        Code::BadSignature
    );
    // So the journal has what a replay accepts.
    let envelope = signed(3, 1, &op, &new);
    let bytes = envelope.to_bytes();
    let good = economy.verify(envelope).unwrap();
    let answer = economy.apply_verified(2, &good).unwrap();
    assert_eq!(answer.code, Code::Ok);
    let mut again = Economy::new(&draft.to_bytes()).unwrap();
    let first = signed(1, 0, &Op::Rekey { key }, &old).to_bytes();
    for (seq, ts, req) in [(1, 1, first), (2, 2, bytes)] {
        again.replay(&Record { req, seq, ts }.to_bytes()).unwrap();
    }
    assert_eq!(again.root(), economy.root());
}

#[test]
fn an_envelope_for_another_ledger_counts_nothing() {
    use betanet_keys::Identity;
    use betanet_tokenomics::{Economy, Envelope, GenesisDraft, Request};
    let alice = Identity::from_seed(&[1; 32]);
    let alloc = [(*alice.public().as_bytes(), 0, 10 * FOG)];
    let ledger = |name: &'static str| {
        let draft = GenesisDraft {
            name,
            epoch_ms: DAY,
            cap: 100 * FOG,
            halving: 1,
            alloc: &alloc,
            ..GenesisDraft::default()
        };
        Economy::new(&draft.to_bytes()).unwrap()
    };
    let (mut one, mut other) = (ledger("one"), ledger("other"));
    let id = alice.public().node_id();
    let request = Request::new(&[(id, 0)], 500, [1; 16], &Op::Rekey { key: [1; 32] }).unwrap();
    let envelope = Envelope::sign(request, one.genesis().id(), &[&alice]).to_bytes();
    assert_eq!(other.apply(1, &envelope).unwrap().code, Code::BadSignature);
    assert_eq!(one.apply(1, &envelope).unwrap().code, Code::Ok);
    for at in 0..envelope.len() {
        let mut bent = envelope.clone();
        bent[at] ^= 1;
        let code = one.apply(1, &bent).unwrap().code;
        assert!(
            code == Code::Malformed || code == Code::BadSignature || code == Code::UnknownSigner
        );
    }
}

#[test]
fn many_signatures_are_judged_together_as_each_is_alone() {
    use betanet_keys::Identity;
    use betanet_tokenomics::account::address;
    use betanet_tokenomics::{CheckedKeys, Economy, Envelope, GenesisDraft, Request};
    let keys: Vec<Identity> = (1..=20).map(|n| Identity::from_seed(&[n; 32])).collect();
    let alloc: Vec<_> = keys[..19]
        .iter()
        .map(|key| (*key.public().as_bytes(), 0, FOG))
        .collect();
    let draft = GenesisDraft {
        name: "many",
        epoch_ms: DAY_MS,
        cap: 100 * FOG,
        halving: 1,
        alloc: &alloc,
        ..GenesisDraft::default()
    };
    let economy = Economy::new(&draft.to_bytes()).unwrap();
    let genesis = *economy.genesis().id();
    let signed = |n: u8, by: &[usize], with: &[usize]| {
        let by = by
            .iter()
            .map(|k| (address(keys[*k].public().as_bytes()), 0));
        let mut by: Vec<_> = by.collect();
        by.sort_unstable();
        let op = Op::Brake { pid: None };
        let request = Request::new(&by, 500, [n; 16], &op).unwrap();
        // Each signs at the place of its account.
        let of = |key: &Identity| {
            let account = address(key.public().as_bytes());
            by.iter().position(|(id, _)| *id == account)
        };
        let mut with: Vec<&Identity> = with.iter().map(|k| &keys[*k]).collect();
        with.sort_by_key(|key| of(key));
        Envelope::sign(request, &genesis, &with)
    };
    let mut all: Vec<Envelope> = (0..19_u8)
        .map(|n| signed(n, &[n.into()], &[n.into()]))
        .collect();
    // Several signers, of whom one is not who it says; one that is unknown; and signatures that are altered.
    all.insert(3, signed(30, &[1, 2, 3], &[1, 2, 3]));
    all.insert(5, signed(31, &[4, 5], &[4, 6]));
    all.insert(9, signed(32, &[19], &[19]));
    for at in [0, 31, 32, 62_u8] {
        let mut envelope = signed(40 + at, &[7, 8], &[7, 8]);
        envelope.sigs[1][usize::from(at)] ^= 1;
        all.push(envelope);
    }
    let mut above = signed(50, &[7], &[7]);
    above.sigs[0][63] |= 0xe0;
    all.push(above);
    let alone: Vec<_> = all.iter().map(|e| economy.verify(e.clone())).collect();
    let good = alone.iter().filter(|v| v.is_ok()).count();
    assert_eq!((good, alone.len()), (20, 27));
    let mut checked = CheckedKeys::default();
    // The second time, the keys are known.
    for n in [27, 27, 1, 2, 7, 9] {
        let together = economy.verify_all(all[..n].to_vec(), &mut checked);
        assert_eq!(together, alone[..n]);
    }
}
