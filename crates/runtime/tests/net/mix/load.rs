//! Load tests with more packets than a relay has places for.

use super::*;

/// Returns a unique packet, which a relay sends on after a delay, or drops if it has no next node.
fn packet(n: u32, key: RelayKey, onward: Option<(u16, betanet_wire::NodeId)>) -> Packet {
    let mut x = [3; 32];
    x[..4].copy_from_slice(&n.to_be_bytes());
    let drop = Command::Drop { id: [1; 16] };
    let command = onward.map_or(drop, |(delay, next)| Command::Forward {
        delay: Delay::Chosen(delay),
        next,
    });
    let last = Hop { key, command: drop };
    let hops = match onward {
        None => vec![last],
        // The second layer is for the holder of this key, which nobody opens here.
        Some(_) => vec![Hop { key, command }, last],
    };
    let way = Way {
        epoch: epoch().to_be_bytes()[3],
        hops: &hops,
        x,
        pad: [5; 320],
    };
    build(way, &[0; PAYLOAD]).unwrap()
}

/// Returns a client with a separate address.
fn client_from(n: u32) -> Node {
    let last = u8::try_from(n + 1).unwrap();
    let at = std::net::IpAddr::from([127, 0, 1, last]);
    Node::client().unwrap().with_source_address(Some(at))
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_to_random_nodes_take_no_links_and_identities_of_one_address_have_two_parts() {
    let mix = Mix::ready(50, 3, |s| s.mix.waiting = 640).await;
    let relay = 7;
    let key = key_of(&mix.directory(3).await, relay);
    let attacker = client_from(0);
    let (session, mut stream) = packets_to(&attacker, &mix.nodes[&relay]).await;
    let mut n = 0;
    let mut to_nobody = |delay: u16| {
        n += 1_u32;
        let mut nobody = betanet_wire::NodeId([9; 20]);
        nobody.0[..4].copy_from_slice(&n.to_be_bytes());
        packet(n, key, Some((delay, nobody)))
    };
    let packets: Vec<Packet> = (0..3_000).map(|_| to_nobody(0)).collect();
    send_all(&mut stream, &packets).await;
    let causes = ["unknown_next", "link_share", "session_share", "dead_hop"];
    let dropped = || causes.map(|cause| mix.dropped(relay, cause));
    eventually("all are dropped", || dropped().iter().sum::<u64>() == 3_000).await;
    assert!(mix.dropped(relay, "unknown_next") > 0);
    let links = || mix.metric(relay, "betanet_mix_links ");
    eventually("no link is left for nobody", || links() <= 5).await;
    // Honest packets pass over the same relay.
    let client = mix.client(3).await.unwrap();
    let honest = client.session(name(GATEWAY)).await.unwrap();
    assert_eq!(get(&honest, "/hello.txt").await, b"hello from 6");
    client.close().await;
    // Of 640 places, a session has 40, and the three sessions of one address have 80.
    let (mut others, mut sent) = (Vec::new(), 0);
    for _ in 0..2 {
        let node = client_from(0);
        let (session, stream) = packets_to(&node, &mix.nodes[&relay]).await;
        others.push((node, session, stream));
    }
    while mix.dropped(relay, "address_share") == 0 {
        assert!(sent < 6_000, "the address never had more than its part");
        let packets: Vec<Packet> = (0..120).map(|_| to_nobody(150)).collect();
        let (first, rest) = packets.split_at(40);
        send_all(&mut stream, first).await;
        for ((_, _, stream), some) in others.iter_mut().zip(rest.chunks(40)) {
            send_all(stream, some).await;
        }
        sent += 120;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    session.close().await;
    mix.stop().await;
}

fn key_of(directory: &Directory, n: u8) -> RelayKey {
    let node = name(n).node_id();
    let relay = directory.relays.iter().find(|r| r.node == node).unwrap();
    RelayKey::check(relay.key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_are_dropped_where_a_queue_a_session_or_a_link_is_full_and_each_is_counted() {
    // A session may have four of the 64 places.
    let mix = Mix::start(80, 1, |s| s.mix.waiting = 64).await;
    let relay = 7;
    let key = key_of(&mix.directory(1).await, relay);
    let nobody = name(GATEWAY).node_id();
    let (mut made, mut sent) = (0, 0);
    let mut packets = |n: u32, delay| {
        made += n;
        let numbers = made - n..made;
        numbers
            .map(|n| packet(n, key, Some((delay, nobody))))
            .collect::<Vec<Packet>>()
    };
    let mut streams = Vec::new();
    for n in 0..24 {
        let node = client_from(n);
        let (session, stream) = packets_to(&node, &mix.nodes[&relay]).await;
        streams.push((node, session, stream));
    }
    // Once the relay has sent to it, the next node falls silent: it accepts connections, and sends nothing.
    while mix.packets_out(relay) == 0 {
        send_all(&mut streams[0].2, &packets(1, 0)).await;
        sent += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    mix.nodes[&GATEWAY].shutdown().await;
    let _silent = tokio::net::TcpListener::bind(format!("127.86.0.1:{}", mix.port))
        .await
        .unwrap();
    let mut rounds = 0;
    while mix.dropped(relay, "session_share") == 0 {
        assert!(rounds < 30, "no session ever had more than its share");
        rounds += 1;
        send_all(&mut streams[0].2, &packets(16, 150)).await;
        sent += 16;
        eventually("all are in", || taken_in(&mix, relay) == sent).await;
    }
    while mix.dropped(relay, "queue_full") == 0 {
        assert!(rounds < 60, "the queue was never full");
        rounds += 1;
        let some: Vec<Vec<Packet>> = streams.iter().map(|_| packets(4, 150)).collect();
        for ((_, _, stream), four) in streams.iter_mut().zip(&some) {
            send_all(stream, four).await;
            sent += 4;
        }
        eventually("all are in", || taken_in(&mix, relay) == sent).await;
    }
    while mix.dropped(relay, "link_full") == 0 {
        assert!(rounds < 90, "the link was never full");
        rounds += 1;
        // Use two sessions, since one alone may not have that many packets that wait for links.
        for (_, _, stream) in &mut streams[..2] {
            send_all(stream, &packets(1_300, 0)).await;
        }
        sent += 2_600;
        eventually("all are in", || taken_in(&mix, relay) == sent).await;
    }
    // Each packet that had a place was kept for two seconds, since nobody takes it, and is counted too.
    let causes = [
        "session_share",
        "queue_full",
        "link_full",
        "dead_hop",
        "unknown_next",
    ];
    let dropped = || {
        causes
            .map(|cause| mix.dropped(relay, cause))
            .iter()
            .sum::<u64>()
    };
    eventually("each is accounted for", || {
        dropped() + mix.packets_out(relay) == sent
    })
    .await;
    for (_, session, _) in streams {
        session.close().await;
    }
    mix.stop().await;
}

fn taken_in(mix: &Mix, n: u8) -> u64 {
    mix.metric(n, "betanet_mix_packets_total{direction=\"in\"}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_replay_memory_fills_up_publishes_a_further_key_and_forgets_nothing() {
    // A rate of one packet a second means 11 400 in a key's lifetime, of which a session may have 356.
    let mix = Mix::start(60, 1, |s| s.mix.rate = 1).await;
    let relay = 7;
    let first = key_of(&mix.directory(1).await, relay);
    let sessions = 26;
    let each = 350;
    let mut begun = Vec::new();
    let mut known = None;
    for i in 0..sessions {
        let node = client_from(i);
        let (session, mut stream) = packets_to(&node, &mix.nodes[&relay]).await;
        let packets: Vec<Packet> = (0..each)
            .map(|n| packet(i * each + n, first, None))
            .collect();
        send_all(&mut stream, &packets).await;
        known.get_or_insert_with(|| packets[0].clone());
        begun.push((node, session, stream));
    }
    let all = u64::from(sessions * each);
    eventually("all are there", || mix.dropped(relay, "cover") == all).await;
    let other = async {
        loop {
            let now = key_of(&mix.directory(1).await, relay);
            if now != first {
                return now;
            }
        }
    };
    let second = tokio::time::timeout(Duration::from_secs(60), other).await;
    let second = second.expect("a further key");
    let (_, _, stream) = begun.last_mut().unwrap();
    // New packets under both keys pass, and repeated ones do not.
    let more = [packet(99_990, first, None), packet(99_991, second, None)];
    send_all(stream, &more).await;
    eventually("both are opened", || mix.dropped(relay, "cover") == all + 2).await;
    send_all(stream, &[known.unwrap()]).await;
    send_all(stream, &more).await;
    eventually("none passes twice", || mix.dropped(relay, "replay") == 3).await;
    // This session has used up its part under the first key. Under the second key, it has a new part.
    let beyond: Vec<Packet> = (0..20).map(|n| packet(100_000 + n, first, None)).collect();
    send_all(stream, &beyond).await;
    let anew: Vec<Packet> = (0..20).map(|n| packet(200_000 + n, second, None)).collect();
    send_all(stream, &anew).await;
    eventually("only those of the second key pass", || {
        mix.dropped(relay, "cover") + mix.dropped(relay, "replay") == all + 2 + 3 + 40
    })
    .await;
    assert_eq!(mix.dropped(relay, "cover"), all + 2 + 5 + 20);
    for (_, session, _) in begun {
        session.close().await;
    }
    mix.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_to_unwrap_are_few_of_a_session_of_an_address_and_of_all() {
    // A relay whose threads never process the packets.
    let mix = Mix::start_beyond(210, 1, |_| (), |c| c.mix.workers = Some(0)).await;
    let relay = 7;
    let unread = || mix.metric(relay, "betanet_mix_unread ");
    // A session's bytes arrive in pieces. Each piece waits for places for all of its packets.
    let piece = 33;
    let within = |most: u64, pieces: u64| most - pieces * piece..=most;
    let mut sessions = Vec::new();
    for (address, which) in (0..10).flat_map(|a| (1..=3).map(move |s| (a, s))) {
        let node = client_from(address);
        let (session, mut stream) = packets_to(&node, &mix.nodes[&relay]).await;
        let sending = tokio::spawn(async move {
            let some = vec![Packet([0; PACKET]); 8];
            while std::future::poll_fn(|cx| stream.poll_ready(cx))
                .await
                .is_ok()
            {
                let bytes: Vec<u8> = some.iter().flat_map(|p| p.0).collect();
                stream.send(bytes.into()).unwrap();
            }
        });
        sessions.push((session, sending));
        let (mut last, mut same) = (u64::MAX, 0);
        eventually("no more is taken", || {
            let now = taken_in(&mix, relay);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            assert!(unread() <= 4096);
            same == 10
        })
        .await;
        // A session may have a sixteenth, and an address an eighth.
        let (held, before) = (unread(), 512 * u64::from(address));
        let (most, pieces) = match which {
            1 => (before + 256, 2 * address + 1),
            _ => (before + 512, 2 * address + 2),
        };
        let all = within(most.min(4096), pieces.min(16).into());
        assert!(all.contains(&held), "{held}: {which} of {address}");
    }
    assert!(within(4096, 1).contains(&unread()), "{}", unread());
    for (session, sending) in sessions {
        sending.abort();
        session.close().await;
    }
    mix.stop().await;
}
