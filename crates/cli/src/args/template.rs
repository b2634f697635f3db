use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct TemplateArgs {
    #[command(subcommand)]
    pub(crate) command: TemplateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// Take what a browser begins with: its ClientHello and its first HTTP/2 frames.
    #[command(
        after_help = "Visit the address that it prints with the browser, which has to take a self-signed certificate.\n\n\
                      Example: betanet template capture --connections 10 -o chromium.json"
    )]
    Capture(CaptureArgs),
    /// Compare what this program sends with a capture, field by field; exit code 1 where they differ.
    #[command(
        after_help = "A build with --features mimic looks like Chromium; one without looks like no browser.\n\n\
                      Example: betanet template check chromium.json --json"
    )]
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    /// Where browsers are waited for.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub(crate) listen: String,
    /// How many connections: from two on they show whether extensions are permuted.
    #[arg(short = 'n', long, default_value_t = 2, value_name = "N", value_parser = connections())]
    pub(crate) connections: usize,
    /// How long they are waited for, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) wait: u64,
    /// Where the capture goes.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// What `template capture` wrote; without it, Chromium 156 as Debian has it.
    pub(crate) capture: Option<PathBuf>,
    /// How many connections of our own are looked at.
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N", value_parser = connections())]
    pub(crate) connections: usize,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn connections() -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser as _;
    clap::value_parser!(u16).range(1..=1000).map(usize::from)
}
