use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct TemplateArgs {
    #[command(subcommand)]
    pub(crate) command: TemplateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// Record a browser's ClientHello and first HTTP/2 frames.
    #[command(
        after_help = "Visit the printed address with the browser, and accept its self-signed certificate.\n\n\
                      Example: betanet template capture --connections 10 -o chromium.json"
    )]
    Capture(CaptureArgs),
    /// Compare this program with a capture, field by field. Exit code 1 if they differ.
    #[command(
        after_help = "A build with --features mimic looks like Chromium. A build without it looks like no browser.\n\n\
                      Example: betanet template check chromium.json --json"
    )]
    Check(CheckArgs),
    /// Fetch a front origin's page once, and keep its template for a day.
    #[command(
        after_help = "This needs a build with --features mimic, which has a client fingerprint to record in a template.\n\n\
                      Example: betanet template calibrate front.example:443"
    )]
    Calibrate(CalibrateArgs),
    /// Write a record of a front origin for maintainers to sign, in hex on standard output.
    #[command(
        after_help = "Example: betanet template record 960028b5… --host-pattern '*.front.example' --days 90 --seq 1 --network NETWORK.toml > record.hex"
    )]
    Record(RecordArgs),
    /// Add a maintainer's signature to a record. `--front-origins` accepts it once it has enough.
    #[command(after_help = "Example: betanet template sign record.hex --key maintainer.pem")]
    Sign(SignArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// HOST:PORT, or quic:HOST:PORT for its QUIC side.
    pub(crate) origin: String,
    /// SHA-256 of its certificate's SPKI, in hex; by default web PKI decides.
    #[arg(long, value_name = "PINHEX")]
    pub(crate) pin: Option<String>,
    /// Folder of your state, which holds the template. By default it is in your data folder.
    #[arg(long, value_name = "DIR", env = "BETANET_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Fetch again, even within a day.
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Stay connected for this many seconds, to observe PINGs.
    #[arg(long, default_value_t = 0, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) idle: u64,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// TemplateID that `calibrate` printed.
    pub(crate) template: String,
    /// Host, or *. and the end of hosts.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) host_pattern: String,
    /// Days of validity.
    #[arg(long, default_value_t = 90, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub(crate) days: u64,
    /// Sequence number; the highest is valid.
    #[arg(long, value_name = "N")]
    pub(crate) seq: u64,
    /// Profile that the record is for.
    #[arg(long, default_value = "standard", value_parser = ["standard", "extended"])]
    pub(crate) profile: String,
    /// Network whose maintainers sign the record.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Record in hex; it is rewritten with the signature.
    pub(crate) record: PathBuf,
    /// Key file of the maintainer.
    #[arg(long, value_name = "FILE", env = "BETANET_KEY")]
    pub(crate) key: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    /// Address to listen on for browsers.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub(crate) listen: String,
    /// Number of TCP connections; two or more show whether extensions are permuted.
    #[arg(short = 'n', long, default_value_t = 2, value_name = "N", value_parser = captured())]
    pub(crate) connections: usize,
    /// Number of QUIC connections, on the UDP port with the same number; they get no answer. Start Chromium with
    /// --origin-to-force-quic-on=localhost:PORT and --host-resolver-rules='MAP localhost 127.0.0.1', because it tries only ::1
    /// otherwise.
    #[arg(short, long, default_value_t = 0, value_name = "N", value_parser = captured())]
    pub(crate) quic: usize,
    /// Seconds to wait for connections.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) wait: u64,
    /// Output file for the capture.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Capture of `template capture`, a pcap or pcapng file, or Debian's chromium or firefox. [default: chromium]
    pub(crate) capture: Option<PathBuf>,
    /// Number of this program's own connections to compare.
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N", value_parser = connections())]
    pub(crate) connections: usize,
    /// Print one line of JSON.
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
