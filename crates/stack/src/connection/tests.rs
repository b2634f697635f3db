use alloc::vec::Vec;

use betanet_bar::{Headers, Incoming, Method, Part, status};
use betanet_htx::{Config, Secrets, Transmit, kind};
use betanet_keys::Identity;
use betanet_machine::{Rng, Seed, Time};
use zeroize::Zeroizing;

use super::raw::CHUNK;
use super::*;

const NOW: Now = Now {
    mono: Time::ZERO,
    unix_ms: 1_790_000_000_000,
};

/// Bytes that one end sends now; requests to its exporter are answered.
fn says(end: &mut Connection) -> Vec<Bytes> {
    let mut said = Vec::new();
    while let Some(transmit) = end.poll_transmit() {
        match transmit {
            Transmit::Bytes(bytes) => said.push(bytes),
            Transmit::NeedExport(_) => {
                let ekm = Zeroizing::new([9; 32]);
                end.handle_input(NOW, htx::Input::Exported(ekm)).unwrap();
            }
            _ => {}
        }
    }
    said
}

fn hears(end: &mut Connection, said: Vec<Bytes>) {
    for bytes in said {
        end.handle_input(NOW, htx::Input::Bytes(bytes)).unwrap();
    }
}

/// A client that sent a request as soon as its end opened, and a server that received it but whose events were not taken yet.
fn asked_at_once() -> (Connection, Connection) {
    let mut rng = Rng::new(&Seed::from_number(1));
    let (ours, theirs) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let (config, ekm0) = (Config::default(), [7; 32]);
    let secrets = Secrets::draw(&mut rng);
    let mut session =
        Session::connect(NOW, config.clone(), &ours, theirs.public(), &ekm0, secrets).unwrap();
    let Some(Transmit::Bytes(first)) = session.poll_transmit() else {
        panic!("a client speaks first");
    };
    let mut client = Connection::new(session);
    let secrets = Secrets::draw(&mut rng);
    let session = Session::accept(NOW, config, &theirs, &ekm0, &first[2..], secrets).unwrap();
    let mut server = Connection::new(session);
    for _ in 0..4 {
        let said = says(&mut server);
        hears(&mut client, said);
        let said = says(&mut client);
        hears(&mut server, said);
    }
    assert_eq!(client.poll_event(), Some(Event::Established));
    let request = Request::new(Method::Get, "/", Headers::default());
    let ask = Command::Ask {
        request,
        more: false,
    };
    client.handle_command(NOW, ask).unwrap();
    let said = says(&mut client);
    hears(&mut server, said);
    (client, server)
}

fn events(end: &mut Connection) -> Vec<Event> {
    core::iter::from_fn(|| end.poll_event()).collect()
}

/// The stream of a request that arrived completely; its bytes are consumed.
fn asked(server: &mut Connection) -> Option<StreamId> {
    let mut incoming = Incoming::<Request>::default();
    let mut whole = None;
    for event in events(server) {
        match event {
            Event::Body { stream, data } => {
                let bytes = data.len() as u64;
                incoming.push(data, false).unwrap();
                server.consume(NOW, stream, bytes);
            }
            Event::End { stream } => {
                incoming.push(Bytes::new(), true).unwrap();
                whole = Some(stream);
            }
            _ => {}
        }
    }
    let head = incoming.pop();
    assert!(matches!(head, None | Some(Part::Head(_))));
    whole.filter(|_| head.is_some())
}

fn answer(server: &mut Connection, stream: StreamId) {
    let data = Response::new(status::OK).to_message().unwrap().into();
    let send = Command::Send {
        stream,
        data,
        fin: true,
    };
    server.handle_command(NOW, send).unwrap();
}

#[test]
fn nothing_is_told_of_requests_before_the_opening_was_taken() {
    let (mut client, mut server) = asked_at_once();
    assert_eq!(server.poll_event(), Some(Event::Established));
    assert_eq!(server.poll_event(), None);
    server.handle_timeout(NOW);
    let opened = server.poll_event();
    assert!(matches!(opened, Some(Event::Opened { kind: t, .. }) if t == kind::BAR));
    let stream = asked(&mut server).unwrap();
    answer(&mut server, stream);
    let said = says(&mut server);
    hears(&mut client, said);
    let events = events(&mut client);
    assert!(
        matches!(&events[..], [Event::Head { response, .. }, Event::End { .. }] if response.status == status::OK),
        "{events:?}"
    );
}

#[test]
fn an_answer_may_come_whenever_it_is_there() {
    let (mut client, mut server) = asked_at_once();
    assert_eq!(server.poll_event(), Some(Event::Established));
    server.handle_timeout(NOW);
    let stream = asked(&mut server).unwrap();
    // Minutes pass without another request.
    let later = Now::new(NOW.mono + Duration::from_secs(20), NOW.unix_ms + 20_000);
    server.handle_timeout(later);
    assert_eq!(events(&mut server), []);
    let data = Response::new(status::OK).to_message().unwrap().into();
    let send = Command::Send {
        stream,
        data,
        fin: true,
    };
    server.handle_command(later, send).unwrap();
    while let Some(transmit) = server.poll_transmit() {
        if let Transmit::Bytes(bytes) = transmit {
            client
                .handle_input(later, htx::Input::Bytes(bytes))
                .unwrap();
        }
    }
    let events = events(&mut client);
    assert!(
        matches!(&events[..], [Event::Head { .. }, Event::End { .. }]),
        "{events:?}"
    );
}

#[test]
fn answers_that_nobody_takes_are_refused_and_told_when_there_is_room() {
    let (mut client, mut server) = asked_at_once();
    assert_eq!(server.poll_event(), Some(Event::Established));
    server.handle_timeout(NOW);
    let stream = asked(&mut server).unwrap();
    let send = |server: &mut Connection, data: Bytes| {
        let fin = false;
        server.handle_command(NOW, Command::Send { stream, data, fin })
    };
    let mut response = Response::new(status::OK);
    response.headers = Headers::default().with("content-type", "x");
    let head = response.to_message().unwrap();
    send(&mut server, head.into()).unwrap();
    let mut sent = 0;
    loop {
        let room = server.answer_room(stream);
        if room == 0 {
            break;
        }
        send(&mut server, alloc::vec![7; room].into()).unwrap();
        sent += room;
    }
    assert!(sent <= 256 << 10, "{sent}");
    let refused = send(&mut server, Bytes::from_static(b"x")).unwrap_err();
    assert_eq!(refused.kind(), crate::Kind::NotNow);
    assert_eq!(events(&mut server), []);
    // Sent bytes make room, and `Writable` reports it once.
    let mut told = Vec::new();
    for _ in 0..8 {
        let said = says(&mut server);
        hears(&mut client, said);
        for event in events(&mut client) {
            if let Event::Body { stream, data } = event {
                let bytes = data.len() as u64;
                client.consume(NOW, stream, bytes);
            }
        }
        let said = says(&mut client);
        hears(&mut server, said);
        server.handle_timeout(NOW);
        told.extend(events(&mut server));
    }
    assert_eq!(told, [Event::Writable { stream }]);
    assert_eq!(server.answer_room(stream), CHUNK);
}

#[test]
fn a_request_that_is_given_up_is_told_and_takes_no_answer() {
    let (mut client, mut server) = asked_at_once();
    assert_eq!(server.poll_event(), Some(Event::Established));
    server.handle_timeout(NOW);
    let stream = asked(&mut server).unwrap();
    let code = Code::OK;
    client.abort(NOW, stream, code);
    let said = says(&mut client);
    hears(&mut server, said);
    let events = events(&mut server);
    assert!(
        matches!(&events[..], [Event::Failed { stream: s, code: Some(c), .. }] if (*s, *c) == (stream, code)),
        "{events:?}"
    );
    let send = Command::Send {
        stream,
        data: Bytes::from_static(b"late"),
        fin: true,
    };
    assert!(server.handle_command(NOW, send).is_err());
}

#[test]
fn who_is_not_wanted_is_not_served_what_came_with_the_opening() {
    let (mut client, mut server) = asked_at_once();
    assert_eq!(server.poll_event(), Some(Event::Established));
    let code = Code::L2_ORIGIN_MISMATCH;
    server.close(NOW, code, "the template is not in the registry");
    server.handle_timeout(NOW);
    let told = events(&mut server);
    assert!(
        !told.iter().any(|e| matches!(e, Event::Opened { .. })),
        "{told:?}"
    );
    let said = says(&mut server);
    hears(&mut client, said);
    let events = events(&mut client);
    assert!(
        matches!(&events[..], [Event::Failed { .. }, Event::Closed { code: c, .. }] if *c == code),
        "{events:?}"
    );
}

/// Fills the output until only the answer to one frame is still accepted.
fn fill(end: &mut Connection) {
    let say = || Command::PathControl(Bytes::from_static(b"x"));
    while end.handle_command(NOW, say()).is_ok() {}
    assert!(end.poll_transmit().is_some());
}

#[test]
fn credit_for_what_comes_to_a_full_session_is_given_back() {
    let (mut client, mut server) = asked_at_once();
    assert_eq!(server.poll_event(), Some(Event::Established));
    server.handle_timeout(NOW);
    let stream = asked(&mut server).unwrap();
    answer(&mut server, stream);
    let said = says(&mut server);
    fill(&mut client);
    hears(&mut client, said);
    let events = events(&mut client);
    assert!(
        matches!(&events[..], [Event::Head { .. }, Event::End { .. }]),
        "{events:?}"
    );
    // An exchange with lost credit would stay open for ever.
    assert_eq!(client.session().open_streams(), 0);
}

#[test]
fn a_request_that_is_refused_and_tried_again_opens_one_stream() {
    let (mut client, mut server) = asked_at_once();
    let ask = || Command::Ask {
        request: Request::new(Method::Get, "/again", Headers::default()),
        more: false,
    };
    let open = || Command::Open {
        kind: kind::FORWARD,
        first: Bytes::from_static(b"first"),
    };
    let before = client.session().open_streams();
    let say = || Command::PathControl(Bytes::from_static(b"x"));
    while client.handle_command(NOW, say()).is_ok() {}
    for _ in 0..3 {
        for command in [ask(), open()] {
            let refused = client.handle_command(NOW, command).unwrap_err();
            assert_eq!(refused.kind(), crate::Kind::NotNow);
        }
    }
    assert_eq!(client.session().open_streams(), before);
    says(&mut client);
    let asked = client.handle_command(NOW, ask()).unwrap();
    let opened = client.handle_command(NOW, open()).unwrap();
    assert_eq!((asked, opened), (Some(5), Some(7)));
    assert_eq!(client.session().open_streams(), before + 2);
    let _ = server.poll_event();
}

#[test]
fn a_full_session_gives_a_stream_up_and_the_peer_hears_of_it() {
    let (mut client, mut server) = asked_at_once();
    assert_eq!(server.poll_event(), Some(Event::Established));
    server.handle_timeout(NOW);
    let stream = asked(&mut server).unwrap();
    fill(&mut client);
    client.abort(NOW, stream, Code::OK);
    assert_eq!(client.session().open_streams(), 0);
    for bytes in says(&mut client) {
        server.handle_input(NOW, htx::Input::Bytes(bytes)).unwrap();
        let failed = |e: Event| matches!(e, Event::Failed { stream: s, .. } if s == stream);
        if events(&mut server).into_iter().any(failed) {
            return;
        }
    }
    panic!("the peer still waits");
}
