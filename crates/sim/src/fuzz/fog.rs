//! Chapter 10: records, bodies, and their text forms.

use core::fmt::Debug;

use betanet_fog::bodies::{
    Beat, BeatAnswer, Event, Join, JoinAnswer, LogAnswer, MarketView, Nack, NodeList, Plan, Price,
    Reach, ReachAnswer, RefusalBody, SeedView, Start, StateRequest, Status, TaskList, TokenAnswer,
    TokenRequest, Topology, TopologyList, WorkItem,
};
use betanet_fog::{
    Assignment, Call, Commitment, Item, Job, Node, Order, Output, Receipt, Received, Record,
    RefusalCode, Signed, Task, Token, from_slice, json, to_vec,
};
use betanet_keys::Identity;

const NOW_MS: u64 = 1_790_000_000_000;

/// A record that is taken is the same after it was stored, and its signature stands for nothing else.
fn record<T: Record + PartialEq + Debug>(data: &[u8]) {
    let restored = Signed::<T>::restore(data);
    if let Ok(signed) = &restored {
        assert_eq!(Signed::restore(&signed.to_bytes()).as_ref(), Ok(signed));
        assert_eq!(from_slice::<T>(signed.rec()).as_ref(), Ok(signed.value()));
    }
    match Signed::<T>::open(data, NOW_MS) {
        Ok(signed) => assert_eq!(Ok(signed), restored),
        Err(refusal) if refusal.code == RefusalCode::SigInvalid => {
            assert!(Received::<T>::read(data).is_ok());
        }
        Err(_) => {}
    }
    body::<T>(data);
}

/// A body that is taken has one encoding and one JSON form. Keys that it does not know are not in them.
fn body<T: Item + PartialEq + Debug>(data: &[u8]) {
    let typed = T::SHAPE.check(data);
    let read = from_slice::<T>(data);
    assert!(typed.is_ok() || read.is_err());
    if let Ok(value) = &read {
        let bytes = to_vec(value);
        assert!(bytes.len() <= data.len());
        assert_eq!(from_slice(&bytes).as_ref(), Ok(value));
        let text = json::to_string(value).unwrap_or_default();
        assert_eq!(json::from_str(&text).as_ref(), Ok(value));
    }
}

/// Signed records: the first byte chooses the kind.
pub fn fog_records(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 7 {
        0 => record::<Node>(data),
        1 => record::<Task>(data),
        2 => record::<Job>(data),
        3 => record::<Token>(data),
        4 => record::<Assignment>(data),
        5 => record::<Receipt>(data),
        _ => record::<Commitment>(data),
    }
}

/// Bodies of requests, answers and streams: the first byte chooses.
pub fn fog_bodies(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 26 {
        0 => body::<Join>(data),
        1 => body::<JoinAnswer>(data),
        2 => body::<Beat>(data),
        3 => body::<BeatAnswer>(data),
        4 => body::<WorkItem>(data),
        5 => body::<Start>(data),
        6 => body::<Nack>(data),
        7 => body::<LogAnswer>(data),
        8 => body::<StateRequest>(data),
        9 => body::<TokenRequest>(data),
        10 => body::<TokenAnswer>(data),
        11 => body::<Plan>(data),
        12 => body::<Status>(data),
        13 => body::<Event>(data),
        14 => body::<Topology>(data),
        15 => body::<TopologyList>(data),
        16 => body::<TaskList>(data),
        17 => body::<NodeList>(data),
        18 => body::<RefusalBody>(data),
        19 => body::<Price>(data),
        20 => body::<SeedView>(data),
        21 => body::<MarketView>(data),
        22 => body::<Order>(data),
        23 => body::<Reach>(data),
        24 => body::<ReachAnswer>(data),
        _ => body::<Output>(data),
    }
}

/// JSON that is taken reads back from what is written for it.
fn text_of<T: Item>(text: &str) {
    if let Ok(cbor) = json::to_cbor(text, &T::SHAPE) {
        let written = json::from_cbor(&cbor, &T::SHAPE).unwrap_or_default();
        assert_eq!(json::to_cbor(&written, &T::SHAPE), Ok(cbor));
    }
}

/// JSON bodies, token texts and authorizations: the first byte chooses.
pub fn fog_texts(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    if kind % 8 == 0 {
        let leader = Identity::from_seed(&[1; 32]);
        let call = Call {
            coordinator: leader.public(),
            method: "GET",
            target: "/fog/1/tasks",
            body: b"",
        };
        if let Ok(caller) = call.verify(data, NOW_MS) {
            assert_eq!(caller.as_bytes(), &data[..32]);
        }
        return;
    }
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    match kind % 8 {
        1 => {
            if let Ok(token) = Signed::<Token>::from_text(text)
                && let Ok(again) = token.to_text()
            {
                assert_eq!(Signed::from_text(&again), Ok(token));
            }
        }
        2 => text_of::<Task>(text),
        3 => text_of::<Node>(text),
        4 => text_of::<WorkItem>(text),
        5 => text_of::<Status>(text),
        6 => text_of::<Topology>(text),
        _ => text_of::<Beat>(text),
    }
}
