//! What a hello has in common over TCP and over QUIC.

use std::io::{self, Write};

use boring::ssl::{CertificateCompressionAlgorithm, CertificateCompressor, SslRef};

/// Groups that Chromium knows.
pub(crate) const GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384";
/// Groups that it sends shares for.
pub(crate) const SHARES: [u16; 2] = [0x11ec, 0x001d];
/// The roots that it asks for, from its capture.
pub(crate) const TRUST_ANCHORS: &[u8] = include_bytes!("../shapes/chromium-156.trust-anchors");

/// Certificates that come compressed (RFC 8879).
pub(crate) struct Brotli;

impl CertificateCompressor for Brotli {
    const ALGORITHM: CertificateCompressionAlgorithm = CertificateCompressionAlgorithm::BROTLI;
    const CAN_COMPRESS: bool = false;
    const CAN_DECOMPRESS: bool = true;

    fn decompress<W: Write>(&self, mut input: &[u8], output: &mut W) -> io::Result<()> {
        // `output` has the size that was announced, which BoringSSL bounds, and takes no more.
        brotli_decompressor::BrotliDecompress(&mut input, output)
    }
}

/// The certificates that the server showed, its own first.
pub(crate) fn shown(ssl: &SslRef) -> Vec<Vec<u8>> {
    let chain = ssl.peer_cert_chain().into_iter().flatten();
    chain.filter_map(|c| c.to_der().ok()).collect()
}
