//! One program as a module of preview 1 and as a component with the imports of preview 2: both do the same, and their fuel is known.

use betanet_fog::{List, Module, Receipt, Signed, TaskState};
use betanet_fog_client::Blob;
use betanet_fog_worker::programs::WORDS;

use crate::process::Worker;
use crate::{Fog, input, now_ms};

/// `WORDS` as a component: `build.sh` beside it has the command.
const COMPONENT: &[u8] =
    include_bytes!("../../../../crates/fog-worker/programs/words-component.wasm");
const BOOK: &[u8] = b"The fog comes on little cat feet. It sits looking over harbor and city\n";

/// Runs the programs, and returns the standard output and the fuel of each.
async fn run(fog: &Fog, worker: &Worker, program: &[u8], args: &[&str]) -> (String, u64) {
    let (module, book) = (Blob::from(program.to_vec()), Blob::from(BOOK.to_vec()));
    for blob in [&module, &book] {
        fog.user.put_blob(blob).await.unwrap();
    }
    let nonce = fog.tokens.get();
    fog.tokens.set(nonce + 1);
    let mut task = fog.task(nonce.into(), args);
    task.module = Module {
        digest: *module.digest(),
        size: module.size(),
    };
    task.inputs = List::try_from(vec![input("book", &book)]).unwrap();
    // Their clock begins with it.
    task.start = 1_700_000_000_000;
    let id = fog.submit(task).await;
    let status = fog.end(&id).await;
    assert_eq!(status.state, TaskState::Succeeded, "{args:?} {status:?}");
    let out = fog.file(&status, "stdout").await;
    // The receipt is kept once the coordinator has taken it.
    for _ in 0..500 {
        for file in worker.receipts() {
            let bytes = std::fs::read(file).unwrap();
            let receipt = Signed::<Receipt>::open(&bytes, now_ms()).unwrap();
            if receipt.task == id {
                return (String::from_utf8(out).unwrap(), receipt.fuel);
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no receipt of {id} is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_with_imports_does_what_its_module_does_and_burns_known_fuel() {
    let fog = Fog::start().await;
    let worker = fog.worker("one").await;
    // What all builds on all machines burn.
    let known: [(&[&str], [u64; 2]); 3] = [
        (&["count", "book"], [18_793_462, 18_813_681]),
        (&["spin", "1"], [17_022_798, 17_048_923]),
        (&["file", "a-file", "text"], [4_566, 29_096]),
    ];
    let mut burned = Vec::new();
    for (args, _) in known {
        let (said, fuel) = run(&fog, &worker, WORDS, args).await;
        let (same, more) = run(&fog, &worker, COMPONENT, args).await;
        assert_eq!(said, same, "{args:?}");
        burned.push((args, [fuel, more]));
    }
    assert_eq!(burned, known);
    // The clock is the task's, as the seed of randomness is.
    for program in [WORDS, COMPONENT] {
        let (said, _) = run(&fog, &worker, program, &["clock"]).await;
        assert!(said.starts_with("1700000000."), "{said}");
    }
    fog.stop().await;
}
