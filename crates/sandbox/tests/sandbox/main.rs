//! The sandbox with real children: what programs get, and what hostile ones do not.

mod cache;
mod escape;
mod known;
mod life;
mod support;
