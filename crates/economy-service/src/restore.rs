//! A journal that is filled with a saved ledger, for a node whose own journal is lost.

use std::sync::Arc;

use betanet_durable::{Durable, Handle, Role, Settings as Keeping, Unavailable};
use betanet_journal::Journal;
use betanet_log::SignedHead;

use crate::Error;
use crate::body::{ANSWER_MAX, LIST_MAX};
use crate::service::EconomyService;
use crate::state::{Answer, Ask, Books};

impl EconomyService {
    /// Fills an empty journal with the records of a saved ledger, from number 0 on, and the final head over them. Each record is
    /// replayed with its signatures, as a signer does that follows a leader. Returns the number of records.
    ///
    /// The head's signers are those of the genesis. Restore the newest head that they signed: from an older one, they could sign
    /// another head of the same size.
    ///
    /// # Errors
    ///
    /// The journal is not empty or is led elsewhere, or a record or the head does not count. Then the journal may have some of the
    /// records.
    pub async fn restore(
        self,
        journal: Arc<dyn Journal>,
        records: &[Vec<u8>],
        head: SignedHead,
    ) -> Result<u64, Error> {
        let first = self.economy.first_record().to_bytes();
        let rest = match records.split_first() {
            Some((zero, rest)) if *zero == first => rest,
            _ => return Err(Error::Another),
        };
        let setup = Arc::clone(&self.api.shared.setup);
        let economy = self.economy;
        let new = move || Books::new(Arc::clone(&setup), economy.clone());
        let durable = Durable::start(journal, Keeping::default(), new).await?;
        let filled = fill(&durable.handle(), rest, head).await;
        durable.stop().await;
        filled
    }
}

fn other<T>(_: Answer) -> Result<T, Error> {
    // Each request has answers of its own kind.
    Err(Unavailable.into())
}

async fn fill(books: &Handle<Books>, records: &[Vec<u8>], head: SignedHead) -> Result<u64, Error> {
    books.wait_for(|role| *role != Role::Starting).await;
    match books.ask(Ask::Standing(0)).await? {
        Answer::Standing(standing) if standing.here > 1 => {
            return Err(Error::NotEmpty(standing.here));
        }
        Answer::Standing(_) => {}
        answer => return other(answer),
    }
    for part in parts(records) {
        match books.ask(Ask::Follow(part.to_vec())).await? {
            Answer::Followed(followed) => {
                followed.map_err(|why| Error::Restored(Box::new(why)))?;
            }
            answer => return other(answer),
        }
    }
    let size = head.head().size;
    match books.ask(Ask::Final(head)).await? {
        Answer::Final(taken) => {
            taken.map_err(|why| Error::Restored(Box::new(why)))?;
        }
        answer => return other(answer),
    }
    Ok(size)
}

/// Records in parts that are no larger than those of a leader's answer.
fn parts(records: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    let mut left = records;
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let fits = left.iter().take_while(|record| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(record.len());
            is_first || bytes <= ANSWER_MAX
        });
        let most = usize::try_from(LIST_MAX).unwrap_or(usize::MAX);
        let (part, rest) = left.split_at_checked(fits.take(most).count())?;
        left = rest;
        (!part.is_empty()).then_some(part)
    })
}
