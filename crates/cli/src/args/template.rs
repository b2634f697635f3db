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
    /// Look at a front origin once, with one GET, and keep its template for a day.
    #[command(
        after_help = "Only a build with --features mimic has a client shape to make a template of.\n\n\
                      Example: betanet template calibrate front.example:443"
    )]
    Calibrate(CalibrateArgs),
    /// Make a record of a front origin for maintainers to sign, in hex on standard output.
    #[command(
        after_help = "Example: betanet template record 960028b5… --host-pattern '*.front.example' --days 90 --seq 1 --network NETWORK.toml > record.hex"
    )]
    Record(RecordArgs),
    /// Add a maintainer's signature to a record; `--front-origins` takes one with enough of them.
    #[command(after_help = "Example: betanet template sign record.hex --key maintainer.pem")]
    Sign(SignArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// HOST:PORT, or quic:HOST:PORT for what it is over QUIC.
    pub(crate) origin: String,
    /// The SHA-256 of its certificate's SPKI, in hex; without one, web PKI decides.
    #[arg(long, value_name = "PINHEX")]
    pub(crate) pin: Option<String>,
    /// The folder in which the template is kept; without it, the user's own.
    #[arg(long, value_name = "DIR", env = "BETANET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Look at it though it was looked at within a day.
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Stay for so many seconds, to see whether it sends PINGs.
    #[arg(long, default_value_t = 0, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) idle: u64,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The TemplateID, as calibration prints it.
    pub(crate) template: String,
    /// The host, or *. and the end of hosts.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) host_pattern: String,
    /// For how many days it counts.
    #[arg(long, default_value_t = 90, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub(crate) days: u64,
    /// The highest stands.
    #[arg(long, value_name = "N")]
    pub(crate) seq: u64,
    /// For whom it is meant.
    #[arg(long, default_value = "standard", value_parser = ["standard", "extended"])]
    pub(crate) profile: String,
    /// The network whose maintainers sign it.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The record, in hex; it is written anew with the signature.
    pub(crate) record: PathBuf,
    /// The maintainer's key file.
    #[arg(long, value_name = "FILE", env = "BETANET_KEY")]
    pub(crate) key: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    /// Where browsers are waited for.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub(crate) listen: String,
    /// How many connections over TCP: from two on they show whether extensions are permuted.
    #[arg(short = 'n', long, default_value_t = 2, value_name = "N", value_parser = captured())]
    pub(crate) connections: usize,
    /// How many over QUIC, at the UDP port of the same number; they are not answered. Chromium goes there with
    /// --origin-to-force-quic-on=localhost:PORT, and --host-resolver-rules='MAP localhost 127.0.0.1' as it tries ::1 alone.
    #[arg(short, long, default_value_t = 0, value_name = "N", value_parser = captured())]
    pub(crate) quic: usize,
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
    /// What `template capture` wrote, a pcap or pcapng file, or one of chromium and firefox, as Debian has them; chromium without it.
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

fn captured() -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser as _;
    clap::value_parser!(u16).range(0..=1000).map(usize::from)
}
