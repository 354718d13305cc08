//! Which deltas there are: in an index of those that make one commit, or in the summary.

use super::DeltaName;
use crate::format::gvariant::{Dict, Value};
use crate::format::{Checksum, FormatError};

const WHAT: &str = "index of deltas";

/// The key of an index, or of a summary's metadata, that lists deltas.
pub const DELTAS_KEY: &str = "ostree.static-deltas";

/// The deltas that make one commit, `a{sv}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeltaIndex {
    /// Each delta, and what its superblock hashes to, sorted by name as it is printed.
    pub deltas: Vec<(DeltaName, Checksum)>,
}

impl DeltaIndex {
    /// Reads an index.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let dict = Dict::decode(data).map_err(|e| e.within(WHAT))?;
        let deltas = read_delta_map(&dict)?.unwrap_or_default();
        Ok(Self { deltas })
    }

    /// Writes the index.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut deltas = Dict::new();
        for (name, checksum) in &self.deltas {
            let bytes = Value::Bytes(checksum.as_bytes().to_vec());
            deltas.insert(name.to_string(), bytes);
        }
        let mut dict = Dict::new();
        dict.insert(DELTAS_KEY, deltas);
        dict.encode()
    }
}

/// Reads the deltas that `dict` lists, and what their superblocks hash to; `None`: it has no list.
///
/// What has another name than a delta's is passed over.
pub fn read_delta_map(dict: &Dict) -> Result<Option<Vec<(DeltaName, Checksum)>>, FormatError> {
    let Some(value) = dict.get(DELTAS_KEY) else {
        return Ok(None);
    };
    let listed = Dict::try_from(value.clone()).map_err(|e| e.within(WHAT))?;
    let mut deltas = Vec::with_capacity(listed.len());
    for (name, value) in listed.iter() {
        let Ok(name) = name.parse() else { continue };
        let bytes = value.as_bytes().unwrap_or_default();
        let checksum = Checksum::from_slice(bytes).map_err(|e| e.within(WHAT))?;
        deltas.push((name, checksum));
    }
    Ok(Some(deltas))
}
