//! What a file object has to hash to.

use crate::error::{Error, Result};
use crate::format::{Checksum, ObjectName};

/// What a file object has to hash to when it has been read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Anything: it is named by that.
    Any,
    /// Its name.
    Name(Checksum),
    /// Its name, and it counts as that even if it does not: the caller
    /// [vouched](super::Incoming::vouched) for the repository on this machine that has it so.
    Vouched(Checksum),
}

impl Expected {
    /// Returns the name of the object that hashes to `found`.
    pub(super) fn settle(self, found: Checksum) -> Result<Checksum> {
        match self {
            Self::Name(name) if name != found => {
                Err(Error::wrong_checksum(ObjectName::file(name), found))
            }
            Self::Vouched(name) => {
                if name != found {
                    tracing::warn!(%name, %found, "damaged where it is copied from, which is trusted");
                }
                Ok(name)
            }
            Self::Any | Self::Name(_) => Ok(found),
        }
    }

    /// Says of an error which object it is about, if that is known.
    pub(super) fn about(self, error: Error) -> Error {
        match self {
            Self::Any => error,
            Self::Name(name) | Self::Vouched(name) => error.about(ObjectName::file(name)),
        }
    }
}
