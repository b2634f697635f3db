//! The pages, each drawn whole by the server.

pub(crate) mod audit;
pub(crate) mod control;
pub(crate) mod governance;
pub(crate) mod login;
pub(crate) mod nodes;
pub(crate) mod settings;
pub(crate) mod submit;
pub(crate) mod task;
pub(crate) mod tasks;
pub(crate) mod tokens;
