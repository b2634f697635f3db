use alloc::vec;

use betanet_keys::Identity;
use betanet_wire::NodeId;

use super::*;
use crate::{KeysetId, Voucher};

fn voucher(n: u8) -> Voucher {
    let point = betanet_bls::G1Affine::generator();
    Voucher::new(&KeysetId([1; 32]), Denomination::LEAST, &[n; 32], &point)
}

fn blinded(n: u8) -> Blinded {
    Blinded {
        denomination: Denomination::new(n).unwrap(),
        point: [n; 48],
    }
}

#[test]
fn every_message_comes_back() {
    let vouchers = [voucher(1), voucher(2)];
    let bytes = RedeemRequest::encode(Op::Redeem, NodeId([3; 20]), [4; 16], &vouchers);
    let request = RedeemRequest::from_bytes(&bytes).unwrap();
    assert_eq!(
        (request.op, request.to, request.id),
        (Op::Redeem, NodeId([3; 20]), [4; 16])
    );
    assert_eq!(request.vouchers, vouchers.clone().map(Ok));
    assert_eq!(request.hash(), &betanet_keys::hash(&[&bytes]));

    let bytes = SwapRequest::encode([4; 16], &KeysetId([1; 32]), &vouchers, &[blinded(7)]);
    let swap = SwapRequest::from_bytes(&bytes).unwrap();
    assert_eq!(
        (swap.blinded, swap.vouchers),
        (vec![blinded(7)], vouchers.map(Ok).to_vec())
    );

    let bytes = IssueRequest::encode([4; 16], &KeysetId([1; 32]), &[blinded(7)], b"paid");
    let issue = IssueRequest::from_bytes(&bytes).unwrap();
    assert_eq!(
        (issue.pay.as_slice(), &issue.blinded),
        (&b"paid"[..], &vec![blinded(7)])
    );
    assert_eq!(issue.points().err(), Some(betanet_bls::Error::NotOnCurve));

    let restore = RestoreRequest {
        keyset: KeysetId([1; 32]),
        blinded: vec![blinded(7)],
    };
    assert_eq!(RestoreRequest::from_bytes(&restore.to_bytes()), Ok(restore));
    let point = betanet_bls::G1Affine::generator();
    let answer = RestoreAnswer {
        share: 3,
        signatures: vec![None, Some(point)],
    };
    assert_eq!(RestoreAnswer::from_bytes(&answer.to_bytes()), Ok(answer));
    let partials = crate::Partials {
        share: 3,
        signatures: vec![point],
    };
    let answer = IssueAnswer {
        id: [4; 16],
        partials,
    };
    assert_eq!(IssueAnswer::from_bytes(&answer.to_bytes()), Ok(answer));
}

#[test]
fn an_answer_is_the_spenders_and_names_its_request() {
    let spender = Identity::from_seed(&[1; 32]);
    let swapped = Swapped {
        keyset: KeysetId([8; 32]),
        blinded: [9; 32],
        at: 77,
    };
    for swapped in [None, Some(swapped)] {
        let answer = Answer {
            id: [1; 16],
            request: [2; 32],
            codes: vec![Code::OK, Code::VOUCHER_SPENT],
            total: 0,
            balance: 5,
            swapped,
        };
        let signed = answer.sign(&spender);
        assert_eq!(signed, answer.sign(&spender));
        assert_eq!(
            Answer::verify(&signed.0, spender.public()),
            Ok(answer.clone())
        );
        assert!(!answer.is_ok());
        let other = Identity::from_seed(&[2; 32]);
        assert!(matches!(
            Answer::verify(&signed.0, other.public()),
            Err(AnswerError::Signature(_))
        ));
        for at in 0..signed.0.len() {
            let mut bad = signed.0.clone();
            bad[at] ^= 1;
            assert!(Answer::verify(&bad, spender.public()).is_err(), "byte {at}");
        }
    }
}

#[test]
fn counts_and_lengths_are_bounded() {
    let many: Vec<Voucher> = (0..=VOUCHERS_MAX).map(|_| voucher(1)).collect();
    let to = NodeId([3; 20]);
    let encode = |v: &[Voucher]| RedeemRequest::encode(Op::Check, to, [4; 16], v);
    assert!(RedeemRequest::from_bytes(&encode(&many[..VOUCHERS_MAX])).is_ok());
    assert_eq!(
        RedeemRequest::from_bytes(&encode(&many)).err(),
        Some(MessageError::Count)
    );
    assert_eq!(
        RedeemRequest::from_bytes(&encode(&[])).err(),
        Some(MessageError::Count)
    );
    let long = vec![0; MESSAGE_MAX + 1];
    assert_eq!(
        RedeemRequest::from_bytes(&long).err(),
        Some(MessageError::Length)
    );
    assert_eq!(MessageError::Length.code(), Code::MALFORMED_FRAME);
    let pay = vec![0; PAY_MAX + 1];
    let encode = |pay: &[u8]| IssueRequest::encode([1; 16], &KeysetId([1; 32]), &[blinded(1)], pay);
    assert!(IssueRequest::from_bytes(&encode(&pay[1..])).is_ok());
    assert_eq!(
        IssueRequest::from_bytes(&encode(&pay)).err(),
        Some(MessageError::Payment)
    );
    // All bounds at once fit the longest message.
    let points = vec![blinded(40); VOUCHERS_MAX];
    let bytes = SwapRequest::encode([1; 16], &KeysetId([1; 32]), &many[1..], &points);
    assert!(bytes.len() < MESSAGE_MAX && SwapRequest::from_bytes(&bytes).is_ok());
}

#[test]
fn a_mistyped_voucher_in_a_request_has_its_own_error() {
    let bytes = RedeemRequest::encode(Op::Check, NodeId([3; 20]), [4; 16], &[voucher(1)]);
    let at = bytes.windows(8).position(|w| w == [1; 8]).unwrap();
    let mut bad = bytes.to_vec();
    bad[at] ^= 1;
    let request = RedeemRequest::from_bytes(&bad).unwrap();
    assert_eq!(request.vouchers, [Err(VoucherError::Checksum)]);
}
