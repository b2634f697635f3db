//! The audit log: a record of each decision, each a leaf of a Merkle log, and its verification offline.
//!
//! Whoever holds the log can change it, but not the heads that others kept. [`verify`] replays the records and finds every edit,
//! deletion, insertion and cut tail before the newest kept head. Nothing vouches for records after that head.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use betanet_keys::{Identity, PublicKey};
use betanet_log::{Edge, Hash, leaf_hash};
use betanet_wire::text::{base64url, unbase64url};
use betanet_wire::{cbor, message};

use crate::words::words;
use crate::{Error, Kind};

/// Longest encoded record.
pub const RECORD_MAX: usize = 4096;
/// Longest text of a record's field.
pub const FIELD_MAX: usize = 512;
/// Label of a head's signature.
const LABEL: &str = "BN-AUDIT-HEAD";
const HEAD_PREFIX: &str = "bnah1";

words! {
    /// Outcome of an action.
    pub enum Verdict {
        /// It was done, or read.
        Done = "done",
        /// It was refused: not logged in, not allowed, too often.
        Denied = "denied",
        /// It was allowed and failed.
        Failed = "failed",
        /// It was allowed, and is about to be done. A second record of the same request has its outcome.
        Begun = "begun",
    }
}

impl Verdict {
    /// The verdict of a result.
    #[must_use]
    pub const fn of(result: &Result<(), Error>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(e) => match e.kind() {
                Kind::LogIn | Kind::Refused | Kind::NotNow => Self::Denied,
                Kind::Request | Kind::State | Kind::Bug => Self::Failed,
            },
        }
    }
}

message! {
    /// A record of the audit log. Texts that clients chose are kept as they are: whoever shows them escapes them.
    pub struct Record {
        /// Time, in UNIX milliseconds.
        req "at" at: u64,
        /// Place in the log; the first is 0.
        req "seq" seq: u64,
        /// Account, key or address that acted.
        req "actor" actor: String,
        /// Digest of the target after the action; `None` if there is no such state.
        opt "after" after: Hash,
        /// Action: the identifier of a route, or a name of the service.
        req "action" action: String,
        /// Digest of the target before the action; `None` if there is no such state.
        opt "before" before: Hash,
        /// Target, such as the ID of a task; empty for none.
        req "target" target: String,
        /// ID of the request, as its answer names it.
        req "request" request: [u8; 16],
        /// Outcome.
        req "verdict" verdict: Verdict,
    }
}

/// Content of a record, without its place.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Account, key or address that acted.
    pub actor: &'a str,
    /// Action: the identifier of a route, or a name of the service.
    pub action: &'a str,
    /// Target; empty for none.
    pub target: &'a str,
    /// Digest of the target before the action.
    pub before: Option<Hash>,
    /// Digest of the target after the action.
    pub after: Option<Hash>,
    /// Outcome.
    pub verdict: Verdict,
    /// ID of the request.
    pub request: [u8; 16],
}

impl Record {
    /// The record to store, which is the leaf too.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    /// Reads a stored record. Only the encoding that this crate writes is taken.
    ///
    /// # Errors
    ///
    /// [`Error::Form`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let range = Error::Form(cbor::Error::Range("a record of the audit log"));
        if bytes.len() > RECORD_MAX {
            return Err(range);
        }
        let record: Self = cbor::from_slice(bytes).map_err(Error::Form)?;
        let texts = [&record.actor, &record.action, &record.target];
        let short = texts.iter().all(|t| t.len() <= FIELD_MAX);
        // An unknown key would be hashed, but shown to nobody.
        match short && record.to_bytes() == bytes {
            true => Ok(record),
            false => Err(range),
        }
    }
}

/// Text of a field: its first 512 bytes, cut between characters.
fn field(text: &str) -> String {
    let mut end = text.len().min(FIELD_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

/// The writer's end of the log: its size and the roots of its complete subtrees.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trail {
    edge: Edge,
}

impl Trail {
    /// Replays a stored record, at the start.
    ///
    /// # Errors
    ///
    /// [`Error::Form`] for a record that does not decode or is out of place.
    pub fn replay(&mut self, bytes: &[u8]) -> Result<Record, Error> {
        let record = Record::from_bytes(bytes)?;
        if record.seq != self.edge.size() {
            return Err(Error::Form(cbor::Error::Range("the next record")));
        }
        self.edge.append(leaf_hash(bytes));
        Ok(record)
    }

    /// Appends a record. The caller stores the bytes in the transaction of the action itself, before the answer leaves. Longer texts
    /// than 512 bytes are cut.
    pub fn append(&mut self, now_ms: u64, entry: Entry<'_>) -> Vec<u8> {
        let bytes = Record {
            at: now_ms,
            seq: self.edge.size(),
            actor: field(entry.actor),
            after: entry.after,
            action: field(entry.action),
            before: entry.before,
            target: field(entry.target),
            request: entry.request,
            verdict: entry.verdict,
        }
        .to_bytes();
        self.edge.append(leaf_hash(&bytes));
        bytes
    }

    /// Number of records.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The head, for somebody to keep.
    #[must_use]
    pub fn head(&self, now_ms: u64) -> Head {
        Head {
            at: now_ms,
            root: self.edge.root(),
            size: self.edge.size(),
        }
    }
}

message! {
    /// State of the log at a time.
    #[derive(Copy)]
    pub struct Head {
        /// Time, in UNIX milliseconds.
        req "at" at: u64,
        /// Root of the records.
        req "root" root: Hash,
        /// Number of records.
        req "size" size: u64,
    }
}

message! {
    struct SignedForm<'a> {
        req "by" by: [u8; 32],
        req "sig" sig: [u8; 64],
        req "head" head: &'a [u8],
    }
}

/// A head with its server's signature, as people keep it: `bnah1` and base64url.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedHead {
    head: Head,
    by: [u8; 32],
    sig: [u8; 64],
}

impl SignedHead {
    /// Signs a head.
    #[must_use]
    pub fn new(head: Head, server: &Identity) -> Self {
        Self {
            sig: server.sign(LABEL, &[&cbor::to_vec(&head)]),
            by: *server.public().as_bytes(),
            head,
        }
    }

    /// Reads the text; `None` for another form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(HEAD_PREFIX).filter(|t| t.len() < 512)?;
        let bytes = unbase64url(rest)?;
        let form: SignedForm<'_> = cbor::from_slice(&bytes).ok()?;
        let this = Self {
            head: cbor::from_slice(form.head).ok()?,
            by: form.by,
            sig: form.sig,
        };
        (this.to_bytes() == bytes).then_some(this)
    }

    fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&SignedForm {
            by: self.by,
            sig: self.sig,
            head: &cbor::to_vec(&self.head),
        })
    }

    /// The head, if this server signed it. A signature shows others that the server said it; a head that its owner kept needs none.
    #[must_use]
    pub fn check(&self, server: &PublicKey) -> Option<Head> {
        let text = cbor::to_vec(&self.head);
        let own = self.by == *server.as_bytes();
        (own && server.verify(LABEL, &[&text], &self.sig).is_ok()).then_some(self.head)
    }

    /// The head, signed by whomever.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEAD_PREFIX}{}", base64url(&self.to_bytes()))
    }
}

/// Fault of a log, the first that a replay meets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A record does not decode.
    #[error("record {seq} does not decode")]
    Damaged {
        /// Its place.
        seq: u64,
    },
    /// A record of another place: some were deleted, inserted or moved.
    #[error("at place {place} stands record {found}: some were deleted, inserted or moved")]
    Place {
        /// The place.
        place: u64,
        /// The number in the record.
        found: u64,
    },
    /// The records differ from those of a kept head.
    #[error("the first {size} records are not those of the kept head; the {sound} before them are")]
    Changed {
        /// Size of the kept head.
        size: u64,
        /// Size of the newest older head that agrees; 0 if none does.
        sound: u64,
    },
    /// The log is shorter than a kept head.
    #[error("{found} records, where the kept head has {size}: the tail was cut")]
    Cut {
        /// Number of records.
        found: u64,
        /// Size of the kept head.
        size: u64,
    },
}

/// Result of a verification without a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verified {
    /// The log's head; its time is that of the last record.
    pub head: Head,
    /// Number of records that a kept head vouches for.
    pub vouched: u64,
}

/// Replays a log against heads that somebody kept, in any order. It holds no more than one record and the right edge of the tree.
///
/// # Errors
///
/// [`Fault`].
pub fn verify<B: AsRef<[u8]>>(
    records: impl IntoIterator<Item = B>,
    kept: &[Head],
) -> Result<Verified, Fault> {
    let mut kept: Vec<&Head> = kept.iter().collect();
    kept.sort_unstable_by_key(|h| h.size);
    let mut kept = kept.into_iter().peekable();
    let (mut trail, mut sound, mut at) = (Trail::default(), 0, 0);
    let mut records = records.into_iter();
    loop {
        let size = trail.size();
        while let Some(head) = kept.next_if(|h| h.size <= size) {
            if head.root != trail.edge.root() {
                return Err(Fault::Changed { size, sound });
            }
            sound = size;
        }
        let Some(bytes) = records.next() else { break };
        let bytes = bytes.as_ref();
        let record = Record::from_bytes(bytes).map_err(|_| Fault::Damaged { seq: size })?;
        if record.seq != size {
            let (place, found) = (size, record.seq);
            return Err(Fault::Place { place, found });
        }
        at = record.at;
        trail.edge.append(leaf_hash(bytes));
    }
    match kept.next_back() {
        Some(head) => Err(Fault::Cut {
            found: trail.size(),
            size: head.size,
        }),
        None => Ok(Verified {
            head: trail.head(at),
            vouched: sound,
        }),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;
    use alloc::vec;

    use betanet_log::{Log, Memory, verify_inclusion};
    use betanet_machine::{Rng, Seed};
    use proptest::prelude::*;

    use super::*;

    fn entry(n: u64) -> Entry<'static> {
        let digest = |n: u64| Some([u8::try_from(n % 251).unwrap(); 32]);
        Entry {
            actor: ["amelie", "key:abc", "192.0.2.7"][usize::try_from(n % 3).unwrap()],
            action: ["submitTask", "readAudit", "logIn"][usize::try_from(n % 3).unwrap()],
            target: if n.is_multiple_of(2) { "task/1" } else { "" },
            before: digest(n).filter(|_| !n.is_multiple_of(3)),
            after: digest(n + 1).filter(|_| !n.is_multiple_of(5)),
            verdict: Verdict::ALL[usize::try_from(n % 3).unwrap()],
            request: u128::from(n).to_be_bytes(),
        }
    }

    fn log(n: u64) -> (Trail, Vec<Vec<u8>>) {
        let mut trail = Trail::default();
        let records = (0..n).map(|i| trail.append(1_000 + i, entry(i)));
        let records = records.collect();
        (trail, records)
    }

    #[test]
    fn an_unchanged_log_is_verified_and_goes_on() {
        let (mut trail, mut records) = log(100);
        let early = trail.head(5_000);
        for n in 100..150 {
            records.push(trail.append(1_000 + n, entry(n)));
        }
        let late = trail.head(1_149);
        let verified = verify(&records, &[late, early]).unwrap();
        assert_eq!((verified.head, verified.vouched), (late, 150));
        assert_eq!(verify(&records, &[early]).unwrap().vouched, 100);
        assert_eq!(verify(&records, &[]).unwrap().vouched, 0);
        let mut again = Trail::default();
        for bytes in &records {
            again.replay(bytes).unwrap();
        }
        assert_eq!(again, trail);
        assert!(again.replay(&records[3]).is_err());
        let none: [&[u8]; 0] = [];
        assert_eq!(
            verify(none, &[Trail::default().head(0)]).unwrap().vouched,
            0
        );
    }

    #[test]
    fn a_fault_is_named() {
        let (trail, records) = log(20);
        let head = trail.head(0);
        assert_eq!(
            verify(&records[..19], &[head]),
            Err(Fault::Cut {
                found: 19,
                size: 20
            })
        );
        let mut gap = records.clone();
        gap.remove(7);
        assert_eq!(
            verify(&gap, &[head]),
            Err(Fault::Place { place: 7, found: 8 })
        );
        let mut edited = records.clone();
        let mut record = Record::from_bytes(&edited[7]).unwrap();
        record.verdict = Verdict::Done;
        edited[7] = record.to_bytes();
        let half = log(10).0.head(0);
        let five = log(5).0.head(0);
        let changed = |size, sound| Err(Fault::Changed { size, sound });
        assert_eq!(verify(&edited, &[head]), changed(20, 0));
        assert_eq!(verify(&edited, &[head, half, five]), changed(10, 5));
        edited[7].push(0);
        assert_eq!(verify(&edited, &[head]), Err(Fault::Damaged { seq: 7 }));
        // A log that was made anew, whole and well-formed.
        let mut other = Trail::default();
        let other: Vec<_> = (0..20).map(|i| other.append(1_001 + i, entry(i))).collect();
        assert_eq!(verify(&other, &[head]), changed(20, 0));
    }

    #[test]
    fn a_record_is_a_leaf_with_a_proof() {
        let (trail, records) = log(33);
        let mut log = Log::new(Memory::default());
        for bytes in &records {
            log.append(bytes).unwrap();
        }
        assert_eq!(log.root(), trail.head(0).root);
        let proof = log.inclusion(7, 33).unwrap();
        let leaf = leaf_hash(&records[7]);
        assert!(verify_inclusion(&leaf, 7, 33, &proof, &trail.head(0).root));
    }

    #[test]
    fn a_record_is_bounded_whatever_a_client_sends() {
        let mut trail = Trail::default();
        let long = "é<b>".repeat(10_000);
        let wild = Entry {
            actor: &long,
            action: &long,
            target: &long,
            ..entry(1)
        };
        let bytes = trail.append(u64::MAX, wild);
        assert!(bytes.len() < RECORD_MAX);
        let record = Record::from_bytes(&bytes).unwrap();
        assert!(record.actor.len() <= FIELD_MAX && long.starts_with(&record.actor));
        let mut more = record.clone();
        more.target = "x".repeat(FIELD_MAX + 1);
        assert!(Record::from_bytes(&more.to_bytes()).is_err());
        assert!(Record::from_bytes(&vec![0; RECORD_MAX + 1]).is_err());
        // A key that nobody would be shown.
        let mut hidden = bytes.clone();
        hidden[0] += 1;
        hidden.extend_from_slice(&cbor::to_vec("zzzzzzzz"));
        hidden.push(0);
        assert!(cbor::from_slice::<Record>(&hidden).is_ok());
        assert!(Record::from_bytes(&hidden).is_err());
    }

    #[test]
    fn a_signed_head_is_its_servers() {
        let server = Identity::from_seed(&[1; 32]);
        let head = log(9).0.head(77);
        let signed = SignedHead::new(head, &server);
        let text = signed.to_string();
        let read = SignedHead::from_text(&text).unwrap();
        assert_eq!(read.check(server.public()), Some(head));
        assert_eq!(read.head(), &head);
        let other = Identity::from_seed(&[2; 32]);
        assert_eq!(read.check(other.public()), None);
        let mut forged = read.clone();
        forged.head.size = 8;
        let forged = SignedHead::from_text(&forged.to_string()).unwrap();
        assert_eq!(forged.check(server.public()), None);
        for bad in [
            "",
            "bnah1",
            &text[1..],
            &text[..text.len() - 1],
            &"bnah1A".repeat(200),
        ] {
            assert_eq!(SignedHead::from_text(bad), None);
        }
    }

    #[test]
    fn a_refusal_is_a_denial_and_a_full_table_is_a_failure() {
        assert_eq!(Verdict::of(&Ok(())), Verdict::Done);
        for e in [
            Error::Credentials,
            Error::Denied,
            Error::Wait(1),
            Error::Reused,
        ] {
            assert_eq!(Verdict::of(&Err(e)), Verdict::Denied);
        }
        for e in [Error::Full(1), Error::Bug, Error::Exists, Error::Name] {
            assert_eq!(Verdict::of(&Err(e)), Verdict::Failed);
        }
    }

    /// What an attacker with the log does to it.
    fn tamper(records: &mut Vec<Vec<u8>>, what: u8, at: usize, rng: &mut Rng) {
        let length = records[at].len() as u64;
        let byte = usize::try_from(rng.below(length)).unwrap();
        let other = usize::try_from(rng.below(records.len() as u64)).unwrap();
        let renumber = |records: &mut Vec<Vec<u8>>| {
            for (i, bytes) in records.iter_mut().enumerate() {
                let mut record = Record::from_bytes(bytes).unwrap();
                record.seq = i as u64;
                *bytes = record.to_bytes();
            }
        };
        match what {
            // A bit of a record.
            0 => records[at][byte] ^= 1 << rng.below(8),
            // A field of a record, well encoded.
            1 => {
                let mut record = Record::from_bytes(&records[at]).unwrap();
                match rng.below(6) {
                    0 => record.at ^= 1,
                    1 => record.actor.push('x'),
                    2 => record.target = "task/2".into(),
                    3 => record.after = Some(rng.array()),
                    4 => record.request[3] ^= 1,
                    _ => {
                        let verdicts = [Verdict::Denied, Verdict::Failed, Verdict::Done];
                        let next = verdicts.iter().find(|v| **v != record.verdict);
                        record.verdict = *next.unwrap();
                    }
                }
                records[at] = record.to_bytes();
            }
            // A record less.
            2 => drop(records.remove(at)),
            // A record less, and the others renumbered.
            3 => {
                records.remove(at);
                renumber(records);
            }
            // The tail.
            4 => records.truncate(at),
            // A record more, renumbered.
            5 => {
                let copy = records[other].clone();
                records.insert(at, copy);
                renumber(records);
            }
            // Two that change places, renumbered.
            6 => {
                records.swap(at, other);
                renumber(records);
            }
            // A byte more or less.
            _ => match rng.below(2) {
                0 => records[at].push(0),
                _ => drop(records[at].pop()),
            },
        }
    }

    #[test]
    fn a_thousand_random_changes_are_all_found() {
        let mut rng = Rng::new(&Seed::from_number(32));
        let mut found = [0_u32; 8];
        let mut done = 0;
        while done < 1_000 {
            let n = 1 + rng.below(60);
            let (trail, records) = log(n);
            let head = trail.head(0);
            assert!(verify(&records, &[head]).is_ok());
            let mut changed = records.clone();
            let what = u8::try_from(rng.below(8)).unwrap();
            let at = usize::try_from(rng.below(n)).unwrap();
            tamper(&mut changed, what, at, &mut rng);
            // Records after the head are not what it vouches for.
            if changed.get(..records.len()) == Some(&records[..]) {
                continue;
            }
            done += 1;
            let verdict = verify(&changed, &[head]);
            assert!(verdict.is_err(), "{what} at {at} of {n}: {verdict:?}");
            found[usize::from(what)] += 1;
        }
        assert!(found.iter().all(|n| *n > 50), "{found:?}");
    }

    proptest! {
        /// Whatever is changed before a kept head is found, with whatever other heads.
        #[test]
        fn any_change_before_a_kept_head_is_found(
            n in 1_u64..80, more in 0_u64..20, what in 0_u8..8, place: prop::sample::Index, seed: u64,
        ) {
            let (mut trail, mut records) = log(n);
            let head = trail.head(0);
            let before = records.clone();
            let mut rng = Rng::new(&Seed::from_number(seed));
            for i in n..n + more {
                records.push(trail.append(1_000 + i, entry(i)));
            }
            let at = place.index(before.len());
            tamper(&mut records, what, at, &mut rng);
            let same = records.get(..before.len()) == Some(&before[..]);
            prop_assert_eq!(verify(&records, &[head]).is_ok(), same);
        }
    }
}
