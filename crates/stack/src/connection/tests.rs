use alloc::vec::Vec;

use betanet_bar::{Headers, Method, status};
use betanet_htx::{Config, Secrets, Transmit};
use betanet_keys::Identity;
use betanet_machine::{Rng, Seed, Time};
use zeroize::Zeroizing;

use super::*;
use crate::counts::Counts;

const NOW: Now = Now {
    mono: Time::ZERO,
    unix_ms: 1_790_000_000_000,
};

/// What one end says now, with its exporter's questions answered.
fn says(end: &mut Connection<Counts>) -> Vec<Bytes> {
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

fn hears(end: &mut Connection<Counts>, said: Vec<Bytes>) {
    for bytes in said {
        end.handle_input(NOW, htx::Input::Bytes(bytes)).unwrap();
    }
}

/// A client that asked as soon as its end was open and a server that has heard all of it, and that nobody above has looked at.
fn asked_at_once() -> (Connection<Counts>, Connection<Counts>) {
    let mut rng = Rng::new(&Seed::from_number(1));
    let (ours, theirs) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let (config, ekm0) = (Config::default(), [7; 32]);
    let secrets = Secrets::draw(&mut rng);
    let mut session =
        Session::connect(NOW, config.clone(), &ours, theirs.public(), &ekm0, secrets).unwrap();
    let Some(Transmit::Bytes(first)) = session.poll_transmit() else {
        panic!("a client speaks first");
    };
    let mut client = Connection::new(session, Counts::default());
    let secrets = Secrets::draw(&mut rng);
    let session = Session::accept(NOW, config, &theirs, &ekm0, &first[2..], secrets).unwrap();
    let mut server = Connection::new(session, Counts::default());
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

#[test]
fn nothing_is_served_before_the_opening_was_taken() {
    let (mut client, mut server) = asked_at_once();
    assert_eq!(server.handler().0, 0);
    assert_eq!(server.poll_event(), Some(Event::Established));
    server.handle_timeout(NOW);
    assert_eq!(server.handler().0, 1);
    let said = says(&mut server);
    hears(&mut client, said);
    let events: Vec<Event> = core::iter::from_fn(|| client.poll_event()).collect();
    assert!(
        matches!(&events[..], [Event::Head { response, .. }, Event::End { .. }] if response.status == status::OK),
        "{events:?}"
    );
}

#[test]
fn an_answer_that_is_worked_out_elsewhere_is_sent_when_it_is_there() {
    let (mut client, mut server) = asked_at_once();
    server.handler().1 = true;
    assert_eq!(server.poll_event(), Some(Event::Established));
    server.handle_timeout(NOW);
    assert_eq!(server.handler().0, 1);
    // Nothing is asked again by itself.
    server.handle_timeout(NOW);
    server.handle_command(NOW, Command::Answers).unwrap();
    let said = says(&mut server);
    hears(&mut client, said);
    assert_eq!(client.poll_event(), None);
    server.handler().1 = false;
    server.handle_command(NOW, Command::Answers).unwrap();
    let said = says(&mut server);
    hears(&mut client, said);
    let events: Vec<Event> = core::iter::from_fn(|| client.poll_event()).collect();
    assert!(
        matches!(&events[..], [Event::Head { .. }, Event::End { .. }]),
        "{events:?}"
    );
    server.handle_command(NOW, Command::Answers).unwrap();
    assert_eq!(server.handler().0, 1);
}

#[test]
fn who_is_not_wanted_is_not_served_what_came_with_the_opening() {
    let (mut client, mut server) = asked_at_once();
    assert_eq!(server.poll_event(), Some(Event::Established));
    let code = Code::L2_ORIGIN_MISMATCH;
    let reason = "the template is not in the registry".into();
    server
        .handle_command(NOW, Command::Close { code, reason })
        .unwrap();
    server.handle_timeout(NOW);
    assert_eq!(server.handler().0, 0);
    let said = says(&mut server);
    hears(&mut client, said);
    let events: Vec<Event> = core::iter::from_fn(|| client.poll_event()).collect();
    assert!(
        matches!(&events[..], [Event::Failed { .. }, Event::Closed { code: c, .. }] if *c == code),
        "{events:?}"
    );
}
