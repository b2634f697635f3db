use crate::{Batch, Error, Journal};

/// What [`verify`] has read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Verified {
    /// Number of records.
    pub records: u64,
    /// Number of snapshots.
    pub snapshots: u64,
    /// Length of all bodies and parts, in bytes.
    pub bytes: u64,
}

/// Reads all records and snapshots of a journal, which checks them.
///
/// # Errors
///
/// [`Error::Damaged`] names the first damaged record or part. See also [`Journal::read`].
pub async fn verify(journal: &dyn Journal) -> Result<Verified, Error> {
    let mut out = Verified::default();
    let mut after = journal.facts().await?.base;
    loop {
        let entries = journal.read(after, Batch::default()).await?;
        let Some(last) = entries.last() else {
            break;
        };
        after = last.index;
        out.records += entries.len() as u64;
        let bytes = entries.iter().map(|e| e.record.body.len() as u64);
        out.bytes += bytes.sum::<u64>();
    }
    for snapshot in journal.snapshots().await? {
        let mut seen = 0;
        for part in 0..snapshot.parts {
            seen += journal.load(snapshot.at.index, part).await?.len() as u64;
        }
        out.snapshots += 1;
        out.bytes += seen;
    }
    Ok(out)
}
