//! The pages, each drawn whole by the server.

pub(crate) mod audit;
pub(crate) mod control;
pub(crate) mod governance;
pub(crate) mod job;
pub(crate) mod job_plan;
pub(crate) mod jobs;
pub(crate) mod login;
pub(crate) mod name;
pub(crate) mod names;
pub(crate) mod network;
pub(crate) mod nodes;
pub(crate) mod output;
pub(crate) mod settings;
pub(crate) mod sources;
pub(crate) mod submit;
pub(crate) mod task;
pub(crate) mod tasks;
pub(crate) mod tokens;
pub(crate) mod vouchers;
