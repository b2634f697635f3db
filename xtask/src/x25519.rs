//! `cargo xtask x25519 [N]`: random multiplications beside another implementation, with every backend of this machine.

use std::time::Instant;

use betanet_machine::{Rng, Seed};
use betanet_x25519_batch::{Backend, Pair, multiply_with};
use clap::Args;

/// Pairs that are multiplied together.
const TOGETHER: usize = 1000;

/// Arguments of `x25519`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Number of pairs to compare.
    #[arg(default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub pairs: u64,
}

/// Compares so many pairs, from a seed that is new each time and printed.
///
/// # Errors
///
/// The first pair that differs.
pub fn command(args: &Arguments) -> Result<(), String> {
    let n = args.pairs;
    let began = Instant::now();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = now.map_or(0, |d| u64::from(d.subsec_nanos()) ^ d.as_secs());
    let mut rng = Rng::new(&Seed::from_number(seed));
    let backends: Vec<Backend> = Backend::ALL
        .into_iter()
        .filter(|b| b.is_available())
        .collect();
    println!("x25519: {n} pairs, seed {seed}, {backends:?}");
    let mut done = 0;
    while done < n {
        let len = usize::try_from(n - done).unwrap_or(TOGETHER).min(TOGETHER);
        let pairs: Vec<Pair> = (0..len)
            .map(|_| Pair::new(rng.array(), rng.array()))
            .collect();
        let expected: Vec<[u8; 32]> = pairs
            .iter()
            .map(|p| x25519_dalek::x25519(p.scalar, p.point))
            .collect();
        for backend in &backends {
            let mut got = pairs.clone();
            multiply_with(*backend, &mut got);
            if let Some(i) = got.iter().zip(&expected).position(|(g, e)| g.point != *e) {
                return Err(format!(
                    "{backend:?}: pair {} of seed {seed} differs",
                    done + i as u64
                ));
            }
        }
        done += len as u64;
        if done % 100_000 == 0 {
            eprint!("\r{done} in {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    println!(
        "\nx25519: all the same, {:.0} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
