//! Arguments of `betanet audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct PanelAuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Replay the audit log of a control panel, saved or read from the panel, and compare it with heads that somebody kept.
    #[command(
        after_help = "Save the log with: curl -H \"Authorization: Bearer TOKEN\" 'http://127.0.0.1:9470/api/v1/audit?from=0&n=1000'\n\
                      For files, no network is used. A URL is one of this machine, since it is read over plain HTTP.\n\
                      Without --head, only the order and the form of the records are checked. Exit codes: 0 unchanged, 1 changed.\n\n\
                      Example: betanet audit verify ./audit-0.json ./audit-1000.json --head bnah1…\n\
                      Example: betanet audit verify http://127.0.0.1:9470 --token-file ./token --head bnah1…"
    )]
    Verify(AuditVerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// Answers of GET /api/v1/audit, in the order of their records; or the address of the panel, http://127.0.0.1:PORT.
    #[arg(required = true, value_name = "FILE|URL")]
    pub(crate) files: Vec<PathBuf>,
    /// File with an API token that may read the audit log. Others must not be able to read it. Needs a URL.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A head of the log that you kept; may be repeated.
    #[arg(long, value_name = "HEAD")]
    pub(crate) head: Vec<String>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
