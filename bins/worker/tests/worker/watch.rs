//! `betanet task run` over the fog, as a user has it: the log streams, and the result is the program's.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use betanet_coordinator::Change;
use betanet_fog::{Signed, Task, Tier};
use betanet_fog_worker::programs::WORDS;

use crate::journal::records;
use crate::process::{binary, clean};
use crate::{Fog, now_ms};

#[tokio::test(flavor = "multi_thread")]
async fn a_silver_task_that_is_watched_shows_its_log_while_it_runs_and_ends_with_its_code() {
    let fog = Fog::start().await;
    let _workers = [fog.worker("one").await, fog.worker("two").await];
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("words.wasm"), WORDS).unwrap();
    std::fs::write(home.path().join("book"), "the fog and the sea\n").unwrap();
    let run = |program: &[&str]| {
        let mut command = clean(Command::new(binary("betanet")));
        command
            .args(["task", "run", "words.wasm", "--ns", "lab", "--watch"])
            .args(["--tier", "silver", "--input", "in/book=book"])
            .args(["--coordinator", &fog.peer.to_string()])
            .arg("--key")
            .arg(fog.home.path().join("user.pem"))
            .arg("--")
            .args(program)
            .env("XDG_DATA_HOME", home.path().join("client"))
            .current_dir(home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    // Long enough that a part of its log comes before its end.
    let mut watched = run(&["spin", "300"]);
    let mut lines = BufReader::new(watched.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        said.push(line.clone());
        if line == "10 %" {
            break;
        }
    }
    assert_eq!(said.last().map(String::as_str), Some("10 %"), "{said:?}");
    assert!(watched.try_wait().unwrap().is_none(), "it came at the end");
    assert!(
        said.iter().any(|l| l.starts_with("running on ")),
        "{said:?}"
    );
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line == "100 %"), "{rest:?}");
    assert_eq!(watched.wait().unwrap().code(), Some(0));
    let mut counted = run(&["count", "in/book"]);
    let mut text = String::new();
    let mut out = counted.stdout.take().unwrap();
    out.read_to_string(&mut text).unwrap();
    assert_eq!(text, "and 1\nfog 1\nsea 1\nthe 2\n");
    assert_eq!(counted.wait().unwrap().code(), Some(0));
    let mut fails = run(&["exit", "7"]);
    assert_eq!(fails.wait().unwrap().code(), Some(7));
    // All of them were of the tier that was asked for.
    let all = records(&**fog.journal.as_ref().unwrap()).await;
    let tiers: Vec<Tier> = all
        .values()
        .filter_map(|change| match change {
            Change::Accepted { task, .. } => {
                Some(Signed::<Task>::open(task, now_ms()).unwrap().tier)
            }
            _ => None,
        })
        .collect();
    assert_eq!(tiers, [Tier::Silver; 3]);
    fog.stop().await;
}
