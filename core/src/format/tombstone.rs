//! Tombstones: what stays of a commit that was deleted on purpose, an `a{sv}`.

use super::gvariant::{Dict, Value};
use super::{Checksum, FormatError};

const WHAT: &str = "tombstone";
const COMMIT_KEY: &str = "commit";

/// A record that a commit was deleted on purpose.
#[derive(Debug, Clone, PartialEq)]
pub struct Tombstone {
    commit: Checksum,
    /// The whole, with keys that OSTree does not write but others may.
    dict: Dict,
}

impl Tombstone {
    /// Creates the tombstone of `commit`.
    pub fn new(commit: Checksum) -> Self {
        // Text that ends in NUL, unlike checksums elsewhere.
        let mut text = commit.hex().to_vec();
        text.push(0);
        let mut dict = Dict::new();
        dict.insert(COMMIT_KEY, Value::Bytes(text));
        Self { commit, dict }
    }

    /// Returns the commit that was deleted.
    pub fn commit(&self) -> Checksum {
        self.commit
    }

    /// Reads a tombstone.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let dict = Dict::decode(data).map_err(|e| e.within(WHAT))?;
        let text = dict
            .get(COMMIT_KEY)
            .and_then(Value::as_bytes)
            .and_then(|bytes| bytes.strip_suffix(b"\0"))
            .and_then(|hex| std::str::from_utf8(hex).ok());
        let text = text.ok_or_else(|| FormatError::new(WHAT, "does not name a commit"))?;
        let commit = text.parse().map_err(|e: FormatError| e.within(WHAT))?;
        Ok(Self { commit, dict })
    }

    /// Writes the tombstone.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.dict.encode()
    }
}
