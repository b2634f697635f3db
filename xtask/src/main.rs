//! `cargo xtask`: repository chores.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use xtask::args::{Chore, Xtask};

fn main() -> ExitCode {
    let done = match Xtask::parse().chore {
        Chore::Layers => xtask::layers::run(),
        Chore::Sizes => xtask::sizes::run(),
        Chore::Bounds => xtask::bounds::run(),
        Chore::Vectors(args) => {
            let dir = args
                .dir
                .unwrap_or_else(|| xtask::root().join("spec-vectors"));
            vectors(&dir)
        }
        Chore::Readme(args) => xtask::readme::run(args.write),
        Chore::NoStd(args) => xtask::no_std::run(&args),
        Chore::Semver => xtask::semver::run(),
        Chore::Bench(args) => xtask::measured::bench(&args),
        Chore::Attacks(args) => xtask::measured::attacks(&args),
        Chore::Probes(args) => xtask::measured::probes(&args),
        Chore::Sim(args) => xtask::sim::command(&args),
        Chore::X25519(args) => xtask::x25519::command(&args),
        Chore::Anonymity(args) => anonymity(&args.svg),
        Chore::Replays(args) => xtask::replays::command(&args),
        Chore::Money(args) => xtask::money::run(&args),
        Chore::Economy(args) => xtask::economy::run(&args),
        Chore::Settle(args) => xtask::settle::run(&args),
        Chore::Schema(args) => xtask::schema::run(&args),
        Chore::Netns => xtask::netns::run(),
        Chore::Distinguish(args) => xtask::distinguish::run(&args),
        Chore::Fog(args) => xtask::fog::run(&args),
        Chore::Demo => xtask::ci::demo(),
        Chore::Ci => xtask::ci::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn anonymity(svg: &Path) -> Result<(), String> {
    if xtask::anonymity::run(svg)? {
        Ok(())
    } else {
        Err("entropy is not what is predicted".into())
    }
}

fn vectors(dir: &Path) -> Result<(), String> {
    if xtask::vectors::run(dir, &mut |line| println!("{line}"))? {
        Ok(())
    } else {
        Err("not every known answer was given".into())
    }
}
