//! `name`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DialArgs, PEERS};

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    #[command(subcommand)]
    pub(crate) command: NameCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NameCommand {
    /// Make a record that binds an alias to your node, for signers to sign.
    #[command(
        after_help = "The file goes from signer to signer (betanet name sign), and then to the ledger (betanet name publish).\n\
                      Signers and the ledger take it within 10 minutes of its making.\n\n\
                      Example: betanet name claim files.example --key ./node.pem -o files.claim --network NETWORK.toml"
    )]
    Claim(ClaimArgs),
    /// Sign a claim as one of the network's signers, without a network connection.
    #[command(
        after_help = "The signature is added to the file. The memory file is written first: keep one for each key, and never an old copy.\n\n\
                      Example: betanet name sign files.claim --signer ./signer.pem --memory ./signer.memory --new-memory --network NETWORK.toml"
    )]
    Sign(SignNameArgs),
    /// Give a signed claim to the ledger, and wait until it is final.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet name publish files.claim --network NETWORK.toml"))]
    Publish(PublishArgs),
    /// Show the node that an alias leads to. Its proof is verified with the signers' keys, so no ledger node is trusted.
    #[command(
        after_help = format!("A node can hide a newer record; ask several, and the newest record counts. Exit code 1 if the alias leads nowhere.\n{PEERS}\n\n\
                      Example: betanet name resolve files.example --network NETWORK.toml --json")
    )]
    Resolve(AliasArgs),
    /// List the kept records of an alias: the latest and at most five earlier ones.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet name history files.example --network NETWORK.toml"))]
    History(AliasArgs),
    /// Save the proof of an alias's latest record to a file.
    #[command(after_help = format!("{PEERS}\n\nExample: betanet name prove files.example -o files.proof --network NETWORK.toml"))]
    Prove(ProveArgs),
    /// Verify a saved proof, without a network connection.
    #[command(after_help = "Example: betanet name verify files.proof --network NETWORK.toml")]
    Verify(VerifyNameArgs),
    /// Compare the ledgers of several nodes: each must be the beginning of the others.
    #[command(
        after_help = format!("Exit code 6 if signers showed two views of the ledger: both heads are then kept as evidence in --evidence.\n{PEERS}\n\n\
                      Example: betanet name audit --from bnp1… --from bnp1… --network NETWORK.toml")
    )]
    Audit(AuditNameArgs),
}

/// The keys of the network's first signers.
#[derive(Clone, Debug, Args)]
pub(crate) struct TrustArgs {
    /// Keys of the network's first signers, one per line in hex, instead of those of the network file.
    #[arg(long, value_name = "FILE")]
    pub(crate) signers: Option<PathBuf>,
}

/// The keys that verify a file, without a network connection.
#[derive(Clone, Debug, Args)]
pub(crate) struct OfflineArgs {
    /// Network file with the first signers.
    #[arg(long, value_name = "FILE", env = "BETANET_NETWORK")]
    pub(crate) network: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The ledger nodes, and the keys that verify their answers.
#[derive(Clone, Debug, Args)]
pub(crate) struct LedgerArgs {
    /// Ledger node to ask, not by an alias, which only such nodes resolve; may be repeated. By default, those of the network file.
    #[arg(long, value_name = "PEER")]
    pub(crate) from: Vec<String>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClaimArgs {
    /// Alias: letters, digits and hyphens, in labels separated by dots. Other scripts are encoded.
    pub(crate) alias: String,
    /// Expected name of the node, to check that --key is its key.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Key of the node that the alias was bound to, if it moves to the node of --key.
    #[arg(long, value_name = "FILE", conflicts_with = "retire")]
    pub(crate) prev_key: Option<PathBuf>,
    /// Retire the alias, which is bound to the node of --key.
    #[arg(long)]
    pub(crate) retire: bool,
    /// Sequence number. By default, it follows the latest record in the ledger, or is 1 without a ledger node.
    #[arg(long, value_name = "N")]
    pub(crate) seq: Option<u64>,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SignNameArgs {
    /// File of the claim.
    pub(crate) file: PathBuf,
    /// Key file of the signer.
    #[arg(long, value_name = "FILE")]
    pub(crate) signer: PathBuf,
    /// File of everything that this signer signed. It belongs to the key, and a copy of it must never be used.
    #[arg(long, value_name = "FILE")]
    pub(crate) memory: PathBuf,
    /// Create the memory of a key that has never signed before; the file must not exist.
    #[arg(long)]
    pub(crate) new_memory: bool,
    #[command(flatten)]
    pub(crate) offline: OfflineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// File of the claim.
    pub(crate) file: PathBuf,
    /// Ledger node to give it to; may be repeated. By default, those that the network file names.
    #[arg(long, value_name = "PEER")]
    pub(crate) to: Vec<String>,
    /// Seconds to wait until the record is final; 0 does not wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) wait: u64,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AliasArgs {
    /// Alias.
    pub(crate) alias: String,
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    #[command(flatten)]
    pub(crate) of: AliasArgs,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyNameArgs {
    /// File of the proof.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) offline: OfflineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AuditNameArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
    /// Folder for evidence.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) evidence: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The ledger of names of a gateway.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct NamesFlags {
    /// Keep the network's ledger of names, serve it and gossip it. Needs --state, and signers in the --network file.
    #[arg(long, help_heading = "Names")]
    pub(crate) names: bool,
    /// Key file of a signer: propose and co-sign heads of the ledger with it.
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Names",
        env = "BETANET_SIGNER"
    )]
    pub(crate) signer: Option<PathBuf>,
    /// Ledger node to gossip with, besides those that the network file names; may be repeated.
    #[arg(
        long,
        value_name = "PEER",
        help_heading = "Names",
        env = "BETANET_NAMES_PEER",
        value_delimiter = ','
    )]
    pub(crate) names_peer: Vec<String>,
}
