//! Bytes that are read from the middle: at hand, or in a file.

use std::fmt::Debug;
use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use crate::error::{Error, Result};

/// A place in a value: from `offset`, so many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Range {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

impl Range {
    /// Returns the byte after the last.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }

    /// Returns the part of this range from `offset` on; `None` if it is not inside.
    pub fn sub(&self, offset: u64, bytes: u64) -> Option<Self> {
        let end = offset.checked_add(bytes)?;
        (end <= self.bytes).then(|| Self {
            offset: self.offset + offset,
            bytes,
        })
    }
}

/// Bytes that are read from the middle. **Blocking.**
pub trait ReadAt: Debug + Send + Sync {
    /// Returns how many there are.
    fn total_bytes(&self) -> u64;

    /// Fills `out` with what begins at `offset`; an error if there are not so many.
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
}

impl dyn ReadAt + '_ {
    /// Reads a range whole, which is longer than `bytes_max` only in error.
    pub(crate) fn read_range(&self, range: Range, bytes_max: u64) -> Result<Vec<u8>> {
        if range.bytes > bytes_max || range.end() > self.total_bytes() {
            let problem = format!(
                "announces {} bytes where at most {} can or may be",
                range.bytes,
                bytes_max.min(self.total_bytes())
            );
            return Err(Error::corrupt(problem));
        }
        let mut bytes = vec![0; usize::try_from(range.bytes).unwrap_or(0)];
        self.read_exact_at(range.offset, &mut bytes)?;
        Ok(bytes)
    }
}

fn too_short() -> Error {
    Error::corrupt("is cut short")
}

impl ReadAt for Bytes {
    fn total_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).map_err(|_| too_short())?;
        let end = start.checked_add(out.len()).ok_or_else(too_short)?;
        out.copy_from_slice(self.get(start..end).ok_or_else(too_short)?);
        Ok(())
    }
}

/// A file, and how long it was when it was opened.
impl ReadAt for (File, u64) {
    fn total_bytes(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.0
            .read_exact_at(out, offset)
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => too_short(),
                _ => Error::io("cannot be read", e),
            })
    }
}
