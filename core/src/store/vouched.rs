//! The one `.filez` that is not hashed: that of a mirror, on the word of whoever made it.

use std::fs::File;

use bytes::Bytes;

use super::{LocalFile, deflated_bytes_max};
use crate::error::{Error, Result};
use crate::format::{FileHeader, ObjectName, read_header_frame};

/// How long the frame before the header is.
const FRAME_BYTES: u64 = 8;

/// A file object just as an archive sent it, of which somebody said that it is what its name says.
///
/// There is one way to it, [`Incoming::vouched_filez`](super::Incoming::vouched_filez). What costs
/// nothing has been checked: its length is that of what arrived, it begins with a well-formed header,
/// and is no longer than such content can be. Its content has not been looked at.
#[derive(Debug)]
pub struct VouchedFilez {
    name: ObjectName,
    stored_bytes: u64,
    content_bytes: u64,
    bytes: VouchedBytes,
}

/// Where the bytes of a [`VouchedFilez`] are.
#[derive(Debug)]
pub enum VouchedBytes {
    /// At hand.
    Memory(Bytes),
    /// In a file that may be renamed away.
    File {
        /// The file.
        file: LocalFile,
        /// The same, opened: what was looked at, whatever has that name by now.
        opened: File,
    },
}

impl VouchedFilez {
    pub(super) fn new(name: ObjectName, stored_bytes: u64, bytes: VouchedBytes) -> Result<Self> {
        let (length, frame) = match &bytes {
            VouchedBytes::Memory(bytes) => (bytes.len() as u64, read_header_frame(&mut &bytes[..])),
            VouchedBytes::File { opened, .. } => {
                let length = opened.metadata();
                let length = length.map_err(|e| Error::io("cannot be looked at", e))?;
                let mut opened = opened;
                (length.len(), read_header_frame(&mut opened))
            }
        };
        let corrupt = |problem: String| Err(Error::corrupt(problem).about(name));
        if length != stored_bytes {
            return corrupt(format!(
                "is {length} bytes long, of {stored_bytes} that came"
            ));
        }
        let frame = frame.map_err(|e| e.about(name))?;
        let (header, content_bytes) =
            FileHeader::parse_filez(&frame).map_err(|e| Error::from(e).about(name))?;
        let head = FRAME_BYTES + frame.len() as u64;
        let most = match header.is_symlink() {
            true => 0,
            false => deflated_bytes_max(content_bytes),
        };
        if stored_bytes > head.saturating_add(most) {
            return corrupt(format!(
                "is {stored_bytes} bytes long, more than its content of {content_bytes} can need"
            ));
        }
        Ok(Self {
            name,
            stored_bytes,
            content_bytes,
            bytes,
        })
    }

    /// Returns the name that somebody vouched for.
    pub fn name(&self) -> ObjectName {
        self.name
    }

    /// Returns how long it is.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Returns how long its header says that the content is.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Returns the bytes.
    pub fn into_bytes(self) -> VouchedBytes {
        self.bytes
    }
}
