//! Rules of idle computing for betanet's fog: when a device lends its processor, pauses, or gives work back.
#![no_std]
