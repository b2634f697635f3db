//! A ledger of names, as its node tells at the admin address.

use serde::Deserialize;

use super::Source;
use super::http::{Broken, json};

/// Most aliases of a ledger that a page reads.
pub(crate) const ALIASES_MAX: usize = 10_000;
/// Aliases of one answer.
const PIECE: usize = 1_000;
/// Most answers that a page reads, however few aliases each has.
const PIECES_MAX: usize = ALIASES_MAX / PIECE;

/// An alias in a list.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AliasRow {
    pub(crate) alias: String,
    pub(crate) unicode: String,
    pub(crate) status: String,
    pub(crate) node: Option<String>,
    pub(crate) seq: Option<u64>,
    pub(crate) index: Option<u64>,
    pub(crate) expires_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Page {
    aliases: Vec<AliasRow>,
    next: Option<String>,
}

/// The newest head.
#[derive(Debug, Deserialize)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Option<String>,
    pub(crate) ts_ms: Option<u64>,
    pub(crate) signed_by: Option<Vec<String>>,
    pub(crate) signers: Vec<String>,
    pub(crate) waiting: u64,
    pub(crate) split: bool,
}

/// A ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) head: Head,
    pub(crate) aliases: Vec<AliasRow>,
    /// Whether it has more aliases than were read.
    pub(crate) more: bool,
}

/// Where a proof leads to.
#[derive(Debug, Deserialize)]
pub(crate) struct ProvenHead {
    pub(crate) size: u64,
    pub(crate) root: String,
    pub(crate) ts_ms: u64,
}

/// A record of an alias.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) index: u64,
    pub(crate) node: String,
    pub(crate) from: Option<String>,
    pub(crate) status: String,
    pub(crate) ts_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) digest: String,
    pub(crate) head: ProvenHead,
    /// The proof, as base64url of its bytes.
    pub(crate) proof: String,
}

#[derive(Debug, Deserialize)]
struct Records {
    records: Vec<Record>,
}

/// Reads the head and the aliases.
pub(super) async fn read(source: &Source) -> Result<Ledger, Broken> {
    let head: Head = json(source, "/names/1/head").await?;
    let mut ledger = Ledger {
        head,
        aliases: Vec::new(),
        more: false,
    };
    let mut after = String::new();
    for _ in 0..PIECES_MAX {
        let path = format!("/names/1/aliases?n={PIECE}{after}");
        let page: Page = json(source, &path).await?;
        let empty = page.aliases.is_empty();
        ledger.aliases.extend(page.aliases);
        // Names of the wire are letters, digits, points and hyphens.
        let plain = |next: &String| {
            next.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        match page.next.filter(plain) {
            None => return Ok(ledger),
            Some(_) if empty || ledger.aliases.len() >= ALIASES_MAX => break,
            Some(next) => after = format!("&after={next}"),
        }
    }
    ledger.aliases.truncate(ALIASES_MAX);
    ledger.more = true;
    Ok(ledger)
}

/// Reads the records of an alias. `alias` is one of the wire: letters, digits, points and hyphens.
pub(super) async fn records(source: &Source, alias: &str) -> Result<Vec<Record>, Broken> {
    let path = format!("/names/1/history/{alias}");
    Ok(json::<Records>(source, &path).await?.records)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What is read of a program whose pages have so many aliases, and which has a next page for ever; and the pages that were asked for.
    async fn endless(aliases: usize) -> (Ledger, usize) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let source = Source::from_text(&format!("x=http://{at}")).unwrap();
        let row = json!({"alias": "a", "unicode": "a", "status": "bound", "node": null, "seq": 1, "index": 1, "expires_ms": 1});
        let page = json!({"aliases": vec![row; aliases], "next": "a"}).to_string();
        let head = json!({"size": 1, "root": null, "ts_ms": null, "signed_by": null, "signers": [], "waiting": 0, "split": false});
        let mut pages = 0;
        let endless = async {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut ask = [0; 4096];
                let n = tcp.read(&mut ask).await.unwrap();
                let is_head = String::from_utf8_lossy(&ask[..n]).contains("/head");
                pages += usize::from(!is_head);
                let body = if is_head {
                    head.to_string()
                } else {
                    page.clone()
                };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                tcp.write_all((head + &body).as_bytes()).await.unwrap();
            }
        };
        let ledger = tokio::select! {
            ledger = read(&source) => ledger.unwrap(),
            () = endless => unreachable!(),
        };
        (ledger, pages)
    }

    #[tokio::test]
    async fn a_ledger_is_read_up_to_its_bound() {
        for (aliases, read, pages) in [
            (PIECE, ALIASES_MAX, PIECES_MAX),
            (2 * PIECE, ALIASES_MAX, PIECES_MAX / 2),
            (1, PIECES_MAX, PIECES_MAX),
            (0, 0, 1),
        ] {
            let (ledger, asked) = endless(aliases).await;
            assert_eq!((ledger.aliases.len(), asked), (read, pages));
            assert!(ledger.more);
        }
    }
}
