//! Dirmeta: owner, mode and extended attributes of a directory, `(uuua(ayay))`.

use super::gvariant::{TupleReader, Writer};
use super::{FormatError, Xattrs};

const WHAT: &str = "dirmeta";
const FILE_TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;

/// Owner, mode and extended attributes of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DirMeta {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Mode, with the file type bits of a directory.
    pub mode: u32,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl DirMeta {
    /// Reads a dirmeta. The numbers are big-endian; the mode must be that of a directory.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let dirmeta = Self::parse_any_mode(data).map_err(|e| e.within(WHAT))?;
        match dirmeta.mode & FILE_TYPE {
            DIRECTORY if dirmeta.mode & !(FILE_TYPE | 0o7777) == 0 => Ok(dirmeta),
            _ => Err(FormatError::new(
                WHAT,
                "its mode is not that of a directory",
            )),
        }
    }

    /// Reads the same shape with any mode: the extended attribute `user.ostreemeta`.
    pub fn parse_any_mode(data: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = TupleReader::new(data);
        let uid = u32::from_be_bytes(tuple.array(4)?);
        let gid = u32::from_be_bytes(tuple.array(4)?);
        let mode = u32::from_be_bytes(tuple.array(4)?);
        let xattrs = Xattrs::parse(tuple.last(1)?)?;
        tuple.finish()?;
        Ok(Self {
            uid,
            gid,
            mode,
            xattrs,
        })
    }

    /// Writes the dirmeta.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let tuple = writer.begin(4);
        writer.put(4, &self.uid.to_be_bytes());
        writer.put(4, &self.gid.to_be_bytes());
        writer.put(4, &self.mode.to_be_bytes());
        self.xattrs.put(&mut writer);
        writer.end_tuple(tuple);
        writer.into_bytes()
    }
}
