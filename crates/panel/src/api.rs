//! The API: the same as the pages, as JSON.

pub(crate) mod accounts;
pub(crate) mod fog;
pub(crate) mod log;
