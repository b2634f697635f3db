use betanet_wire::cbor;

/// Reason for answering a request with 400.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The method is not GET, PUT, POST or DEL.
    #[error("unknown method")]
    Method,
    /// GET or DEL with a body.
    #[error("a body on GET or DEL")]
    Body,
    /// A header key that is not lowercase ASCII.
    #[error("a header key is not lowercase ASCII")]
    HeaderKey,
    /// A target that does not start with `/`.
    #[error("the target does not start with /")]
    Relative,
    /// A target over 8 KiB.
    #[error("the target is over 8 KiB")]
    TargetLength,
    /// A `..` segment.
    #[error("the target has a .. segment")]
    DotDot,
    /// NUL or another control character.
    #[error("the target has a control character")]
    Control,
    /// A `content-length` that is no decimal number.
    #[error("content-length is not a number")]
    ContentLength,
    /// A status outside 100 to 999, in a response.
    #[error("the status is out of range")]
    Status,
}

/// Reason why a stream's bytes are not a BAR exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The head is longer than 65 536 bytes.
    #[error("the head is over 65536 bytes")]
    HeadTooLong,
    /// The head is not the expected map.
    #[error("the head does not decode: {0}")]
    Head(#[from] cbor::Error),
    /// The head decodes, but breaks a rule; a request is answered 400.
    #[error("bad request: {0}")]
    Refused(Refusal),
    /// The stream ended inside the head.
    #[error("the stream ended inside the head")]
    Ended,
    /// FIN came before `content-length` bytes.
    #[error("the body ended after {got} of {announced} bytes")]
    BodyShort {
        /// Length from `content-length`.
        announced: u64,
        /// Received length.
        got: u64,
    },
    /// More bytes came than `content-length` says.
    #[error("the body passes the {announced} bytes that were announced")]
    BodyLong {
        /// Length from `content-length`.
        announced: u64,
    },
}
