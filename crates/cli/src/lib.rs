//! The command line: arguments, output, exit codes.
//!
//! **Promises.** All printed facts were observed, and scripts can read them as JSON. The exit codes are:
//!
//! * 0: success, also if the reader of standard output closes it early;
//! * 1: the peer or the network is at fault;
//! * 2: wrong usage;
//! * 3: this machine's files or settings are at fault, including standard output;
//! * 6: signers showed two views of the ledger of names (`name audit`), or a ledger of tokens does not verify (`ledger verify`);
//! * 4 and 5: the task of `task run` was cancelled, or expired; a program's own exit code, if it ended with one;
//! * 128 plus the number of the signal that ended the command: 130 after Ctrl-C.
//!
//! **Below:** `runtime`'s handle. **Above:** `bins`.
//! **Source:** profile chapter 8 for the meaning of requests (`spec-vectors/PROFILE.md`).

/// Prints a line on standard output. Write errors are checked once, at the command's end.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

/// Prints a line on standard error.
macro_rules! note {
    ($($text:tt)*) => { $crate::output::aside(format_args!($($text)*)) };
}

mod admin;
mod args;
mod audit;
mod coordinator;
mod demo;
mod economy;
mod fail;
mod faults;
mod fog;
mod get;
mod harden;
mod hint;
mod id;
mod inspect;
mod journal;
mod listen;
mod mix;
mod name;
mod network;
mod opened;
mod output;
mod panel_api;
mod pay;
mod probe;
mod progress;
mod put;
mod receipt;
mod registry;
mod seed;
mod seeds;
mod shape;
mod shape_file;
mod source;
mod state;
mod stop;
mod target;
mod template;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use tokio::signal::unix::{SignalKind, signal};

use args::{Betanet, Command};
use fail::Fail;

/// Time at a command's end for work on other threads.
const LAST_WRITES: Duration = Duration::from_millis(500);
/// The signal for a file that exceeds the limit of `ulimit -f`.
const SIGXFSZ: i32 = 25;

/// Runs `betanet`.
#[must_use]
pub fn betanet() -> ExitCode {
    harden::harden();
    let args: Betanet = match args::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    if let Err(why) = betanet_runtime::init_logs(betanet_runtime::LogFormat::Text, &args.log) {
        return Fail::Usage(format!("--log {}: {why}", args.log)).report();
    }
    let done = match args.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Betanet::command(), "betanet", &mut script);
            output::print(&script);
            Ok(())
        }
        Command::Id(args) => id::run(&args),
        Command::Audit(args) => on_runtime(audit::run(&args)),
        Command::Mix(args) => mix::run(args),
        Command::Token(args) => on_runtime(economy::token(*args)),
        Command::Stake(args) => on_runtime(economy::stake(*args)),
        Command::Gov(args) => on_runtime(economy::gov(*args)),
        Command::Ledger(args) => on_runtime(economy::ledger(*args)),
        Command::Name(args) => on_runtime(name::name(*args)),
        Command::Pay(args) => on_runtime(pay::pay(*args)),
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
        Command::Status(args) => on_runtime(admin::status(args)),
        Command::Peers(args) => on_runtime(network::peers(args)),
        Command::Path(args) => on_runtime(network::path(args)),
        Command::Serve(args) => on_runtime(listen::serve(*args)),
        Command::Worker(args) => on_runtime(worker::worker(*args)),
        Command::Coordinator(args) => on_runtime(coordinator::coordinator(*args)),
        Command::Task(args) => on_runtime(fog::task(args)),
        Command::Job(args) => on_runtime(fog::job(args)),
        Command::Node(args) => on_runtime(fog::node(args)),
        Command::Fog(args) => on_runtime(fog::fog(args)),
        Command::Top(args) => on_runtime(fog::top(*args)),
        Command::Seed(args) => on_runtime(seed::run(args)),
        Command::Demo(args) => on_runtime(demo::run(args)),
    };
    finish(done)
}

/// Runs `gateway`.
#[must_use]
pub fn gateway() -> ExitCode {
    harden::harden();
    match args::parse() {
        Ok(args) => finish(on_runtime(listen::gateway(args))),
        Err(code) => code,
    }
}

/// Runs `mixnode`.
#[must_use]
pub fn mixnode() -> ExitCode {
    harden::harden();
    match args::parse() {
        Ok(args) => finish(on_runtime(listen::mixnode(args))),
        Err(code) => code,
    }
}

/// Runs `coordinator`.
#[must_use]
pub fn coordinator() -> ExitCode {
    harden::harden();
    match args::parse::<args::Coordinator>() {
        Ok(args) => finish(on_runtime(coordinator::coordinator(args.run))),
        Err(code) => code,
    }
}

/// Runs `worker`.
#[must_use]
pub fn worker() -> ExitCode {
    harden::harden();
    match args::parse::<args::Worker>() {
        Ok(args) => finish(on_runtime(worker::worker(args.run))),
        Err(code) => code,
    }
}

fn finish(done: Result<(), Fail>) -> ExitCode {
    match done.and_then(|()| output::check()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => fail.report(),
    }
}

/// Time for sending the close messages of sessions before the process ends.
const GOODBYE: Duration = Duration::from_secs(3);

fn on_runtime(work: impl Future<Output = Result<(), Fail>>) -> Result<(), Fail> {
    betanet_runtime::count_panics();
    let work = async {
        let done = work.await;
        // Close the sessions in every case. Otherwise the peer keeps the session, and this address's place, until it detects the
        // loss.
        let mut stops = stop::Stops::listen();
        tokio::select! {
            () = betanet_runtime::farewell(GOODBYE) => {}
            _ = stops.told() => {}
        }
        done
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Fail::Local(format!("the executor cannot start: {e}")))?;
    let done = runtime.block_on(async {
        // A file at its size limit then causes a write error, and does not end the process.
        let _file_size = signal(SignalKind::from_raw(SIGXFSZ));
        work.await
    });
    // Writes in progress may complete. A name lookup is not waited for.
    runtime.shutdown_timeout(LAST_WRITES);
    done
}
