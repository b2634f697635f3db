//! The command line and its variables, read.

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Arg, Command, Parser};

use crate::Fail;

/// Reads the command line; what is to be said in place of a command is said.
///
/// # Errors
///
/// The exit code: of a usage error, or after `--help` and `--version`.
pub(crate) fn parse<T: Parser>() -> Result<T, ExitCode> {
    let mut command = without_empty(T::command());
    command
        .try_get_matches_from_mut(std::env::args_os())
        .and_then(|mut matches| T::from_arg_matches_mut(&mut matches))
        .map_err(|error| told(&error.format(&mut command)))
}

/// A variable that is empty is as one that is not set.
fn without_empty(command: Command) -> Command {
    let set = |arg: Arg| match arg.get_env() {
        Some(name) if std::env::var_os(name).is_some_and(|v| v.is_empty()) => {
            arg.env(Resettable::<clap::builder::OsStr>::Reset)
        }
        _ => arg,
    };
    command.mut_args(set).mut_subcommands(without_empty)
}

fn told(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if !error.use_stderr() {
        let flushed = printed.and_then(|()| std::io::Write::flush(&mut std::io::stdout()));
        return match flushed {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => Fail::output(why).report(),
        };
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
