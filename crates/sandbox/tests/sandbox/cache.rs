//! Compiled code on disk: used again, bounded, and never that of somebody else.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use betanet_sandbox::{Ended, Error, Program, Sandbox, Status};

use crate::{
    life::kill_those_that_work,
    support::{Bench, program, settings},
};

fn exits(code: i32) -> String {
    program(
        &["proc_exit"],
        "",
        &format!("(call $proc_exit (i32.const {code}))"),
    )
}

async fn run(bench: &Bench, program: &Program) -> Ended {
    bench
        .sandbox
        .run(program.clone(), bench.job(), |_: &[u8]| {})
        .await
}

fn files(bench: &Bench) -> Vec<PathBuf> {
    let folder = bench.home.path().join("sandbox/code");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The same folder, opened anew: nothing is left in memory.
async fn again(bench: &mut Bench) {
    bench.sandbox = Sandbox::open(settings(bench.home.path())).await.unwrap();
}

#[tokio::test]
async fn code_is_compiled_once_and_used_from_disk() {
    let mut bench = Bench::new().await;
    let program = bench.text(&exits(5));
    assert_eq!(run(&bench, &program).await.status, Status::Exit(5));
    let [file] = files(&bench).try_into().unwrap();
    again(&mut bench).await;
    // Without the module it can only come from the cache.
    fs::remove_file(&program.file).unwrap();
    assert_eq!(run(&bench, &program).await.status, Status::Exit(5));
    fs::remove_file(file).unwrap();
    again(&mut bench).await;
    assert_eq!(run(&bench, &program).await.status, Status::Input);
}

#[tokio::test]
async fn a_poisoned_file_is_removed_and_the_program_compiled_anew() {
    let mut bench = Bench::new().await;
    let (one, two) = (bench.text(&exits(1)), bench.text(&exits(2)));
    assert_eq!(run(&bench, &one).await.status, Status::Exit(1));
    let [first] = files(&bench).try_into().unwrap();
    let honest = fs::read(&first).unwrap();
    assert_eq!(run(&bench, &two).await.status, Status::Exit(2));
    let second = files(&bench).into_iter().find(|f| *f != first).unwrap();
    let other = fs::read(&second).unwrap();

    let flip = |at: usize| {
        let mut bytes = honest.clone();
        bytes[at] ^= 1;
        bytes
    };
    let (head, middle, end) = (flip(3), flip(honest.len() / 2), flip(honest.len() - 1));
    let kind = flip(7);
    let longer = [honest.as_slice(), b"x"].concat();
    let poisons = [
        head,
        kind,
        flip(20),
        middle,
        end,
        honest[..honest.len() - 9].to_vec(),
        longer,
        Vec::new(),
        vec![0; 5],
        other,
    ];
    for (at, poison) in poisons.into_iter().enumerate() {
        fs::write(&first, &poison).unwrap();
        again(&mut bench).await;
        assert_eq!(
            run(&bench, &one).await.status,
            Status::Exit(1),
            "poison {at}"
        );
        assert_eq!(fs::read(&first).unwrap(), honest, "poison {at}");
    }
    // And where it cannot be compiled anew, poison does not run.
    fs::write(&first, fs::read(&second).unwrap()).unwrap();
    fs::remove_file(&one.file).unwrap();
    again(&mut bench).await;
    assert_eq!(run(&bench, &one).await.status, Status::Input);
}

#[tokio::test]
async fn another_key_makes_all_files_strange_and_a_key_that_others_read_is_refused() {
    let mut bench = Bench::new().await;
    let one = bench.text(&exits(1));
    assert_eq!(
        bench
            .sandbox
            .run(one.clone(), bench.job(), |_: &[u8]| {})
            .await
            .status,
        Status::Exit(1)
    );
    let key = bench.home.path().join("sandbox/key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let [file] = files(&bench).try_into().unwrap();
    let before = fs::read(&file).unwrap();
    fs::remove_file(&key).unwrap();
    again(&mut bench).await;
    assert_eq!(
        bench
            .sandbox
            .run(one, bench.job(), |_: &[u8]| {})
            .await
            .status,
        Status::Exit(1)
    );
    assert_ne!(fs::read(&file).unwrap(), before);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Sandbox::open(settings(bench.home.path())).await,
        Err(Error::Key)
    ));
}

#[tokio::test]
async fn the_cache_keeps_its_bound_by_dropping_what_was_used_longest_ago() {
    let home = tempfile::tempdir().unwrap();
    let mut settings = settings(home.path());
    let bench = Bench {
        sandbox: Sandbox::open(settings.clone()).await.unwrap(),
        home,
    };
    bench.run(&exits(1), bench.job()).await;
    let size = fs::metadata(&files(&bench)[0]).unwrap().len();
    settings.cache_max = 3 * size + size / 2;
    let bench = Bench {
        sandbox: Sandbox::open(settings).await.unwrap(),
        ..bench
    };
    for code in 2..8 {
        assert_eq!(
            bench.run(&exits(code), bench.job()).await.status,
            Status::Exit(code)
        );
        let total: u64 = files(&bench)
            .iter()
            .map(|f| fs::metadata(f).unwrap().len())
            .sum();
        assert!(total <= 3 * size + size / 2, "{total} bytes of {size} each");
    }
    assert_eq!(files(&bench).len(), 3);
}

/// A program whose compilation takes a while, one of many.
fn long(nth: u32) -> String {
    let add = format!("(i64.mul (i64.add (local.get 0) (i64.const {nth})) (local.get 0))");
    let line = format!("(local.set 0 {add})");
    let body = line.repeat(100);
    let one = |n| format!("(func $f{n} (param i64) (result i64) {body} (local.get 0))");
    let all: String = (0..200).map(one).collect();
    program(&[], &all, "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_take_too_much_to_compile_are_no_fault_of_this_machine_and_are_not_tried_again()
 {
    let bench = Bench::with(|settings| settings.spare = 0).await;
    // However many: this machine compiles the smallest program.
    let programs: Vec<_> = (1..5).map(|nth| bench.text(&long(nth))).collect();
    for program in &programs {
        let (sandbox, named, job) = (bench.sandbox.clone(), program.clone(), bench.job());
        let first = tokio::spawn(async move { sandbox.run(named, job, |_: &[u8]| {}).await });
        // The kernel ends a compiler that takes too much. Here the test does.
        while !first.is_finished() {
            kill_those_that_work();
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let ended = first.await.unwrap();
        assert_eq!(ended.status, Status::Input, "{}", ended.reason);
    }
    // Nobody ends one now.
    for program in &programs {
        let ended = run(&bench, program).await;
        assert_eq!(ended.status, Status::Input, "{}", ended.reason);
    }
    assert!(files(&bench).is_empty());
    // Others are compiled.
    let other = bench.text(&exits(3));
    assert_eq!(run(&bench, &other).await.status, Status::Exit(3));
}
