//! The summary of a repository: its refs, and what clients should know first,
//! `(a(s(taya{sv}))a{sv})`.

use super::framing::{ArrayReader, ArrayWriter, TupleReader, TupleWriter, read_str};
use super::gvariant::Dict;
use super::{Checksum, FormatError};

const WHAT: &str = "summary";

/// A summary.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The refs, sorted by name.
    pub refs: Vec<SummaryRef>,
    /// Keys such as `ostree.summary.last-modified`.
    pub metadata: Dict,
}

/// A ref in a summary.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryRef {
    /// Its name, without remote. From outside: not checked.
    pub name: String,
    /// How long the commit object is, bytes. Stored little-endian, unlike most of OSTree.
    pub commit_bytes: u64,
    /// The commit.
    pub commit: Checksum,
    /// Keys such as `ostree.commit.timestamp`.
    pub metadata: Dict,
}

impl Summary {
    /// Reads a summary.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        Self::parse_members(data).map_err(|e| e.within(WHAT))
    }

    fn parse_members(data: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = TupleReader::new(WHAT, data);
        let refs = parse_refs(tuple.variable(8)?)?;
        let metadata = Dict::decode(tuple.last(8)?)?;
        Ok(Self { refs, metadata })
    }

    /// Writes the summary.
    pub fn to_bytes(&self) -> Vec<u8> {
        TupleWriter::new()
            .variable(&write_refs(&self.refs), 8)
            .last(&self.metadata.encode(), 8)
    }

    /// Returns the ref called `name`.
    pub fn find(&self, name: &str) -> Option<&SummaryRef> {
        self.refs.iter().find(|r| r.name == name)
    }
}

/// Reads the refs of a summary, or of one collection in its collection map: `a(s(taya{sv}))`.
pub(crate) fn parse_refs(data: &[u8]) -> Result<Vec<SummaryRef>, FormatError> {
    ArrayReader::new(WHAT, data, 8)?
        .map(|element| {
            let mut pair = TupleReader::new(WHAT, element?);
            let name = read_str(WHAT, pair.variable(1)?)?.to_owned();
            let mut value = TupleReader::new(WHAT, pair.last(8)?);
            Ok(SummaryRef {
                name,
                commit_bytes: u64::from_le_bytes(value.fixed(8)?),
                commit: Checksum::from_slice(value.variable(1)?)?,
                metadata: Dict::decode(value.last(8)?)?,
            })
        })
        .collect()
}

/// Writes `a(s(taya{sv}))`.
pub(crate) fn write_refs(refs: &[SummaryRef]) -> Vec<u8> {
    let mut array = ArrayWriter::new(8);
    for entry in refs {
        let value = TupleWriter::new()
            .fixed(&entry.commit_bytes.to_le_bytes(), 8)
            .variable(entry.commit.as_bytes(), 1)
            .last(&entry.metadata.encode(), 8);
        array.push(&TupleWriter::new().string(&entry.name).last(&value, 8));
    }
    array.end()
}
