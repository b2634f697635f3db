//! Other devices of the phrase, other services, and mints that lie.

use super::*;

#[test]
fn a_swap_from_an_older_copy_of_the_wallet_burns_nothing() {
    let mut s = Services::new();
    let keyset = s.keyset();
    let mut now = bought(&mut s, &phrase(), 9);
    let mut copy = Device::new(&phrase(), 0);
    (copy.wallet, _) = Wallet::from_bytes(&now.disk, b"pw").unwrap();
    let swap = |device: &mut Device, s: &mut Services, amount: u64, id: [u8; 16]| {
        let request = device.wallet.request(&id, &keyset).unwrap();
        let answer = s.spender(&request);
        device.wallet.answered(&id, &keyset, &answer)?;
        device.save();
        let request = device.wallet.request(&id, &keyset).unwrap();
        let answers = [0, 1].map(|i| s.mint(i, &request.bytes).unwrap());
        let issued = device
            .wallet
            .issued(&id, &keyset, &answers, &mut device.rng);
        assert_eq!(issued, Ok(amount));
        Ok::<_, WalletError>(())
    };
    // The device swaps the 1; the copy, which does not know of it, the 8, with the same points.
    now.wallet.swap(&keyset, &[1], [2; 16]).unwrap();
    now.save();
    swap(&mut now, &mut s, 1, [2; 16]).unwrap();
    let one: Vec<Place> = copy
        .wallet
        .coins
        .iter()
        .filter(|(_, c)| c.voucher.value() == 1)
        .map(|(p, _)| *p)
        .collect();
    one.iter().for_each(|p| drop(copy.wallet.coins.remove(p)));
    copy.wallet.swap(&keyset, &[1], [3; 16]).unwrap();
    copy.save();
    let unasked = copy.wallet.clone();
    let refused = swap(&mut copy, &mut s, 8, [3; 16]).unwrap_err();
    let code = betanet_wire::Code::POLICY_REJECTED;
    assert_eq!(refused, AnswerError::Refused(code).into());
    assert_eq!(
        copy.wallet.free(&s.world.keysets, "FOG"),
        8,
        "it is free again"
    );
    // Asked beforehand, the mints tell; as nothing is spent, the same operation takes other points.
    copy.wallet = unasked;
    let check = copy.wallet.check_held(&[3; 16], &keyset, [9; 16]).unwrap();
    let check = Request {
        receiver: Receiver::Redeem,
        bytes: check,
    };
    let said = s.spender(&check);
    let spent = copy.wallet.is_spent(&[3; 16], &keyset, [9; 16], &said);
    assert_eq!(spent, Ok(false));
    assert_eq!(s.renewed(&mut copy, &[3; 16]), 1);
    swap(&mut copy, &mut s, 8, [3; 16]).unwrap();
    assert_eq!(copy.wallet.free(&s.world.keysets, "FOG"), 8);
    // A mint that signs nothing with its share says nothing.
    now.wallet.swap(&keyset, &[1], [4; 16]).unwrap();
    now.save();
    let probe = now.wallet.probe(&[4; 16], &keyset).unwrap();
    let point = betanet_bls::G1Affine::generator();
    let lie = RestoreAnswer {
        share: 1,
        signatures: alloc::vec![Some(point); probe.blinded.len()],
    };
    let read = now
        .wallet
        .is_used(&[4; 16], &keyset, &lie, &mut s.world.rng);
    assert_eq!(read, Ok(None));
}

#[test]
fn no_single_mint_stops_a_restore_or_makes_it_endless() {
    let mut s = Services::new();
    let keyset = s.keyset();
    let device = bought(&mut s, &phrase(), 100);
    let point = betanet_bls::G1Affine::generator();
    // Of three mints the third lies, and the first two have signed.
    for lie in 0..5 {
        let mut wallet = Wallet::new(&phrase(), "");
        let (mut restore, mut requests) = (Restore::new(&keyset), 0);
        while let Some(request) = restore.request(&wallet, &keyset) {
            requests += 1;
            assert!(requests < 20, "lie {lie}");
            let mut answers: Vec<RestoreAnswer> = Vec::new();
            for (mint, shares) in &s.mints[..2] {
                let said = mint.restore(&request).release(u64::MAX).ok().unwrap();
                answers.push(said.sign(shares).unwrap());
            }
            let n = request.blinded.len();
            let wrong = alloc::vec![Some(point); n];
            let (share, signatures) = match lie {
                // Points that it has not signed, under its own name and another's.
                0 => (3, wrong),
                1 => (1, wrong),
                2 => (200, wrong),
                // Another's name, and nothing signed.
                3 => (1, alloc::vec![None; n]),
                // It signs all that it sees.
                _ => {
                    let all = request.blinded.iter().map(|b| {
                        let point = betanet_bls::G1Affine::from_bytes(&b.point).unwrap();
                        (b.denomination.exponent(), point)
                    });
                    let all: Vec<_> = all.collect();
                    let all = s.world.answer(3, &all).signatures;
                    (3, all.into_iter().map(Some).collect())
                }
            };
            answers.insert(0, RestoreAnswer { share, signatures });
            let rng = &mut s.world.rng;
            restore
                .answered(&mut wallet, &keyset, &answers, rng)
                .unwrap();
        }
        assert_eq!(set(&wallet), set(&device.wallet), "lie {lie}");
        assert_eq!(restore.liars().count(), usize::from(lie < 3));
        assert!(!restore.is_cut_off());
    }
    // Fewer than t good answers are none.
    let mut wallet = Wallet::new(&phrase(), "");
    let mut restore = Restore::new(&keyset);
    let n = restore.request(&wallet, &keyset).unwrap().blinded.len();
    let none = |share| RestoreAnswer {
        share,
        signatures: alloc::vec![None; n],
    };
    let answers = [none(1), none(1), none(0)];
    let few = restore.answered(&mut wallet, &keyset, &answers, &mut s.world.rng);
    assert_eq!(few, Err(IssueError::TooFew { have: 1, need: 2 }.into()));
}

#[test]
fn a_redemption_goes_to_the_service_of_its_own_keyset_alone() {
    let mut s = Services::new();
    let keyset = s.keyset();
    let mut device = bought(&mut s, &phrase(), 3);
    device.wallet.redeem(&keyset.id(), 3, ME, [2; 16]).unwrap();
    device.save();
    device.restart();
    // Of another service, which would take the vouchers and spend them itself.
    let other = World::new(61, 1, 1, &EXPONENTS);
    let (refused, before) = (Some(WalletError::Id), device.wallet.revision());
    let sent = device.wallet.request(&[2; 16], other.keyset());
    assert_eq!(sent.err(), refused);
    let good = s.spender(&device.wallet.request(&[2; 16], &keyset).unwrap());
    let answer = Answer::verify(&good, keyset.spender()).unwrap();
    let lie = Answer {
        codes: alloc::vec![betanet_wire::Code::VOUCHER_INVALID; answer.codes.len()],
        ..answer
    };
    let lie = lie.sign(&other.spender).0;
    let taken = device.wallet.answered(&[2; 16], other.keyset(), &lie);
    assert_eq!(taken.err(), refused);
    assert_eq!((device.wallet.revision(), device.wallet.len()), (before, 2));
    assert_eq!(device.wallet.answered(&[2; 16], &keyset, &good), Ok(3));
    // A file that says that an operation holds vouchers of another keyset.
    s = Services::new();
    device = bought(&mut s, &Phrase::short(&[7; 16]), 3);
    device.wallet.redeem(&keyset.id(), 3, ME, [2; 16]).unwrap();
    if let Some(pending) = device.wallet.pending.get_mut(&[2; 16]) {
        let (keyset, to) = (other.id, ME);
        pending.state = State::Redeem { keyset, to };
    }
    device.save();
    let sent = device.wallet.request(&[2; 16], other.keyset());
    assert_eq!(sent.err(), refused);
}

#[test]
fn two_devices_of_one_phrase_cannot_spend_twice() {
    let mut s = Services::new();
    let keyset = s.keyset();
    let mut first = bought(&mut s, &phrase(), 9);
    let mut second = Device::new(&phrase(), 0);
    second.wallet = s.restore(&phrase());
    assert_eq!(set(&first.wallet), set(&second.wallet));
    for (device, id, good) in [(&mut first, [7; 16], true), (&mut second, [8; 16], false)] {
        device.wallet.redeem(&keyset.id(), 9, ME, id).unwrap();
        device.save();
        let request = device.wallet.request(&id, &keyset).unwrap();
        let answer = s.spender(&request);
        let result = device.wallet.answered(&id, &keyset, &answer);
        match good {
            true => assert_eq!(result, Ok(9)),
            false => assert_eq!(
                result,
                Err(AnswerError::Refused(betanet_wire::Code::VOUCHER_SPENT).into())
            ),
        }
        assert!(device.wallet.is_empty());
    }
    assert_eq!(s.bank.balance(&ME, "FOG"), 9);
    // Nor do they pay for one point twice: a wallet that knows of nothing asks the mints first.
    let mut stale = Device::new(&phrase(), 0);
    stale.wallet.buy(&keyset, 9, [3; 16]).unwrap();
    stale.save();
    assert_eq!(s.renewed(&mut stale, &[3; 16]), 1);
    stale.wallet.paid(&[3; 16], &9_u64.to_be_bytes()).unwrap();
    assert_eq!(
        stale.wallet.renew(&[3; 16], &keyset),
        Err(WalletError::NotStored)
    );
    stale.save();
    assert_eq!(stale.wallet.renew(&[3; 16], &keyset), Err(WalletError::Id));
    let request = stale.wallet.request(&[3; 16], &keyset).unwrap();
    let answers = [0, 2].map(|i| s.mint(i, &request.bytes).unwrap());
    let issued = stale
        .wallet
        .issued(&[3; 16], &keyset, &answers, &mut stale.rng);
    assert_eq!(issued, Ok(9));
}
