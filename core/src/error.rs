//! The error of everything that does I/O, typed by what the caller can do about it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::format::{Branch, Checksum, FormatError, ObjectName};

/// The result of an operation on a repository.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It did not happen, and may work if tried again, not before `retry_after` when given.
    Unavailable {
        /// How long the other side asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// It may have happened: look, then decide.
    Indeterminate,
    /// The other side, or the filesystem, refuses: permission, authentication, read-only.
    Denied,
    /// The bytes are not what they should be. Try another source.
    Corrupt,
    /// Nobody who is trusted vouches for it. Try another source, or look at the trusted keys.
    Untrusted,
    /// Something that must be there is not.
    Missing,
    /// There is no room.
    NoSpace {
        /// Bytes that are needed, where known.
        needed_bytes: Option<u64>,
        /// Bytes that are available to us, where known.
        available_bytes: Option<u64>,
    },
    /// This store, mode or build cannot do it.
    Unsupported,
    /// The request or its input is wrong.
    Invalid,
    /// Another process holds what is needed.
    Locked,
    /// The caller stopped it.
    Cancelled,
}

/// What an [`Error`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// An object.
    Object(ObjectName),
    /// A path on this machine, or inside a tree.
    Path(PathBuf),
    /// An address.
    Url(String),
    /// A ref, as users write it.
    Ref(String),
    /// A key of a configuration file, `group.key`.
    ConfigKey(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(name) => write!(f, "object {name}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
            Self::Ref(name) => write!(f, "ref '{name}'"),
            Self::ConfigKey(key) => write!(f, "config key {key}"),
        }
    }
}

impl From<ObjectName> for Subject {
    fn from(name: ObjectName) -> Self {
        Self::Object(name)
    }
}

impl From<PathBuf> for Subject {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&std::path::Path> for Subject {
    fn from(path: &std::path::Path) -> Self {
        Self::Path(path.into())
    }
}

impl From<&Branch> for Subject {
    fn from(branch: &Branch) -> Self {
        Self::Ref(branch.to_string())
    }
}

/// An error: its kind, what it is about, what is wrong, and the cause.
///
/// Printed for debugging it reads like the message with its causes: that is what a `main` which
/// returns it shows to a user.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    subject: Option<Subject>,
    problem: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error with a message that says what is wrong and, where it helps, what to do.
    pub fn new(kind: ErrorKind, problem: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            subject: None,
            problem: problem.into(),
            source: None,
        }))
    }

    /// Creates an [`ErrorKind::Invalid`].
    pub fn invalid(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, problem)
    }

    /// Creates an [`ErrorKind::Corrupt`].
    pub fn corrupt(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, problem)
    }

    /// Creates an [`ErrorKind::Missing`].
    pub fn missing(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Missing, problem)
    }

    /// Creates an [`ErrorKind::Unsupported`].
    pub fn unsupported(problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, problem)
    }

    /// Creates the [`ErrorKind::Corrupt`] of bytes that hash to something else than their name.
    pub fn wrong_checksum(name: ObjectName, found: Checksum) -> Self {
        let problem = format!("corrupted: its bytes have the checksum {found}");
        Self::corrupt(problem).about(name)
    }

    /// Creates an error from a failed system call.
    pub fn io(problem: impl Into<Cow<'static, str>>, source: impl Into<std::io::Error>) -> Self {
        let source = source.into();
        Self::new(kind_of_io(&source), problem).because(source)
    }

    /// Sets what this error is about, unless it is known already: the innermost place knows best.
    #[must_use]
    pub fn about(mut self, subject: impl Into<Subject>) -> Self {
        if self.0.subject.is_none() {
            self.0.subject = Some(subject.into());
        }
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// Returns an error that says `problem`, of the same kind, caused by this one.
    #[must_use]
    pub fn context(self, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::new(self.kind(), problem).because(self)
    }

    /// Returns what the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns what the error is about.
    pub fn subject(&self) -> Option<&Subject> {
        self.0.subject.as_ref()
    }

    /// Returns a short stable word for logs and telemetry.
    pub fn code(&self) -> &'static str {
        match self.kind() {
            ErrorKind::Unavailable { .. } => "unavailable",
            ErrorKind::Indeterminate => "indeterminate",
            ErrorKind::Denied => "denied",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Untrusted => "untrusted",
            ErrorKind::Missing => "missing",
            ErrorKind::NoSpace { .. } => "no-space",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Locked => "locked",
            ErrorKind::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(subject) = &self.0.subject {
            write!(f, "{subject}: ")?;
        }
        f.write_str(&self.0.problem)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut source = self.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        write!(f, " [{}]", self.code())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Self {
        Self::corrupt("is not well formed").because(error)
    }
}

// Errors cross `std::io::Read`, the interface of decoders, and must come out as they went in.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// Returns the error that `error` carries, or describes it as a failure to do `problem`.
pub fn from_read(problem: &'static str, error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::io(problem, error),
    }
}

fn kind_of_io(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => ErrorKind::Missing,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::NoSpace {
            needed_bytes: None,
            available_bytes: None,
        },
        Io::TimedOut
        | Io::ConnectionReset
        | Io::ConnectionRefused
        | Io::ConnectionAborted
        | Io::BrokenPipe
        | Io::Interrupted
        | Io::UnexpectedEof => ErrorKind::Unavailable { retry_after: None },
        Io::Unsupported => ErrorKind::Unsupported,
        Io::WouldBlock => ErrorKind::Locked,
        _ => ErrorKind::Denied,
    }
}
