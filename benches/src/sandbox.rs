//! The sandbox beside the engine that it runs: a module that computes, and one that does nothing.

use std::time::{Duration, Instant};

use betanet_sandbox::{
    CHILD_ARGUMENT, ChildProgram, Grants, Job, Limits, Program, Sandbox, Settings, Status,
};
use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Engine, Instance, Module, Store};

use crate::{Effort, Figure, median};

/// Mixes numbers in a loop: additions, products, shifts, and loads and stores of one page.
pub(crate) const WORK: &str = r#"(module (memory (export "memory") 1)
    (func (export "_start") (local $i i32) (local $x i64)
        (loop $again
            (local.set $x (i64.xor (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.extend_i32_u (local.get $i))))
            (i64.store (i32.and (local.get $i) (i32.const 0xfff8)) (local.get $x))
            (local.set $x (i64.add (local.get $x) (i64.load (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 0xfff8)))))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const COUNT))))))"#;
const NOTHING: &str = "(module (func (export \"_start\")))";
const FUEL: u64 = 1 << 40;

/// The engine itself, with the sandbox's settings of what is computed, and with or without fuel.
pub(crate) fn engine(fuel: bool) -> Engine {
    let mut config = Config::new();
    config
        .consume_fuel(fuel)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true);
    Engine::new(&config).unwrap()
}

pub(crate) fn call(engine: &Engine, module: &Module, fuel: bool) -> f64 {
    let began = Instant::now();
    let mut store = Store::new(engine, ());
    if fuel {
        store.set_fuel(FUEL).unwrap();
    }
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    instance
        .get_typed_func::<(), ()>(&mut store, "_start")
        .unwrap()
        .call(&mut store, ())
        .unwrap();
    began.elapsed().as_secs_f64()
}

struct Here {
    home: tempfile::TempDir,
    sandbox: Sandbox,
}

impl Here {
    async fn run(&self, wat: &str) -> f64 {
        let bytes = wat::parse_str(wat).unwrap();
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let file = self.home.path().join(format!("{}.wasm", bytes.len()));
        std::fs::write(&file, bytes).unwrap();
        let output = tempfile::tempdir_in(self.home.path()).unwrap();
        let limits = Limits {
            fuel: FUEL,
            wall: Duration::from_secs(600),
            memory: 1 << 20,
            output: 1 << 20,
            files: 1,
        };
        let job = Job {
            args: Vec::new(),
            env: Vec::new(),
            inputs: Vec::new(),
            limits,
            grants: Grants::default(),
            seed: [0; 32],
            start_ms: 0,
            output: output.path().to_owned(),
        };
        let began = Instant::now();
        let ended = self
            .sandbox
            .run(Program { digest, file }, job, |_: &[u8]| {})
            .await;
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
        seconds
    }
}

fn figure(name: &'static str, ratio: f64, bound: f64, detail: String) -> Figure {
    Figure {
        name,
        ratio,
        bound,
        at_least: false,
        detail,
    }
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let home = tempfile::tempdir().unwrap();
    let child = ChildProgram {
        path: std::env::current_exe().unwrap(),
        args: vec![CHILD_ARGUMENT.into()],
    };
    let settings = Settings {
        folder: home.path().join("sandbox"),
        child,
        spare: 2,
        cache_max: 1 << 30,
        idle: false,
    };
    let sandbox = runtime.block_on(Sandbox::open(settings)).unwrap();
    let here = Here { home, sandbox };

    let work = WORK.replace(
        "COUNT",
        if effort.quick {
            "200000000"
        } else {
            "600000000"
        },
    );
    let (with, without) = (engine(true), engine(false));
    let compiled =
        |engine: &Engine, wat: &str| Module::new(engine, wat::parse_str(wat).unwrap()).unwrap();
    let (work_with, work_without) = (compiled(&with, &work), compiled(&without, &work));
    let nothing = compiled(&with, NOTHING);
    // Compiles both in the sandbox.
    runtime.block_on(async { (here.run(&work).await, here.run(NOTHING).await) });

    let mut times: [Vec<f64>; 5] = Default::default();
    for _ in 0..effort.rounds.min(10) {
        times[0].push(call(&with, &work_with, true));
        times[1].push(runtime.block_on(here.run(&work)));
        times[2].push(call(&without, &work_without, false));
        times[3].push(call(&with, &nothing, true));
    }
    for _ in 0..effort.rounds * 10 {
        // A child is ready again after some milliseconds: this is the start that a task waits for.
        std::thread::sleep(Duration::from_millis(30));
        times[4].push(runtime.block_on(here.run(NOTHING)));
    }
    times[4].sort_by(f64::total_cmp);
    let last = times[4][times[4].len() * 99 / 100] * 1e3;
    let [own, ours, free, start, child] = times.map(median);
    vec![
        figure(
            "sandbox: computing / wasmtime",
            ours / own,
            1.03,
            format!("{:.3} s, {own:.3} s, both with fuel", ours),
        ),
        figure(
            "wasmtime: fuel / no fuel",
            own / free,
            2.0,
            format!("{own:.3} s, {free:.3} s"),
        ),
        figure(
            "sandbox: start in process / 1 ms",
            start * 1e3,
            1.0,
            format!("{:.3} ms", start * 1e3),
        ),
        figure(
            "sandbox: start in a child / 5 ms",
            child * 200.0,
            1.0,
            format!("{:.2} ms, p99 {last:.2} ms", child * 1e3),
        ),
    ]
}
