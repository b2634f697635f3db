//! The way back from records that are not final, clocks that jump, and what a damaged journal is refused for.

use super::*;
use crate::Finding;
use crate::client::Trust;

fn open_account(world: &mut World, n: u8) {
    let key = *identity(n).public().as_bytes();
    world.ok(1, &Op::Open { key, kind: USER });
}

fn journal(world: &mut World, after: u64) -> Vec<Vec<u8>> {
    let Answer::Body(Some(bytes)) = world.ask(Ask::Journal(after, 1024)) else {
        panic!("no records");
    };
    let list = records(&bytes).unwrap();
    list.into_iter().map(<[u8]>::to_vec).collect()
}

fn dropped(world: &mut World, size: u64) -> Result<u64, Fault> {
    match world.ask(Ask::Drop(size)) {
        Answer::Followed(dropped) => dropped,
        other => panic!("{other:?}"),
    }
}

/// The books that a journal gives.
fn rebuilt(journal: &[Journaled], signers: &[u8]) -> Books {
    let mut books = empty(signers);
    journal.iter().for_each(|r| books.apply(r).unwrap());
    books
}

#[test]
fn records_that_are_neither_final_nor_signed_are_dropped_for_those_of_the_leader() {
    let mut first = World::new(&[11]);
    open_account(&mut first, 9);
    first.ask(Ask::Propose);
    let head = first.books.proposed.clone().unwrap();
    let mut signer = World::new(&[12]);
    followed(&mut signer, journal(&mut first, 1)).unwrap();
    cosigned(&mut signer, &head).unwrap();
    let (root, state) = (signer.books.log.root(), signer.books.economy.root());
    open_account(&mut first, 8);
    open_account(&mut first, 7);
    followed(&mut signer, journal(&mut first, 2)).unwrap();
    let Answer::Standing(standing) = signer.ask(Ask::Standing(2)) else {
        panic!("no standing");
    };
    assert_eq!((standing.here, standing.floor, standing.root), (4, 2, root));

    // What it signed stays, and so does what is not there.
    let refused = |size| {
        Err(Fault::Drop {
            size,
            floor: 2,
            here: 4,
        })
    };
    assert_eq!(dropped(&mut signer, 1), refused(1));
    assert_eq!(dropped(&mut signer, 5), refused(5));
    assert_eq!(dropped(&mut signer, 2), Ok(2));
    let books = &mut signer.books;
    assert_eq!((books.log.root(), books.economy.root()), (root, state));
    assert_eq!(books.records.len(), 2);

    // Another leader went on from there with other records, and the signer follows it.
    let mut second = World::new(&[11, 12]);
    second.books = rebuilt(&first.journal[..3], &[11, 12]);
    second.made = 50;
    open_account(&mut second, 6);
    second.ask(Ask::Propose);
    assert_eq!(second.books.final_size(), 3);
    assert_eq!(followed(&mut signer, journal(&mut second, 2)), Ok(3));
    let last = second.books.head.clone().unwrap();
    assert!(matches!(
        signer.ask(Ask::Final(last)),
        Answer::Final(Ok(true))
    ));
    assert_eq!(
        dropped(&mut signer, 2),
        Err(Fault::Drop {
            size: 2,
            floor: 3,
            here: 3
        })
    );

    // The journal gives the same, with the drop in it.
    assert!(signer.journal.iter().any(|r| r.kind.as_str() == "eco.drop"));
    let mut again = rebuilt(&signer.journal, &[12]);
    assert_eq!(again.economy.root(), signer.books.economy.root());
    assert_eq!(again.log.root(), signer.books.log.root());
    assert_eq!(again.head, signer.books.head);
}

#[test]
fn nothing_is_built_on_a_clock_that_jumped() {
    let mut leader = World::new(&[11]);
    leader.now += DAY_MS;
    open_account(&mut leader, 9);
    leader.now -= DAY_MS;
    let made = leader.journal.len();
    let id = [7; 16];
    let nonce = leader.books.economy.nonce(&account(1)).unwrap();
    let op = Op::Open {
        key: [1; 32],
        kind: USER,
    };
    let request = Request::new(&[(account(1), nonce)], leader.now + 1_000, id, &op).unwrap();
    let g = *leader.books.setup.genesis.id();
    let envelope = Envelope::sign(request, &g, &[&identity(1)]).to_bytes();
    assert!(matches!(leader.ask(Ask::Request(envelope)), Answer::Ahead));
    leader.ask(Ask::Propose);
    leader.ask(Ask::Tick);
    assert_eq!(
        (leader.journal.len(), leader.books.proposed.is_none()),
        (made, true)
    );
    // Within ten minutes of the record's time it goes on.
    leader.now += DAY_MS - 9 * 60_000;
    leader.ask(Ask::Propose);
    assert!(leader.books.proposed.is_some());
}

#[test]
fn a_signer_that_saw_all_records_knows_that_others_are_late() {
    const MIN: u64 = 60_000;
    let (_, _, list) = led();
    let mut signer = World::new(&[12]);
    signer.now += 60 * MIN;
    signer.ask(Ask::Synced);
    signer.now += 9 * MIN;
    assert_eq!(followed(&mut signer, list.clone()), Err(Fault::Clock(1)));
    // After ten minutes without the leader it catches up.
    signer.now += MIN;
    assert_eq!(followed(&mut signer, list), Ok(2));
}

#[test]
fn what_was_signed_is_journaled_once_and_counts_once() {
    let (mut leader, head, list) = led();
    let mut signer = World::new(&[12]);
    followed(&mut signer, list).unwrap();
    cosigned(&mut signer, &head).unwrap();
    let made = signer.journal.len();
    assert_eq!(cosigned(&mut signer, &head), Ok(1));
    assert_eq!(signer.journal.len(), made);
    // A head without a signature that is new is told apart from one with it.
    let taken = |world: &mut World, head: &SignedHead| match world.ask(Ask::Sign(head.clone())) {
        Answer::Taken(taken) => taken.map(|t| (t.is_new, t.is_final)),
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(&mut leader, &head), Ok((false, false)));
    let signed = signer.books.proposed.clone().unwrap();
    assert_eq!(taken(&mut leader, &signed), Ok((true, true)));
    assert_eq!(taken(&mut leader, &signed), Ok((false, true)));
}

#[test]
fn a_leader_with_another_key_signs_the_head_that_waits() {
    let (leader, head, _) = led();
    let mut again = World::new(&[12]);
    again.books = rebuilt(&leader.journal, &[12]);
    again.ask(Ask::Propose);
    let last = again.books.head.as_ref().unwrap();
    assert_eq!(last.signed_bytes(), head.signed_bytes());
    assert_eq!(last.signatures().len(), 2);
}

#[test]
fn a_journal_with_a_wrong_signature_is_refused() {
    let mut world = World::new(&[11, 12]);
    open_account(&mut world, 9);
    world.ask(Ask::Propose);
    let parts = world.books.snapshot();
    let at = |kind: &str| {
        let mut all = world.journal.iter();
        all.position(|r| r.kind.as_str() == kind).unwrap()
    };
    for (kind, wrong) in [
        ("eco.record", {
            let mut body = world.journal[at("eco.record")].body.clone();
            let sig = world.books.records[1].len() - 20;
            body[sig] ^= 1;
            body
        }),
        ("eco.head", {
            let head = world.books.head.as_ref().unwrap().head();
            SignedHead::new(*head).to_bytes()
        }),
    ] {
        let mut books = empty(&[11, 12]);
        let place = at(kind);
        for record in &world.journal[..place] {
            books.apply(record).unwrap();
        }
        let forged = Journaled::new(world.journal[place].kind, wrong);
        assert!(books.apply(&forged).is_err(), "{kind}");
    }
    // A snapshot whose head has a wrong signature does not count either.
    let whole = parts.concat();
    let head = world.books.head.as_ref().unwrap();
    for signature in head.signatures() {
        let mut forged = whole.clone();
        let at = whole.windows(64).position(|w| w == signature.sig).unwrap();
        forged[at] ^= 1;
        assert!(empty(&[11, 12]).read_snapshot(&forged).is_none());
    }
    assert!(empty(&[11, 12]).read_snapshot(&whole).is_some());
}

#[test]
fn signers_that_a_vote_replaced_sign_no_later_head() {
    let mut world = World::new(&[11, 12, 13]);
    let bond = Op::Bond {
        amt: 5_000 * MICRO,
        comm: 0,
    };
    world.ok(3, &bond);
    world.wait(DAY_MS);
    let mut members = [12, 13, 14].map(|n| identity(n).public().as_bytes().to_vec());
    members.sort();
    let role = Effect::Role {
        role: Role::Signers,
        members: members.to_vec(),
    };
    let request = world.ok(3, &Op::propose(vec![role], [0; 32]));
    let pid = proposal_id(request.body());
    world.wait(DAY_MS);
    world.ok(3, &Op::Vote { pid, v: 1 });
    world.wait(7 * DAY_MS);
    world.wait(3 * DAY_MS);
    let before = *world.books.signers().unwrap().hash();
    world.ok(1, &Op::Execute { pid });
    world.wait(1);
    // The head over the change is the last one of the old signers.
    let change = world.books.head.clone().unwrap();
    assert_eq!(change.head().set, before);
    let parts = world.books.snapshot().concat();
    assert!(empty(&[11]).read_snapshot(&parts).is_some());
    open_account(&mut world, 9);
    world.wait(1);
    let last = world.books.head.clone().unwrap();
    assert_ne!(last.head().set, before);
    assert_eq!(last.signatures().len(), 2);

    let all = journal(&mut world, 0).concat();
    let verified = |heads: Vec<SignedHead>| crate::verify(&all, Some(&genesis()), heads);
    let covered = verified(vec![change.clone(), last.clone()])
        .unwrap()
        .covered;
    assert_eq!(covered, world.books.final_size());
    // Kept heads of the journey are not needed for the last one.
    assert!(verified(vec![last.clone()]).is_ok());
    let g = *world.books.setup.genesis.id();
    let domain = crate::body::domain(&g);
    let mut old = SignedHead::new(Head {
        set: before,
        ..*last.head()
    });
    for n in [11, 12] {
        old.add(old.signature(domain, &identity(n)));
    }
    let refused = verified(vec![change.clone(), old]).unwrap_err();
    assert!(matches!(refused, Finding::Signatures { why, .. } if why == betanet_log::Error::Set));
    // A reader knows the signers of the genesis, until a replayed journal tells it the new ones.
    let trust = Trust::new(&genesis()).unwrap();
    assert!(trust.head(&last.to_bytes()).is_err());
    let listed = members.map(|key| key.try_into().unwrap());
    let trust = trust.with_signers(&listed).unwrap();
    assert!(trust.head(&last.to_bytes()).is_ok() && trust.head(&change.to_bytes()).is_err());
    // Every signature that a head carries must count.
    let mut more = last.clone();
    let mut forged = last.signature(domain, &identity(14));
    forged.sig[3] ^= 1;
    more.add(forged);
    let refused = verified(vec![more]).unwrap_err();
    assert_eq!(refused, Finding::Carried(last.head().size));
}
