//! `cargo xtask economy`: random commands for the economy's machine, whose laws are checked after each.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use betanet_tokenomics::testkit::{compare_with_naive, fuzz_machine};
use clap::Args;

/// Bytes of which the commands of a seed are drawn.
const DRAWN: u64 = 512;
/// Bytes of a comparison with the naive ledger.
const COMPARED: u64 = 4_096;

/// Arguments of `economy`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Commands that are compared with a ledger written without regard to speed.
    #[arg(long, default_value_t = 1_000_000)]
    pub commands: u64,
    /// Seeds, each of which gives a ledger some tens of commands of every kind.
    #[arg(long, default_value_t = 100_000)]
    pub seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 33)]
    pub seed: u64,
}

/// Bytes of a seed.
fn bytes(seed: u64, len: u64) -> Vec<u8> {
    let part = |n: u64| betanet_keys::hash(&[&seed.to_be_bytes(), &n.to_be_bytes()]);
    (0..len.div_ceil(32)).flat_map(part).collect()
}

/// Says how far it is, once a while.
struct Progress {
    began: Instant,
    told: Instant,
}

impl Progress {
    fn start() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            told: now,
        }
    }

    fn tell(&mut self, done: u64, of: u64, what: &str) {
        if self.told.elapsed() >= Duration::from_secs(20) {
            self.told = Instant::now();
            eprintln!("{done} of {of} {what}");
        }
    }

    fn end(&self, what: &str) {
        println!("{what} in {:.1} s", self.began.elapsed().as_secs_f64());
    }
}

/// Runs a check of a seed's bytes, which panics where a law does not hold.
fn check(seed: u64, run: fn(&[u8]) -> u64, len: u64) -> Result<u64, String> {
    let data = bytes(seed, len);
    catch_unwind(|| run(&data)).map_err(|_| format!("seed {seed}: a law does not hold, see above"))
}

/// Compares the machine with the naive ledger, then checks conservation, replay and snapshots of every seed's commands.
///
/// # Errors
///
/// A law does not hold; the seed is named.
pub fn run(args: &Arguments) -> Result<(), String> {
    let (mut done, mut seed) = (0, args.seed);
    let mut progress = Progress::start();
    while done < args.commands {
        done += check(seed, compare_with_naive, COMPARED)?;
        seed += 1;
        progress.tell(done, args.commands, "commands are compared");
    }
    progress.end(&format!(
        "{done} commands give the codes and balances of the naive ledger"
    ));
    let mut commands = 0;
    let mut progress = Progress::start();
    for at in 0..args.seeds {
        commands += check(args.seed + at, fuzz_machine, DRAWN)?;
        progress.tell(at, args.seeds, "seeds are checked");
    }
    progress.end(&format!(
        "{} seeds, {commands} commands: after each the accounts sum to the supply, a refused one changes nothing, and the journal \
         gives every root again",
        args.seeds
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seeds_hold() {
        let args = Arguments {
            commands: 1_000,
            seeds: 20,
            seed: 1,
        };
        assert_eq!(run(&args), Ok(()));
        // Commands were drawn, and not of the same bytes.
        assert!(check(1, fuzz_machine, DRAWN).is_ok_and(|n| n > 20));
        assert_ne!(bytes(1, DRAWN), bytes(2, DRAWN));
    }
}
