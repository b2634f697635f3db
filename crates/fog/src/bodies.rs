//! Bodies of requests and answers, and the items of streams.

mod market;
mod node;
mod operator;
mod reach;
mod user;

pub use market::{MarketView, Match, Price, SealedOrder, SeedView};
pub use node::{
    Beat, BeatAnswer, DropCopy, Held, Join, JoinAnswer, LogAnswer, Nack, RoundTrip, RunCopy, Start,
    TokenText, WorkItem,
};
pub use operator::{StateRequest, TokenAnswer, TokenRequest};
pub use reach::{REACH_TARGET, Reach, ReachAnswer};
pub use user::{
    CopyStatus, Counted, Event, NodeList, NodeSummary, Plan, Planned, RefusalBody, Status,
    TaskList, TaskSummary, Topology, TopologyList, Why,
};
