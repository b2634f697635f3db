//! Listeners looked at from outside.

use std::time::Duration;

use betanet_carrier::client::{Trust, Way};

use super::connect::dial;
use super::default_fingerprint;
use crate::templates::{Calibrated, Templates};
use crate::{Clock, Error, OuterFacts};

/// Looks at a front origin as [`Templates::calibrate`] does, with what dialling looks like in this build.
///
/// # Errors
///
/// As that.
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

/// Looks at a listener from outside, as any visitor: what TLS agreed on, and what `GET /` is answered.
///
/// # Errors
///
/// What failed.
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
