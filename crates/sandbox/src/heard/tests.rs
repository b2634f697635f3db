use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::wire::FRAME_MAX;

fn limits() -> Limits {
    Limits {
        fuel: 1000,
        wall: Duration::from_secs(1),
        memory: 0,
        output: 1000,
        files: 2,
    }
}

#[derive(Default)]
struct Kept {
    files: BTreeMap<String, Vec<u8>>,
    last: String,
}

impl Keep for Kept {
    fn file(&mut self, path: &str, _: u64) {
        self.last = path.to_owned();
        self.files.insert(path.to_owned(), Vec::new());
    }

    fn data(&mut self, bytes: &[u8]) {
        self.files
            .get_mut(&self.last)
            .unwrap()
            .extend_from_slice(bytes);
    }
}

fn hear(frames: &[Frame]) -> (Result<Option<Told>, Lie>, Kept, Vec<u8>) {
    let (mut kept, mut logged) = (Kept::default(), Vec::new());
    let mut heard = Heard::new(limits(), 0);
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    let told = heard.push(&bytes, &mut |log| logged.extend_from_slice(log), &mut kept);
    (told, kept, logged)
}

fn file(path: &str, size: u64) -> Frame {
    Frame::File {
        size,
        path: path.to_owned(),
    }
}

fn end(status: Status, fuel: u64) -> Frame {
    Frame::End {
        status,
        fuel,
        reason: String::new(),
    }
}

fn data(bytes: &[u8]) -> Frame {
    Frame::Data(bytes.to_vec())
}

#[test]
fn an_honest_child_is_heard_whole() {
    let frames = [
        Frame::Log(b"well".to_vec()),
        Frame::Progress(5),
        file("a/b", 3),
        data(b"on"),
        data(b"e"),
        file("stdout", 0),
        end(Status::Exit(2), 9),
        end(Status::Ok, 0),
    ];
    let (told, kept, logged) = hear(&frames);
    assert_eq!(
        told,
        Ok(Some(Told {
            status: Status::Exit(2),
            fuel: 9,
            reason: String::new()
        }))
    );
    assert_eq!(
        (
            kept.files["a/b"].as_slice(),
            kept.files["stdout"].as_slice()
        ),
        (&b"one"[..], &b""[..])
    );
    assert_eq!(logged, b"well");
}

#[test]
fn a_lie_is_named() {
    let out = || file("stdout", 0);
    let lies: Vec<(Vec<Frame>, Lie)> = vec![
        (vec![file("../a", 1)], Lie::Path),
        (vec![file("/a", 1)], Lie::Path),
        (vec![file("", 1)], Lie::Path),
        (vec![file("a", 0), file("a", 0)], Lie::Path),
        (vec![file("a", 0), file("a/b", 0)], Lie::Path),
        (vec![file("a/b", 0), file("a", 0)], Lie::Path),
        (vec![out(), out()], Lie::Path),
        (vec![file("a", 1001)], Lie::Bytes),
        (vec![file("a", u64::MAX)], Lie::Bytes),
        (vec![file("a", 0), file("b", 0), file("c", 0)], Lie::Files),
        (vec![file("a/b/c", 0)], Lie::Files),
        (vec![file("a", 0), file("b/c", 0)], Lie::Files),
        (vec![file("a", 2), data(b"one")], Lie::Turn),
        (vec![file("a", 2), file("b", 2)], Lie::Turn),
        (vec![data(b"x")], Lie::Turn),
        (vec![file("a", 2), end(Status::Ok, 0)], Lie::Turn),
        (vec![end(Status::Ok, 0)], Lie::Turn),
        (vec![out(), end(Status::Trap, 0)], Lie::Turn),
        (vec![Frame::Pid(1)], Lie::Turn),
        (
            vec![Frame::Ready {
                layers: 0,
                key: [0; 32],
            }],
            Lie::Turn,
        ),
        (
            vec![Frame::Attempt {
                held: true,
                name: String::new(),
            }],
            Lie::Turn,
        ),
        (vec![Frame::Progress(1001)], Lie::Fuel),
        (vec![Frame::Progress(9), Frame::Progress(8)], Lie::Fuel),
        (vec![out(), end(Status::Ok, 1001)], Lie::Fuel),
    ];
    for (frames, lie) in lies {
        assert_eq!(hear(&frames).0, Err(lie), "{frames:?}");
    }
    let long = vec![Frame::Log(vec![0; FRAME_MAX]); 257];
    assert_eq!(hear(&long).0, Err(Lie::Log));
}

#[test]
fn folders_count_with_the_files_but_for_those_of_inputs() {
    let hear = |limits: Limits, given, path: &str| {
        let mut heard = Heard::new(limits, given);
        let mut kept = Kept::default();
        heard.push(&file(path, 0).encode(), &mut |_| {}, &mut kept)
    };
    assert_eq!(hear(limits(), 0, "a/b"), Ok(None));
    assert_eq!(hear(limits(), 0, "a/b/c"), Err(Lie::Files));
    assert_eq!(hear(limits(), 1, "a/b/c"), Ok(None));
    let mut heard = Heard::new(
        Limits {
            files: u32::MAX,
            ..limits()
        },
        0,
    );
    let mut told = Ok(None);
    for i in 0..=FILES_MAX {
        assert_eq!(told, Ok(None));
        told = heard.push(
            &file(&i.to_string(), 0).encode(),
            &mut |_| {},
            &mut Kept::default(),
        );
    }
    assert_eq!(told, Err(Lie::Files));
}

proptest! {
    #[test]
    fn whatever_a_child_says_the_bounds_hold(bytes in vec(any::<u8>(), 0..400), cut in 1..40_usize) {
        let (mut kept, mut logged) = (Kept::default(), 0_u64);
        let mut heard = Heard::new(limits(), 0);
        for part in bytes.chunks(cut) {
            if heard.push(part, &mut |log| logged += log.len() as u64, &mut kept).is_err() {
                break;
            }
        }
        prop_assert!(kept.files.values().map(|f| f.len() as u64).sum::<u64>() <= limits().output);
        prop_assert!(kept.files.len() <= 3 && logged <= LOG_MAX && heard.fuel() <= limits().fuel);
        prop_assert!(kept.files.keys().all(|path| plain(path)));
    }
}
