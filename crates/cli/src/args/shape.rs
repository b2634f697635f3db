use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct ShapeArgs {
    #[command(subcommand)]
    pub(crate) command: ShapeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShapeCommand {
    /// Read page loads from recordings, and write what tunnels are to look like.
    #[command(
        after_help = "Record the site's own visitors: tcpdump -i any -w loads.pcap tcp port 443. Both ends need the file: the gateway\n\
                      as --shape FILE, clients as --shape FILE.\n\n\
                      Example: betanet shape learn loads.pcap -o site.shape"
    )]
    Learn(LearnArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    /// pcap or pcapng files; or JSON, one connection a line: {"records": [[SECONDS, 1 or -1, TYPE, LENGTH], …]}, 1 being upwards.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) recordings: Vec<PathBuf>,
    /// Records of the server behind its handshake and before its first answer: session tickets, and SETTINGS.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=16))]
    pub(crate) skip: u8,
    /// A recording, made in the same way, of tunnels that followed a shape: how much later they were than it asks for is taken off: of
    /// each request by itself where there are 48 or more. May be repeated.
    #[arg(long, value_name = "FILE", requires = "followed")]
    pub(crate) lag: Vec<PathBuf>,
    /// That shape; what is learnt may go into the same file. May be repeated, for recordings of which each followed another one.
    #[arg(long, value_name = "FILE", requires = "lag")]
    pub(crate) followed: Vec<PathBuf>,
    /// Where the shape goes.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// One line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
