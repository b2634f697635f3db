//! Prints what this machine is, what its sensors read, and what the default rules make of it: JSON, a line a second.
//!
//! `cargo run -p betanet-host --features dbus --example readings -- [LINES] [FOLDER]`: a folder stands for `/`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for people, with the clock"
)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use betanet_harvest::{Harvest, Rules};
use betanet_host::{Machine, Own, Root, Sensors};
use betanet_machine::{Now, Time};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let lines: u32 = args.next().map_or(Ok(2), |n| n.parse())?;
    let root = args.next().map_or_else(Root::here, Root::at);
    println!(
        "{}",
        serde_json::to_string(&Machine::read(&root, Path::new(".")))?
    );
    let mut sensors = Sensors::new(root, Own::this_process());
    let mut harvest = Harvest::new(Rules::default());
    let start = Instant::now();
    for line in 0..lines {
        if line > 0 {
            std::thread::sleep(Duration::from_secs(1));
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let now = Now::new(
            Time::ZERO + start.elapsed(),
            u64::try_from(unix.as_millis())?,
        );
        let began = Instant::now();
        let sample = sensors.read(now);
        let took = began.elapsed().as_micros();
        let decision = harvest.observe(now.mono, &sample.readings);
        let causes: Vec<String> = harvest.causes().map(|c| c.to_string()).collect();
        println!(
            "{}",
            serde_json::json!({ "took_us": took, "sample": sample, "decision": decision.as_str(), "causes": causes })
        );
    }
    Ok(())
}
