//! What SQLite's errors mean to a caller.

use std::path::Path;

use rusqlite::ErrorCode;
use treeferry_core::error::{Error, ErrorKind};

/// Why a job on the database failed.
#[derive(Debug)]
pub(crate) enum Fault {
    Sqlite(rusqlite::Error),
    Ours(Error),
}

/// The result of a job on the database.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl Fault {
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            Self::Ours(_) => None,
        }
    }

    /// Returns whether somebody else holds a lock of SQLite's that is held for moments only.
    pub(crate) fn is_busy(&self) -> bool {
        use ErrorCode::{DatabaseBusy, DatabaseLocked};
        matches!(self.code(), Some(DatabaseBusy | DatabaseLocked))
    }

    /// Returns whether the disk failed, so that nothing written since can be believed.
    pub(crate) fn is_io(&self) -> bool {
        self.code() == Some(ErrorCode::SystemIoFailure)
    }

    /// Returns the error for callers. A failed write may have happened all the same.
    pub(crate) fn into_error(self, path: &Path, access: Access) -> Error {
        let code = self.code();
        let error = match self {
            Self::Ours(error) => return error.about(path),
            Self::Sqlite(error) => error,
        };
        let (kind, problem) = match code {
            Some(ErrorCode::DatabaseCorrupt) => (
                ErrorKind::Corrupt,
                "the database is damaged: restore it, or copy what is whole",
            ),
            Some(ErrorCode::NotADatabase) => (
                ErrorKind::Corrupt,
                "is not an SQLite database, or its header is damaged",
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
                ErrorKind::Locked,
                "another process is writing to the database: try again",
            ),
            Some(ErrorCode::DiskFull) => {
                let kind = ErrorKind::NoSpace {
                    needed_bytes: None,
                    available_bytes: None,
                };
                (kind, "there is no room for the database to grow")
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                (ErrorKind::Denied, "the database cannot be written")
            }
            Some(ErrorCode::CannotOpen) => (
                ErrorKind::Denied,
                "the database, or a file beside it, cannot be opened",
            ),
            Some(ErrorCode::SystemIoFailure) => match access {
                Access::Read => {
                    let kind = ErrorKind::Unavailable { retry_after: None };
                    (kind, "the disk failed while the database was read")
                }
                Access::Write => (
                    ErrorKind::Indeterminate,
                    "the disk failed while the database was written",
                ),
            },
            Some(ErrorCode::OutOfMemory) => {
                let kind = ErrorKind::Unavailable { retry_after: None };
                (kind, "there is no memory left for the database")
            }
            Some(ErrorCode::TooBig) => (ErrorKind::Invalid, "a value is too long for the database"),
            Some(ErrorCode::ApiMisuse) => (ErrorKind::Invalid, "SQLite cannot do what was asked"),
            // The schema was checked when the file was opened: what does not fit it was damaged.
            _ => (
                ErrorKind::Corrupt,
                "the database does not hold what it should",
            ),
        };
        Error::new(kind, problem).because(error).about(path)
    }
}

/// What a job does with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}
