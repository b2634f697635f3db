//! What holds whatever comes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops where it is surprised"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use betanet_keys::Identity;
use betanet_mesh::{Addr, Carriage, Draft, Host, Prefix, Record, Role, Roles, message, peek};
use betanet_wire::{NodeId, msg};
use proptest::prelude::*;

fn addr() -> impl Strategy<Value = Addr> {
    let host = prop_oneof![
        any::<[u8; 4]>().prop_map(|b| Host::Ip(IpAddr::from(b))),
        any::<[u8; 16]>().prop_map(|b| Host::Ip(IpAddr::from(b))),
        "[a-z][a-z0-9-]{0,20}\\.[a-z]{2,5}".prop_map(Host::Dns),
    ];
    let carriage = prop_oneof![
        Just(Carriage::Tls(None)),
        "[a-z]{1,9}\\.org".prop_map(|n| Carriage::Tls(Some(n))),
        Just(Carriage::Quic),
    ];
    (host, 1_u16.., carriage).prop_map(|(host, port, carriage)| Addr {
        host,
        port,
        carriage,
    })
}

fn draft() -> impl Strategy<Value = Draft> {
    (
        prop::collection::vec(addr(), 0..6),
        0_u8..=255,
        prop::collection::vec("[a-z]{1,8}", 0..4),
        ".{0,40}",
        prop::option::of(any::<[u8; 32]>()),
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::btree_map("[a-z]{1,12}", any::<u64>(), 0..4),
    )
        .prop_map(|(addrs, bits, feat, org, pin, mix, price)| Draft {
            addrs,
            roles: Role::ALL
                .into_iter()
                .filter(|r| bits & (1 << *r as u8) != 0)
                .collect(),
            feat,
            org,
            pin,
            mix,
            price: price.into_iter().collect::<BTreeMap<_, _>>(),
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_read_back(draft in draft(), seed in any::<[u8; 32]>(), seq in 1_u64..1 << 50, life in 0_u64..1 << 40) {
        let issuer = Identity::from_seed(&seed);
        let record = draft.sign(&issuer, seq, life);
        let read = Record::from_envelope(record.envelope()).unwrap();
        prop_assert_eq!(&read, &record);
        prop_assert_eq!(read.addrs(), draft.addrs);
        prop_assert_eq!(read.roles(), draft.roles);
        prop_assert_eq!(read.pin(), draft.pin);
        prop_assert_eq!(read.org(), draft.org);
        prop_assert!(read.exp() - read.seq() <= betanet_mesh::LIFE_MAX_MS);
        prop_assert_eq!(peek(record.envelope()).unwrap().node, read.node());
    }

    #[test]
    fn no_bit_of_a_record_can_be_changed(draft in draft(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let record = draft.sign(&Identity::from_seed(&[1; 32]), 1000, 1000);
        let mut raw = record.envelope().to_vec();
        let at = at.index(raw.len());
        raw[at] ^= 1 << bit;
        prop_assert!(Record::from_envelope(&raw).is_err());
    }

    #[test]
    fn addresses_have_one_text(addr in addr()) {
        prop_assert_eq!(addr.to_string().parse::<Addr>().unwrap(), addr);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::from_envelope(&bytes);
        let _ = message::read_discover(&bytes);
        let _ = message::read_ask(&bytes);
        let _ = message::read_answer(&bytes);
        let _ = message::read_last(&bytes);
        let _ = message::read_list(&bytes, Identity::from_seed(&[1; 32]).public(), 0);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = text.parse::<Addr>();
        }
    }

    #[test]
    fn what_is_asked_reads_back(entries in prop::collection::vec((any::<[u8; 20]>(), any::<u64>()), 0..64)) {
        let have: Vec<_> = entries.iter().map(|(n, seq)| message::Have { node: NodeId(*n), seq: *seq }).collect();
        let sent = message::ask(have.clone());
        let (cbor, rest) = msg::split(&sent, msg::MAX).unwrap().unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(message::read_ask(cbor).unwrap(), have);
    }

    #[test]
    fn a_share_holds_exactly_what_lies_between_its_bounds(own in any::<[u8; 20]>(), other in any::<[u8; 20]>(), bits in 0_u32..64) {
        let (lo, hi) = betanet_mesh::around(NodeId(own), bits);
        let same = u64::from_be_bytes(own[..8].try_into().unwrap()) ^ u64::from_be_bytes(other[..8].try_into().unwrap());
        let within = bits == 0 || same >> (64 - bits) == 0;
        prop_assert_eq!((lo..=hi).contains(&NodeId(other)), within);
    }

    #[test]
    fn prefixes_are_what_the_first_bits_say(a in any::<u32>(), b in any::<u32>()) {
        let ip = |n| IpAddr::V4(Ipv4Addr::from_bits(n));
        prop_assert_eq!(Prefix::near(ip(a)) == Prefix::near(ip(b)), a >> 8 == b >> 8);
        prop_assert_eq!(Prefix::wide(ip(a)) == Prefix::wide(ip(b)), a >> 16 == b >> 16);
        prop_assert_eq!(Prefix::source(ip(a)) == Prefix::source(ip(b)), a == b);
    }
}

#[test]
fn role_sets_keep_their_names() {
    for role in Role::ALL {
        assert_eq!(Role::of(role.name()), Some(role));
    }
    let (set, all) = Roles::of_names(["exit", "king"]);
    assert!(!all && set.has(Role::Exit) && !set.relays());
}
