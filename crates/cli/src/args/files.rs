//! `get`, `put`, `post`, `del`.

use std::path::PathBuf;

use clap::Args;

use super::PeerArgs;

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// bar://NAME/path, or bar://PEER/path with the bnp1… string that a gateway prints
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// Write to a file, or under the URL's last name into a folder; - is standard output, which is the default. What is there of a
    /// fetch that was cut stands in FILE.part, and in FILE.part.json what it is.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Go on where an earlier run of the same -o FILE was cut, and fetch nothing that is there whole. What has changed meanwhile is
    /// fetched anew.
    #[arg(long = "continue", requires = "output")]
    pub(crate) resume: bool,
    /// Take a folder with all that is below it into the folder -o DIR, where the server has --listing; goes on as --continue does.
    #[arg(short, long, requires = "output", conflicts_with_all = ["range", "sha256"])]
    pub(crate) recursive: bool,
    /// Only these bytes, as 0-499, 500- or -500.
    #[arg(long, value_name = "A-B", allow_hyphen_values = true)]
    pub(crate) range: Option<String>,
    /// The SHA-256 that what is fetched must have, in hex: a file that has another one does not get its name.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// Leave the session open for so many seconds from its beginning, before it is closed.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub(crate) stay: f64,
    /// How often a cut transfer is taken up again before giving up.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub(crate) retries: u32,
    /// One line of JSON about the transfer; needs -o FILE.
    #[arg(long, requires = "output")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The file to send; - is standard input. What is a file is sent as long as it was at the beginning.
    pub(crate) file: PathBuf,
    /// bar://NAME/path, or bar://PEER/path with the bnp1… string that a gateway prints
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// The content type; guessed from the file's name without it.
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// Only if the resource has this etag.
    #[arg(long, value_name = "ETAG", conflicts_with = "new")]
    pub(crate) if_match: Option<String>,
    /// Only if there is no such resource.
    #[arg(long)]
    pub(crate) new: bool,
    /// One line of JSON about the answer.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DelArgs {
    /// bar://NAME/path, or bar://PEER/path with the bnp1… string that a gateway prints
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) peer: PeerArgs,
    /// Only if the resource has this etag.
    #[arg(long, value_name = "ETAG")]
    pub(crate) if_match: Option<String>,
    /// One line of JSON about the answer.
    #[arg(long)]
    pub(crate) json: bool,
}
