//! The command line: arguments, output, exit codes.
//!
//! **Promises.** What is printed was observed; JSON where a script would read it; exit code 0 for fine, 1 for peer or
//! network, 2 for usage, 3 for this machine's files and settings, 130 after Ctrl-C.
//!
//! **Below:** `runtime`'s handle. **Above:** `bins`.
//! **Source:** profile chapter 8 for what requests mean (`spec-vectors/PROFILE.md`).
#![allow(
    clippy::print_stderr,
    reason = "saying what went wrong is what a command line is for"
)]

/// Prints a line; a reader who has gone away (`betanet ping … | head -1`) ends nothing.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod args;
mod demo;
mod fail;
mod get;
mod id;
mod inspect;
mod listen;
mod mix;
mod network;
mod probe;
mod progress;
mod put;
mod shape;
mod target;
mod template;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Betanet, Command};
use fail::Fail;

/// Runs `betanet`.
#[must_use]
pub fn betanet() -> ExitCode {
    let args = Betanet::parse();
    if let Err(why) = betanet_runtime::init_logs(betanet_runtime::LogFormat::Text, &args.log) {
        return Fail::Usage(format!("--log {}: {why}", args.log)).report();
    }
    let done = match args.command {
        Command::Completions { shell } => {
            let mut command = Betanet::command();
            clap_complete::generate(shell, &mut command, "betanet", &mut std::io::stdout());
            Ok(())
        }
        Command::Id(args) => id::run(&args),
        Command::Mix(args) => mix::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Get(args) => on_runtime(get::run(args)),
        Command::Put(args) => on_runtime(put::put(args)),
        Command::Post(args) => on_runtime(put::post(args)),
        Command::Del(args) => on_runtime(put::del(args)),
        Command::Ping(args) => on_runtime(probe::ping(args)),
        Command::Probe(args) => on_runtime(probe::probe(args)),
        Command::Network(args) => network::network(&args),
        Command::Shape(args) => shape::run(&args.command),
        Command::Template(args) => on_runtime(template::run(args.command)),
        Command::Peers(args) => on_runtime(network::peers(args)),
        Command::Path(args) => on_runtime(network::path(args)),
        Command::Serve(args) => on_runtime(listen::serve(*args)),
        Command::Demo(args) => on_runtime(demo::run(args)),
    };
    finish(done)
}

/// Runs `gateway`.
#[must_use]
pub fn gateway() -> ExitCode {
    finish(on_runtime(listen::gateway(args::Gateway::parse())))
}

/// Runs `mixnode`.
#[must_use]
pub fn mixnode() -> ExitCode {
    finish(on_runtime(listen::mixnode(args::Mixnode::parse())))
}

fn finish(done: Result<(), Fail>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => fail.report(),
    }
}

fn on_runtime(work: impl Future<Output = Result<(), Fail>>) -> Result<(), Fail> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Fail::Local(format!("the executor cannot start: {e}")))?
        .block_on(work)
}
