/// Why an outer connection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address does not resolve, or no listener is there.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// The certificate's key does not match the pin.
    #[error("the certificate does not have the pinned key")]
    Pin,
    /// Web PKI rejects the certificate.
    #[error("the certificate does not verify")]
    Certificate(#[source] std::io::Error),
    /// TLS failed for another reason.
    #[error("TLS failed")]
    Tls(#[source] std::io::Error),
    /// The server does not support HTTP/2, or HTTP/3 over QUIC.
    #[error("the server selects neither h2 nor h3")]
    Alpn,
    /// QUIC failed.
    #[error("QUIC failed")]
    Quic(#[source] std::io::Error),
    /// HTTP/3 failed.
    #[error("HTTP/3 failed")]
    Http3(#[source] std::io::Error),
    /// TCP answered before QUIC did.
    #[error("QUIC is not answered")]
    Late,
    /// HTTP/2 failed.
    #[error("HTTP/2 failed")]
    Http2(#[from] h2::Error),
    /// The server answered as a web site: it is no node, is another node, or refused.
    #[error(
        "the server answered {status} as a web site does: it is not the node with this key, or has no room for another session"
    )]
    NotATunnel {
        /// Status of the answer.
        status: u16,
    },
    /// The connection setup timed out.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// Exporting keying material failed.
    #[error("the TLS exporter failed")]
    Export,
    /// The address cannot be dialled.
    #[error(transparent)]
    Address(#[from] betanet_keys::AddressError),
    /// The host name is invalid.
    #[error("not a host name")]
    Host,
    /// A certificate or key file is not usable.
    #[error("the certificate or key cannot be used: {0}")]
    Pem(&'static str),
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// Path of the file.
        path: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The peer is gone.
    #[error("the connection is gone")]
    Gone,
}

impl From<h3::error::ConnectionError> for Error {
    fn from(error: h3::error::ConnectionError) -> Self {
        Self::Http3(std::io::Error::other(error))
    }
}

impl From<h3::error::StreamError> for Error {
    fn from(error: h3::error::StreamError) -> Self {
        Self::Http3(std::io::Error::other(error))
    }
}
