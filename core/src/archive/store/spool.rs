//! Verified bytes on their way to a transport, which wants to know how many there are.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt};

use super::Spool;
use crate::error::{Error, Result, from_read};
use crate::pool::Pool;
use crate::transport::PutBody;

/// In what pieces a spooled file is read again, bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// How much room an object is read into at first, bytes.
const START_BYTES: usize = 32 * 1024;

/// Bytes that can be sent more than once.
#[derive(Debug, Clone)]
pub(super) enum Spooled {
    Memory(Bytes),
    File { file: Arc<File>, bytes: u64 },
}

impl From<Bytes> for Spooled {
    fn from(bytes: Bytes) -> Self {
        Self::Memory(bytes)
    }
}

impl Spooled {
    /// Reads `reader` to its end. **Blocking.**
    pub(super) fn read(reader: &mut impl Read, spool: &Spool) -> Result<Self> {
        let failed = |e| from_read("cannot be read", e);
        // Most objects are short; a vector that grows from nothing is filled in ten reads.
        let mut start = Vec::with_capacity(START_BYTES);
        let limit = spool.memory_bytes_max;
        reader
            .take(limit + 1)
            .read_to_end(&mut start)
            .map_err(failed)?;
        if start.len() as u64 <= limit {
            start.shrink_to_fit();
            return Ok(Self::Memory(start.into()));
        }
        let Some(open) = &spool.open else {
            let problem = format!(
                "is longer than the {limit} bytes that are kept in memory: give the store a place \
                 for larger files (its spool)"
            );
            return Err(Error::unsupported(problem));
        };
        let full = |e| Error::io("cannot be kept in a temporary file until it is sent", e);
        let mut file = open().map_err(full)?;
        file.write_all(&start).map_err(full)?;
        drop(start);
        let (mut piece, mut bytes) = (vec![0; PIECE_BYTES], limit + 1);
        loop {
            let n = reader.read(&mut piece).map_err(failed)?;
            if n == 0 {
                let file = Arc::new(file);
                return Ok(Self::File { file, bytes });
            }
            file.write_all(&piece[..n]).map_err(full)?;
            bytes += n as u64;
        }
    }

    /// Returns how many bytes there are.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Returns them as what a transport takes.
    pub(super) fn body(&self, pool: &Pool) -> PutBody {
        let (file, total_bytes) = match self {
            Self::Memory(bytes) => return PutBody::Bytes(bytes.clone()),
            Self::File { file, bytes } => (Arc::clone(file), *bytes),
        };
        let pool = pool.clone();
        let pieces = stream::try_unfold(0, move |offset| {
            let (file, pool) = (Arc::clone(&file), pool.clone());
            async move {
                if offset >= total_bytes {
                    return Ok(None);
                }
                let piece = pool.run(move || read_piece(&file, offset, total_bytes));
                let piece = piece.await?;
                let next = offset + piece.len() as u64;
                Ok(Some((piece, next)))
            }
        });
        PutBody::Stream {
            total_bytes,
            bytes: pieces.boxed(),
        }
    }
}

fn read_piece(file: &File, offset: u64, total_bytes: u64) -> Result<Bytes> {
    let left = usize::try_from(total_bytes - offset).unwrap_or(PIECE_BYTES);
    let mut piece = BytesMut::zeroed(left.min(PIECE_BYTES));
    file.read_exact_at(&mut piece, offset)
        .map_err(|e| Error::io("cannot be read from the temporary file it waited in", e))?;
    Ok(piece.freeze())
}
