//! A small network of signers, for tests, measurements and the example; and the functions behind the fuzz targets.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use betanet_keys::{Common, Envelope, Identity, Maintainers, PublicKey};
use betanet_log::{Head, SignedHead, Signers};
use betanet_wire::cbor;
use bytes::Bytes;

use crate::message::{Answer, Ask, Hello};
use crate::signer::{Memory, Signer};
use crate::{
    ADVANCE, Advance, Alias, AliasRecord, DOMAIN, Entry, Finalized, Genesis, Ledger, Look, Proof,
    RotateMaintainers, Uri, Verified,
};

/// A time to begin at, in UNIX milliseconds.
pub const T0: u64 = 1_800_000_000_000;
/// A day, in milliseconds.
pub const DAY: u64 = 24 * 3600 * 1000;

/// The key pair of a number.
#[must_use]
pub fn identity(n: u16) -> Identity {
    let mut seed = [0x5a; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed)
}

/// The key pair of an owner of names.
#[must_use]
pub fn owner(n: u16) -> Identity {
    identity(1000 + n)
}

/// Signers and maintainers, by whom everything can be signed.
#[derive(Debug)]
pub struct Network {
    /// The signers in force.
    pub signers: Vec<Identity>,
    /// The maintainers in force.
    pub maintainers: Vec<Identity>,
}

impl Network {
    /// A network of so many signers and maintainers.
    #[must_use]
    pub fn new(signers: u16, maintainers: u16) -> Self {
        Self {
            signers: (1..=signers).map(identity).collect(),
            maintainers: (1..=maintainers).map(|n| identity(500 + n)).collect(),
        }
    }

    /// The network's first keys.
    ///
    /// # Panics
    ///
    /// The network has no signers, or more than 64.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test has nothing else to say")]
    pub fn genesis(&self) -> Genesis {
        Genesis {
            signers: Signers::new(&keys(&self.signers)).expect("distinct signers"),
            maintainers: keys(&self.maintainers),
        }
    }

    /// An empty ledger.
    ///
    /// # Panics
    ///
    /// The network has fewer than three signers.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test has nothing else to say")]
    pub fn ledger(&self) -> Ledger {
        Ledger::new(&self.genesis()).expect("three signers")
    }

    /// A record with its owner's key, signed by the signers at these positions whatever else they signed.
    #[must_use]
    pub fn finalized(&self, record: AliasRecord, key: &PublicKey, by: &[usize]) -> Bytes {
        let mut finalized = Finalized::new(record, key);
        for signer in by.iter().filter_map(|at| self.signers.get(*at)) {
            finalized.add(finalized.signature(signer));
        }
        finalized.to_bytes().into()
    }

    /// A record that binds an alias, final by the first two signers.
    ///
    /// # Panics
    ///
    /// The text is no alias.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test has nothing else to say")]
    pub fn bound(&self, alias: &str, owner: &Identity, seq: u64, ts: u64) -> Bytes {
        let alias = Alias::from_wire(alias).expect("an alias");
        let record = AliasRecord::bind(alias, owner, seq, ts);
        self.finalized(record, owner.public(), &[0, 1])
    }

    /// A rotation to the signers of these numbers, signed by the signers at these positions.
    #[must_use]
    pub fn rotation(&self, new: &[u16], seq: u64, by: &[usize]) -> Bytes {
        let new: Vec<PublicKey> = new.iter().map(|n| *identity(*n).public()).collect();
        let mut rotation = RotateMaintainers::new(&new, &keys(&self.signers), seq);
        let signers = by.iter().filter_map(|at| self.signers.get(*at));
        let signatures: Vec<_> = signers.map(|i| rotation.signature(i)).collect();
        rotation.gather(&signatures);
        rotation.to_bytes().into()
    }

    /// A head, signed by the signers at these positions whatever else they signed.
    #[must_use]
    pub fn sign(&self, head: Head, by: &[usize]) -> SignedHead {
        let mut head = SignedHead::new(head);
        for signer in by.iter().filter_map(|at| self.signers.get(*at)) {
            head.add(head.signature(DOMAIN, signer));
        }
        head
    }

    /// The head of all records of a ledger, signed by the signers at these positions.
    ///
    /// # Panics
    ///
    /// The ledger has contradictions.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test has nothing else to say")]
    pub fn head(&self, ledger: &Ledger, ts: u64, by: &[usize]) -> SignedHead {
        self.sign(ledger.next_head(ts).expect("no contradiction"), by)
    }

    /// A registry record of this body, signed by so many maintainers. `body` gets the hash of the list.
    ///
    /// # Panics
    ///
    /// The body is no registry record.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test has nothing else to say")]
    pub fn envelope(&self, body: impl FnOnce([u8; 32]) -> Vec<u8>, signed: usize) -> Bytes {
        let list = Maintainers::new(&keys(&self.maintainers));
        let mut envelope = Envelope::new(body(list.hash())).expect("a registry record");
        for maintainer in self.maintainers.iter().take(signed) {
            envelope.sign(maintainer);
        }
        envelope.to_bytes().into()
    }

    /// An emergency advance of this `seq` and key after a carried head, signed by all maintainers. `rest` fills in what it does.
    ///
    /// # Panics
    ///
    /// The common keys and those of the type make no map.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test has nothing else to say")]
    pub fn advance<'a>(
        &self,
        head: &'a [u8],
        ts: u64,
        (seq, key): (u64, &[u8]),
        rest: impl FnOnce(&mut Advance<'a>),
    ) -> Bytes {
        let mut form = Advance {
            ts,
            new: None,
            rec: None,
            head,
            owner: None,
        };
        rest(&mut form);
        let body = |list: [u8; 32]| {
            // The common keys and those of the type, in one map.
            let mut entries = Vec::from([
                (cbor::Value::Text("ts"), cbor::Value::Unsigned(form.ts)),
                (cbor::Value::Text("key"), cbor::Value::Bytes(key)),
                (cbor::Value::Text("seq"), cbor::Value::Unsigned(seq)),
                (cbor::Value::Text("head"), cbor::Value::Bytes(form.head)),
                (cbor::Value::Text("list"), cbor::Value::Bytes(&list)),
                (cbor::Value::Text("type"), cbor::Value::Text(ADVANCE)),
            ]);
            if let Some(new) = &form.new {
                let keys = new.iter().map(|k| cbor::Value::Bytes(k)).collect();
                entries.insert(2, (cbor::Value::Text("new"), cbor::Value::Array(keys)));
            }
            if let Some(rec) = form.rec {
                entries.insert(2, (cbor::Value::Text("rec"), cbor::Value::Bytes(rec)));
            }
            if let Some(owner) = &form.owner {
                entries.push((cbor::Value::Text("owner"), cbor::Value::Bytes(owner)));
            }
            cbor::Value::Map(entries).to_vec().expect("a map")
        };
        self.envelope(body, self.maintainers.len())
    }

    /// A registry record with the common keys only, signed by all maintainers.
    #[must_use]
    pub fn registered(&self, ty: &str, key: &[u8], seq: u64) -> Bytes {
        let body = |list| {
            cbor::to_vec(&Common {
                key,
                seq,
                list: &list,
                ty,
            })
        };
        self.envelope(body, self.maintainers.len())
    }
}

fn keys(of: &[Identity]) -> Vec<PublicKey> {
    of.iter().map(|i| *i.public()).collect()
}

/// Text as a label, an alias, a URI: what is accepted is in its one form.
pub fn fuzz_label(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok(alias) = Alias::parse(text) {
        assert_eq!(Alias::parse(alias.as_str()).as_ref(), Ok(&alias));
        assert_eq!(Alias::from_wire(alias.as_str()).as_ref(), Ok(&alias));
        assert_eq!(Alias::parse(&alias.to_unicode()).as_ref(), Ok(&alias));
        let look = Look::of(&alias);
        assert!(look.like_ascii.is_none() || !alias.to_unicode().is_ascii());
    }
    if let Ok(alias) = Alias::from_wire(text) {
        assert_eq!(alias.as_str(), text);
        let _ = (alias.to_unicode(), alias.check_forms());
    }
    if let Ok(uri) = text.parse::<Uri>() {
        assert_eq!(uri.to_string().parse::<Uri>().as_ref(), Ok(&uri));
    }
}

/// Bytes as each record and message: what is read and written again reads the same.
pub fn fuzz_record(data: &[u8]) {
    match Entry::from_bytes(data) {
        Ok(Entry::Alias(finalized)) => {
            let again = Entry::from_bytes(&finalized.to_bytes());
            assert_eq!(again, Ok(Entry::Alias(finalized.clone())));
            let _ = finalized.is_signed_by_its_nodes();
        }
        Ok(Entry::Rotation(rotation)) => {
            let again = Entry::from_bytes(&rotation.to_bytes());
            assert!(matches!(again, Ok(Entry::Rotation(again)) if again.seq() == rotation.seq()));
        }
        Ok(Entry::Registry(envelope)) => {
            let again = Entry::from_bytes(&envelope.to_bytes());
            assert_eq!(again, Ok(Entry::Registry(envelope)));
        }
        Err(_) => {}
    }
    if let Ok(proof) = Proof::from_bytes(data) {
        assert_eq!(Proof::from_bytes(&proof.to_bytes()).as_ref(), Ok(&proof));
        assert!(
            proof
                .verify(&[Network::new(3, 0).genesis().signers])
                .is_err()
        );
    }
    if let Ok(hello) = Hello::from_cbor(data) {
        assert_eq!(Hello::from_cbor(&hello.to_bytes()[4..]), Ok(hello));
    }
    if let Ok(ask) = Ask::from_cbor(data) {
        assert_eq!(Ask::from_cbor(&ask.to_bytes()[4..]), Ok(ask));
    }
    if let Ok(answer) = Answer::from_cbor(data) {
        assert_eq!(Answer::from_cbor(&answer.to_bytes()[4..]), Ok(answer));
    }
    if let Ok(memory) = Memory::from_bytes(data) {
        assert_eq!(Memory::from_bytes(&memory.to_bytes()), Ok(memory));
    }
    let genesis = Network::new(3, 0).genesis();
    if let Ok(ledger) = Ledger::from_snapshot(&genesis, data) {
        let again = ledger
            .snapshot()
            .map(|s| Ledger::from_snapshot(&genesis, &s).is_ok());
        assert_eq!(again, Ok(true));
    }
}

/// Drives two ledgers by steps of four bytes: records of every kind by few owners, heads, views that contradict each other. A ledger
/// that replays the records gives the same state, `seq` never falls, and a signer never contradicts itself.
///
/// # Panics
///
/// A law is broken.
pub fn fuzz_ledger(data: &[u8]) {
    let network = Network::new(3, 5);
    let mut ledger = network.ledger();
    let mut signer = Signer::new(identity(1), Memory::default());
    let mut signed: Vec<(Alias, u64, [u8; 32])> = Vec::new();
    let mut records: Vec<Bytes> = Vec::new();
    let mut now = T0;
    for step in data.chunks_exact(4).take(64) {
        let (what, a, b, c) = (step[0], step[1], step[2], step[3]);
        now += u64::from(c) * DAY / 8;
        let alias = ["a", "b", "c.d"][usize::from(a % 3)];
        let who = owner(u16::from(b % 3));
        let Ok(alias) = Alias::from_wire(alias) else {
            return;
        };
        let last = ledger.last_seq(&alias);
        let seq = (last + u64::from(a / 3 % 4)).saturating_sub(1);
        let by: &[usize] = [&[0, 1][..], &[1, 2], &[0, 2], &[0]][usize::from(b / 3 % 4)];
        let mut record = match what % 2 {
            0 => AliasRecord::bind(alias.clone(), &who, seq, now),
            _ => AliasRecord::retire(alias.clone(), &who, seq, now),
        };
        if what & 64 != 0 {
            record = record.moved_by(&owner(u16::from(a % 3)));
        }
        let candidate = Finalized::new(record.clone(), who.public());
        if let Ok(pending) = signer.sign_record(now, &ledger, &candidate) {
            let mut memory = Memory::default();
            assert_eq!(memory.learn(pending.change()), Ok(()));
            let _ = pending.stored();
            let digest = candidate.digest();
            let rival = |(other, at, known): &(Alias, u64, [u8; 32])| {
                *other == alias && *at == seq && *known != digest
            };
            assert!(!signed.iter().any(rival), "signed two records of one seq");
            signed.push((alias.clone(), seq, digest));
        }
        let bytes = match what / 2 % 5 {
            0..=2 => network.finalized(record, who.public(), by),
            3 => network.registered("Test", &[a % 2], u64::from(b % 4)),
            _ => network.rotation(&[1, 2, 3 + u16::from(b % 2)], u64::from(a % 3), by),
        };
        let before = (ledger.size(), ledger.fingerprint());
        match ledger.apply(now, bytes.clone()) {
            Ok((index, _)) => assert_eq!(index, before.0),
            Err(crate::Reject::RotationConflict) => {}
            Err(_) => assert_eq!((ledger.size(), ledger.fingerprint()), before),
        }
        assert!(ledger.last_seq(&alias) >= last || ledger.size() < before.0);
        if what & 32 != 0
            && let Some(head) = ledger.next_head(now)
        {
            let waiting: Vec<Bytes> = ledger.waiting().cloned().collect();
            if ledger.accept(network.sign(head, by)).is_ok() {
                records.extend(waiting);
            }
        }
        if what & 128 != 0 && c == 7 {
            let mut other = ledger.next_head(now).unwrap_or(Head {
                ts: now,
                set: [0; 32],
                root: [1; 32],
                size: u64::from(b),
                state: None,
            });
            other.root[0] ^= 1;
            let _ = ledger.accept(network.sign(other, by));
        }
    }
    ledger.drop_waiting();
    assert_eq!(records.len() as u64, ledger.final_size());
    replayed(&network, &ledger, &records);
}

/// Replays final records, and compares the state.
///
/// # Panics
///
/// The states differ.
#[allow(clippy::expect_used, reason = "a test has nothing else to say")]
pub fn replayed(network: &Network, ledger: &Ledger, records: &[Bytes]) {
    let mut again = network.ledger();
    let signers = network.genesis().signers;
    for head in heads(ledger) {
        let from = usize::try_from(again.size()).unwrap_or(usize::MAX);
        let to = usize::try_from(head.head().size).unwrap_or(usize::MAX);
        let part = records.get(from..to).unwrap_or_default();
        let verify = |bytes: &Bytes| Verified::new(bytes.clone(), &signers);
        let part: Vec<Verified> = part.iter().map(verify).collect();
        let all = again.extend(&part, &head, &Default::default());
        assert!(all.is_ok(), "{all:?}");
    }
    let parts = |ledger: &Ledger| ledger.snapshot().expect("nothing waits");
    if ledger.split().is_none() && ledger.rival_rotations().is_empty() {
        assert!(parts(&again) == parts(ledger), "replay gives another state");
    }
    let read = Ledger::from_snapshot(&network.genesis(), &parts(ledger)).expect("a snapshot");
    assert!(parts(&read) == parts(ledger), "a snapshot is another state");
    assert_eq!(read.fingerprint(), ledger.fingerprint());
}

/// The heads by which another node comes to a ledger's state.
fn heads(ledger: &Ledger) -> Vec<SignedHead> {
    let mut heads: Vec<SignedHead> = Vec::new();
    let mut size = 0;
    while let Some(head) = ledger.head_for(size) {
        if heads
            .last()
            .is_some_and(|last| last.head().size >= head.head().size)
        {
            break;
        }
        size = head.head().size;
        heads.push(head.clone());
    }
    heads
}
