//! Tests of a state folder from the view of its holder and of other processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use betanet_store::{
    Damage, Error, Kind, MemoryStorage, SharedFolder, State, Storage, entry_name, load_or_move,
    tighten,
};

const KIND: Kind = Kind::new("test", 2);
const JOURNAL: Kind = Kind::new("notes", 1);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Checks that hold for each implementation of [`Storage`].
fn conforms(storage: &dyn Storage) {
    assert!(storage.load(KIND, "a").unwrap().is_none());
    storage.replace(KIND, "a", b"one").unwrap();
    storage.replace(KIND, "a", b"two").unwrap();
    let loaded = storage.load(KIND, "a").unwrap().unwrap();
    assert_eq!((loaded.version, &loaded.bytes[..]), (2, &b"two"[..]));
    assert!(storage.records(JOURNAL, "j").unwrap().is_empty());
    for n in 0..5_u8 {
        storage
            .append(JOURNAL, "j", &vec![n; usize::from(n)])
            .unwrap();
    }
    let records = storage.records(JOURNAL, "j").unwrap();
    assert_eq!(records.len(), 5);
    assert!((0..5_u8).all(|n| records[usize::from(n)][..] == vec![n; usize::from(n)]));
    // A kind is not read as another kind, nor a value as a journal.
    for wrong in [
        storage.load(JOURNAL, "a").err(),
        storage.load(JOURNAL, "j").err(),
        storage.records(KIND, "a").err(),
        storage.append(KIND, "j", b"").err(),
    ] {
        assert!(matches!(wrong, Some(Error::WrongKind { .. })), "{wrong:?}");
    }
    for name in ["", ".a", "../a", "a/b", "lock", "a b", &"n".repeat(97)] {
        assert!(matches!(storage.load(KIND, name), Err(Error::Name)));
        assert!(matches!(storage.replace(KIND, name, b""), Err(Error::Name)));
    }
    assert!(storage.remove("a").unwrap() && !storage.remove("a").unwrap());
    assert!(storage.load(KIND, "a").unwrap().is_none());
    assert!(storage.remove("j").unwrap());
    storage.append(JOURNAL, "j", b"anew").unwrap();
    assert_eq!(storage.records(JOURNAL, "j").unwrap().len(), 1);
}

#[test]
fn both_storages_keep_what_they_are_given() {
    let home = tempfile::tempdir().unwrap();
    conforms(&State::open(&home.path().join("new/folder")).unwrap());
    conforms(&MemoryStorage::default());
}

#[test]
fn a_folder_is_its_owners_and_one_process_holds_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("state");
    let state = State::open(&folder).unwrap();
    state.replace(KIND, "a", b"x").unwrap();
    assert_eq!((mode(&folder), mode(&folder.join("a"))), (0o700, 0o600));
    let held = State::open(&folder).unwrap_err();
    let told = held.to_string();
    assert!(matches!(held, Error::Held { pid: Some(p), .. } if p == std::process::id()));
    assert!(told.contains("state") && told.contains("--state"), "{told}");
    let waited = State::open_within(&folder, Duration::from_millis(20));
    assert!(matches!(waited, Err(Error::Held { .. })));
    state.close();
    assert!(matches!(state.load(KIND, "a"), Err(Error::Closed { .. })));
    assert!(matches!(
        state.replace(KIND, "a", b"y"),
        Err(Error::Closed { .. })
    ));
    let next = State::open(&folder).unwrap();
    assert_eq!(&next.load(KIND, "a").unwrap().unwrap().bytes[..], b"x");
    let waiting = std::thread::scope(|all| {
        let waiting = all.spawn(|| State::open_within(&folder, Duration::from_secs(20)));
        drop(next);
        waiting.join().unwrap()
    });
    drop(waiting.unwrap());
}

#[test]
fn a_folder_that_others_use_is_refused_and_one_in_use_is_tightened() {
    let home = tempfile::tempdir().unwrap();
    let open = |folder: &Path| fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    open(home.path());
    fs::write(home.path().join("letter"), "dear").unwrap();
    let refused = State::open(home.path()).unwrap_err();
    assert!(matches!(refused, Error::Open { .. }), "{refused}");
    assert_eq!(mode(home.path()), 0o755);
    tighten(home.path()).unwrap();
    drop(State::open(home.path()).unwrap());
    open(home.path());
    drop(State::open(home.path()).unwrap());
    assert_eq!(mode(home.path()), 0o700);
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    open(&empty);
    drop(State::open(&empty).unwrap());
    assert_eq!(mode(&empty), 0o700);
    tighten(&home.path().join("nowhere")).unwrap();
}

#[test]
fn damage_is_told_and_the_file_is_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let state = State::open(home.path()).unwrap();
    let file = home.path().join("a");
    state.replace(KIND, "a", b"content").unwrap();
    let good = fs::read(&file).unwrap();
    let cut = &good[..good.len() - 1];
    let longer = [&good[..], b"x"].concat();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (bad, why) in [
        (cut, Damage::Length),
        (&longer, Damage::Length),
        (&flipped, Damage::Checksum),
        (b"", Damage::Header),
        (b"content", Damage::Header),
    ] {
        fs::write(&file, bad).unwrap();
        let told = state.load(KIND, "a").unwrap_err();
        assert!(
            matches!(told, Error::Damaged { why: w, .. } if w == why),
            "{told}"
        );
        assert!(told.to_string().starts_with(file.to_str().unwrap()));
        assert_eq!(fs::read(&file).unwrap(), bad);
    }
    drop(state);
    let state = State::open(home.path()).unwrap();
    let old = Kind::new("test", 1);
    state.replace(KIND, "a", b"of a later version").unwrap();
    let told = state.load(old, "a").unwrap_err();
    assert!(
        matches!(
            told,
            Error::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{told}"
    );
    state.replace(old, "a", b"older").unwrap();
    assert_eq!(state.load(KIND, "a").unwrap().unwrap().version, 1);
}

#[test]
fn a_record_that_was_cut_short_is_dropped_and_the_next_one_follows_the_whole_ones() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("j");
    let append = |record: &[u8]| {
        State::open(home.path())
            .unwrap()
            .append(JOURNAL, "j", record)
    };
    let records = || State::open(home.path()).unwrap().records(JOURNAL, "j");
    append(b"first").unwrap();
    append(b"second").unwrap();
    let good = fs::read(&file).unwrap();
    fs::write(&file, &good[..good.len() - 3]).unwrap();
    assert_eq!(records().unwrap().len(), 1);
    append(b"third").unwrap();
    let read = records().unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(&read[1][..], b"third");
    let mut bad = fs::read(&file).unwrap();
    let first = bad.len() - (16 + 5) - 1;
    bad[first] ^= 1;
    fs::write(&file, &bad).unwrap();
    for told in [records().err(), append(b"fourth").err()] {
        assert!(matches!(
            told,
            Some(Error::Damaged {
                why: Damage::Record,
                ..
            })
        ));
    }
    assert_eq!(fs::read(&file).unwrap(), bad);
}

#[test]
fn old_places_are_read_once_and_moved() {
    let home = tempfile::tempdir().unwrap();
    let state = State::open(&home.path().join("state")).unwrap();
    let old = home.path().join("node.mesh");
    let read = |bytes: &[u8]| (bytes != b"nonsense").then(|| [b"new ", bytes].concat());
    let load = |old: &Path, name| load_or_move(&state, (KIND, name), old, read);
    assert!(load(&old, "mesh").unwrap().is_none());
    fs::write(&old, "nonsense").unwrap();
    let told = load(&old, "mesh").unwrap_err();
    assert!(told.to_string().contains("node.mesh"), "{told}");
    assert!(old.exists(), "it is left as it is");
    fs::write(&old, "form").unwrap();
    assert_eq!(&load(&old, "mesh").unwrap().unwrap().bytes[..], b"new form");
    assert!(!old.exists());
    // A file that an older program writes there afterwards is ignored.
    fs::write(&old, "other").unwrap();
    assert_eq!(&load(&old, "mesh").unwrap().unwrap().bytes[..], b"new form");
    // The old file has the entry's own name.
    let same = state.folder().join("guard");
    fs::write(&same, "form").unwrap();
    assert_eq!(
        &load(&same, "guard").unwrap().unwrap().bytes[..],
        b"new form"
    );
    assert_eq!(
        &load(&same, "guard").unwrap().unwrap().bytes[..],
        b"new form"
    );
    assert!(
        fs::read(&same)
            .unwrap()
            .starts_with(b"betanet-state 1 test 2 8 ")
    );
}

#[test]
fn processes_take_turns_in_a_shared_folder() {
    let home = tempfile::tempdir().unwrap();
    let shared = SharedFolder::new(home.path().join("shared"));
    assert!(shared.load(KIND, "n").unwrap().is_none());
    assert!(!shared.folder().exists(), "a look makes nothing");
    let add = || {
        shared.hold(|state| {
            let n = state.load(KIND, "n")?.map_or(0, |n| n.bytes[0]);
            state.replace(KIND, "n", &[n + 1])
        })
    };
    std::thread::scope(|all| {
        for _ in 0..8 {
            all.spawn(|| (0..5).for_each(|_| add().unwrap()));
        }
    });
    assert_eq!(shared.load(KIND, "n").unwrap().unwrap().bytes[0], 40);
    let old = home.path().join("old");
    fs::write(&old, "x").unwrap();
    let read = |bytes: &[u8]| Some(bytes.to_vec());
    let moved = shared.load_or_move((KIND, "moved"), &old, read).unwrap();
    assert_eq!(&moved.unwrap().bytes[..], b"x");
    assert!(!old.exists() && shared.load(KIND, "moved").unwrap().is_some());
}

#[test]
fn no_two_texts_have_one_name() {
    let names = ["a:1", "a_1", "quic:a:1", &"x".repeat(300), &"x".repeat(301)]
        .map(|text| entry_name("template", text));
    let state = MemoryStorage::default();
    for name in &names {
        state.replace(KIND, name, b"").unwrap();
    }
    let all: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(all.len(), 5);
}
