//! Runs WebAssembly programs of strangers: each in a process without privileges, within limits, with the same result everywhere.
//!
//! **Promises.** [`Sandbox::run`] runs a module (WASI preview 1) or a component (preview 2) and says how it ended: the status of a
//! receipt, a reason for people, the fuel burned and the files left. Same program, arguments, inputs, seed and start give the same
//! status, fuel and files on every machine, unless a grant gives that up. A program reaches no file, process or name of this
//! machine, and no address but those that its job grants. Each message of a child is checked, for none is trusted. Dropping a run
//! ends its process and removes what it left.
//!
//! **Below:** `wasmtime` and the kernel. **Above:** the worker. **Source:** chapter 10 of the profile, "Life of a task".
//!
//! - **Fuel** is what the engine counts for instructions. A call of preview 1 burns 50 more, and one for each 16 bytes that it moves.
//!   It is the limit and the unit of billing.
//! - **Files** of a program are values in its process's memory. The folder `/` holds the inputs, read-only, and takes what it
//!   writes. Files are left after ok and exit only; standard output is the file `stdout`, always there. Names are sorted, and times
//!   are the job's start.
//! - **Clocks** are virtual. Each reading moves them on by 10 µs, each sleep by its length. **Randomness** comes from the job's seed.
//! - **Network**: components only, TCP only, to the hosts and ports of the policy. The parent looks each name up once before the start,
//!   and the program gets the addresses that it found. The engine refuses private ones and this machine's own, unless whoever runs the
//!   sandbox names them. It alone does: a guest that breaks out of the engine reaches every address that this machine reaches over TCP,
//!   from Linux 6.7 on at the ports of the policy. Sockets and their buffers are bounded, and none of them listens. The grant brings the
//!   machine's clocks with it.
//! - **Time** has no code of its own in the program: a guest hands control back after each slice of fuel, and the parent ends the
//!   process at the limit. The deterministic limit is fuel, so instructions for epochs would cost speed and add nothing.
//! - **Layers** around a process: user nobody, namespaces (user, mount, pid, network, ipc), an empty read-only root, landlock, a list
//!   of system calls, resource limits. [`Sandbox::layers`] names those that this machine closes, [`Sandbox::self_test`] tries them.
//!   A child that lacks one which the first child had takes no program.
//! - **Processes** are forks of one that has loaded this executable and made the engine, but runs no guest. So one guest's process tells
//!   the addresses, the guards of stacks and pointers and the hash keys of its neighbours: the layers do not build on these being secret.
//! - **Memory** of a process is private: what it can write to, its stack and its addresses each have a limit.
//! - **Code** is compiled once per program and engine, by a child, and cached under the node's key.
//! - Recursion ends with a trap at 1 MiB of stack. Machines differ in how deep that is.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use betanet_sandbox::{ChildProgram, Grants, Job, Limits, Program, Sandbox, Settings, Status, child_main, is_child};
//!
//! fn main() -> std::process::ExitCode {
//!     // First of all: this program is also the one that its children run.
//!     if is_child(std::env::args_os()) {
//!         return child_main();
//!     }
//!     # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//!     # let program = Program { digest: [0; 32], file: "program.wasm".into() };
//!     # runtime.block_on(async {
//!     let child = ChildProgram::this()?;
//!     let settings = Settings { folder: "sandbox".into(), child, spare: 2, cache_max: 1 << 30, idle: false };
//!     let sandbox = Sandbox::open(settings).await?;
//!     let limits = Limits {
//!         fuel: 1_000_000_000,
//!         wall: Duration::from_secs(60),
//!         memory: 256 << 20,
//!         output: 16 << 20,
//!         files: 100,
//!     };
//!     let job = Job {
//!         args: vec!["--n".into(), "42".into()],
//!         env: Vec::new(),
//!         inputs: Vec::new(),
//!         limits,
//!         grants: Grants::default(),
//!         seed: [7; 32],
//!         start_ms: 1_790_000_000_000,
//!         output: "output".into(),
//!     };
//!     let ended = sandbox.run(program, job, |log: &[u8]| drop(log.len())).await;
//!     assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
//!     # Ok::<(), Box<dyn std::error::Error>>(())
//!     # }).unwrap();
//!     std::process::ExitCode::SUCCESS
//! }
//! ```

mod child;
mod ended;
mod error;
mod guest;
mod heard;
mod job;
mod parent;
mod sandbox;
mod settings;
mod wire;

pub use child::{CHILD_ARGUMENT, child_main, is_child};
pub use ended::{Ended, OutFile, REASON_MAX, Sink, Status};
pub use error::Error;
pub use heard::fuzz;
pub use job::{
    FILES_MAX, Grants, HOST_MAX, HOSTS_MAX, INPUTS_MAX, Input, Job, Limits, MODULE_MAX, NAME_MAX,
    NetworkPolicy, PATH_MAX, Program, TEXT_MAX,
};
pub use sandbox::{Attempt, ENGINE, Sandbox};
pub use settings::{ChildProgram, Settings};
