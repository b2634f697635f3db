//! Laws of every body and record: one encoding, one JSON, and no byte that does not count.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use betanet_fog::bodies::{
    Beat, BeatAnswer, Event, Join, JoinAnswer, LogAnswer, MarketView, Nack, NodeList, Plan, Price,
    Reach, ReachAnswer, RefusalBody, SeedView, Start, StateRequest, Status, TaskList, TokenAnswer,
    TokenRequest, Topology, TopologyList, WorkItem,
};
use betanet_fog::{
    Amounts, Assignment, Commitment, Envelope, Item, Job, Node, Order, Output, Placement, Receipt,
    Received, RefusalCode, Resources, Shape, Signed, Task, Token, from_slice, json, to_message,
    to_vec,
};
use betanet_wire::cbor::Writer;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Writes an item of a shape, as the dice fall.
fn write(shape: &Shape, dice: &mut TestRng, w: &mut Writer) {
    let below = |dice: &mut TestRng, n: u64| dice.random_range(0..n);
    // Mostly small, so that many values are within their bounds.
    let number = |dice: &mut TestRng| match below(dice, 60) {
        0 => 1 << below(dice, 63),
        1 => below(dice, 1 << 54),
        2 => (u64::MAX >> 1) - below(dice, 3),
        _ => below(dice, 24),
    };
    let word = |dice: &mut TestRng, alphabet: &[&str], most: u64| -> String {
        let n = if below(dice, 8) == 0 {
            most
        } else {
            below(dice, 6)
        };
        let letter = |dice: &mut TestRng| alphabet[below(dice, alphabet.len() as u64) as usize];
        (0..n).map(|_| letter(dice)).collect()
    };
    match shape {
        Shape::Unsigned => w.unsigned(number(dice)),
        Shape::Integer if below(dice, 2) == 0 => w.negative(number(dice)),
        Shape::Integer => w.unsigned(number(dice)),
        Shape::NumberOrText if below(dice, 2) == 0 => write(&Shape::Text, dice, w),
        Shape::NumberOrText => w.unsigned(below(dice, 1 << 33)),
        Shape::Bool => w.boolean(below(dice, 2) == 0),
        Shape::Text => w.text(&word(
            dice,
            &["a", "/", "\"", "\\", "\n", "é", "€", "\u{1f600}"],
            256,
        )),
        Shape::Word => w.text(&word(dice, &["a", "z", "0", "-", "_", "."], 63)),
        Shape::Choice(_) if below(dice, 60) == 0 => w.text("another"),
        Shape::Choice(words) => w.text(words[below(dice, words.len() as u64) as usize]),
        Shape::Optional(n) => {
            let n = [0, *n, 33][(below(dice, 61) / 30) as usize];
            let bytes: Vec<u8> = (0..n).map(|_| below(dice, 256) as u8).collect();
            w.bytes(&bytes);
        }
        Shape::Bytes(n) => {
            let n = n.unwrap_or_else(|| below(dice, 40) as usize);
            let bytes: Vec<u8> = (0..n).map(|_| below(dice, 256) as u8).collect();
            w.bytes(&bytes);
        }
        Shape::List(item, most) => {
            let n = below(dice, 4).min(*most as u64);
            w.array(n as usize);
            (0..n).for_each(|_| write(item, dice, w));
        }
        Shape::Tuple(items) => {
            w.array(items.len());
            items.iter().for_each(|item| write(item, dice, w));
        }
        Shape::Map(_, values) => {
            w.map(3);
            for key in ["", "b", "aa"] {
                w.text(key);
                write(values, dice, w);
            }
        }
        Shape::Record(fields) => {
            w.map(fields.len());
            for (key, value) in *fields {
                w.text(key);
                write(value, dice, w);
            }
        }
        Shape::Tagged(tag, choices) => {
            let (word, chosen) = choices[below(dice, choices.len() as u64) as usize];
            let Shape::Record(fields) = chosen else {
                panic!("a choice that is no record");
            };
            w.map(fields.len());
            for (key, value) in *fields {
                w.text(key);
                if key == tag {
                    w.text(word);
                } else {
                    write(value, dice, w);
                }
            }
        }
    }
}

fn encoded(shape: &Shape, dice: &mut TestRng) -> Vec<u8> {
    let mut w = Writer::default();
    write(shape, dice, &mut w);
    w.into_vec()
}

/// Bytes of the right types are refused for a value only, and otherwise come back as they were: from CBOR and from JSON.
/// Whether they were taken.
fn comes_back<T: Item + PartialEq + std::fmt::Debug>(dice: &mut TestRng) -> bool {
    let bytes = encoded(&T::SHAPE, dice);
    assert_eq!(T::SHAPE.check(&bytes), Ok(()));
    let text = json::from_cbor(&bytes, &T::SHAPE).unwrap();
    assert!(
        serde_json::from_str::<serde_json::Value>(&text).is_ok(),
        "{text}"
    );
    assert_eq!(
        json::to_cbor(&text, &T::SHAPE).as_ref(),
        Ok(&bytes),
        "{text}"
    );
    match from_slice::<T>(&bytes) {
        Ok(value) => {
            assert_eq!(to_vec(&value), bytes);
            assert_eq!(&to_message(&value)[4..], bytes);
            assert_eq!(json::from_str::<T>(&text).as_ref(), Ok(&value));
            every_byte_counts::<T>(&bytes, dice);
            true
        }
        Err(refusal) => {
            assert_eq!(refusal.code, RefusalCode::BadValue);
            let json = json::from_str::<T>(&text);
            assert_eq!(json.err().map(json::JsonError::refusal), Some(refusal));
            false
        }
    }
}

/// A changed byte is refused, or it is another value.
fn every_byte_counts<T: Item>(bytes: &[u8], dice: &mut TestRng) {
    for _ in 0..16 {
        let mut changed = bytes.to_vec();
        let at = dice.random_range(0..bytes.len());
        changed[at] ^= dice.random_range(1..=255_u8);
        if let Ok(value) = from_slice::<T>(&changed) {
            assert_eq!(to_vec(&value), changed);
        }
        assert!(from_slice::<T>(&bytes[..at]).is_err());
    }
    let mut longer = bytes.to_vec();
    longer.push(dice.random());
    assert!(from_slice::<T>(&longer).is_err());
}

/// Draws many bodies; enough of them are taken.
fn law<T: Item + PartialEq + std::fmt::Debug>() {
    let mut dice = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let taken = (0..400).filter(|_| comes_back::<T>(&mut dice)).count();
    assert!(taken >= 40, "{}: {taken}", std::any::type_name::<T>());
}

macro_rules! laws {
    ($($test:ident: $($body:ty)*;)*) => {
        $(#[test]
        fn $test() {
            $(law::<$body>();)*
        })*
    };
}

laws! {
    records_come_back: Node Task Job Token Assignment Receipt Commitment Order Output Envelope;
    bodies_of_nodes_come_back: Join JoinAnswer Beat BeatAnswer WorkItem Start Nack LogAnswer StateRequest Reach ReachAnswer;
    bodies_of_users_come_back: TokenRequest TokenAnswer Plan Status Event Topology TopologyList TaskList NodeList RefusalBody;
    market_and_parts_come_back: Price SeedView MarketView Placement Resources Amounts;
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*", json in "[\\[\\]{}:,\"\\\\a-z0-9. -]{0,60}") {
        for text in [&text, &json] {
            let read = json::to_cbor(text, &Status::SHAPE);
            prop_assert!(read.is_err());
            let _ = json::to_cbor(text, &WorkItem::SHAPE);
            let _ = json::to_cbor(text, &Shape::List(&Shape::Text, 4));
            prop_assert!(Received::<Token>::from_text(text).is_err());
        }
    }
}

/// One bit of each byte of each signed record of the known answers.
#[test]
fn no_byte_of_a_signed_record_can_change() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec-vectors/fog.json");
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut changes = 0;
    for case in file["cases"]["signed"].as_array().unwrap() {
        let envelope =
            betanet_wire::text::unhex(case["out"]["envelope"].as_str().unwrap()).unwrap();
        let now = case["in"]["now"].as_u64().unwrap();
        let open = |bytes: &[u8]| match case["in"]["type"].as_str().unwrap() {
            "node" => Signed::<Node>::open(bytes, now).map(drop),
            "task" => Signed::<Task>::open(bytes, now).map(drop),
            "job" => Signed::<Job>::open(bytes, now).map(drop),
            "assignment" => Signed::<Assignment>::open(bytes, now).map(drop),
            "receipt" => Signed::<Receipt>::open(bytes, now).map(drop),
            "commitment" => Signed::<Commitment>::open(bytes, now).map(drop),
            other => panic!("{other}"),
        };
        assert_eq!(open(&envelope), Ok(()));
        for byte in 0..envelope.len() {
            let mut changed = envelope.clone();
            changed[byte] ^= 1 << (byte % 8);
            assert!(open(&changed).is_err(), "{}: byte {byte}", case["name"]);
            changes += 1;
        }
    }
    assert!(changes > 2_000, "{changes}");
}
