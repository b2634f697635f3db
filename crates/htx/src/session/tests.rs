use betanet_machine::{Rng, Seed};

use super::*;

fn session() -> Session {
    let (own, peer) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let secrets = Secrets::draw(&mut Rng::new(&Seed::from_number(1)));
    let (now, config) = (Now::default(), Config::default());
    let mut session =
        Session::connect(now, config, &own, peer.public(), &[7; 32], secrets).unwrap();
    session.streams.open(crate::kind::BAR);
    session
}

#[test]
fn a_fingerprint_tells_every_change_but_what_is_exempt() {
    let changes: [fn(&mut Session); 9] = [
        |s| s.liveness.moves(),
        |s| s.liveness.begins(Time::from_micros(1)),
        |s| s.closing.stop_listening(),
        |s| s.turned_at = Time::from_micros(1),
        |s| s.backlog = Some(Time::ZERO),
        |s| s.streams.get_mut(3).unwrap().send.limit += 1,
        |s| s.streams.get_mut(3).unwrap().reset = Some(Code::OK),
        |s| s.streams.receive.consume(1),
        |s| s.rx.extend_from_slice(b"x"),
    ];
    let before = session().fingerprint();
    assert_eq!(session().fingerprint(), before);
    for (n, change) in changes.iter().enumerate() {
        let mut session = session();
        change(&mut session);
        assert_ne!(session.fingerprint(), before, "{n}");
    }
    let mut exempt = session();
    exempt.stats.late += 1;
    exempt.streams.get_mut(3).unwrap().send.refused.register();
    assert_eq!(exempt.fingerprint(), before);
}
