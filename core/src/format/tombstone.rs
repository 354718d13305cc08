//! Tombstones: what stays of a commit that was deleted on purpose, an `a{sv}`.

use super::gvariant::{Dict, Value};
use super::{Checksum, FormatError};

const WHAT: &str = "tombstone";
const COMMIT_KEY: &str = "commit";

/// A record that a commit was deleted on purpose.
#[derive(Debug, Clone, PartialEq)]
pub struct Tombstone {
    /// The commit that was deleted.
    pub commit: Checksum,
    /// Other keys; OSTree writes none.
    pub others: Dict,
}

impl Tombstone {
    /// Creates the tombstone of `commit`.
    pub fn new(commit: Checksum) -> Self {
        Self {
            commit,
            others: Dict::new(),
        }
    }

    /// Reads a tombstone.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let mut dict = Dict::decode(data).map_err(|e| e.within(WHAT))?;
        let commit = dict.remove(COMMIT_KEY);
        let commit = commit.as_ref().and_then(Value::as_bytes);
        let text = commit
            .and_then(|bytes| bytes.strip_suffix(b"\0"))
            .and_then(|hex| std::str::from_utf8(hex).ok());
        let text = text.ok_or_else(|| FormatError::new(WHAT, "does not name a commit"))?;
        Ok(Self {
            commit: text.parse().map_err(|e: FormatError| e.within(WHAT))?,
            others: dict,
        })
    }

    /// Writes the tombstone; the commit stands as text that ends in NUL, and before other keys.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = self.commit.hex().to_vec();
        text.push(0);
        let first = (COMMIT_KEY.to_owned(), Value::Bytes(text));
        let dict: Dict = std::iter::once(first).chain(self.others.clone()).collect();
        dict.encode()
    }
}
