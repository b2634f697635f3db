use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::change::DEPTH_MAX;
use super::ledger::ENTRY;
use super::measure::{WRITE, measure};
use super::own::{OWN, headers_name};
use super::*;

const MANY: u64 = 1000;

fn kept() -> Headers {
    Headers::default().with("x-kept", "yes")
}

fn write(
    store: &mut FolderStore,
    path: &str,
    bytes: &[u8],
    headers: &Headers,
) -> Result<Commit, StoreError> {
    let mut writer = store.create()?;
    store.write(&mut writer, bytes)?;
    store.commit(writer, path, headers, &Expect::Anything)
}

fn put(store: &mut FolderStore, path: &str, bytes: &[u8]) -> Result<Commit, StoreError> {
    write(store, path, bytes, &kept())
}

fn remove(store: &mut FolderStore, path: &str) -> Result<bool, StoreError> {
    store.remove(path, &Expect::Anything)
}

/// Returns the charges of kept files and of writes in progress.
fn charged(store: &FolderStore) -> (Charge, Charge) {
    lock(&store.writes.as_ref().unwrap().ledger).total()
}

/// Returns the charge that a start measures.
fn found(dir: &Path) -> Charge {
    measure(&Folder::open(dir).unwrap().dir()).charge
}

/// Returns a store with a stopped clock, and the clock in milliseconds.
fn standing(dir: &Path, bytes: u64) -> (FolderStore, Arc<AtomicU64>) {
    let ms = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&ms);
    let elapsed = move || Duration::from_millis(clock.load(Ordering::Relaxed));
    let store = FolderStore::timed(dir, bytes, MANY, Box::new(elapsed)).unwrap();
    (store, ms)
}

#[test]
fn the_folder_for_writes_under_way_is_made_again_where_somebody_removed_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store =
        FolderStore::timed(dir.path(), 1 << 20, MANY, Box::new(|| Duration::ZERO)).unwrap();
    put(&mut store, "/a", b"one").unwrap();
    fs::remove_dir_all(dir.path().join(OWN)).unwrap();
    put(&mut store, "/b", b"two").unwrap();
    assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"two");
}

#[test]
fn writes_are_whole_charged_and_keep_their_headers() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("old.txt"), [0; 10]).unwrap();
    let side = ENTRY + cbor::to_vec(&kept()).len() as u64;
    // Room for the old file, a folder, one file of 20 bytes with headers, and half a file more.
    let quota = 10 + ENTRY + ENTRY + (20 + ENTRY + side) + ENTRY / 2;
    let (mut store, _) = standing(dir.path(), quota);
    assert!(put(&mut store, "/a/b.html", &[1; 20]).unwrap().created);
    assert_eq!(put(&mut store, "/c", &[]), Err(StoreError::Quota));
    let (meta, _) = store.open("/a/b.html").unwrap().unwrap();
    assert_eq!(meta.headers.text("x-kept"), Some("yes"));
    let html = "text/html; charset=utf-8";
    assert_eq!(meta.headers.text("content-type"), Some(html));
    assert_eq!(remove(&mut store, "/a/b.html"), Ok(true));
    assert_eq!(remove(&mut store, "/a/b.html"), Ok(false));
    assert!(!dir.path().join("a").exists(), "nobody could remove it");
    let left: Vec<_> = fs::read_dir(dir.path().join(OWN)).unwrap().collect();
    assert_eq!(left.len(), 0, "{left:?}");
    assert_eq!(charged(&store), (Charge::file(10), Charge::default()));
    // A file without headers of its own leaves none, and removes those of the file that it replaces.
    assert!(put(&mut store, "/c", &[1; 20]).is_ok());
    assert!(
        write(&mut store, "/c", &[2; 4096], &Headers::default()).is_err(),
        "both at once"
    );
    drop(store);
    let (mut store, _) = standing(dir.path(), quota + 2 * ENTRY);
    assert!(
        !write(&mut store, "/c", &[2; 20], &Headers::default())
            .unwrap()
            .created
    );
    let (meta, _) = store.open("/c").unwrap().unwrap();
    assert_eq!(meta.headers.text("x-kept"), None);
    let mode = fs::metadata(dir.path().join("c"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn a_write_that_replaces_is_charged_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    // Room for one file of 60 000 bytes with headers, and for no second one.
    let (mut store, _) = standing(dir.path(), 80_000);
    put(&mut store, "/a", &[1; 60_000]).unwrap();
    assert_eq!(put(&mut store, "/b", &[2; 60_000]), Err(StoreError::Quota));
    let mut first = store.replace("/a").unwrap();
    store.write(&mut first, &[3; 60_000]).unwrap();
    // Of a second write at a time, the disk would hold a third copy.
    let second = store.replace("/a").unwrap();
    let (kept_before, _) = charged(&store);
    let mut second = second;
    assert_eq!(
        store.write(&mut second, &[4; 60_000]),
        Err(StoreError::Quota)
    );
    drop(second);
    let done = store.commit(first, "/a", &kept(), &Expect::Anything);
    assert!(!done.unwrap().created);
    assert_eq!(charged(&store), (kept_before, Charge::default()));
    assert_eq!(charged(&store).0, found(dir.path()));
    // The credit has ended: the file that is there now has its own, and no other path has any.
    assert_eq!(put(&mut store, "/b", &[2; 60_000]), Err(StoreError::Quota));
    for (len, fits) in [(60_000, true), (70_000, true), (80_000, false)] {
        let mut writer = store.replace("/a").unwrap();
        let written = store.write(&mut writer, &vec![5; len]);
        let done = written.and_then(|()| {
            let any = Expect::Anything;
            store.commit(writer, "/a", &kept(), &any)
        });
        assert_eq!(done.is_ok(), fits, "{len}");
        assert_eq!(charged(&store), (found(dir.path()), Charge::default()));
    }
    // A credit for a file that somebody removes meanwhile makes no room for another path.
    let mut late = store.replace("/a").unwrap();
    store.write(&mut late, &[6; 70_000]).unwrap();
    assert!(put(&mut store, "/c", &[7; 20_000]).is_err());
    let done = store.commit(late, "/other", &kept(), &Expect::Anything);
    assert_eq!(done, Err(StoreError::Quota));
    assert_eq!(charged(&store), (found(dir.path()), Charge::default()));
}

#[test]
fn little_bytes_do_not_make_many_files() {
    let dir = tempfile::tempdir().unwrap();
    // Ninety files with long headers and paths of many folders, with a quota of 1 000 bytes.
    let (mut store, _) = standing(dir.path(), 1000);
    let long = Headers::default().with("x-long", "y".repeat(60_000).as_str());
    for n in 0..90 {
        assert!(write(&mut store, &format!("/{n}"), b"", &long).is_err());
    }
    assert_eq!(put(&mut store, "/a/b/c/d", b""), Err(StoreError::Quota));
    assert_eq!(found(dir.path()), Charge::default());
    // With room for the file alone, neither headers nor folders fit.
    let (mut store, _) = standing(dir.path(), ENTRY + 100);
    assert_eq!(write(&mut store, "/f", b"", &long), Err(StoreError::Quota));
    assert_eq!(
        write(&mut store, "/a/f", b"", &Headers::default()),
        Err(StoreError::Quota)
    );
    assert!(write(&mut store, "/f", b"", &Headers::default()).is_ok());
    drop(store);
    // Many files do not fit either, although there are enough bytes.
    fs::remove_file(dir.path().join("f")).unwrap();
    let mut store = FolderStore::writable(dir.path(), u64::MAX, 5).unwrap();
    let refused = (0..10).filter(|n| put(&mut store, &format!("/{n}"), b"").is_err());
    assert_eq!(refused.count(), 8, "each is two: itself and its headers");
    let writers: Vec<_> = (0..10).map_while(|_| store.create().ok()).collect();
    assert_eq!(writers.len(), 1, "writes under way count");
}

#[test]
fn names_that_cannot_be_read_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = standing(dir.path(), u64::MAX);
    let long = format!("/{}", "x".repeat(256));
    let deep = "/a".repeat(DEPTH_MAX + 1);
    for path in [
        "/\\x", "/a\\b/c", "/a\0", "/.a", "/a/../b", "//a", "/a/", "/", "a", "/a\n", "/\u{7f}",
        &long, &deep,
    ] {
        assert_eq!(
            put(&mut store, path, b"x"),
            Err(StoreError::Path),
            "{path:?}"
        );
        assert_eq!(remove(&mut store, path), Ok(false), "{path:?}");
        assert!(store.open(path).unwrap().is_none(), "{path:?}");
    }
    assert_eq!(charged(&store), (Charge::default(), Charge::default()));
    assert_eq!(found(dir.path()), Charge::default());
    let deepest = "/a".repeat(DEPTH_MAX);
    put(&mut store, &deepest, b"x").unwrap();
    assert_eq!(remove(&mut store, &deepest), Ok(true));
}

#[test]
fn a_folder_however_deep_prevents_no_start() {
    let dir = tempfile::tempdir().unwrap();
    // Create it one step at a time, as `mkdir -p` does: the whole path is longer than the kernel accepts.
    let mut at = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).unwrap();
    let name = "d".repeat(30);
    for _ in 0..2000 {
        at.create_dir(&name).unwrap();
        at = at.open_dir(&name).unwrap();
    }
    at.write("file", b"12345").unwrap();
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let few = rustix::process::Rlimit {
        current: Some(64),
        ..limits
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    let store = FolderStore::writable(dir.path(), u64::MAX, u64::MAX);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limits).unwrap();
    // The tests' cleanup opens a folder within the other.
    let gone = std::process::Command::new("rm")
        .arg("-rf")
        .arg(dir.path())
        .status();
    assert!(gone.unwrap().success());
    let want = Charge::folders(2000).plus(Charge::file(5));
    assert_eq!(charged(&store.unwrap()).0, want);
}

#[test]
fn nothing_outside_is_read_or_written() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(outer.path().join("secret"), b"secret").unwrap();
    fs::create_dir(outer.path().join("beside")).unwrap();
    symlink(outer.path().join("secret"), root.join("absolute")).unwrap();
    symlink("../secret", root.join("relative")).unwrap();
    symlink("../beside", root.join("folder")).unwrap();
    fs::write(root.join("real"), b"real").unwrap();
    symlink("real", root.join("within")).unwrap();
    let (mut store, _) = standing(&root, u64::MAX);
    for path in [
        "/absolute",
        "/relative",
        "/../secret",
        "/.betanet/x",
        "/folder/x",
        "//real",
    ] {
        assert!(store.open(path).unwrap().is_none(), "{path}");
    }
    let within = store.open("/within").unwrap();
    assert!(within.is_some(), "a link that stays within");
    for path in ["/folder/x", "/../x", "/.betanet/x", "/x/", "/", "/real/x"] {
        assert!(put(&mut store, path, b"x").is_err(), "{path}");
    }
    assert!(
        fs::read_dir(outer.path().join("beside"))
            .unwrap()
            .next()
            .is_none()
    );
    assert_eq!(fs::read(outer.path().join("secret")).unwrap(), b"secret");
    assert_eq!(charged(&store).0, found(&root));
    // A link is charged itself.
    put(&mut store, "/within", b"longer than the link").unwrap();
    assert_eq!(charged(&store).0, found(&root));
    assert_eq!(fs::read(root.join("real")).unwrap(), b"real");
}

#[test]
fn what_an_operator_put_there_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink("fifo", dir.path().join("link")).unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    let (mut store, _) = standing(dir.path(), u64::MAX);
    for path in ["/fifo", "/link", "/folder"] {
        // Twice: the first reader of a FIFO would wait for a writer, and the second one for the lock.
        for _ in 0..2 {
            assert!(store.open(path).unwrap().is_none(), "{path}");
            assert_eq!(put(&mut store, path, b"x"), Err(StoreError::Path), "{path}");
            assert_eq!(remove(&mut store, path), Ok(false), "{path}");
        }
    }
    assert_eq!(charged(&store), (found(dir.path()), Charge::default()));
}

#[test]
fn others_copy_and_remove_as_they_like() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, ms) = standing(dir.path(), 100_000);
    // Remove a file over BAR that was never charged: the counter must not wrap.
    fs::write(dir.path().join("big"), [0; 50_000]).unwrap();
    assert_eq!(remove(&mut store, "/big"), Ok(true));
    put(&mut store, "/small", b"x").unwrap();
    // A copied file is noticed once a minute while there are writes.
    fs::write(dir.path().join("big"), [0; 85_000]).unwrap();
    ms.fetch_add(60_000, Ordering::Relaxed);
    let writes = Arc::clone(store.writes.as_ref().unwrap());
    assert!(writes.again());
    assert_eq!(charged(&store).0, found(dir.path()));
    assert_eq!(put(&mut store, "/more", &[1; 8000]), Err(StoreError::Quota));
    // A file is removed by hand. The next write that seems to have no room has it, 20 ms later.
    fs::remove_file(dir.path().join("big")).unwrap();
    assert_eq!(put(&mut store, "/more", &[1; 8000]), Err(StoreError::Quota));
    ms.fetch_add(20, Ordering::Relaxed);
    put(&mut store, "/more", &[1; 8000]).unwrap();
    assert_eq!(charged(&store), (found(dir.path()), Charge::default()));
}

#[test]
fn a_folder_that_takes_long_is_measured_for_a_fiftieth_of_the_time_whoever_writes() {
    let dir = tempfile::tempdir().unwrap();
    let ms = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&ms);
    // The clock advances two seconds per reading, so a measurement takes two seconds.
    let elapsed = move || Duration::from_millis(clock.fetch_add(2_000, Ordering::Relaxed));
    let mut store = FolderStore::timed(dir.path(), 8_000, MANY, Box::new(elapsed)).unwrap();
    let writes = Arc::clone(store.writes.as_ref().unwrap());
    let mut measured = 0;
    while ms.load(Ordering::Relaxed) < 3_000_000 {
        let before = lock(&writes.measured).0;
        assert_eq!(
            put(&mut store, "/more", &[1; 8_000]),
            Err(StoreError::Quota)
        );
        measured += u32::from(lock(&writes.measured).0 != before);
    }
    assert!((20..=30).contains(&measured), "{measured} times in 3000 s");
}

#[test]
fn a_folder_made_anew_is_measured_and_written() {
    let outer = tempfile::tempdir().unwrap();
    let (pub_, old) = (outer.path().join("pub"), outer.path().join("old"));
    fs::create_dir(&pub_).unwrap();
    let (mut store, _) = standing(&pub_, 100_000);
    put(&mut store, "/a", &[0; 80_000]).unwrap();
    let mut before = store.create().unwrap();
    store.write(&mut before, b"begun before").unwrap();
    fs::rename(&pub_, &old).unwrap();
    fs::create_dir(&pub_).unwrap();
    fs::write(pub_.join("b"), b"b").unwrap();
    assert!(store.open("/a").unwrap().is_none());
    assert!(store.open("/b").unwrap().is_some());
    put(&mut store, "/c", &[0; 60_000]).unwrap();
    store
        .commit(before, "/d", &kept(), &Expect::Anything)
        .unwrap();
    assert_eq!(fs::read(pub_.join("d")).unwrap(), b"begun before");
    assert_eq!(charged(&store), (found(&pub_), Charge::default()));
    assert!(old.join("a").exists() && !old.join("c").exists());
}

#[test]
fn a_folder_that_cannot_be_read_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("lost+found");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("x"), [0; 100]).unwrap();
    fs::write(dir.path().join("seen"), [0; 100]).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let path = dir.path().to_owned();
    let root = rustix::process::geteuid().is_root();
    if root {
        chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
    }
    // Root may read everything, so the serving thread must be another user.
    let serving = std::thread::spawn(move || {
        if root {
            let nobody = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        let skipped = measure(&Folder::open(&path).unwrap().dir()).skipped;
        let names: Vec<PathBuf> = skipped.into_iter().map(|(path, _)| path).collect();
        assert_eq!(names, [PathBuf::from("lost+found")]);
        let (mut store, _) = standing(&path, u64::MAX);
        assert_eq!(
            charged(&store).0,
            Charge::file(100).plus(Charge::folders(1))
        );
        put(&mut store, "/a", b"x").unwrap();
        assert_eq!(
            put(&mut store, "/lost+found/a", b"x"),
            Err(StoreError::Path)
        );
        assert_eq!(charged(&store).0, found(&path));
    });
    serving.join().unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_a_process_left_behind_is_swept_and_what_another_holds_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = standing(dir.path(), u64::MAX);
    put(&mut store, "/a", b"x").unwrap();
    put(&mut store, "/b", b"x").unwrap();
    let own = dir.path().join(OWN);
    fs::write(own.join("write-1-1"), b"left by a process that was killed").unwrap();
    // Headers of a file that is removed by hand remain until the next start.
    fs::remove_file(dir.path().join("b")).unwrap();
    let writer = store.create().unwrap();
    let (other, _) = standing(dir.path(), u64::MAX);
    let mut names: Vec<_> = fs::read_dir(&own)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    let held = writer.name.rsplit_once('/').unwrap().1;
    assert_eq!(names, [headers_name("/a").as_str(), held]);
    assert_eq!(charged(&other), (found(dir.path()), Charge::default()));
    let mode = fs::metadata(dir.path().join(&writer.name))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o777,
        0o600,
        "until it is complete nobody else reads it"
    );
}

#[test]
fn headers_of_what_an_operator_removed_are_gone_when_it_is_measured_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, ms) = standing(dir.path(), 40 * ENTRY);
    // A file and its kept headers are removed by hand again and again. They leave room for the next.
    for n in 0..100_u64 {
        ms.fetch_add(1000, Ordering::Relaxed);
        put(&mut store, &format!("/a{n}"), b"x").unwrap();
        fs::remove_file(dir.path().join(format!("a{n}"))).unwrap();
    }
    ms.fetch_add(1000, Ordering::Relaxed);
    assert!(store.writes.as_ref().unwrap().again());
    assert_eq!(charged(&store), (Charge::default(), Charge::default()));
    assert_eq!(found(dir.path()), Charge::default());
    // Headers of existing files are kept.
    put(&mut store, "/stays", b"x").unwrap();
    ms.fetch_add(1000, Ordering::Relaxed);
    assert!(store.writes.as_ref().unwrap().again());
    let (meta, _) = store.open("/stays").unwrap().unwrap();
    assert_eq!(meta.headers.get("x-kept"), kept().get("x-kept"));
}

#[test]
fn a_path_that_cannot_be_written_is_known_before_the_bytes_come() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let (mut store, _) = standing(dir.path(), 1 << 20);
    for path in [
        "/folder",
        "/folder/",
        "/file/below",
        "/.hidden",
        "/",
        "/a\\b",
    ] {
        assert_eq!(store.may_write(path), Err(StoreError::Path), "{path}");
    }
    for path in ["/file", "/folder/new", "/new/below"] {
        assert_eq!(store.may_write(path), Ok(()), "{path}");
    }
    let mut reads = FolderStore::read_only(dir.path()).unwrap();
    assert_eq!(reads.may_write("/file"), Err(StoreError::ReadOnly));
}

#[test]
fn expectations_hold_at_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = standing(dir.path(), u64::MAX);
    let etag = put(&mut store, "/a", b"1").unwrap().etag;
    let late = store.create().unwrap();
    put(&mut store, "/a", b"22").unwrap();
    let expect = Expect::Etag(etag);
    let got = store.commit(late, "/a", &Headers::default(), &expect);
    assert_eq!(got, Err(StoreError::Changed));
    assert_eq!(store.remove("/a", &expect), Err(StoreError::Changed));
}

#[test]
fn readers_beyond_those_that_hold_their_file_open_it_anew_each_time() {
    let files = || fs::read_dir("/proc/self/fd").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, [1; 100]).unwrap();
    let mut store = FolderStore::read_only(dir.path()).unwrap();
    let mut all: Vec<_> = (0..30)
        .map(|_| store.open("/f").unwrap().unwrap().1)
        .collect();
    let links = files().filter_map(|f| fs::read_link(f.ok()?.path()).ok());
    assert_eq!(links.filter(|to| *to == path).count(), 8);
    for reader in &mut all {
        let (first, rest) = (store.read(reader, 0, 30), store.read(reader, 30, 90));
        assert_eq!((first.unwrap().len(), rest.unwrap().len()), (30, 70));
    }
    // Another file replaces it: a holder of the old one reads on, and nobody reads a mix of both.
    fs::write(dir.path().join("new"), [2; 100]).unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    let read = all.iter_mut().map(|r| store.read(r, 50, 10));
    let (old, changed): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
    assert!(old.into_iter().all(|b| b.unwrap() == [1; 10][..]));
    assert_eq!(changed.len(), 22);
    assert!(
        changed
            .iter()
            .all(|c| matches!(c, Err(StoreError::Changed)))
    );
}

#[test]
fn a_read_only_store_takes_no_writes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = FolderStore::read_only(dir.path()).unwrap();
    assert!(matches!(store.create(), Err(StoreError::ReadOnly)));
    assert_eq!(remove(&mut store, "/a"), Err(StoreError::ReadOnly));
}

#[derive(Clone, Debug)]
enum Step {
    Create,
    Write(usize, usize),
    Commit(usize, String, usize),
    Drop(usize),
    Remove(String),
}

fn step() -> impl Strategy<Value = Step> {
    let path = "(/[ab.\\\\]{1,2}){1,3}";
    prop_oneof![
        Just(Step::Create),
        (0..4usize, 0..9000usize).prop_map(|(w, n)| Step::Write(w, n)),
        (0..4usize, path, 0..6000usize).prop_map(|(w, p, n)| Step::Commit(w, p, n)),
        (0..4usize).prop_map(Step::Drop),
        path.prop_map(Step::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After any sequence of writes, removals, abandoned and refused writes, the charge equals the one measured at a start. The
    /// files hold what was written.
    #[test]
    fn what_is_charged_is_what_is_measured(steps in proptest::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let quota = 60_000;
        let (mut store, _) = standing(dir.path(), quota);
        let mut writers: Vec<(Writer, usize)> = Vec::new();
        let mut files = BTreeMap::new();
        for step in steps {
            match step {
                Step::Create if writers.len() < 4 => writers.extend(store.create().ok().map(|w| (w, 0))),
                Step::Create => {}
                Step::Write(at, n) => {
                    if let Some((writer, len)) = writers.get_mut(at)
                        && store.write(writer, &vec![7; n]).is_ok() {
                        *len += n;
                    }
                }
                Step::Commit(at, path, n) if at < writers.len() => {
                    let (writer, len) = writers.remove(at);
                    let headers = match n {
                        0..3000 => Headers::default(),
                        n => Headers::default().with("x", "y".repeat(n).as_str()),
                    };
                    if store.commit(writer, &path, &headers, &Expect::Anything).is_ok() {
                        files.insert(path, len);
                    }
                }
                Step::Drop(at) if at < writers.len() => drop(writers.remove(at)),
                Step::Commit(..) | Step::Drop(_) => {}
                Step::Remove(path) => {
                    let was = files.remove(&path).is_some();
                    prop_assert_eq!(remove(&mut store, &path), Ok(was));
                }
            }
            let (kept, pending) = charged(&store);
            prop_assert!(kept.plus(pending).bytes <= quota);
            prop_assert_eq!(kept, found(dir.path()));
            let under_way = writers.iter().map(|(w, _)| w.charge);
            prop_assert_eq!(pending, under_way.fold(Charge::default(), Charge::plus));
        }
        for (path, len) in &files {
            let (meta, _) = store.open(path).unwrap().unwrap();
            prop_assert_eq!(meta.len, *len as u64);
        }
        let (kept, _) = charged(&store);
        drop((writers, store));
        prop_assert_eq!(fs::read_dir(dir.path().join(OWN)).unwrap().filter(|e| {
            e.as_ref().unwrap().file_name().to_string_lossy().starts_with(WRITE)
        }).count(), 0);
        let (again, _) = standing(dir.path(), quota);
        prop_assert_eq!(charged(&again), (kept, Charge::default()));
    }
}

#[test]
fn a_file_that_is_written_to_while_it_is_read_is_not_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let (mut store, _) = standing(dir.path(), u64::MAX);
    let old = |n: u64| {
        File::open(&path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(n))
    };
    fs::write(&path, [1; 2000]).unwrap();
    old(1).unwrap();
    // Write the same length in place.
    let (_, mut reader) = store.open("/f").unwrap().unwrap();
    assert_eq!(store.read(&mut reader, 0, 1000).unwrap(), vec![1; 1000]);
    fs::write(&path, [2; 2000]).unwrap();
    assert_eq!(
        store.read(&mut reader, 1000, 1000),
        Err(StoreError::Changed)
    );
    // Replacing the file does not change it.
    old(1).unwrap();
    let (_, mut reader) = store.open("/f").unwrap().unwrap();
    fs::write(dir.path().join("other"), [3; 2000]).unwrap();
    fs::rename(dir.path().join("other"), &path).unwrap();
    assert_eq!(store.read(&mut reader, 1000, 1000).unwrap(), vec![2; 1000]);
    fs::remove_file(&path).unwrap();
    assert_eq!(store.read(&mut reader, 0, 1000).unwrap(), vec![2; 1000]);
}
