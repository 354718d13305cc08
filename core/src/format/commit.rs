//! Commits: `(a{sv}aya(say)sstayay)`.

use super::framing::{ArrayReader, ArrayWriter, TupleReader, TupleWriter, read_str};
use super::gvariant::Dict;
use super::{Checksum, FormatError, Hasher};

const WHAT: &str = "commit";

/// A commit: a tree, where it comes from, and what is said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// Metadata, in the order in which it is stored; it is part of what is hashed.
    pub metadata: Dict,
    /// The commit before this one.
    pub parent: Option<Checksum>,
    /// Related objects; always empty today.
    pub related: Vec<(String, Checksum)>,
    /// One line.
    pub subject: String,
    /// Any number of lines.
    pub body: String,
    /// Seconds since 1970 UTC.
    pub timestamp: u64,
    /// The root directory's dirtree.
    pub tree: Checksum,
    /// The root directory's dirmeta.
    pub meta: Checksum,
}

impl Commit {
    /// Reads a commit.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        Self::parse_members(data).map_err(|e| e.within(WHAT))
    }

    fn parse_members(data: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = TupleReader::new(WHAT, data);
        let metadata = Dict::decode(tuple.variable(8)?)?;
        let parent = match tuple.variable(1)? {
            [] => None,
            bytes => Some(Checksum::from_slice(bytes)?),
        };
        let related = ArrayReader::new(WHAT, tuple.variable(1)?, 1)?;
        let related = related.map(|element| {
            let mut pair = TupleReader::new(WHAT, element?);
            let name = read_str(WHAT, pair.variable(1)?)?.to_owned();
            Ok((name, Checksum::from_slice(pair.last(1)?)?))
        });
        Ok(Self {
            metadata,
            parent,
            related: related.collect::<Result<_, FormatError>>()?,
            subject: read_str(WHAT, tuple.variable(1)?)?.to_owned(),
            body: read_str(WHAT, tuple.variable(1)?)?.to_owned(),
            timestamp: u64::from_be_bytes(tuple.fixed(8)?),
            tree: Checksum::from_slice(tuple.variable(1)?)?,
            meta: Checksum::from_slice(tuple.last(1)?)?,
        })
    }

    /// Writes the commit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parent: &[u8] = self.parent.as_ref().map_or(&[], |parent| parent.as_bytes());
        let mut related = ArrayWriter::new(1);
        for (name, checksum) in &self.related {
            related.push(&TupleWriter::new().string(name).last(checksum.as_bytes(), 1));
        }
        TupleWriter::new()
            .variable(&self.metadata.encode(), 8)
            .variable(parent, 1)
            .variable(&related.end(), 1)
            .string(&self.subject)
            .string(&self.body)
            .fixed(&self.timestamp.to_be_bytes(), 8)
            .variable(self.tree.as_bytes(), 1)
            .last(self.meta.as_bytes(), 1)
    }

    /// Returns what identifies the tree alone: the same for two commits of one tree.
    pub fn content_checksum(&self) -> Checksum {
        let mut hasher = Hasher::new();
        hasher.update(self.tree.as_bytes());
        hasher.update(self.meta.as_bytes());
        hasher.finish()
    }

    /// Returns the metadata `version`.
    pub fn version(&self) -> Option<&str> {
        self.metadata.get("version").and_then(|v| v.as_str())
    }
}
