//! Observation of listeners from outside.

use std::time::Duration;

use betanet_carrier::client::{Trust, Way};
use betanet_session::{Clock, OuterFacts};

use super::connect::dial;
use super::default_fingerprint;
use crate::Error;
use crate::templates::{Calibrated, Templates};

/// Observes a front origin like [`Templates::calibrate`], with this build's fingerprint.
///
/// # Errors
///
/// See [`Templates::calibrate`].
pub async fn calibrate_origin(
    templates: &Templates,
    address: &str,
    trust: &Trust,
    again: bool,
    idle: Duration,
) -> Result<Calibrated, Error> {
    let now_ms = Clock::start().now().unix_ms;
    let shape = default_fingerprint()?;
    templates
        .calibrate(address, trust, &*shape, now_ms, (again, idle))
        .await
}

/// Visits a listener like any visitor. Returns the result of TLS, and the status and `server` header of the answer to
/// `GET /`.
///
/// # Errors
///
/// The failure of the connection or the request.
pub async fn visit(address: &str) -> Result<(OuterFacts, u16, Option<String>), Error> {
    let outer = dial(
        address,
        &Trust::Anything,
        Way::default(),
        &*default_fingerprint()?,
    )
    .await?;
    let facts = outer.facts().clone();
    let (status, server) = outer.visit().await.map_err(|source| Error::Outer {
        address: address.to_owned(),
        source,
    })?;
    Ok((facts, status, server))
}
