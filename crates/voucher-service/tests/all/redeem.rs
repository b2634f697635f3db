use std::sync::Arc;

use betanet_runtime::{StreamType, Substream};
use betanet_vouchers::message::{Answer, Op, RedeemRequest};
use betanet_vouchers::{VOUCHER, Voucher};
use betanet_wire::Code;
use bytes::Bytes;

use super::world::{Town, client, code, forged, identity, post, session};

/// One exchange over a stream of type 0x13.
async fn over_stream(session: &betanet_runtime::SessionHandle, message: &[u8]) -> Vec<u8> {
    let peer = session.peer_session();
    let mut stream: Substream = peer.open(StreamType::REDEEM.number()).await.unwrap();
    stream.write(Bytes::copy_from_slice(message)).await.unwrap();
    stream.end();
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    let (length, body) = all.split_first_chunk::<4>().unwrap();
    assert_eq!(u32::from_be_bytes(*length) as usize, body.len());
    body.to_vec()
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_number_has_the_same_answer_and_another_request_is_refused() {
    let mut town = Town::new(1, 1, &[0]).await;
    let v = town.issue(&client(44), &[0, 0, 0]).await;
    let session = session(44, &town.mints[0]).await;
    let me = identity(44).public().node_id();
    let redeem = |op, id: u8, v: &[Voucher]| RedeemRequest::encode(op, me, [id; 16], v);
    let spender = *town.keyset.spender();
    let first = redeem(Op::Redeem, 1, &v[..1]);
    let (status, answer) = post(&session, "redeem", &first).await;
    assert_eq!(status, 200);
    assert_eq!(Answer::verify(&answer, &spender).unwrap().balance, 1);
    let (_, second) = post(&session, "redeem", &redeem(Op::Redeem, 2, &v[1..2])).await;
    assert_eq!(Answer::verify(&second, &spender).unwrap().balance, 2);
    // The bytes of then, over a stream too.
    assert_eq!(
        post(&session, "redeem", &first).await,
        (200, answer.clone())
    );
    assert_eq!(over_stream(&session, &framed(&first)).await, answer);
    let other = redeem(Op::Redeem, 1, &v[2..]);
    let (status, refused) = post(&session, "redeem", &other).await;
    let refused = Answer::verify(&refused, &spender).unwrap();
    assert_eq!((status, refused.codes), (200, vec![Code::POLICY_REJECTED]));
    let check = over_stream(&session, &framed(&redeem(Op::Check, 3, &v))).await;
    let check = Answer::verify(&check, &spender).unwrap();
    assert_eq!(
        check.codes,
        [Code::VOUCHER_SPENT, Code::VOUCHER_SPENT, Code::OK]
    );
    assert_eq!((check.total, check.balance), (1, 2));
    // The balance is the payee's secret.
    let stranger = super::world::session(45, &town.mints[0]).await;
    let (_, shown) = post(&stranger, "redeem", &first).await;
    assert_eq!(Answer::verify(&shown, &spender).unwrap().balance, 0);
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_doubled_vouchers_and_garbage_see_their_codes() {
    let mut town = Town::new(1, 1, &[0]).await;
    let v = town.issue(&client(46), &[0, 0]).await;
    let session = session(46, &town.mints[0]).await;
    let me = identity(46).public().node_id();
    let spender = *town.keyset.spender();
    let bytes = RedeemRequest::encode(Op::Redeem, me, [1; 16], &v);
    let at = bytes
        .windows(VOUCHER)
        .position(|w| w == v[1].as_bytes())
        .unwrap();
    let mut damaged = bytes.clone();
    damaged[at + 70] ^= 1;
    for (body, codes) in [
        (damaged, vec![Code::OK, Code::VOUCHER_INVALID]),
        (
            RedeemRequest::encode(Op::Redeem, me, [2; 16], &[v[0].clone(), v[0].clone()]),
            vec![Code::VOUCHER_INVALID; 2],
        ),
    ] {
        let (status, answer) = post(&session, "redeem", &body).await;
        let answer = Answer::verify(&answer, &spender).unwrap();
        assert_eq!((status, answer.codes), (200, codes));
    }
    // A forged signature, over BAR and over a stream: the other one in the request is good, and stays unspent.
    let pair = [v[0].clone(), forged(&v[1], &v[0])];
    let forgery = RedeemRequest::encode(Op::Redeem, me, [4; 16], &pair);
    let (_, over_bar) = post(&session, "redeem", &forgery).await;
    let streamed = over_stream(&session, &framed(&forgery)).await;
    for answer in [over_bar, streamed] {
        let answer = Answer::verify(&answer, &spender).unwrap();
        assert_eq!(answer.codes, [Code::OK, Code::VOUCHER_INVALID]);
        assert_eq!((answer.total, answer.balance), (0, 0));
    }
    let many = RedeemRequest::encode(Op::Check, me, [3; 16], &vec![v[0].clone(); 1_025]);
    let long = vec![0; (256 << 10) + 1];
    for body in [&b"garbage"[..], &many[..], &[], &long] {
        let (status, answer) = post(&session, "redeem", body).await;
        assert_eq!((status, code(&answer)), (400, Code::MALFORMED_FRAME));
    }
    // A stream whose length is over the bound is answered before its bytes come.
    let endless = [0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    assert_eq!(
        code(&over_stream(&session, &endless).await),
        Code::MALFORMED_FRAME
    );
    assert_eq!(
        code(&over_stream(&session, &framed(b"garbage")).await),
        Code::MALFORMED_FRAME
    );
    assert_eq!(
        code(&over_stream(&session, &[0, 0, 0, 9, 1]).await),
        Code::MALFORMED_FRAME
    );
    let (status, _) = post(&session, "redeem", &bytes).await;
    assert_eq!(status, 200);
    assert_eq!(
        town.redeem(&client(46), 46, &v).await.codes,
        [Code::VOUCHER_SPENT; 2]
    );
    town.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_clients_with_the_same_vouchers_one_redeems_them() {
    let mut town = Town::new(1, 1, &[0, 2]).await;
    let vouchers = Arc::new(town.issue(&client(47), &[0, 2]).await);
    let (at, spender) = (town.mints[0].peer(), *town.keyset.spender());
    let mut all = tokio::task::JoinSet::new();
    let together = Arc::new(tokio::sync::Barrier::new(50));
    for who in 100..150 {
        let (vouchers, at, client) = (Arc::clone(&vouchers), at.clone(), client(who));
        // An address has 32 handshakes at once: the sessions stand before anybody redeems.
        client.keysets(&at).await.unwrap();
        let together = Arc::clone(&together);
        all.spawn(async move {
            together.wait().await;
            let to = identity(who).public().node_id();
            let request = RedeemRequest::encode(Op::Redeem, to, [who; 16], &vouchers);
            client.redeem(&at, &spender, &request).await.unwrap()
        });
    }
    let answers = all.join_all().await;
    let (good, bad): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(Answer::is_ok);
    assert_eq!((good.len(), bad.len()), (1, 49));
    assert_eq!((good[0].total, good[0].balance), (5, 5));
    assert!(
        bad.iter()
            .all(|a| a.codes == [Code::VOUCHER_SPENT; 2] && a.total == 0)
    );
    let view = town.mints[0]
        .running
        .as_ref()
        .unwrap()
        .view()
        .await
        .unwrap();
    assert_eq!(view.balances["FOG"], 5);
    town.end().await;
}
