//! flatpak's index of summaries: which sub-summaries there are, by what they hash to,
//! `(a{s(ayaaya{sv})}a{sv})`.

use super::gvariant::{ArrayReader, Dict, Layout, TupleReader, Writer};
use super::{Checksum, FormatError};

const WHAT: &str = "summary index";

/// An index of summaries. The refs of the repository stand in the sub-summaries that it names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SummaryIndex {
    /// The sub-summaries, sorted by name.
    pub entries: Vec<SubSummary>,
    /// Keys such as `xa.title`.
    pub metadata: Dict,
}

/// A sub-summary: the refs of an architecture, or of a subset.
#[derive(Debug, Clone, PartialEq)]
pub struct SubSummary {
    /// Its name, such as `x86_64`. From outside: not checked.
    pub name: String,
    /// What it hashes to, unpacked.
    pub checksum: Checksum,
    /// What it hashed to before, newest first.
    pub history: Vec<Checksum>,
    /// Keys of its own.
    pub metadata: Dict,
}

impl SummaryIndex {
    /// Reads an index.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        Self::parse_members(data).map_err(|e| e.within(WHAT))
    }

    fn parse_members(data: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = TupleReader::new(data);
        let entries = ArrayReader::new(tuple.variable(8)?, Layout::variable(8))?
            .map(|element| parse_entry(element?))
            .collect::<Result<_, FormatError>>()?;
        let metadata = Dict::decode(tuple.last(8)?)?;
        tuple.finish()?;
        Ok(Self { entries, metadata })
    }

    /// Writes the index.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let index = writer.begin(8);
        let entries = writer.begin(8);
        for entry in &self.entries {
            let pair = writer.begin(8);
            writer.put_str(&entry.name);
            writer.mark();
            let value = writer.begin(8);
            writer.put(1, entry.checksum.as_bytes());
            writer.mark();
            let history = writer.begin(1);
            for checksum in &entry.history {
                writer.put(1, checksum.as_bytes());
                writer.mark();
            }
            writer.end_array(history);
            writer.mark();
            writer.put_dict(&entry.metadata);
            writer.end_tuple(value);
            writer.end_tuple(pair);
            writer.mark();
        }
        writer.end_array(entries);
        writer.mark();
        writer.put_dict(&self.metadata);
        writer.end_tuple(index);
        writer.into_bytes()
    }
}

fn parse_entry(bytes: &[u8]) -> Result<SubSummary, FormatError> {
    let mut pair = TupleReader::new(bytes);
    let name = pair.str()?.to_owned();
    let mut value = TupleReader::new(pair.last(8)?);
    pair.finish()?;
    let checksum = Checksum::from_slice(value.variable(1)?)?;
    let history = ArrayReader::new(value.variable(1)?, Layout::variable(1))?
        .map(|checksum| Checksum::from_slice(checksum?))
        .collect::<Result<_, FormatError>>()?;
    let metadata = Dict::decode(value.last(8)?)?;
    value.finish()?;
    Ok(SubSummary {
        name,
        checksum,
        history,
        metadata,
    })
}
