//! The header of a file object: what is hashed before the content, and how archives frame it.

use std::io::Read;

use super::gvariant::{TupleReader, Writer};
use super::{FormatError, HEADER_BYTES_MAX, Xattrs};
use crate::error::{Error, Result, from_read};

const WHAT: &str = "file header";
const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Owner, mode, target and extended attributes of a regular file or symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileHeader {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Mode, with the file type bits.
    pub mode: u32,
    /// The target of a symbolic link; empty for a regular file.
    pub symlink_target: Box<str>,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl FileHeader {
    /// Returns whether this is a symbolic link; if not it is a regular file.
    pub fn is_symlink(&self) -> bool {
        self.mode & FILE_TYPE == SYMLINK
    }

    /// Reads the header as it is hashed, `(uuuusa(ayay))` without its frame.
    pub fn parse_canonical(data: &[u8]) -> std::result::Result<Self, FormatError> {
        Self::parse_members(TupleReader::new(data)).map_err(|e| e.within(WHAT))
    }

    /// Reads the header of a `.filez`, `(tuuuusa(ayay))` without its frame, and the length of the
    /// content, bytes.
    pub fn parse_filez(data: &[u8]) -> std::result::Result<(Self, u64), FormatError> {
        let mut tuple = TupleReader::new(data);
        let size = tuple.array(8).map_err(|e| e.within(WHAT))?;
        let content_bytes = u64::from_be_bytes(size);
        let header = Self::parse_members(tuple).map_err(|e| e.within(WHAT))?;
        if header.is_symlink() && content_bytes != 0 {
            return Err(FormatError::new(WHAT, "a symbolic link announces content"));
        }
        Ok((header, content_bytes))
    }

    fn parse_members(mut tuple: TupleReader<'_>) -> std::result::Result<Self, FormatError> {
        let uid = u32::from_be_bytes(tuple.array(4)?);
        let gid = u32::from_be_bytes(tuple.array(4)?);
        let mode = u32::from_be_bytes(tuple.array(4)?);
        let rdev = u32::from_be_bytes(tuple.array(4)?);
        let symlink_target = tuple.str()?.into();
        let xattrs = Xattrs::parse(tuple.last(1)?)?;
        tuple.finish()?;
        let header = Self {
            uid,
            gid,
            mode,
            symlink_target,
            xattrs,
        };
        header.check(rdev)?;
        Ok(header)
    }

    fn check(&self, rdev: u32) -> std::result::Result<(), FormatError> {
        let problem = match self.mode & FILE_TYPE {
            REGULAR if self.symlink_target.is_empty() => None,
            REGULAR => Some("a regular file has a symbolic link's target"),
            SYMLINK if self.symlink_target.is_empty() => Some("a symbolic link has no target"),
            SYMLINK => None,
            _ => Some("is neither a regular file nor a symbolic link"),
        };
        let problem = problem
            .or((rdev != 0).then_some("has a device number"))
            .or((self.mode & !(FILE_TYPE | 0o7777) != 0).then_some("its mode has unknown bits"));
        problem.map_or(Ok(()), |problem| Err(FormatError::new(WHAT, problem)))
    }

    /// Writes the header as it is hashed: framed, and followed by the content.
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let tuple = writer.begin(4);
        self.put_members(&mut writer);
        writer.end_tuple(tuple);
        frame_header(&writer.into_bytes())
    }

    /// Writes the header of a `.filez` with `content_bytes` of content: framed, and followed by the
    /// content as raw deflate.
    pub fn to_filez(&self, content_bytes: u64) -> Vec<u8> {
        let mut writer = Writer::new();
        let tuple = writer.begin(8);
        writer.put(8, &content_bytes.to_be_bytes());
        self.put_members(&mut writer);
        writer.end_tuple(tuple);
        frame_header(&writer.into_bytes())
    }

    fn put_members(&self, writer: &mut Writer) {
        for number in [self.uid, self.gid, self.mode, 0] {
            writer.put(4, &number.to_be_bytes());
        }
        writer.put_str(&self.symlink_target);
        writer.mark();
        self.xattrs.put(writer);
    }
}

/// Puts the frame before a header: its length as 4 big-endian bytes, then 4 bytes of zero.
pub fn frame_header(header: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(8 + header.len());
    framed.extend_from_slice(
        &u32::try_from(header.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    framed.extend_from_slice(&[0; 4]);
    framed.extend_from_slice(header);
    framed
}

/// Reads a framed header from the start of a file object, and returns it without its frame.
pub fn read_header_frame(reader: &mut dyn Read) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::corrupt("is cut short in its header"),
        _ => from_read("cannot be read", e),
    };
    let mut frame = [0; 8];
    reader.read_exact(&mut frame).map_err(failed)?;
    let [a, b, c, d, padding @ ..] = frame;
    let header_bytes = u32::from_be_bytes([a, b, c, d]);
    if padding != [0; 4] {
        return Err(FormatError::new(WHAT, "the frame's padding is not zero").into());
    }
    if header_bytes == 0 || header_bytes > HEADER_BYTES_MAX {
        let problem = format!("announces a length of {header_bytes} bytes");
        return Err(FormatError::new(WHAT, problem).into());
    }
    // Not allocated on the frame's word alone: the vector grows as bytes arrive.
    let mut header = Vec::new();
    let mut limited = reader.take(u64::from(header_bytes));
    limited.read_to_end(&mut header).map_err(failed)?;
    if header.len() as u64 != u64::from(header_bytes) {
        return Err(Error::corrupt("is cut short in its header"));
    }
    Ok(header)
}
