//! What went wrong between us and a server, as what the caller can do.

use std::error::Error as StdError;
use std::time::Duration;

use treeferry_core::{Error, ErrorKind};

/// Returns the error of a request that failed before its answer's header was complete.
pub(crate) fn of_request(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let (kind, problem) = match cause(&error) {
        Cause::Certificate => (
            ErrorKind::Denied,
            "the server's certificate is not trusted; if it should be, name its authority",
        ),
        Cause::ProxyRefuses => (ErrorKind::Denied, "the proxy asks for other credentials"),
        Cause::Other if error.is_builder() => (ErrorKind::Invalid, "cannot be requested"),
        Cause::Other if error.is_timeout() => (unavailable(), "connecting took too long"),
        Cause::Other if error.is_connect() => (unavailable(), "cannot be connected to"),
        Cause::Other => (unavailable(), "the connection broke before an answer came"),
    };
    Error::new(kind, problem).because(error)
}

/// Returns the error of a body that broke off after `received_bytes`.
pub(crate) fn of_body(error: reqwest::Error, received_bytes: u64) -> Error {
    let problem = format!("the connection broke after {received_bytes} bytes");
    Error::new(unavailable(), problem).because(error.without_url())
}

/// Returns the error of a wait that took too long.
pub(crate) fn of_wait(problem: String) -> Error {
    Error::new(unavailable(), problem)
}

fn unavailable() -> ErrorKind {
    ErrorKind::Unavailable { retry_after: None }
}

/// Returns [`ErrorKind::Unavailable`] with the time that the server asks for.
pub(crate) fn unavailable_for(retry_after: Option<Duration>) -> ErrorKind {
    ErrorKind::Unavailable { retry_after }
}

enum Cause {
    /// TLS does not trust the other side, or the other side does not trust us.
    Certificate,
    /// The proxy answered 407.
    ProxyRefuses,
    Other,
}

fn cause(error: &reqwest::Error) -> Cause {
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                    Cause::Certificate
                }
                _ => Cause::Other,
            };
        }
        // The error of the tunnel has no public type; its words are all there is.
        if error.to_string().ends_with("proxy authorization required") {
            return Cause::ProxyRefuses;
        }
        // An `io::Error` shows the source of what it wraps as its own, and so hides a level.
        next = match error
            .downcast_ref::<std::io::Error>()
            .and_then(|e| e.get_ref())
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    Cause::Other
}
