use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct ShapeArgs {
    #[command(subcommand)]
    pub(crate) command: ShapeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShapeCommand {
    /// Learn a traffic shape for tunnels from recorded page loads.
    #[command(
        after_help = "Record the site's own visitors: tcpdump -i any -w loads.pcap tcp port 443\n\n\
                      Pass the result as --shape FILE to the gateway and to its clients.\n\n\
                      Example: betanet shape learn loads.pcap -o site.shape"
    )]
    Learn(LearnArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    /// Recordings: pcap or pcapng files, or JSON with one connection per line. Such a line is
    /// {"records": [[SECONDS, 1 or -1, TYPE, LENGTH], …]}, where 1 is upwards.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) recordings: Vec<PathBuf>,
    /// Number of server records between its handshake and its first answer: session tickets, and SETTINGS.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=16))]
    pub(crate) skip: u8,
    /// Recording, made in the same way, of tunnels that followed a shape. Their lateness is subtracted, for each request
    /// separately if there are 48 or more. May be repeated.
    #[arg(long, value_name = "FILE", requires = "followed")]
    pub(crate) lag: Vec<PathBuf>,
    /// Shape that a --lag recording followed; may be repeated, one for each recording. The output may replace this file.
    #[arg(long, value_name = "FILE", requires = "lag")]
    pub(crate) followed: Vec<PathBuf>,
    /// Output file for the shape.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
