//! Pages and heads as the imitated server makes them.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::asked::{Asked, Method};
use super::body::Body;
use super::zipped;

/// The imitated server's name.
pub(crate) const SERVER: &str = "nginx/1.22.1";
/// Media type of its pages.
const HTML: HeaderValue = HeaderValue::from_static("text/html");
/// Padding that keeps browsers from replacing an error page by their own.
const FILLING: &str = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n";

/// A status and its page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Page {
    Moved,
    BadRequest,
    HeaderTooLarge,
    /// HTTP without TLS on a TLS port.
    Plain,
    Forbidden,
    NotFound,
    NotAllowed,
    PreconditionFailed,
    TooLarge,
    UriTooLarge,
    RangeNotSatisfiable,
    Internal,
    NotImplemented,
    BadGateway,
    GatewayTimeout,
    VersionNotSupported,
}

impl Page {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Moved => StatusCode::MOVED_PERMANENTLY,
            Self::BadRequest | Self::HeaderTooLarge | Self::Plain => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLarge => StatusCode::URI_TOO_LONG,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// Whether the connection is closed after it.
    pub(crate) const fn closes(self) -> bool {
        matches!(
            self,
            Self::BadRequest
                | Self::HeaderTooLarge
                | Self::Plain
                | Self::TooLarge
                | Self::UriTooLarge
                | Self::Internal
                | Self::NotImplemented
        )
    }

    fn text(self, filled: bool) -> String {
        let reason = reason(self.status());
        let status = self.status().as_u16();
        let (title, more) = match self {
            Self::HeaderTooLarge => (
                "400 Request Header Or Cookie Too Large".to_owned(),
                "<center>Request Header Or Cookie Too Large</center>\r\n",
            ),
            Self::Plain => (
                "400 The plain HTTP request was sent to HTTPS port".to_owned(),
                "<center>The plain HTTP request was sent to HTTPS port</center>\r\n",
            ),
            _ => (format!("{status} {reason}"), ""),
        };
        let filling = if filled && status >= 400 {
            FILLING.repeat(6)
        } else {
            String::new()
        };
        format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>\r\n{more}\
             <hr><center>{SERVER}</center>\r\n</body>\r\n</html>\r\n{filling}"
        )
    }
}

/// Reason phrase of a status line; empty if there is none.
pub(crate) fn reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        302 => "Moved Temporarily",
        405 => "Not Allowed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        416 => "Requested Range Not Satisfiable",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => status.canonical_reason().unwrap_or_default(),
    }
}

/// Marks an answer that ends the connection, whatever its head says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends;
/// Marks an answer whose head announces the end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closes;

/// A head with the common fields: server and date.
pub(crate) fn head(status: StatusCode, date: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::EMPTY);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::SERVER, HeaderValue::from_static(SERVER));
    fields.insert(header::DATE, date);
    response
}

/// Adds a field; invalid values are left out.
pub(crate) fn set(fields: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        fields.insert(name, value);
    }
}

/// A page; `asked` is `None` if the request could not be parsed.
pub(crate) fn page(
    page: Page,
    asked: Option<&Asked>,
    date: HeaderValue,
    place: Option<Vec<u8>>,
) -> Response<Body> {
    let text = page.text(asked.is_some_and(Asked::wants_long_pages));
    let mut response = head(page.status(), date);
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HTML);
    let zipped =
        asked.filter(|a| a.takes_gzip() && matches!(page, Page::NotFound | Page::Forbidden));
    let body = match zipped {
        Some(_) => zipped::page(text.as_bytes()),
        None => {
            fields.insert(header::CONTENT_LENGTH, text.len().into());
            text.into()
        }
    };
    if let Some(place) = place {
        set(fields, header::LOCATION, &place[..]);
    }
    if zipped.is_some() {
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if page.closes() {
        response.extensions_mut().insert(Closes);
    }
    if asked.is_none_or(|a| a.method != Method::Head) {
        *response.body_mut() = Body::Full(body);
    }
    response
}
