//! Who may join: each check of the token, and that an earlier one is told first.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use betanet_fog::bodies::{Join, TokenText};
use betanet_fog::{
    Amounts, Item, Joining, Kind, Labels, Level, List, Node, Received, Refusal, RefusalCode,
    Resources, Signed, Token, from_slice, json, to_vec,
};
use betanet_keys::{Identity, PublicKey};
use betanet_wire::NodeId;

const NOW: u64 = 1_790_000_000_000;

fn id(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn node(of: &Identity) -> Signed<Node> {
    let amounts = Amounts {
        cpu: 1000,
        memory: 1 << 30,
        ..Amounts::default()
    };
    let node = Node {
        cap: Resources::capacity(amounts).unwrap(),
        key: *of.public().as_bytes(),
        org: "acme".parse().unwrap(),
        seq: NOW,
        kind: Kind::Compute,
        zone: "".parse().unwrap(),
        level: Level::Public,
        model: "".parse().unwrap(),
        price: 1,
        engine: "e".parse().unwrap(),
        labels: Labels::default(),
        region: "".parse().unwrap(),
    };
    Signed::sign(node, of).unwrap()
}

fn token(by: &Identity, change: impl FnOnce(&mut Token)) -> String {
    let mut token = Token {
        id: [9; 16],
        exp: NOW + 1,
        key: *by.public().as_bytes(),
        org: "".parse().unwrap(),
        pin: None,
        node: None,
        addrs: List::default(),
        kinds: vec![Kind::Relay, Kind::Compute].try_into().unwrap(),
    };
    change(&mut token);
    Signed::sign(token, by)
        .unwrap()
        .to_text()
        .unwrap()
        .into_string()
}

/// Joins as node 1 at a cluster whose coordinators are 2 and 3. Whether it had joined before.
fn join(text: &str, used: Option<NodeId>, revoked: bool) -> Result<bool, Refusal> {
    let me = id(1);
    let coordinators: Vec<PublicKey> = [2, 3].map(|n| *id(n).public()).into();
    let joining = Joining {
        session: me.public().node_id(),
        now_ms: NOW,
        coordinators: &coordinators,
        used: &|id| used.filter(|_| *id == [9; 16]),
        revoked: &|id| revoked && *id == [9; 16],
    };
    let received = Received::read(&node(&me).to_bytes()).unwrap();
    let admitted = joining.admit(received, text)?;
    assert_eq!(admitted.node, node(&me));
    assert_eq!(Ok(admitted.token), Signed::<Token>::from_text(text));
    Ok(admitted.again)
}

#[test]
fn each_check_of_a_token_refuses_with_its_code() {
    use RefusalCode::{TokenExpired, TokenInvalid, TokenMalformed, TokenScope, TokenUsed};
    let me = id(1).public().node_id();
    let other = id(4).public().node_id();
    let good = token(&id(2), |_| {});
    assert_eq!(join(&good, None, false), Ok(false));
    assert_eq!(join(&token(&id(3), |_| {}), None, false), Ok(false));
    let refused = |code: RefusalCode| Err(code.bare());
    // Who has joined gets the same answer, even with a token that would no longer do.
    let spent = token(&id(2), |t| t.exp = 0);
    assert_eq!(join(&spent, Some(me), true), Ok(true));
    assert_eq!(join(&good, Some(other), false), refused(TokenUsed));
    assert_eq!(join(&good, None, true), refused(TokenUsed));
    assert_eq!(join(&spent, Some(other), false), refused(TokenUsed));
    assert_eq!(join(&spent, None, false), refused(TokenExpired));
    let at_end = token(&id(2), |t| t.exp = NOW);
    assert_eq!(join(&at_end, None, false), refused(TokenExpired));
    let elsewhere = token(&id(4), |t| t.exp = 0);
    assert_eq!(join(&elsewhere, Some(other), true), refused(TokenInvalid));
    for (text, good) in [
        (token(&id(2), |t| t.node = Some(me)), true),
        (token(&id(2), |t| t.node = Some(other)), false),
        (token(&id(2), |t| t.org = "acme".parse().unwrap()), true),
        (token(&id(2), |t| t.org = "acm".parse().unwrap()), false),
        (
            token(&id(2), |t| {
                t.kinds = vec![Kind::Gateway].try_into().unwrap();
            }),
            false,
        ),
        (token(&id(2), |t| t.kinds = List::default()), false),
    ] {
        let want = if good { Ok(false) } else { refused(TokenScope) };
        assert_eq!(join(&text, None, false), want);
    }
    for text in [
        "",
        "bnj",
        "bnj1",
        "bnj1aaaa",
        "bnp1aaaa",
        "é",
        &good[..good.len() - 1],
    ] {
        assert_eq!(join(text, None, false), refused(TokenMalformed), "{text}");
    }
}

#[test]
fn the_description_is_checked_before_the_token() {
    let coordinators = [*id(2).public()];
    let joining = Joining {
        session: id(1).public().node_id(),
        now_ms: NOW,
        coordinators: &coordinators,
        used: &|_| None,
        revoked: &|_| false,
    };
    let admit = |node: &Signed<Node>| {
        let received = Received::read(&node.to_bytes()).unwrap();
        joining.admit(received, "no token").err().map(|e| e.code)
    };
    assert_eq!(admit(&node(&id(1))), Some(RefusalCode::TokenMalformed));
    assert_eq!(admit(&node(&id(5))), Some(RefusalCode::NotYours));
    let mut envelope = node(&id(1)).envelope().clone();
    envelope.sig[0] ^= 1;
    let received = Received::new(envelope).unwrap();
    let refusal = joining.admit(received, "no token").err();
    assert_eq!(refusal, Some(RefusalCode::SigInvalid.bare()));
}

#[test]
fn no_letter_of_a_token_can_change() {
    let good = token(&id(2), |_| {});
    assert_eq!(join(&good.to_ascii_uppercase(), None, false), Ok(false));
    for at in 0..good.len() {
        let mut changed: Vec<u8> = good.clone().into();
        changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
        let changed = String::from_utf8(changed).unwrap();
        let refused = Err(RefusalCode::TokenMalformed.bare());
        assert_eq!(join(&changed, None, false), refused, "letter {at}");
    }
}

#[test]
fn a_join_request_carries_a_record_and_prints_no_token() {
    let text = token(&id(2), |_| {});
    let body = Join {
        node: node(&id(1)).envelope().clone(),
        token: TokenText::from(text.parse::<betanet_fog::Text>().unwrap()),
    };
    let read: Join = from_slice(&to_vec(&body)).unwrap();
    assert_eq!(read, body);
    assert_eq!(read.token.expose(), text);
    let shown = format!("{read:?}");
    assert!(
        !shown.contains(&text[..12]) && shown.contains('…'),
        "{shown}"
    );
    let json = json::to_string(&body).unwrap();
    assert_eq!(json::from_str(&json).as_ref(), Ok(&body));
    // A record inside a body has the same bound as by itself.
    let long = betanet_fog::Envelope {
        rec: vec![0; betanet_fog::SIGNED_MAX],
        sig: [0; 64],
    };
    let long = Join { node: long, ..body };
    let read: Join = from_slice(&to_vec(&long)).unwrap();
    let refusal = Received::<Node>::new(read.node).err();
    assert_eq!(refusal, Some(RefusalCode::TooLarge.bare()));
    assert!(Join::SHAPE.check(&to_vec(&long)).is_ok());
}
