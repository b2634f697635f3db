//! temp
#![no_std]

extern crate alloc;

pub mod brake;
mod audit;
mod clock;
mod codec;
mod coordinator;
mod lead;
pub mod lease;
pub mod life;
pub mod money;
pub mod placer;
mod record;
mod request;
mod state;
pub mod trust;
mod waiting;

pub use audit::Broken;
pub use codec::Damaged;
pub use coordinator::{Coordinator, Quota, Setup};
pub use lead::{LEASE, RENEW};
pub use record::{Change, Entry, Record};
pub use request::{Caller, Command, Event, Input, Item, Reply, Request, Transmit};
pub use state::namespaces::Served;
pub use waiting::{Place, place};
