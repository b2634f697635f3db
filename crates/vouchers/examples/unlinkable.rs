//! A mint that keeps every byte guesses which issue a spent voucher comes from. By chance one guess in all is right.
//!
//! `cargo run --release -p betanet-vouchers --features testkit --example unlinkable -- 10000`

#![allow(clippy::print_stdout, reason = "an example")]

use betanet_vouchers::testkit::World;
use betanet_vouchers::testkit::link::{guess, record};

fn main() -> Result<(), std::num::ParseIntError> {
    let n = std::env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("10000")
        .parse()?;
    let mut world = World::new(1, 1, 1, &[0]);
    let (issued, spent, order) = record(&mut world, n);
    let links = guess(&issued, &spent, &order);
    println!(
        "{} vouchers; by chance 1 guess is right, and more than 5 in one case of 1 700",
        links.vouchers
    );
    for (name, right) in links.right {
        println!("{right:>3} right  {name}");
    }
    Ok(())
}
