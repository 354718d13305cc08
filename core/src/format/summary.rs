//! The summary of a repository: its refs, and what clients should know first,
//! `(a(s(taya{sv}))a{sv})`.

use super::gvariant::{ArrayReader, Dict, Layout, TupleReader, Writer};
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
        let mut tuple = TupleReader::new(data);
        let refs = parse_refs(tuple.variable(8)?)?;
        let metadata = Dict::decode(tuple.last(8)?)?;
        tuple.finish()?;
        Ok(Self { refs, metadata })
    }

    /// Writes the summary.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let summary = writer.begin(8);
        put_refs(&mut writer, &self.refs);
        writer.mark();
        writer.put_dict(&self.metadata);
        writer.end_tuple(summary);
        writer.into_bytes()
    }

    /// Returns the ref called `name`.
    pub fn find(&self, name: &str) -> Option<&SummaryRef> {
        self.refs.iter().find(|r| r.name == name)
    }
}

/// Reads the refs of a summary, or of one collection in its collection map: `a(s(taya{sv}))`.
pub(crate) fn parse_refs(data: &[u8]) -> Result<Vec<SummaryRef>, FormatError> {
    let entry = |element: Result<&[u8], FormatError>| {
        let mut pair = TupleReader::new(element?);
        let name = pair.str()?.to_owned();
        let mut value = TupleReader::new(pair.last(8)?);
        pair.finish()?;
        let entry = SummaryRef {
            name,
            commit_bytes: value.u64()?,
            commit: Checksum::from_slice(value.variable(1)?)?,
            metadata: Dict::decode(value.last(8)?)?,
        };
        value.finish()?;
        Ok(entry)
    };
    ArrayReader::new(data, Layout::variable(8))?
        .map(entry)
        .collect()
}

/// Writes `a(s(taya{sv}))`, a child of something else.
pub(crate) fn put_refs(writer: &mut Writer, refs: &[SummaryRef]) {
    let array = writer.begin(8);
    for entry in refs {
        let pair = writer.begin(8);
        writer.put_str(&entry.name);
        writer.mark();
        let value = writer.begin(8);
        writer.put_u64(entry.commit_bytes);
        writer.put(1, entry.commit.as_bytes());
        writer.mark();
        writer.put_dict(&entry.metadata);
        writer.end_tuple(value);
        writer.end_tuple(pair);
        writer.mark();
    }
    writer.end_array(array);
}
