//! Commits: `(a{sv}aya(say)sstayay)`.

use super::gvariant::{ArrayReader, Dict, Layout, TupleReader, Writer};
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
        let mut tuple = TupleReader::new(data);
        let metadata = Dict::decode(tuple.variable(8)?)?;
        let parent = match tuple.variable(1)? {
            [] => None,
            bytes => Some(Checksum::from_slice(bytes)?),
        };
        let related = ArrayReader::new(tuple.variable(1)?, Layout::variable(1))?;
        let related = related.map(|element| {
            let mut pair = TupleReader::new(element?);
            let name = pair.str()?.to_owned();
            let checksum = Checksum::from_slice(pair.last(1)?)?;
            pair.finish()?;
            Ok((name, checksum))
        });
        let commit = Self {
            metadata,
            parent,
            related: related.collect::<Result<_, FormatError>>()?,
            subject: tuple.str()?.to_owned(),
            body: tuple.str()?.to_owned(),
            timestamp: u64::from_be_bytes(tuple.array(8)?),
            tree: Checksum::from_slice(tuple.variable(1)?)?,
            meta: Checksum::from_slice(tuple.last(1)?)?,
        };
        tuple.finish()?;
        Ok(commit)
    }

    /// Writes the commit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parent: &[u8] = self.parent.as_ref().map_or(&[], |parent| parent.as_bytes());
        let mut writer = Writer::new();
        let commit = writer.begin(8);
        writer.put_dict(&self.metadata);
        writer.mark();
        writer.put(1, parent);
        writer.mark();
        let related = writer.begin(1);
        for (name, checksum) in &self.related {
            let pair = writer.begin(1);
            writer.put_str(name);
            writer.mark();
            writer.put(1, checksum.as_bytes());
            writer.end_tuple(pair);
            writer.mark();
        }
        writer.end_array(related);
        writer.mark();
        writer.put_str(&self.subject);
        writer.mark();
        writer.put_str(&self.body);
        writer.mark();
        writer.put(8, &self.timestamp.to_be_bytes());
        writer.put(1, self.tree.as_bytes());
        writer.mark();
        writer.put(1, self.meta.as_bytes());
        writer.end_tuple(commit);
        writer.into_bytes()
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
