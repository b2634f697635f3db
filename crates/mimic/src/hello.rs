//! Parts of a hello that TCP and QUIC share.

use std::io::{self, Write};

use boring::ssl::{CertificateCompressionAlgorithm, CertificateCompressor, SslRef};

/// Chromium's key exchange groups.
pub(crate) const GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384";
/// Groups for which Chromium sends key shares.
pub(crate) const SHARES: [u16; 2] = [0x11ec, 0x001d];
/// Trust anchors that Chromium requests, from its capture.
pub(crate) const TRUST_ANCHORS: &[u8] = include_bytes!("../shapes/chromium-156.trust-anchors");

/// Decompression of certificates (RFC 8879).
pub(crate) struct Brotli;

impl CertificateCompressor for Brotli {
    const ALGORITHM: CertificateCompressionAlgorithm = CertificateCompressionAlgorithm::BROTLI;
    const CAN_COMPRESS: bool = false;
    const CAN_DECOMPRESS: bool = true;

    fn decompress<W: Write>(&self, mut input: &[u8], output: &mut W) -> io::Result<()> {
        // `output` has the announced size, which BoringSSL bounds, and holds no more.
        brotli_decompressor::BrotliDecompress(&mut input, output)
    }
}

/// The server's certificates, its own first.
pub(crate) fn shown(ssl: &SslRef) -> Vec<Vec<u8>> {
    let chain = ssl.peer_cert_chain().into_iter().flatten();
    chain.filter_map(|c| c.to_der().ok()).collect()
}
