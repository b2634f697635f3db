//! The sections of the settings, one per component: values with defaults, and checks.

pub(super) mod folder;
pub(super) mod legacy;
pub(super) mod limits;
pub(super) mod listener;
pub(super) mod mesh;
pub(super) mod mix;
pub(super) mod node;
pub(super) mod operator;
pub(super) mod relay;
pub(super) mod site;
pub(super) mod tls;
pub(super) mod traffic;
