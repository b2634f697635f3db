//! Repository chores, as a library so that tests can run them too.
#![allow(missing_docs, reason = "nobody depends on it")]

pub mod vectors;
