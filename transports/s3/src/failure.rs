//! What went wrong between us and a bucket, as what the caller can do.

use std::error::Error as StdError;
use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind};
use treeferry_core::{Error, ErrorKind};

use crate::service::Trouble;

/// Whether a request that fails may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Reading,
    Writing,
}

/// Returns the error of a request.
pub(crate) fn of(error: object_store::Error, doing: Doing) -> Error {
    let (kind, problem) = describe(&error, doing);
    Error::new(kind, problem).because(error)
}

fn describe(error: &object_store::Error, doing: Doing) -> (ErrorKind, &'static str) {
    use object_store::Error as Os;
    match error {
        Os::PermissionDenied { .. } => (
            ErrorKind::Denied,
            "is refused: the credentials do not permit it, or there are none",
        ),
        Os::Unauthenticated { .. } => (
            ErrorKind::Denied,
            "is refused: the server does not accept the credentials",
        ),
        Os::NotFound { .. } => (ErrorKind::Missing, "is not there: does the bucket exist?"),
        Os::InvalidPath { .. } => (ErrorKind::Invalid, "cannot be the name of an object"),
        Os::NotSupported { .. } | Os::NotImplemented { .. } => (
            ErrorKind::Unsupported,
            "cannot be done with this kind of bucket",
        ),
        _ => of_cause(error, doing),
    }
}

fn of_cause(error: &object_store::Error, doing: Doing) -> (ErrorKind, &'static str) {
    let in_doubt = match doing {
        Doing::Reading => unavailable(None),
        Doing::Writing => ErrorKind::Indeterminate,
    };
    if let Some(ours) = find::<Error>(error) {
        return (ours.kind(), "there are no credentials");
    }
    if let Some(trouble) = find::<Trouble>(error) {
        return match trouble {
            // Refused before anything was done.
            Trouble::Busy {
                status: 429 | 503,
                retry_after,
                ..
            } => (unavailable(*retry_after), "the server is too busy"),
            Trouble::Busy { retry_after, .. } => match doing {
                Doing::Reading => (unavailable(*retry_after), "the server is in trouble"),
                Doing::Writing => (in_doubt, "the server is in trouble"),
            },
            Trouble::NoList { .. } => (ErrorKind::Denied, "the list is refused"),
            Trouble::Elsewhere {
                region: Some(_), ..
            } => (
                ErrorKind::Invalid,
                "is in another region: name it ('?region=NAME')",
            ),
            Trouble::Elsewhere { region: None, .. } => (
                ErrorKind::Invalid,
                "is elsewhere: name its server ('?endpoint=URL')",
            ),
            Trouble::Clock { .. } => (
                ErrorKind::Denied,
                "is refused: this machine's clock is wrong, or the server's",
            ),
            Trouble::Silent(_) => (in_doubt, "the server does not answer"),
        };
    }
    if let Some(tls) = find::<rustls::Error>(error)
        && matches!(tls, rustls::Error::InvalidCertificate(_))
    {
        return (
            ErrorKind::Denied,
            "the server's certificate is not trusted; if it should be, name its authority",
        );
    }
    match find::<HttpError>(error).map(HttpError::kind) {
        Some(HttpErrorKind::Connect) => (unavailable(None), "cannot be connected to"),
        Some(_) => (in_doubt, "the connection broke"),
        None => (ErrorKind::Invalid, "was refused"),
    }
}

/// Returns an error of a body that broke off.
pub(crate) fn of_body(error: object_store::Error) -> Error {
    Error::new(
        unavailable(None),
        "the connection broke while it was being read",
    )
    .because(error)
}

/// Returns an error of a wait that took too long.
pub(crate) fn of_wait(patience: Duration, doing: Doing) -> Error {
    let kind = match doing {
        Doing::Reading => unavailable(None),
        Doing::Writing => ErrorKind::Indeterminate,
    };
    Error::new(kind, format!("nothing came for {patience:?}"))
}

fn unavailable(retry_after: Option<Duration>) -> ErrorKind {
    ErrorKind::Unavailable { retry_after }
}

/// Returns the first cause that is a `T`.
fn find<T: StdError + 'static>(error: &object_store::Error) -> Option<&T> {
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        // An `io::Error` shows the source of what it wraps as its own, and so hides a level.
        let io = error.downcast_ref::<std::io::Error>();
        next = match io.and_then(|e| e.get_ref()) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
