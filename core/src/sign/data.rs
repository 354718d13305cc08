//! What signatures are over: at hand, or read from where it is.

use std::io::{self, Read};

use crate::error::Result;
use crate::format::delta::ReadAt;

/// How much of what is not at hand is read in one go, bytes.
const STEP_BYTES: usize = 64 * 1024;

/// The bytes that signatures are said to be over.
#[derive(Debug, Clone, Copy)]
pub enum SignedData<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// Too long for that: read in pieces, for each key that is tried. **Blocking.**
    Source(&'a dyn ReadAt),
}

impl<'a> From<&'a [u8]> for SignedData<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> SignedData<'a> {
    /// Returns the bytes as a reader from the first on.
    pub fn reader(self) -> SignedDataReader<'a> {
        SignedDataReader { data: self, at: 0 }
    }

    /// Gives all bytes to `take`, piece by piece.
    pub(super) fn feed(self, mut take: impl FnMut(&[u8])) -> Result<()> {
        let source = match self {
            Self::Bytes(bytes) => {
                take(bytes);
                return Ok(());
            }
            Self::Source(source) => source,
        };
        let mut buffer = vec![0; STEP_BYTES];
        let mut at = 0;
        while at < source.total_bytes() {
            let left = usize::try_from(source.total_bytes() - at).unwrap_or(usize::MAX);
            let piece = &mut buffer[..left.min(STEP_BYTES)];
            source.read_exact_at(at, piece)?;
            take(piece);
            at += piece.len() as u64;
        }
        Ok(())
    }
}

/// Reads what is signed. **Blocking.**
#[derive(Debug)]
pub struct SignedDataReader<'a> {
    data: SignedData<'a>,
    at: u64,
}

impl Read for SignedDataReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = match self.data {
            SignedData::Bytes(bytes) => {
                let from = usize::try_from(self.at).unwrap_or(bytes.len());
                let rest = bytes.get(from..).unwrap_or_default();
                let read = rest.len().min(out.len());
                out[..read].copy_from_slice(&rest[..read]);
                read
            }
            SignedData::Source(source) => {
                let left = source.total_bytes().saturating_sub(self.at);
                let read = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
                source.read_exact_at(self.at, &mut out[..read])?;
                read
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}
