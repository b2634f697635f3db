//! BoringSSL settings that its safe bindings lack.
#![allow(
    unsafe_code,
    reason = "the bindings lack these calls; each gets pointers to live slices and their lengths, which it copies"
)]

use boring::error::ErrorStack;
use boring::ssl::SslRef;
use boring_sys as ffi;
use foreign_types::ForeignTypeRef as _;

fn done(code: std::ffi::c_int) -> Result<(), ErrorStack> {
    if code == 1 {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}

/// Sets the signature algorithms for certificates, by their IANA numbers.
pub(crate) fn verify_algorithms(ssl: &mut SslRef, prefs: &[u16]) -> Result<(), ErrorStack> {
    // SAFETY: `ssl` is live for the call, and `prefs` is read up to its length and copied.
    done(unsafe { ffi::SSL_set_verify_algorithm_prefs(ssl.as_ptr(), prefs.as_ptr(), prefs.len()) })
}

/// Sets the requested trust anchors (draft-ietf-tls-trust-anchor-ids): each ID with a length prefix.
pub(crate) fn trust_anchors(ssl: &mut SslRef, ids: &[u8]) -> Result<(), ErrorStack> {
    // SAFETY: as above.
    done(unsafe { ffi::SSL_set1_requested_trust_anchors(ssl.as_ptr(), ids.as_ptr(), ids.len()) })
}

/// Enables ALPS for a protocol (draft-vvv-tls-alps), with its new code point.
pub(crate) fn application_settings(
    ssl: &mut SslRef,
    protocol: &[u8],
    settings: &[u8],
) -> Result<(), ErrorStack> {
    // SAFETY: as above.
    unsafe { ffi::SSL_set_alps_use_new_codepoint(ssl.as_ptr(), 1) };
    // SAFETY: as above.
    done(unsafe {
        ffi::SSL_add_application_settings(
            ssl.as_ptr(),
            protocol.as_ptr(),
            protocol.len(),
            settings.as_ptr(),
            settings.len(),
        )
    })
}

/// Sets the groups for which key shares are sent.
pub(crate) fn key_shares(ssl: &mut SslRef, groups: &[u16]) -> Result<(), ErrorStack> {
    // SAFETY: as above.
    done(unsafe { ffi::SSL_set1_client_key_shares(ssl.as_ptr(), groups.as_ptr(), groups.len()) })
}

/// Sets the encoded transport parameters of a QUIC client (RFC 9000 §18).
pub(crate) fn transport_parameters(ssl: &mut SslRef, bytes: &[u8]) -> Result<(), ErrorStack> {
    // SAFETY: as above.
    done(unsafe { ffi::SSL_set_quic_transport_params(ssl.as_ptr(), bytes.as_ptr(), bytes.len()) })
}
