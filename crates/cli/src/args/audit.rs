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
    /// Replay a saved audit log of a control panel, and compare it with heads that somebody kept. No network is used.
    #[command(
        after_help = "Save the log with: curl -H \"Authorization: Bearer TOKEN\" 'http://127.0.0.1:9470/api/v1/audit?from=0&n=1000'\n\
                      Without --head, only the order and the form of the records are checked. Exit codes: 0 unchanged, 1 changed.\n\n\
                      Example: betanet audit verify ./audit-0.json ./audit-1000.json --head bnah1…"
    )]
    Verify(AuditVerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// Answers of GET /api/v1/audit, in the order of their records.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// A head of the log that you kept; may be repeated.
    #[arg(long, value_name = "HEAD")]
    pub(crate) head: Vec<String>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
