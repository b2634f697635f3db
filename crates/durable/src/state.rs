use betanet_journal::Record;
use betanet_machine::Now;

/// A record or a snapshot that this version of a state cannot read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the content is not of this version")]
pub struct Unreadable;

/// A deterministic state that is rebuilt from its records.
pub trait State: Send + 'static {
    /// A request.
    type Request: Send + 'static;
    /// The answer to a request.
    type Answer: Send + 'static;

    /// Applies a committed record.
    ///
    /// # Errors
    ///
    /// The record is not of this version. It has changed nothing.
    fn apply(&mut self, record: &Record) -> Result<(), Unreadable>;

    /// Looks at requests that are decided together before the first is: for work that takes less time for many. A request may be
    /// replaced by one that has the same answer and the same records.
    fn prepare(&mut self, requests: &mut dyn Iterator<Item = &mut Self::Request>) {
        let _ = requests;
    }

    /// Decides a request. Pushes the records of the change, and has applied them when it returns.
    ///
    /// At most 4 096 records and 16 MiB a request.
    fn decide(
        &mut self,
        now: Now,
        request: Self::Request,
        records: &mut Vec<Record>,
    ) -> Self::Answer;

    /// Answers a request that reads committed records alone, while another process leads. `None`: it is refused, as all are unless a
    /// state says otherwise.
    fn peek(&mut self, request: Self::Request) -> Option<Self::Answer> {
        let _ = request;
        None
    }

    /// Returns the state as parts of at most 1 MiB, at least one.
    fn snapshot(&self) -> Vec<Vec<u8>>;

    /// Replaces this state by that of a snapshot.
    ///
    /// # Errors
    ///
    /// The snapshot is not of this version.
    fn restore(&mut self, parts: Vec<Vec<u8>>) -> Result<(), Unreadable>;
}
