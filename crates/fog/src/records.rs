//! The signed records.

mod market;
mod node;
mod task;
mod token;
mod work;

pub use market::{Commitment, Order, ROUND_MS};
pub use node::Node;
pub use task::{DAY_MS, Input, Job, Module, Policy, Retry, Source, Task, Verification};
pub use token::{Admission, Joining, Token};
pub use work::{Assignment, Fetched, Output, OutputFile, Receipt};

use crate::RefusalCode;

/// Refuses a value whose condition does not hold.
pub(crate) const fn ensure(good: bool, key: &'static str) -> Result<(), crate::Refusal> {
    if good {
        Ok(())
    } else {
        Err(RefusalCode::BadValue.of(key))
    }
}
