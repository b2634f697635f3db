//! `get`, `put`, `post`, `del`.

use std::path::PathBuf;

use clap::Args;

use super::{PeerArgs, SpendArgs};

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// URL: bar://NAME/path, or bar://PEER/path with the bnp1… string that a gateway prints.
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    #[command(flatten)]
    pub(crate) spend: SpendArgs,
    /// Output file, or folder for a file with the URL's last name; - is standard output, the default. A broken fetch leaves its
    /// data in FILE.part and its description in FILE.part.json.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Continue a broken fetch to the same -o FILE, and skip a complete file. If the resource has changed, fetch it anew.
    #[arg(long = "continue", requires = "output")]
    pub(crate) resume: bool,
    /// Fetch a folder and everything below it into the folder -o DIR; needs a server with --listing. Continues like --continue.
    #[arg(short, long, requires = "output", conflicts_with_all = ["range", "sha256"])]
    pub(crate) recursive: bool,
    /// Fetch only these bytes: 0-499, 500- or -500.
    #[arg(long, value_name = "A-B", allow_hyphen_values = true)]
    pub(crate) range: Option<String>,
    /// Expected SHA-256 in hex. A file with another hash does not get its name.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// Keep the session open until this many seconds after its start.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub(crate) stay: f64,
    /// Number of times to resume a broken transfer.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) retries: u32,
    /// Print one line of JSON about the transfer; needs -o FILE.
    #[arg(long, requires = "output")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// File to send; - is standard input. If the file grows meanwhile, its length at the start is sent. Over the mix, the request
    /// begins with the first byte of standard input.
    pub(crate) file: PathBuf,
    /// URL: bar://NAME/path, or bar://PEER/path with the bnp1… string that a gateway prints.
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// Content type; by default guessed from the file's name.
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// Write only if the resource has this etag.
    #[arg(long, value_name = "ETAG", conflicts_with = "new")]
    pub(crate) if_match: Option<String>,
    /// Write only if the resource does not exist.
    #[arg(long)]
    pub(crate) new: bool,
    /// Print one line of JSON about the answer.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DelArgs {
    /// URL: bar://NAME/path, or bar://PEER/path with the bnp1… string that a gateway prints.
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// Delete only if the resource has this etag.
    #[arg(long, value_name = "ETAG")]
    pub(crate) if_match: Option<String>,
    /// Print one line of JSON about the answer.
    #[arg(long)]
    pub(crate) json: bool,
}
