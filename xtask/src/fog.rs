//! `cargo xtask fog openb`: a real cluster's tasks under each placement strategy.

mod openb;

use clap::{Args, Subcommand};

/// Arguments of `fog`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The table to print.
    #[command(subcommand)]
    pub table: Table,
}

/// A table.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Table {
    /// What each strategy places of Alibaba's openb trace, and how it fragments the devices.
    #[command(after_help = "Example: cargo xtask fog openb")]
    Openb,
}

/// Prints a table.
///
/// # Errors
///
/// The trace cannot be read, or the placer promised more than a node has.
pub fn run(args: &Arguments) -> Result<(), String> {
    match args.table {
        Table::Openb => {
            let path = crate::root().join("crates/scheduler/tests/data/openb.txt");
            let text =
                std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            print!("{}", openb::table(&openb::read(&text)?)?);
            Ok(())
        }
    }
}
