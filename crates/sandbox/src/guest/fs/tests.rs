use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::guest::stop::Fail;

fn fs(bytes: u64, files: u32) -> Fs {
    Fs::new(bytes, files, 5, Box::new(|_| true))
}

const WRITE: Open = Open {
    follow: false,
    create: true,
    folder: false,
    exclusive: false,
    truncate: false,
    write: true,
};

fn put(fs: &mut Fs, path: &str, bytes: &[u8]) -> Answer<()> {
    let id = fs.open(ROOT, path, WRITE)?;
    fs.write(id, 0, bytes)?;
    fs.release(id);
    Ok(())
}

#[test]
fn removed_files_give_their_bytes_back_when_the_last_descriptor_closes() {
    let mut fs = fs(10, 3);
    let id = fs.open(ROOT, "a", WRITE).unwrap();
    fs.write(id, 0, b"12345678").unwrap();
    fs.unlink(ROOT, "a").unwrap();
    assert_eq!(put(&mut fs, "b", b"123"), Err(Fail::Stop(Stop::Bytes(10))));
    fs.release(id);
    put(&mut fs, "c", b"12345678").unwrap();
    assert_eq!(fs.into_files().unwrap().len(), 3);
}

#[test]
fn files_of_several_names_count_for_each() {
    let mut fs = fs(10, 5);
    put(&mut fs, "a", b"123456").unwrap();
    fs.link(ROOT, "a", false, ROOT, "b").unwrap();
    assert_eq!(fs.into_files(), Err(Fail::Stop(Stop::Bytes(10))));
}

#[test]
fn a_path_that_grew_too_deep_ends_the_run() {
    let mut fs = fs(10, 100);
    let mut path = String::from("a");
    for _ in 0..70 {
        fs.make_folder(ROOT, &path).unwrap();
        path.push_str("/a");
    }
    put(&mut fs, &path, b"x").unwrap();
    assert_eq!(fs.into_files(), Err(Fail::Stop(Stop::Path)));
}

#[test]
fn names_are_listed_in_order_and_numbers_count_up() {
    let mut fs = fs(10, 10);
    for name in ["c", "a", "b"] {
        put(&mut fs, name, b"").unwrap();
    }
    let names: Vec<_> = fs
        .entries(ROOT)
        .unwrap()
        .map(|(name, id, _)| (name.to_owned(), id))
        .collect();
    assert_eq!(names, [("a".into(), 3), ("b".into(), 4), ("c".into(), 2)]);
    assert_eq!(fs.stat_at(ROOT, "a", false).unwrap().modified, 5);
}

#[test]
fn a_file_of_as_many_names_as_fit_is_left_under_each() {
    let mut fs = fs(12, 5);
    put(&mut fs, "a", b"123456").unwrap();
    fs.link(ROOT, "a", false, ROOT, "b").unwrap();
    let files = fs.into_files().unwrap();
    assert_eq!(
        files[..2],
        ["a", "b"].map(|n| (n.to_owned(), b"123456".to_vec()))
    );
}

#[test]
fn inputs_that_are_removed_make_no_room_for_more_files() {
    let mut fs = fs(10, 1);
    let input = || File::open("/dev/null").unwrap();
    fs.add_input("in/put", input(), 0).unwrap();
    put(&mut fs, "a", b"").unwrap();
    fs.unlink(ROOT, "in/put").unwrap();
    fs.remove_folder(ROOT, "in").unwrap();
    assert_eq!(put(&mut fs, "b", b""), Err(Fail::Stop(Stop::Files(1))));
}

#[test]
fn a_listing_goes_on_after_a_name_that_is_gone() {
    let mut fs = fs(10, 10);
    for name in ["a", "b", "c"] {
        put(&mut fs, name, b"").unwrap();
    }
    fs.unlink(ROOT, "a").unwrap();
    let next = fs.entries_after(ROOT, "a").unwrap().next();
    assert_eq!(next.map(|(name, ..)| name), Some("b"));
}

#[derive(Debug, Clone)]
enum Step {
    Put(String, usize),
    Folder(String),
    Link(String, String),
    Name(String, String),
    Unlink(String),
    Remove(String),
    Rename(String, String),
}

fn step() -> impl Strategy<Value = Step> {
    let path = || "[ab](/[ab]|/\\.\\.){0,3}";
    prop_oneof![
        (path(), 0..30_usize).prop_map(|(p, n)| Step::Put(p, n)),
        path().prop_map(Step::Folder),
        (path(), path()).prop_map(|(a, b)| Step::Link(a, b)),
        (path(), path()).prop_map(|(a, b)| Step::Name(a, b)),
        path().prop_map(Step::Unlink),
        path().prop_map(Step::Remove),
        (path(), path()).prop_map(|(a, b)| Step::Rename(a, b)),
    ]
}

proptest! {
    #[test]
    fn whatever_is_done_the_counts_are_right_and_every_folder_is_reached_once(steps in vec(step(), 0..60)) {
        let mut fs = fs(200, 12);
        for path in ["a/a", "a/b/a", "b/a"] {
            fs.add_input(path, File::open("/dev/null").unwrap(), 0).unwrap();
        }
        for step in steps {
            let done = match step {
                Step::Put(path, n) => put(&mut fs, &path, &vec![1; n]),
                Step::Folder(path) => fs.make_folder(ROOT, &path),
                Step::Link(to, path) => fs.make_link(&to, ROOT, &path),
                Step::Name(old, new) => fs.link(ROOT, &old, false, ROOT, &new),
                Step::Unlink(path) => fs.unlink(ROOT, &path),
                Step::Remove(path) => fs.remove_folder(ROOT, &path),
                Step::Rename(old, new) => fs.rename(ROOT, &old, ROOT, &new),
            };
            if matches!(done, Err(Fail::Stop(_))) {
                // A file that was opened before the end of the run stays open: the run is over.
                return Ok(());
            }
            let mut seen = BTreeSet::from([ROOT]);
            let (mut names, mut bytes) = (0, 0);
            let mut folders = vec![ROOT];
            while let Some(folder) = folders.pop() {
                for (_, id, what) in fs.entries(folder).unwrap() {
                    names += 1;
                    let new = seen.insert(id);
                    if what == What::Folder {
                        prop_assert!(new, "a folder has two names");
                        prop_assert_eq!(fs.parent(id).unwrap(), folder);
                        folders.push(id);
                    } else if what == What::File && new {
                        bytes += fs.size(id).unwrap();
                    }
                }
            }
            let given = seen.iter().filter(|&&id| id != ROOT && fs.nodes[&id].given).count();
            prop_assert_eq!((fs.files as usize, fs.bytes), (names - given, bytes));
            prop_assert_eq!(fs.nodes.keys().copied().collect::<BTreeSet<_>>(), seen);
        }
        prop_assert!(fs.into_files().is_ok_and(|f| f.len() <= 13));
    }
}
